//! A worker's part: accepting at every listener that is open.

use std::{net::SocketAddr, sync::Arc};

use relay::{
    stream::Stream,
    worker::{Phase, Worker},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::{Listener, Open};

/// A listener at which this worker accepts. Dropping it ends that; its connections go on.
struct Accepting<S> {
    listener: Arc<Listener<S>>,
    task: JoinHandle<()>,
    _wanted: oneshot::Sender<()>,
}

/// Accepts until the drain closes the listeners. `handler` makes what serves the connections of a
/// listener: one task for each ([`Worker::serve_until`]).
pub async fn accept<S, H, Fut>(
    worker: &Worker,
    mut open: watch::Receiver<Open<S>>,
    handler: impl Fn(Arc<Listener<S>>) -> H,
) where
    S: 'static,
    H: Fn(Worker, Stream, SocketAddr) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let mut accepting: Vec<Accepting<S>> = Vec::new();
    loop {
        let wanted = open.borrow_and_update().clone();
        for listener in wanted.iter() {
            if !accepting.iter().any(|it| Arc::ptr_eq(&it.listener, listener)) {
                accepting.extend(begin(worker, listener, handler(Arc::clone(listener))));
            }
        }
        // Last, so that no port is closed in between; each empties its backlog.
        accepting.retain(|it| wanted.iter().any(|listener| Arc::ptr_eq(listener, &it.listener)));
        tokio::select! {
            () = worker.reached(Phase::Closing) => break,
            changed = open.changed() => if changed.is_err() {
                worker.reached(Phase::Closing).await;
                break;
            }
        }
    }
    for Accepting { task, .. } in accepting {
        // It empties its backlog and ends by itself.
        drop(task.await);
    }
}

/// Listens from now on.
fn begin<S, H, Fut>(
    worker: &Worker,
    listener: &Arc<Listener<S>>,
    handler: H,
) -> Option<Accepting<S>>
where
    H: Fn(Worker, Stream, SocketAddr) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let taken = listener.sockets.take(worker).inspect_err(|error| {
        tracing::error!(address = %listener.address(), worker = worker.index(), %error,
            "this worker cannot listen");
    });
    let (socket, worker) = (taken.ok()?, worker.clone());
    let (wanted, unwanted) = oneshot::channel::<()>();
    let task = tokio::task::spawn_local(async move {
        let unwanted = async {
            // Sent, or the worker's loop has gone: both mean the same.
            drop(unwanted.await);
        };
        worker.serve_until(socket, unwanted, handler).await;
    });
    Some(Accepting { listener: Arc::clone(listener), task, _wanted: wanted })
}

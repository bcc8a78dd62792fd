//! A worker's part: accepting at every listener that is open.

use std::{net::SocketAddr, sync::Arc};

use relay::{
    stream::Stream,
    worker::{Phase, Unwanted, Worker},
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
    unwanted: oneshot::Sender<Unwanted>,
}

/// Accepts until the drain closes the listeners. `handler` makes what serves the connections of a
/// listener: one task for each ([`Worker::serve_until`]).
pub async fn accept<S, H, Fut>(
    worker: &Worker,
    (mut open, mut at_work): (watch::Receiver<Open<S>>, watch::Receiver<usize>),
    handler: impl Fn(Arc<Listener<S>>) -> H,
) where
    S: 'static,
    H: Fn(Worker, Stream, SocketAddr) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let mut accepting: Vec<Accepting<S>> = Vec::new();
    loop {
        let all = open.borrow_and_update().clone();
        let works = worker.index() < *at_work.borrow_and_update();
        worker.rest(!works);
        let wanted: Open<S> = if works { all.clone() } else { Arc::new([]) };
        for listener in wanted.iter() {
            if !accepting.iter().any(|it| Arc::ptr_eq(&it.listener, listener)) {
                accepting.extend(begin(worker, listener, handler(Arc::clone(listener))));
                close_surplus(worker, listener, || handler(Arc::clone(listener)));
            }
        }
        // Last, so that no port is closed in between; each empties its backlog.
        let is_in = |open: &Open<S>, it: &Accepting<S>| {
            open.iter().any(|listener| Arc::ptr_eq(listener, &it.listener))
        };
        for it in accepting.extract_if(.., |it| !is_in(&wanted, it)) {
            let why = if is_in(&all, &it) { Unwanted::LeftToOthers } else { Unwanted::Closed };
            // Its loop may have ended by itself.
            drop(it.unwanted.send(why));
        }
        let changed = tokio::select! {
            () = worker.reached(Phase::Closing) => break,
            changed = open.changed() => changed,
            changed = at_work.changed() => changed,
        };
        if changed.is_err() {
            worker.reached(Phase::Closing).await;
            break;
        }
    }
    for Accepting { task, unwanted, .. } in accepting {
        // It empties its backlog and ends by itself.
        drop(task.await);
        drop(unwanted);
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
    let (sender, unwanted) = oneshot::channel();
    let task = tokio::task::spawn_local(async move {
        // Where the worker's loop has gone, nobody wants it.
        let unwanted = async { unwanted.await.unwrap_or(Unwanted::Closed) };
        worker.serve_until(socket, unwanted, handler).await;
    });
    Some(Accepting { listener: Arc::clone(listener), task, unwanted: sender })
}

/// Lets those in who wait in queues for which there is no worker any more.
fn close_surplus<S, H, Fut>(worker: &Worker, listener: &Listener<S>, handler: impl Fn() -> H)
where
    H: Fn(Worker, Stream, SocketAddr) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    loop {
        match listener.sockets.take_surplus() {
            Ok(Some(socket)) => {
                let (worker, handler) = (worker.clone(), handler());
                tokio::task::spawn_local(async move {
                    let unwanted = std::future::ready(Unwanted::Closed);
                    worker.serve_until(socket, unwanted, handler).await;
                });
            }
            Ok(None) => return,
            Err(error) => {
                tracing::error!(address = %listener.address(), %error, "a queue is not emptied");
            }
        }
    }
}

//! A stop is a drain: the order of its steps, and what bounds them.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use chassis::Process;

use crate::{
    registry_double::RegistryDouble,
    support::{World, eventually},
};

#[tokio::test(flavor = "multi_thread")]
async fn not_ready_deregistered_accepting_closing_closed() {
    let world = World::new();
    let double = RegistryDouble::new();
    let registry = double.start(&world);
    let mut options = world.options("node-1", Some(registry.grpc()), &[]);
    options.drain_propagation = Duration::from_millis(50);
    let steps = Arc::new(Mutex::new(Vec::new()));
    let (noted, seen) = (Arc::clone(&steps), double.clone());
    let (sender, receiver) = mpsc::sync_channel::<Process>(1);
    let thread = std::thread::spawn(move || {
        chassis::run("proxy-node", &options, |process| async move {
            process.serve_admin(axum::Router::new())?;
            process.register();
            process.set_ready(true);
            let (watched, note) = (process.clone(), Arc::clone(&noted));
            process.tasks.spawn("watch", move || {
                let (watched, note, seen) = (watched.clone(), Arc::clone(&note), seen.clone());
                async move {
                    watched.lifecycle.stop().wait().await;
                    note.lock().unwrap().push(format!(
                        "stop, closing {}",
                        watched.lifecycle.closing().is_stopping()
                    ));
                    watched.lifecycle.closing().wait().await;
                    let deregistered = seen.memory().deregistrations.len();
                    note.lock().unwrap().push(format!(
                        "closing, ready {}, deregistered {deregistered}",
                        watched.status.is_ready()
                    ));
                }
            });
            sender.send(process.clone()).unwrap();
            let admin = process.ports.listeners()["admin"];
            process
                .drain(async move {
                    // The admin port still answers while the service closes.
                    assert!(tokio::net::TcpStream::connect(admin).await.is_ok());
                    eventually("the watcher saw it", || noted.lock().unwrap().len() == 2).await;
                    noted.lock().unwrap().push("closed".to_owned());
                })
                .await
        })
    });
    let process = receiver.recv().unwrap();
    eventually("registered", || !double.memory().registrations.is_empty()).await;
    process.lifecycle.stop().raise();
    tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap().unwrap();
    assert_eq!(
        *steps.lock().unwrap(),
        ["stop, closing false", "closing, ready false, deregistered 1", "closed"]
    );
    registry.stop().unwrap();
}

#[test]
fn a_closing_step_that_takes_too_long_is_cut() {
    let world = World::new();
    let mut options = world.options("node-1", None, &[]);
    options.drain_timeout = Duration::from_millis(20);
    chassis::run("proxy-node", &options, |process| async move {
        process.lifecycle.stop().raise();
        process.drain(std::future::pending()).await
    })
    .unwrap();
}

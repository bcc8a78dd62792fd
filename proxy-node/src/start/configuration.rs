//! What becomes of a new configuration: it is built, listened by, and put in force.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chassis::{Problem, Process, Rendered};

use super::{disk, membership::refresh_ports};
use crate::{config::Generation, listen::Listeners, node::Node, record};

/// What a node takes beside its cache, at most.
const BESIDE: u64 = 64 << 20;
/// How long the crash of the test hook waits for its acknowledgement to leave.
const CRASH_AFTER: Duration = Duration::from_millis(500);

/// The configuration in force, before and after there is a node to have it.
pub(super) enum Published {
    Nothing,
    First(Arc<Generation>),
    Running(Arc<Node>),
}

/// What the chassis calls, on a blocking thread, with every new configuration.
pub(super) fn applier(
    process: &Process,
    listeners: &Arc<Listeners>,
    published: &Arc<Mutex<Published>>,
    cache_dir: &Path,
    crash_on: Option<String>,
) -> impl FnMut(Rendered) -> Result<(), Vec<Problem>> + Send + 'static {
    let (process, listeners, published) = (process.clone(), listeners.clone(), published.clone());
    let cache_dir = cache_dir.to_owned();
    move |rendered| {
        let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
        let mut generation = Generation::build(&rendered)?;
        if let Published::Running(node) = &*published {
            generation = generation.after(&node.current.load());
        }
        let generation = Arc::new(generation);
        listeners.reconcile(&generation.document.listen).map_err(|errors| {
            errors.iter().map(|error| Problem::new(error.to_string())).collect::<Vec<_>>()
        })?;
        listeners.employ(generation.document.workers);
        if let Some(first) = generation.binds().next() {
            process.ports.announce("proxy", first);
        }
        if crash_on.as_ref() == Some(&generation.document.visible_hostname) {
            crash_soon(&process);
        }
        match &*published {
            Published::Running(node) => {
                install(&process, &listeners, node, generation);
                disk::apply(node, &cache_dir);
            }
            Published::Nothing | Published::First(_) => *published = Published::First(generation),
        }
        Ok(())
    }
}

fn install(
    process: &Process,
    listeners: &Listeners,
    node: &Arc<Node>,
    generation: Arc<Generation>,
) {
    doubt_memory(&generation);
    node.store.set_capacity(generation.document.cache.memory);
    record::configure(&node.recorder, &generation.document);
    tracing::info!(revision = %generation.revision, "configuration in force");
    node.current.store(generation);
    refresh_ports(process, node, listeners);
}

/// Says so where the cache may grow larger than what there is: the process would be killed when it
/// has.
pub(super) fn doubt_memory(generation: &Generation) {
    let memory = generation.document.cache.memory;
    if let Some(limit) = chassis::memory::limit()
        && memory.saturating_add(BESIDE) > limit.bytes
    {
        let mebibytes = |bytes: u64| bytes >> 20;
        tracing::error!(
            revision = %generation.revision,
            "proxy.cache.memory ({} MiB) and the {} MiB that a node needs beside it are more than \
             the {} MiB that {} has for it: it may be killed when the cache fills. Lower \
             proxy.cache.memory to {} MiB, or give it more memory",
            mebibytes(memory),
            mebibytes(BESIDE),
            mebibytes(limit.bytes),
            limit.of,
            mebibytes(limit.bytes.saturating_sub(BESIDE)),
        );
    }
}

/// For tests only: a revision that applies, is acknowledged, and then takes the process down.
fn crash_soon(process: &Process) {
    process.tasks.spawn("test-crash", || async {
        tokio::time::sleep(CRASH_AFTER).await;
        tracing::error!("--test-crash-on-visible-hostname: crashing as asked");
        std::process::abort();
    });
}

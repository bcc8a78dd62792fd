//! What a node does beside the traffic for as long as it lives.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use dataplane::log::target::Counts;
use relay::clients::{Clients, Closed};

use crate::{cache::disk::Standing, node::Node, parent};

/// How often counters are handed to the exporter.
const EXPORT: Duration = Duration::from_secs(1);

/// Tries connections to dead parents and reads credentials again, for as long as the node lives.
pub async fn look_after_parents(node: Arc<Node>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let generation = node.current.load_full();
        let (parents, within) = (&generation.parents, generation.document.timeouts.connect);
        parent::look_after(parents, &node.resolver, within).await;
        let dead = parents.iter().filter(|parent| !parent.is_alive()).count();
        node.metrics.dead_parents.set(dead as u64);
    }
}

pub(super) async fn export(node: Arc<Node>) {
    loop {
        tokio::time::sleep(EXPORT).await;
        node.metrics.cache_objects.set(node.store.objects());
        node.metrics.cache_bytes.set(node.store.used());
        node.metrics.cache_capacity.set(node.store.capacity());
        node.metrics.cache_in_flight.set(node.store.in_flight());
        export_disk(&node);
        let age = node.confirmation.age(node.steady.millis()).unwrap_or_default();
        node.metrics.purges_confirmed.set(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        node.metrics.working.set(node.store.budget().at_work());
        node.metrics.log_dropped.set(node.recorder.dropped());
        let targets = node.recorder.log().targets.current();
        let sum = |count: fn(&Counts) -> u64| targets.iter().map(|it| count(it.counts())).sum();
        node.metrics.log_copies_sent.set(sum(Counts::sent));
        node.metrics.log_copies_dropped.set(sum(Counts::dropped));
        node.metrics.export();
    }
}

fn export_disk(node: &Node) {
    let metrics = &node.metrics;
    let Some(disk) = node.store.disk() else {
        for gauge in [
            &metrics.disk_usable,
            &metrics.disk_objects,
            &metrics.disk_bytes,
            &metrics.disk_capacity,
            &metrics.disk_index,
        ] {
            gauge.set(0);
        }
        return;
    };
    metrics.disk_usable.set(u64::from(disk.standing() == Standing::Ready));
    metrics.disk_objects.set(disk.objects());
    metrics.disk_bytes.set(disk.used());
    metrics.disk_capacity.set(disk.capacity());
    metrics.disk_index.set(disk.memory());
    let counts = disk.counts();
    for (metric, count) in [
        (&metrics.disk_load, &counts.load_millis),
        (&metrics.disk_hits, &counts.hits),
        (&metrics.disk_written, &counts.written),
        (&metrics.disk_rescued, &counts.rescued),
        (&metrics.disk_declined, &counts.declined),
        (&metrics.disk_queue_full, &counts.queue_full),
        (&metrics.disk_late, &counts.late),
        (&metrics.disk_corrupt, &counts.corrupt),
        (&metrics.disk_errors, &counts.errors),
    ] {
        metric.set(count.load(Ordering::Relaxed));
    }
}

/// Counts the connections that were closed because their client has its share, and names such a
/// client in the log once a minute.
pub(super) async fn count_clients(node: Arc<Node>, clients: Arc<Clients>) {
    let mut tick = tokio::time::interval(EXPORT);
    loop {
        tick.tick().await;
        clients.set_most(node.current.load().document.max_connections);
        let Closed { refused, displaced, unfinished, too_fast, no_room, unread } = clients.closed();
        node.metrics.crowded_refused.set(refused);
        node.metrics.crowded_idle.set(displaced);
        node.metrics.crowded_unfinished.set(unfinished);
        node.metrics.crowded_too_fast.set(too_fast);
        node.metrics.crowded_no_room.set(no_room);
        node.metrics.crowded_unread.set(unread);
        if node.shares.is_due(node.steady.seconds()) {
            match clients.take_report() {
                Some(report) => tracing::warn!("{report}"),
                None => node.shares.forget(),
            }
        }
    }
}

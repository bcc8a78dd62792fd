//! What the suite promises, fault by fault. A test of that name prints the counts;
//! `tests/it/reliability.rs` checks that none is missing here.

/// One fault under load, and what clients are promised meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// What the test prints its counts as.
    pub name: &'static str,
    /// What happens.
    pub fault: &'static str,
    /// What is promised.
    pub promise: &'static str,
}

const fn promise(name: &'static str, fault: &'static str, promise: &'static str) -> Promise {
    Promise { name, fault, promise }
}

/// All of them, in the order of the page.
pub const PROMISES: &[Promise] = &[
    promise("a_killed_node_fails_no_get", "kill -9 of a node, GETs", "none fails"),
    promise(
        "a_killed_node_fails_no_connect",
        "kill -9 of a node, new tunnels",
        "none fails; tunnels that stood on it are cut and counted",
    ),
    promise(
        "a_killed_node_fails_no_post_twice",
        "kill -9 of a node, POSTs",
        "none reaches the origin twice; only those on the node at that moment may fail",
    ),
    promise(
        "a_frozen_node_fails_no_get",
        "SIGSTOP of a node (it accepts and never answers), GETs",
        "none fails",
    ),
    promise(
        "a_frozen_node_fails_no_connect",
        "SIGSTOP of a node, new tunnels",
        "none fails; tunnels that stood on it are cut and counted",
    ),
    promise(
        "a_frozen_node_fails_no_post_twice",
        "SIGSTOP of a node, POSTs",
        "none reaches the origin twice; only those on the node at that moment may fail",
    ),
    promise(
        "a_balancer_is_taken_over_five_times_and_nothing_fails",
        "a binary upgrade of the only balancer, five times in a row: GETs, POSTs, tunnels",
        "none fails, no counter falls",
    ),
    promise(
        "a_node_is_taken_over_five_times_and_nothing_fails",
        "a binary upgrade of a node, five times in a row: GETs, POSTs, tunnels",
        "none fails, no counter falls",
    ),
    promise(
        "traffic_flows_with_the_control_plane_dead",
        "kill -9 of every control service; then of a node, which starts again from its disk; then \
         of a balancer",
        "none fails",
    ),
    promise(
        "a_wiped_registry_loses_no_traffic",
        "kill -9 of the registry and its database removed",
        "none fails; everybody registers again",
    ),
    promise(
        "a_lost_control_plane_comes_back_from_a_backup",
        "registry and config-service killed, everything they kept removed, and restored from a \
         backup",
        "none fails; the same history, released revision and admin states",
    ),
    promise(
        "a_rolling_restart_of_the_nodes_fails_nothing",
        "SIGTERM to every node in turn; GETs, POSTs and tunnels",
        "none fails, none arrives twice, no tunnel is cut",
    ),
    promise(
        "a_rolling_restart_of_the_balancers_fails_nothing",
        "SIGTERM to every balancer in turn; GETs, POSTs and tunnels of clients that know both \
         frontends",
        "none fails, none arrives twice, no tunnel is cut",
    ),
    promise(
        "a_rolling_restart_of_the_control_plane_fails_nothing",
        "SIGTERM to every control service in turn; GETs, POSTs and tunnels",
        "none fails, none arrives twice, no tunnel is cut",
    ),
    promise(
        "a_drained_node_gets_nothing_until_it_is_enabled",
        "a node drained by an operator",
        "none fails; it gets nothing until enabled",
    ),
    promise(
        "weights_divide_the_load",
        "weights 3, 2 and 1",
        "none fails; the load divides by weight",
    ),
    promise("a_fourth_node_joins_under_load", "a node is added", "none fails; it takes its share"),
    promise(
        "an_enrolled_host_joins_and_gets_traffic",
        "a bare host joins with the archive of `shoal node enrol` and its unit",
        "none fails; it takes its share",
    ),
    promise(
        "a_balancer_restarted_behind_an_inherited_socket_loses_nothing",
        "SIGTERM to a balancer behind a socket of systemd, three times; GETs and tunnels of \
         clients that know no other",
        "none fails: connections wait in the socket; no tunnel is cut",
    ),
    promise(
        "a_reloaded_balancer_is_another_process_and_loses_nothing",
        "`systemctl reload` of a balancer behind a socket of systemd (SIGUSR2); GETs and tunnels \
         of clients that know no other",
        "none fails; the unit goes on with another main process; no tunnel is cut",
    ),
    promise(
        "a_node_restarted_behind_inherited_sockets_loses_nothing",
        "SIGTERM to a node behind sockets of systemd, three times",
        "none fails, none arrives twice",
    ),
    promise(
        "a_slow_origin_ejects_nobody_and_is_asked_once",
        "an origin answers after 20 s",
        "no node is ejected; it is asked once",
    ),
    promise(
        "a_black_hole_origin_ejects_nobody_and_is_asked_once",
        "an origin never accepts",
        "no node is ejected; it is connected to once",
    ),
    promise(
        "a_bad_bundle_is_refused_before_any_node_sees_it",
        "a broken configuration is applied",
        "refused with its place before any node sees it; none fails",
    ),
    promise(
        "apply_deny_and_roll_back_under_load",
        "a rule is applied, and rolled back",
        "in force everywhere, explained; none fails",
    ),
    promise(
        "a_node_that_cannot_apply_keeps_what_it_has",
        "a configuration that is valid and that a process cannot apply",
        "the process keeps the one before, the rollout stops; none fails",
    ),
    promise(
        "a_crashing_revision_is_booted_from_the_generation_before",
        "a configuration that kills the process that applies it",
        "the process starts again with the one before, the rollout stops; none fails",
    ),
    promise(
        "a_node_without_descriptors_fails_nothing",
        "a node may open no descriptor more (EMFILE); GETs and new tunnels",
        "none fails, the process lives and serves again afterwards",
    ),
    promise(
        "a_balancer_without_descriptors_fails_nothing",
        "a balancer may open no descriptor more (EMFILE); GETs and new tunnels of clients that \
         know both frontends",
        "none fails, the process lives and serves again afterwards",
    ),
    promise(
        "a_full_disk_fails_no_request_and_loses_nothing_acknowledged",
        "the disk of every data dir and log is full (ENOSPC)",
        "none fails, no process dies; what cannot be stored is refused, and accepted again once \
         there is room",
    ),
    promise(
        "ten_thousand_idle_connections_disturb_nobody",
        "10,000 idle clients on one balancer",
        "none fails; each of them may ask at any time",
    ),
    promise(
        "slow_clients_disturb_nobody",
        "400 clients that drip a head and 400 that drip a body, a byte at a time",
        "none of the others fails; no dripping head gets beyond the balancer, each gets 408",
    ),
    promise(
        "a_registry_whose_clock_jumps_loses_nobody",
        "the registry's wall clock is set by an hour, there and back",
        "nobody is lost; none fails",
    ),
    promise(
        "a_cluster_whose_clock_jumps_loses_nobody",
        "every process's wall clock is set by an hour, there and back",
        "nobody is lost; none fails",
    ),
    promise(
        "a_node_whose_clock_jumps_serves_nothing_stale",
        "a node's wall clock is set by an hour, there and back",
        "nothing is served beyond its life; none fails",
    ),
    promise(
        "a_killed_process_of_a_container_fails_nothing",
        "containers: kill -9 of a node's process; the restart policy brings it back",
        "none fails",
    ),
    promise(
        "a_node_cut_off_the_network_fails_nothing",
        "containers: a node is cut off the network, and put back",
        "none fails",
    ),
    promise(
        "a_control_plane_cut_off_the_network_fails_nothing",
        "containers: the whole control plane is cut off the network for longer than leases last, \
         and put back",
        "none fails; everybody is usable again by itself",
    ),
    promise(
        "five_containers_where_three_were_fail_nothing",
        "containers: the nodes are scaled from three to five",
        "none fails; all five get traffic",
    ),
    promise(
        "a_changed_compose_file_fails_nothing",
        "containers: `up` after a change of the file, which scales back to three nodes and makes \
         the health-checkers again",
        "none fails; nothing is issued or committed anew",
    ),
    promise(
        "replaced_nodes_and_balancers_fail_nothing",
        "containers: all nodes and both balancers are replaced, by the lines of \
         docs/deploy-docker.md",
        "none fails",
    ),
    promise(
        "containers_that_were_stopped_serve_again",
        "containers: all are stopped, and started again",
        "none fails afterwards",
    ),
];

/// Faults that are tried below the level of whole clusters: what, promise, where.
pub const ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "a handler panics",
        "its own connection is lost, and counted; no other is",
        "`a_panicking_handler_loses_its_own_connection_and_no_other` in \
         `balancer/tests/it/panics.rs` and `proxy-node/tests/it/panics.rs`: a whole balancer, a \
         whole node, real sockets",
    ),
    (
        "a fill of the cache panics",
        "who waited for it gets an error at once, and the key can be filled afterwards",
        "`a_panicking_fill_leaves_nobody_waiting` in `proxy-node/tests/it/panics.rs`",
    ),
    (
        "a fill of the cache comes to a halt",
        "who follows it asks for itself after `follow_timeout`, and goes on where it was",
        "`a_fill_that_comes_to_a_halt_is_left_where_it_is` in `proxy-node/tests/it/filling.rs`",
    ),
    (
        "clients ask for much and read nothing",
        "the node stays within `cache.memory` and 64 MiB, and others are served",
        "`readers_that_stall_…` in `proxy-node/tests/it/memory.rs`",
    ),
    (
        "an accept loop panics",
        "the connection that was being accepted is lost, the panic counted, and the loop goes on",
        "`a_panic_while_accepting_loses_that_connection_…` in `crates/relay/src/worker/tests.rs` \
         (both data planes), `crates/chassis/src/accept.rs` (gRPC) and \
         `crates/chassis/src/admin.rs`",
    ),
    (
        "the session of a node with the config-service panics",
        "the node is known as gone, and subscribes again",
        "`a_subscription_that_panics_is_reported_as_gone` in `config-service/src/api/subscribe.rs`",
    ),
    (
        "the access log is slower than the traffic",
        "records are dropped and counted, requests are not",
        "`proxy-node/src/record.rs`",
    ),
    (
        "the store ran out of disk in the middle of a transaction",
        "nothing of it is kept, and the next one works",
        "`a_disk_that_was_full_is_written_again` in `config-service/src/store.rs` and \
         `registry/src/store/sqlite.rs`",
    ),
];

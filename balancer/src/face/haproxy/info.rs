//! The process itself, as `show info` tells it.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::{json, row::Value};

/// What is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    pub version: String,
    /// Name of the balancer.
    pub node: String,
    pub pid: u32,
    pub workers: u64,
    pub uptime_seconds: u64,
    /// Seconds since the epoch.
    pub started_at: u64,
    /// Descriptors that it may have.
    pub descriptors: u64,
    pub connections: u64,
    pub connections_total: u64,
    pub requests_total: u64,
    pub connection_rate: u64,
    pub connection_rate_max: u64,
    pub bytes_out_total: u64,
    pub bytes_out_rate: u64,
    pub listeners: u64,
    /// Access records that were dropped.
    pub dropped_logs: u64,
    pub stopping: bool,
    /// Memory that it may have, 0: as much as there is; and that it has.
    pub memory_limit: u64,
    pub memory: u64,
}

/// One line: HAProxy's number of it, name, tags, type, value.
type Line = (usize, &'static str, &'static str, &'static str, Value);

const MEBIBYTE: u64 = 1024 * 1024;

impl Info {
    /// All lines in HAProxy's order.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let u32 = |position, name, tags, value: u64| (position, name, tags, "u32", value.into());
        let text = |position, name, tags, value: &str| (position, name, tags, "str", value.into());
        let mut lines = vec![
            // What tools look for to know that they may talk.
            text(0, "Name", "POS", "HAProxy"),
            text(1, "Version", "POS", &self.version),
            text(2, "Release_date", "POS", ""),
            u32(3, "Nbthread", "CGS", self.workers),
            u32(4, "Nbproc", "CGS", 1),
            u32(5, "Process_num", "KGP", 1),
            u32(6, "Pid", "SGP", self.pid.into()),
            text(7, "Uptime", "MDP", &days(self.uptime_seconds)),
            u32(8, "Uptime_sec", "MDP", self.uptime_seconds),
            u32(9, "Memmax_MB", "CLP", self.memory_limit / MEBIBYTE),
            u32(10, "PoolAlloc_MB", "MGP", self.memory / MEBIBYTE),
            u32(11, "PoolUsed_MB", "MGP", self.memory / MEBIBYTE),
            u32(12, "PoolFailed", "MCP", 0),
            u32(13, "Ulimit-n", "CLP", self.descriptors),
            u32(14, "Maxsock", "CLP", self.descriptors),
            u32(15, "Maxconn", "CLP", self.descriptors),
            u32(16, "Hard_maxconn", "CLP", self.descriptors),
            u32(17, "CurrConns", "MGP", self.connections),
            u32(18, "CumConns", "MCP", self.connections_total),
            u32(19, "CumReq", "MCP", self.requests_total),
        ];
        lines.extend(UNUSED.iter().filter(|it| it.0 < 26).map(zero));
        lines.extend([
            u32(26, "ConnRate", "MRP", self.connection_rate),
            u32(27, "ConnRateLimit", "CLP", 0),
            u32(28, "MaxConnRate", "MMP", self.connection_rate_max),
            u32(29, "SessRate", "MRP", self.connection_rate),
            u32(30, "SessRateLimit", "CLP", 0),
            u32(31, "MaxSessRate", "MRP", self.connection_rate_max),
        ]);
        lines.extend(UNUSED.iter().filter(|it| (26..50).contains(&it.0)).map(zero));
        lines.extend([
            text(50, "node", "COS", &self.node),
            u32(52, "Stopping", "MGP", self.stopping.into()),
            u32(53, "Jobs", "MGP", self.connections + self.listeners),
            u32(54, "Unstoppable Jobs", "MGP", 0),
            u32(55, "Listeners", "MGP", self.listeners),
            u32(56, "ActivePeers", "MGP", 0),
            u32(57, "ConnectedPeers", "MGP", 0),
            u32(58, "DroppedLogs", "MGP", self.dropped_logs),
            u32(59, "BusyPolling", "MGP", 0),
            u32(60, "FailedResolutions", "MGP", 0),
            (61, "TotalBytesOut", "MGP", "u64", self.bytes_out_total.into()),
            // HAProxy's own spelling.
            (62, "TotalSplicdedBytesOut", "MGP", "u64", 0_u64.into()),
            (63, "BytesOutRate", "MRP", "u64", self.bytes_out_rate.into()),
            u32(64, "DebugCommandsIssued", "MGP", 0),
            u32(65, "CumRecvLogs", "MCP", 0),
            text(66, "Build info", "POS", &self.version),
            u32(67, "Memmax_bytes", "CLP", self.memory_limit),
            (68, "PoolAlloc_bytes", "MGP", "u64", self.memory.into()),
            (69, "PoolUsed_bytes", "MGP", "u64", self.memory.into()),
            u32(70, "Start_time_sec", "MDP", self.started_at),
            text(71, "Tainted", "SGP", "0"),
        ]);
        lines
    }
}

/// What there is nothing to say of here, and tools look for.
const UNUSED: [(usize, &str, &str); 22] = [
    (20, "MaxSslConns", "MMP"),
    (21, "CurrSslConns", "MGP"),
    (22, "CumSslConns", "MCP"),
    (23, "Maxpipes", "CLP"),
    (24, "PipesUsed", "MGP"),
    (25, "PipesFree", "MGP"),
    (32, "SslRate", "MRP"),
    (33, "SslRateLimit", "CLP"),
    (34, "MaxSslRate", "MMP"),
    (35, "SslFrontendKeyRate", "MGP"),
    (36, "SslFrontendMaxKeyRate", "MMP"),
    (37, "SslFrontendSessionReuse_pct", "MGP"),
    (38, "SslBackendKeyRate", "MRP"),
    (39, "SslBackendMaxKeyRate", "MMP"),
    (40, "SslCacheLookups", "MCP"),
    (41, "SslCacheMisses", "MCP"),
    (42, "CompressBpsIn", "MRP"),
    (43, "CompressBpsOut", "MRP"),
    (44, "CompressBpsRateLim", "CLP"),
    (47, "Tasks", "MGP"),
    (48, "Run_queue", "MGP"),
    (49, "Idle_pct", "MaP"),
];

fn zero(&(position, name, tags): &(usize, &'static str, &'static str)) -> Line {
    (position, name, tags, "u32", 0_u64.into())
}

/// `1d 2h03m04s`
fn days(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    format!("{}d {}h{:02}m{:02}s", hours / 24, hours % 24, minutes % 60, seconds % 60)
}

/// `Name: value`, a line each.
#[must_use]
pub fn plain(info: &Info) -> String {
    info.lines().iter().fold(String::new(), |mut out, (_, name, _, _, value)| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, "{name}: {value}");
        out
    })
}

/// With number, tags and type.
#[must_use]
pub fn typed(info: &Info) -> String {
    info.lines().iter().fold(String::new(), |mut out, (position, name, tags, kind, value)| {
        let _infallible = writeln!(out, "{position}.{name}.1:{tags}:{kind}:{value}");
        out
    })
}

/// A list of values.
#[must_use]
pub fn json(info: &Info) -> String {
    let fields = info.lines().into_iter().map(|(position, name, tags, kind, value)| {
        json::field(position, name, (kind, &value), tags)
    });
    let mut text = Json::Array(fields.collect()).to_string();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_and_uptimes_read_as_haproxy_s() {
        let lines = Info::default().lines();
        assert!(lines.is_sorted_by_key(|line| line.0), "{lines:?}");
        assert_eq!(days(93_784), "1d 2h03m04s");
        assert!(plain(&Info::default()).contains("\nTasks: 0\nRun_queue: 0\nIdle_pct: 0\n"));
    }
}

//! The columns of HAProxy's statistics, in HAProxy's order: what is named so, what kind of number
//! it is, and of which objects HAProxy 2.6 tells it.

use super::row::Object;

/// One column.
#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    /// Of a frontend, a server, a backend: empty, or tags and type as `show stat typed` has them; a
    /// `?` before them where the column is left out when there is nothing to say.
    shapes: [&'static str; 3],
}

/// How a column is told of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Origin, nature and scope, a letter each.
    pub tags: &'static str,
    /// `u32`, `u64`, `s32` or `str`.
    pub value: &'static str,
    /// Left out when there is nothing to say; else 0.
    pub optional: bool,
}

impl Column {
    /// How it is told of such an object; none: it is not.
    #[must_use]
    pub fn shape(&self, object: Object) -> Option<Shape> {
        let shape = self.shapes[match object {
            Object::Frontend => 0,
            Object::Server => 1,
            Object::Backend => 2,
        }];
        let (optional, shape) = match shape.strip_prefix('?') {
            Some(shape) => (true, shape),
            None => (false, shape),
        };
        let (tags, value) = shape.split_once(':')?;
        Some(Shape { tags, value, optional })
    }
}

const fn column(
    name: &'static str,
    frontend: &'static str,
    server: &'static str,
    backend: &'static str,
) -> Column {
    Column { name, shapes: [frontend, server, backend] }
}

/// Between HAProxy's own columns and those of its modules there is a dash in the CSV, which has no
/// number.
pub const DASH_BEFORE: usize = position("ssl_sess");

/// Where a column is; a name that there is not stops the compiler.
#[must_use]
pub const fn position(name: &str) -> usize {
    let mut index = 0;
    while index < COLUMNS.len() {
        if equal(COLUMNS[index].name.as_bytes(), name.as_bytes()) {
            return index;
        }
        index += 1;
    }
    panic!("HAProxy has no such column")
}

const fn equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    true
}

pub const COLUMNS: [Column; 127] = [
    column("pxname", "KNS:str", "KNS:str", "KNS:str"),
    column("svname", "KNS:str", "KNS:str", "KNS:str"),
    column("qcur", "", "MGP:u32", "MGP:u32"),
    column("qmax", "", "MMP:u32", "MMP:u32"),
    column("scur", "MGP:u32", "MGP:u32", "MGP:u32"),
    column("smax", "MMP:u32", "MMP:u32", "MMP:u32"),
    column("slim", "CLP:u32", "?CLP:u32", "?CLP:u32"),
    column("stot", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("bin", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("bout", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("dreq", "MCP:u64", "", "MCP:u64"),
    column("dresp", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("ereq", "MCP:u64", "", ""),
    column("econ", "", "MCP:u64", "MCP:u64"),
    column("eresp", "", "MCP:u64", "MCP:u64"),
    column("wretr", "", "MCP:u64", "MCP:u64"),
    column("wredis", "", "MCP:u64", "MCP:u64"),
    column("status", "SGP:str", "SGP:str", "SGP:str"),
    column("weight", "", "MaP:u32", "MaP:u32"),
    column("act", "", "SGP:u32", "MGP:u32"),
    column("bck", "", "SGP:u32", "MGP:u32"),
    column("chkfail", "", "?MCP:u64", ""),
    column("chkdown", "", "?MCP:u64", "MCP:u64"),
    column("lastchg", "", "MAP:u32", "MAP:u32"),
    column("downtime", "", "?MCP:u32", "MCP:u32"),
    column("qlimit", "", "?CLS:u32", ""),
    column("pid", "KGP:u32", "KGP:u32", "KGP:u32"),
    column("iid", "KGS:u32", "KGS:u32", "KGS:u32"),
    column("sid", "KGS:u32", "KGS:u32", "KGS:u32"),
    column("throttle", "", "?MaP:u32", ""),
    column("lbtot", "", "MCP:u64", "MCP:u64"),
    column("tracked", "", "", ""),
    column("type", "CGS:u32", "CGS:u32", "CGS:u32"),
    column("rate", "MRP:u32", "MRP:u32", "MGP:u32"),
    column("rate_lim", "CLP:u32", "", ""),
    column("rate_max", "MMP:u32", "MMP:u32", "MGP:u32"),
    column("check_status", "", "?MOP:str", ""),
    column("check_code", "", "?MOP:u32", ""),
    column("check_duration", "", "?MDP:u64", ""),
    column("hrsp_1xx", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("hrsp_2xx", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("hrsp_3xx", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("hrsp_4xx", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("hrsp_5xx", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("hrsp_other", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("hanafail", "", "", ""),
    column("req_rate", "MRP:u32", "", ""),
    column("req_rate_max", "MMP:u32", "", ""),
    column("req_tot", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("cli_abrt", "", "MCP:u64", "MCP:u64"),
    column("srv_abrt", "", "MCP:u64", "MCP:u64"),
    column("comp_in", "MCP:u64", "", "MCP:u64"),
    column("comp_out", "MCP:u64", "", "MCP:u64"),
    column("comp_byp", "MCP:u64", "", "MCP:u64"),
    column("comp_rsp", "MCP:u64", "", "MCP:u64"),
    column("lastsess", "", "?MAP:s32", "?MAP:s32"),
    column("last_chk", "", "?MOP:str", ""),
    column("last_agt", "", "?MOP:str", ""),
    column("qtime", "", "MaP:u32", "MaP:u32"),
    column("ctime", "", "MaP:u32", "MaP:u32"),
    column("rtime", "", "MaP:u32", "MaP:u32"),
    column("ttime", "", "MaP:u32", "MaP:u32"),
    column("agent_status", "", "?MOP:str", ""),
    column("agent_code", "", "", ""),
    column("agent_duration", "", "?MDP:u64", ""),
    column("check_desc", "", "?MOP:str", ""),
    column("agent_desc", "", "?MOP:str", ""),
    column("check_rise", "", "?CGS:u32", ""),
    column("check_fall", "", "?CGS:u32", ""),
    column("check_health", "", "?CGS:u32", ""),
    column("agent_rise", "", "?CGS:u32", ""),
    column("agent_fall", "", "?CGS:u32", ""),
    column("agent_health", "", "?CGS:u32", ""),
    column("addr", "", "CGS:str", ""),
    column("cookie", "", "", ""),
    column("mode", "CGS:str", "CGS:str", "CGS:str"),
    column("algo", "", "", "CGS:str"),
    column("conn_rate", "MRP:u32", "", ""),
    column("conn_rate_max", "MMP:u32", "", ""),
    column("conn_tot", "MCP:u64", "", ""),
    column("intercepted", "MCP:u64", "", ""),
    column("dcon", "MCP:u64", "", ""),
    column("dses", "MCP:u64", "", ""),
    column("wrew", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("connect", "", "MCP:u64", "MCP:u64"),
    column("reuse", "", "MCP:u64", "MCP:u64"),
    column("cache_lookups", "MCP:u64", "", "MCP:u64"),
    column("cache_hits", "MCP:u64", "", "MCP:u64"),
    column("srv_icur", "", "MGP:u32", ""),
    column("src_ilim", "", "", ""),
    column("qtime_max", "", "MMP:u32", "MMP:u32"),
    column("ctime_max", "", "MMP:u32", "MMP:u32"),
    column("rtime_max", "", "MMP:u32", "MMP:u32"),
    column("ttime_max", "", "MMP:u32", "MMP:u32"),
    column("eint", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("idle_conn_cur", "", "MGP:u32", ""),
    column("safe_conn_cur", "", "MGP:u32", ""),
    column("used_conn_cur", "", "MGP:u32", ""),
    column("need_conn_est", "", "MGP:u32", ""),
    column("uweight", "", "MaP:u32", "MaP:u32"),
    column("agg_server_status", "", "", "MGP:u32"),
    column("agg_server_check_status", "", "", "MGP:u32"),
    column("agg_check_status", "", "", "MGP:u32"),
    column("ssl_sess", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("ssl_reused_sess", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("ssl_failed_handshake", "MCP:u64", "MCP:u64", "MCP:u64"),
    column("h2_headers_rcvd", "MCP:u64", "", "MCP:u64"),
    column("h2_data_rcvd", "MCP:u64", "", "MCP:u64"),
    column("h2_settings_rcvd", "MCP:u64", "", "MCP:u64"),
    column("h2_rst_stream_rcvd", "MCP:u64", "", "MCP:u64"),
    column("h2_goaway_rcvd", "MCP:u64", "", "MCP:u64"),
    column("h2_detected_conn_protocol_errors", "MCP:u64", "", "MCP:u64"),
    column("h2_detected_strm_protocol_errors", "MCP:u64", "", "MCP:u64"),
    column("h2_rst_stream_resp", "MCP:u64", "", "MCP:u64"),
    column("h2_goaway_resp", "MCP:u64", "", "MCP:u64"),
    column("h2_open_connections", "MGP:u64", "", "MGP:u64"),
    column("h2_backend_open_streams", "MGP:u64", "", "MGP:u64"),
    column("h2_total_connections", "MCP:u64", "", "MCP:u64"),
    column("h2_backend_total_streams", "MCP:u64", "", "MCP:u64"),
    column("h1_open_connections", "MGP:u64", "", "MGP:u64"),
    column("h1_open_streams", "MGP:u64", "", "MGP:u64"),
    column("h1_total_connections", "MCP:u64", "", "MCP:u64"),
    column("h1_total_streams", "MCP:u64", "", "MCP:u64"),
    column("h1_bytes_in", "MCP:u64", "", "MCP:u64"),
    column("h1_bytes_out", "MCP:u64", "", "MCP:u64"),
    column("h1_spliced_bytes_in", "MCP:u64", "", "MCP:u64"),
    column("h1_spliced_bytes_out", "MCP:u64", "", "MCP:u64"),
];

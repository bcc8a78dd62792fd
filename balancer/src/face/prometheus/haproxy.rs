//! HAProxy's statistics as HAProxy's own exporter writes them, so that dashboards made for it show
//! data.

use std::fmt::{Display, Write as _};

use dataplane::answers::labels;

use crate::{
    face::haproxy::{Object, Row, Status, Value, column::position, info::Info},
    metrics::haproxy as names,
};

/// What HAProxy's exporter tells of a server.
const SERVER_STATES: [Status; 5] =
    [Status::Down, Status::Up, Status::Maint, Status::Drain, Status::Nolb];
/// And of frontends and backends.
const PROXY_STATES: [Status; 2] = [Status::Down, Status::Up];
/// What checks may say, in the exporter's order.
const CHECKS: [&str; 16] = [
    "HANA", "SOCKERR", "L4OK", "L4TOUT", "L4CON", "L6OK", "L6TOUT", "L6RSP", "L7TOUT", "L7RSP",
    "L7OK", "L7OKC", "L7STS", "PROCERR", "PROCTOUT", "PROCOK",
];
/// Classes of statuses with their columns.
const CLASSES: [(&str, usize); 6] = [
    ("1xx", position("hrsp_1xx")),
    ("2xx", position("hrsp_2xx")),
    ("3xx", position("hrsp_3xx")),
    ("4xx", position("hrsp_4xx")),
    ("5xx", position("hrsp_5xx")),
    ("other", position("hrsp_other")),
];

/// All of it.
pub fn write(info: &Info, rows: &[Row], out: &mut String) {
    process(info, out);
    for metric in names::COLUMNS {
        begin(out, metric.name, metric.kind, metric.help);
        let (object, column) = (object(metric.object), position(metric.column));
        for row in rows.iter().filter(|row| row.object == object) {
            if let Some((_, value)) = row.get(column) {
                line(out, metric.name, &of(row), in_seconds(metric.column, &value));
            }
        }
    }
    for (object, name) in [
        (Object::Frontend, names::FRONTEND_RESPONSES),
        (Object::Backend, names::BACKEND_RESPONSES),
        (Object::Server, names::SERVER_RESPONSES),
    ] {
        begin(out, name, "counter", "Answers by status class");
        for row in rows.iter().filter(|row| row.object == object) {
            for (class, column) in CLASSES {
                let value = row.get(column).map_or(Value::Number(0), |it| it.1);
                line(out, name, &with(row, "code", class), value);
            }
        }
    }
    states(rows, out);
}

const fn object(of: names::Object) -> Object {
    match of {
        names::Object::Frontend => Object::Frontend,
        names::Object::Backend => Object::Backend,
        names::Object::Server => Object::Server,
    }
}

fn process(info: &Info, out: &mut String) {
    let lines = info.lines();
    for metric in names::PROCESS {
        if let Some((.., value)) = lines.iter().find(|line| line.1 == metric.line) {
            begin(out, metric.name, metric.kind, metric.help);
            line(out, metric.name, "", value);
        }
    }
    begin(out, names::BUILD_INFO, "gauge", "Always 1, with the version");
    line(out, names::BUILD_INFO, &labels(&[("version", &info.version)]), 1);
}

fn states(rows: &[Row], out: &mut String) {
    for (object, name, states) in [
        (Object::Frontend, names::FRONTEND_STATUS, &PROXY_STATES[..]),
        (Object::Backend, names::BACKEND_STATUS, &PROXY_STATES),
        (Object::Server, names::SERVER_STATUS, &SERVER_STATES),
    ] {
        begin(out, name, "gauge", "1 for the state that it is in");
        for row in rows.iter().filter(|row| row.object == object) {
            for state in states {
                let is = u8::from(shown(row.status) == *state);
                line(out, name, &with(row, "state", state.as_str()), is);
            }
        }
    }
    begin(out, names::SERVER_CHECK_STATUS, "gauge", "1 for what its checks say");
    let code = const { position("check_status") };
    for row in rows.iter().filter(|row| row.object == Object::Server) {
        let said = row.get(code).map(|(_, value)| value.to_string());
        for check in CHECKS {
            let is = u8::from(said.as_deref() == Some(check));
            line(out, names::SERVER_CHECK_STATUS, &with(row, "state", check), is);
        }
    }
    begin(out, names::BACKEND_SERVER_STATUS, "gauge", "Servers in each state");
    for backend in rows.iter().filter(|row| row.object == Object::Backend) {
        let servers =
            || rows.iter().filter(|row| row.object == Object::Server && row.iid == backend.iid);
        for state in SERVER_STATES {
            let count = servers().filter(|row| shown(row.status) == state).count();
            let labels = with(backend, "state", state.as_str());
            line(out, names::BACKEND_SERVER_STATUS, &labels, count);
        }
    }
}

/// As the exporter has it, which knows fewer states.
const fn shown(status: Status) -> Status {
    match status {
        Status::Open | Status::NoCheck => Status::Up,
        status => status,
    }
}

/// Times are milliseconds in the statistics and seconds here.
fn in_seconds(column: &str, value: &Value) -> String {
    let name = column.trim_end_matches("_max");
    match value {
        Value::Number(millis) if matches!(name, "qtime" | "ctime" | "rtime" | "ttime") => {
            format!("{}.{:03}", millis / 1000, millis % 1000)
        }
        value => value.to_string(),
    }
}

fn of(row: &Row) -> String {
    match row.object {
        Object::Server => labels(&[("proxy", &row.proxy), ("server", &row.name)]),
        _ => labels(&[("proxy", &row.proxy)]),
    }
}

fn with(row: &Row, name: &str, value: &str) -> String {
    format!("{},{}", of(row), labels(&[(name, value)]))
}

// Writing to a String cannot fail.

fn begin(out: &mut String, name: &str, kind: &str, help: &str) {
    let _infallible = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(out: &mut String, name: &str, labels: &str, value: impl Display) {
    let _infallible = if labels.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{labels}}} {value}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_of_something_that_there_is() {
        for metric in names::COLUMNS {
            let column = &crate::face::haproxy::column::COLUMNS[position(metric.column)];
            assert!(column.shape(object(metric.object)).is_some(), "{}", metric.name);
        }
        let lines = Info::default().lines();
        for metric in names::PROCESS {
            assert!(lines.iter().any(|line| line.1 == metric.line), "{}", metric.name);
        }
    }
}

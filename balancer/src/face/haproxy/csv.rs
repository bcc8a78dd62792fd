//! Rows as HAProxy's CSV: a header that begins with `# `, a comma behind every value, the last one
//! too.

use std::{borrow::Cow, fmt::Write as _};

use super::{
    column::{COLUMNS, DASH_BEFORE},
    row::Row,
};

/// The names of all columns.
#[must_use]
pub fn header() -> String {
    let mut line = "# ".to_owned();
    for (position, column) in COLUMNS.iter().enumerate() {
        if position == DASH_BEFORE {
            line.push_str("-,");
        }
        line.push_str(column.name);
        line.push(',');
    }
    line.push('\n');
    line
}

/// Header and rows.
#[must_use]
pub fn table<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let mut out = header();
    for row in rows {
        for position in 0..COLUMNS.len() {
            if position == DASH_BEFORE {
                out.push_str("-,");
            }
            if let Some((_, value)) = row.get(position) {
                // Writing to a String cannot fail.
                let _infallible = write!(out, "{}", quoted(&value.to_string()));
            }
            out.push(',');
        }
        out.push('\n');
    }
    out
}

/// In quotes where it would not be one value on one line.
fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        let text = text.replace(['\n', '\r'], " ").replace('"', "\"\"");
        Cow::Owned(format!("\"{text}\""))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_one_value() {
        assert_eq!(quoted("a"), "a");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("a \"b\"\nc"), "\"a \"\"b\"\" c\"");
    }

    #[test]
    fn the_header_begins_and_ends_as_parsers_expect() {
        let header = header();
        assert!(header.starts_with("# pxname,svname,qcur,qmax,scur,"), "{header}");
        assert!(
            header.ends_with(
                "agg_check_status,-,ssl_sess,ssl_reused_sess,\
            ssl_failed_handshake,h2_headers_rcvd,h2_data_rcvd,h2_settings_rcvd,h2_rst_stream_rcvd,\
            h2_goaway_rcvd,h2_detected_conn_protocol_errors,h2_detected_strm_protocol_errors,\
            h2_rst_stream_resp,h2_goaway_resp,h2_open_connections,h2_backend_open_streams,\
            h2_total_connections,h2_backend_total_streams,h1_open_connections,h1_open_streams,\
            h1_total_connections,h1_total_streams,h1_bytes_in,h1_bytes_out,h1_spliced_bytes_in,\
            h1_spliced_bytes_out,\n"
            ),
            "{header}"
        );
    }
}

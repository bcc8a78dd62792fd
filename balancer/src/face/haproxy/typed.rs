//! Rows as `show stat typed` has them: a line a value.

use std::fmt::Write as _;

use super::row::Row;

/// All values of all rows.
#[must_use]
pub fn table<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let mut out = String::new();
    for row in rows {
        let (letter, iid, sid) = (row.object.letter(), row.iid, row.sid);
        for (position, column, shape, value) in row.columns() {
            let value = value.to_string().replace(['\n', '\r'], " ");
            // Writing to a String cannot fail.
            let _infallible = writeln!(
                out,
                "{letter}.{iid}.{sid}.{position}.{}.1:{}:{}:{value}",
                column.name, shape.tags, shape.value
            );
        }
    }
    out
}

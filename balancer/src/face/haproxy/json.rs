//! Rows and the process's lines as HAProxy's JSON has them: every value with its tags.

use serde_json::{Value as Json, json};

use super::{
    row::{Row, Value},
    tags,
};

/// One value with its name, tags and type.
pub(super) fn field(
    position: usize,
    name: &str,
    (kind, value): (&str, &Value),
    tagged: &str,
) -> Json {
    let [origin, nature, scope] = tags::words(tagged);
    let value = match value {
        Value::Text(text) => json!(text),
        Value::Number(number) => json!(number),
        Value::Signed(number) => json!(number),
    };
    json!({
        "field": {"pos": position, "name": name},
        "processNum": 1,
        "tags": {"origin": origin, "nature": nature, "scope": scope},
        "value": {"type": kind, "value": value},
    })
}

/// A list of objects, each a list of its values.
#[must_use]
pub fn table<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let object = |row: &Row| {
        let fields = row.columns().map(|(position, column, shape, value)| {
            let mut field = field(position, column.name, (shape.value, &value), shape.tags);
            field["objType"] = json!(row.object.word());
            field["proxyId"] = json!(row.iid);
            field["id"] = json!(row.sid);
            field
        });
        Json::Array(fields.collect())
    };
    let mut text = Json::Array(rows.into_iter().map(object).collect()).to_string();
    text.push('\n');
    text
}

//! A row of HAProxy's statistics.

use std::fmt;

use super::{
    column::{COLUMNS, Column, Shape},
    status::Status,
};

/// What a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    Frontend,
    Backend,
    Server,
}

impl Object {
    /// In the column `type`.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Frontend => 0,
            Self::Backend => 1,
            Self::Server => 2,
        }
    }

    /// In the mask that `show stat` takes.
    #[must_use]
    pub const fn bit(self) -> i64 {
        1 << self.number()
    }

    /// In typed output.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Frontend => 'F',
            Self::Backend => 'B',
            Self::Server => 'S',
        }
    }

    /// In JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Frontend => "Frontend",
            Self::Backend => "Backend",
            Self::Server => "Server",
        }
    }
}

/// What stands in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(u64),
    Signed(i64),
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::Number(number) => number.fmt(formatter),
            Self::Signed(number) => number.fmt(formatter),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Signed(number)
    }
}

/// One object with its values.
#[derive(Clone, Debug)]
pub struct Row {
    pub object: Object,
    /// Of the frontend or the backend.
    pub proxy: String,
    /// The server's name, `FRONTEND` or `BACKEND`.
    pub name: String,
    /// Number of the frontend or the backend.
    pub iid: u32,
    /// Number of the server in its backend; 0 for the others.
    pub sid: u32,
    pub status: Status,
    values: Vec<Option<Value>>,
}

impl Row {
    /// With nothing but its names and numbers in it.
    #[must_use]
    pub fn new(
        object: Object,
        (proxy, iid): (&str, u32),
        (name, sid): (&str, u32),
        status: Status,
    ) -> Self {
        let values = vec![None; COLUMNS.len()];
        let mut row = Self {
            object,
            proxy: proxy.to_owned(),
            name: name.to_owned(),
            iid,
            sid,
            status,
            values,
        };
        row.set(const { super::column::position("pxname") }, proxy);
        row.set(const { super::column::position("svname") }, name);
        row.set(const { super::column::position("iid") }, iid);
        row.set(const { super::column::position("sid") }, sid);
        row.set(const { super::column::position("pid") }, 1_u64);
        row.set(const { super::column::position("type") }, object.number());
        row.set(const { super::column::position("status") }, status.as_str());
        row
    }

    pub fn set(&mut self, position: usize, value: impl Into<Value>) {
        self.values[position] = Some(value.into());
    }

    /// What stands in a column, with how it is told; none: nothing.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<(Shape, Value)> {
        let shape = COLUMNS[position].shape(self.object)?;
        let value = match &self.values[position] {
            Some(value) => value.clone(),
            None if shape.optional => return None,
            None if shape.value == "str" => Value::Text(String::new()),
            None => Value::Number(0),
        };
        Some((shape, value))
    }

    /// Its columns in order, without those that say nothing.
    pub fn columns(&self) -> impl Iterator<Item = (usize, &'static Column, Shape, Value)> {
        COLUMNS.iter().enumerate().filter_map(|(position, column)| {
            let (shape, value) = self.get(position)?;
            Some((position, column, shape, value))
        })
    }
}

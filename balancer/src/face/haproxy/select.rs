//! Which rows `show stat` is asked for.

use super::{
    row::{Object, Row},
    status::Status,
};

/// As `show stat [IID TYPE SID] [up] [no-maint]` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Of this frontend or backend alone.
    pub proxy: Option<Proxy>,
    /// A bit for each kind: 1 frontends, 2 backends, 4 servers; below 0: all.
    pub kinds: i64,
    /// This server alone; below 0: all.
    pub server: i64,
    /// Without servers that are down or in maintenance.
    pub up: bool,
    /// Without servers in maintenance.
    pub no_maintenance: bool,
}

/// By number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    Number(i64),
    Name(String),
}

impl Default for Selection {
    fn default() -> Self {
        Self { proxy: None, kinds: -1, server: -1, up: false, no_maintenance: false }
    }
}

/// There is no frontend and no backend of that name.
#[derive(Debug, PartialEq, Eq)]
pub struct NoProxy;

impl Selection {
    /// The rows that are asked for.
    ///
    /// # Errors
    /// A name is nobody's.
    pub fn of<'a>(&self, rows: &'a [Row]) -> Result<Vec<&'a Row>, NoProxy> {
        if let Some(Proxy::Name(name)) = &self.proxy
            && !rows.iter().any(|row| row.proxy == *name)
        {
            return Err(NoProxy);
        }
        Ok(rows.iter().filter(|row| self.has(row)).collect())
    }

    fn has(&self, row: &Row) -> bool {
        let of_proxy = match &self.proxy {
            None => true,
            Some(Proxy::Number(number)) => *number < 0 || *number == i64::from(row.iid),
            Some(Proxy::Name(name)) => *name == row.proxy,
        };
        let hidden = row.object == Object::Server
            && match row.status {
                Status::Maint => self.up || self.no_maintenance,
                Status::Down => self.up,
                _ => false,
            };
        of_proxy
            && (self.kinds < 0 || self.kinds & row.object.bit() != 0)
            && (self.server < 0
                || row.object != Object::Server
                || self.server == i64::from(row.sid))
            && !hidden
    }
}

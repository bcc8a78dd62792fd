//! Who has logged in. Only digests of the cookies are kept, their number is bounded, and they end
//! by themselves. Pure: `now` comes in.

use std::{collections::HashMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

/// At once; the one that was used longest ago makes room.
pub const MOST: usize = 256;
/// Unused for so long, a session ends.
pub const IDLE: Duration = Duration::from_secs(3600);
/// However much it is used, a session ends after so long.
pub const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// Somebody who has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Name in the users file.
    pub operator: String,
    /// Every change has to show it: a page of somebody else cannot.
    pub token: String,
    /// The hash of the password that was given: when it changes, the session ends.
    pub hash: String,
    opened: Timestamp,
    used: Timestamp,
}

/// All of them, by the digest of their cookie.
#[derive(Debug, Default)]
pub struct Sessions {
    open: HashMap<[u8; 32], Session>,
}

fn digest(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie.as_bytes()).into()
}

impl Sessions {
    /// Opens a session for whoever has this cookie. Both secrets are random.
    pub fn open(
        &mut self,
        cookie: &str,
        token: String,
        operator: &str,
        hash: &str,
        now: Timestamp,
    ) {
        self.open.retain(|_, session| session.lives(now));
        if self.open.len() >= MOST {
            let oldest =
                self.open.iter().min_by_key(|(_, session)| session.used).map(|(key, _)| *key);
            oldest.and_then(|key| self.open.remove(&key));
        }
        let session = Session {
            operator: operator.to_owned(),
            token,
            hash: hash.to_owned(),
            opened: now,
            used: now,
        };
        self.open.insert(digest(cookie), session);
    }

    /// The session of a cookie, which is used by this.
    pub fn find(&mut self, cookie: &str, now: Timestamp) -> Option<Session> {
        let key = digest(cookie);
        if !self.open.get(&key)?.lives(now) {
            self.open.remove(&key);
            return None;
        }
        let session = self.open.get_mut(&key)?;
        session.used = now;
        Some(session.clone())
    }

    /// The same, without using it: a page that only follows keeps nobody logged in.
    #[must_use]
    pub fn look(&self, cookie: &str, now: Timestamp) -> Option<Session> {
        self.open.get(&digest(cookie)).filter(|session| session.lives(now)).cloned()
    }

    /// Ends a session.
    pub fn close(&mut self, cookie: &str) {
        self.open.remove(&digest(cookie));
    }
}

impl Session {
    fn lives(&self, now: Timestamp) -> bool {
        let within = |since: Timestamp, most: Duration| {
            now.duration_since(since) < SignedDuration::try_from(most).unwrap_or_default()
        };
        within(self.used, IDLE) && within(self.opened, LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap()
    }

    #[test]
    fn a_session_ends_unused_and_in_any_case() {
        let mut sessions = Sessions::default();
        sessions.open("cookie", "token".into(), "ann", "h", at(0));
        assert!(sessions.find("other", at(1)).is_none());
        assert_eq!(sessions.find("cookie", at(1)).unwrap().operator, "ann");
        assert!(sessions.look("cookie", at(IDLE.as_secs())).is_some());
        assert!(sessions.look("cookie", at(1 + IDLE.as_secs())).is_none());
        assert!(sessions.find("cookie", at(1 + IDLE.as_secs())).is_none());
        sessions.open("cookie", "token".into(), "ann", "h", at(0));
        let mut now = 0;
        while now < LONGEST.as_secs() {
            assert!(sessions.find("cookie", at(now)).is_some(), "{now}");
            now += IDLE.as_secs() / 2;
        }
        assert!(sessions.find("cookie", at(LONGEST.as_secs())).is_none());
    }

    #[test]
    fn their_number_is_bounded_and_a_closed_one_is_gone() {
        let mut sessions = Sessions::default();
        for number in 0..=MOST as u64 {
            sessions.open(&number.to_string(), String::new(), "ann", "h", at(number));
        }
        assert_eq!(sessions.open.len(), MOST);
        assert!(sessions.find("0", at(400)).is_none() && sessions.find("1", at(400)).is_some());
        sessions.close("1");
        assert!(sessions.find("1", at(400)).is_none());
    }
}

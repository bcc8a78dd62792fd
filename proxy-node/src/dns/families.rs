//! Both families of a name's addresses, each on its own clock (RFC 8305 §3): who has one does not
//! wait for a server that is silent about the other.

use std::{future::Future, net::IpAddr, pin::pin, time::Duration};

use tokio::time::timeout;

use super::error::{Error, Resolved};

/// RFC 8305 §3: when one family has answered, the other gets so long before the connection is
/// made.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// After that it may still join for those who come later, and for those whose connections fail, for
/// so long.
const LATER: Duration = Duration::from_secs(2);
/// A failure counts so long.
const NEGATIVE: Duration = Duration::from_secs(5);

/// What is known of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Addresses, and how long they count.
    Addresses(Vec<IpAddr>, Duration),
    /// The name has none.
    NoRecords,
    /// There is no such name, of whatever family.
    NoSuchName,
    Failed(Error),
}

/// Waits for both. `early` is told what one family has when the other takes its time; what it
/// answers is held while the other is waited for, and with `None` nobody waits.
pub async fn both<P>(
    v4: impl Future<Output = Answer>,
    v6: impl Future<Output = Answer>,
    early: impl FnOnce(Resolved, Duration) -> Option<P>,
) -> (Resolved, Duration) {
    let (mut v4, mut v6) = (pin!(v4), pin!(v6));
    tokio::select! {
        first = &mut v4 => rest(first, v6, early).await,
        first = &mut v6 => rest(first, v4, early).await,
    }
}

async fn rest<P>(
    first: Answer,
    mut other: std::pin::Pin<&mut impl Future<Output = Answer>>,
    early: impl FnOnce(Resolved, Duration) -> Option<P>,
) -> (Resolved, Duration) {
    match first {
        Answer::NoSuchName => (Err(Error::NotFound), NEGATIVE),
        Answer::Addresses(..) => {
            let second = match timeout(RESOLUTION_DELAY, other.as_mut()).await {
                Ok(second) => Some(second),
                Err(_) => {
                    let (resolved, ttl) = joined(first.clone(), Answer::NoRecords);
                    match early(resolved, ttl) {
                        Some(_held) => timeout(LATER, other).await.ok(),
                        None => None,
                    }
                }
            };
            joined(first, second.unwrap_or(Answer::NoRecords))
        }
        Answer::NoRecords | Answer::Failed(_) => joined(first, other.await),
    }
}

/// What both say together.
fn joined(one: Answer, other: Answer) -> (Resolved, Duration) {
    use Answer::{Addresses, Failed, NoRecords, NoSuchName};
    match (one, other) {
        (Addresses(mut one, first), Addresses(other, second)) => {
            one.extend(other);
            // RFC 6724: IPv6 first; the families take turns from there.
            one.sort_by_key(|address| !address.is_ipv6());
            (Ok(one.into()), first.min(second))
        }
        (Addresses(addresses, ttl), _) | (_, Addresses(addresses, ttl)) => {
            (Ok(addresses.into()), ttl)
        }
        (NoSuchName, _) | (_, NoSuchName) | (NoRecords, NoRecords) => {
            (Err(Error::NotFound), NEGATIVE)
        }
        (Failed(problem), _) | (_, Failed(problem)) => (Err(problem), NEGATIVE),
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::pending};

    use tokio::sync::oneshot;

    use super::*;

    fn found(addresses: &[&str], ttl: u64) -> Answer {
        Answer::Addresses(
            addresses.iter().map(|text| text.parse().unwrap()).collect(),
            Duration::from_secs(ttl),
        )
    }

    fn texts(resolved: &Resolved) -> Vec<String> {
        resolved.iter().flat_map(|addresses| addresses.iter().map(ToString::to_string)).collect()
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_other_family_is_not_waited_for_without_end() {
        let found = both(pending(), async { found(&["2001:db8::1"], 30) }, |_, _| Some(()));
        let (resolved, _) = timeout(10 * LATER, found).await.expect("it ends");
        assert_eq!(texts(&resolved), strings(&["2001:db8::1"]));
    }

    #[tokio::test]
    async fn each_family_has_its_own_clock() {
        use Answer::{Failed, NoRecords, NoSuchName};
        let (a, b) = (found(&["192.0.2.1"], 60), found(&["2001:db8::1"], 30));
        let timeout = Failed(Error::Timeout);
        let (v4, both_of_them): (&[&str], &[&str]) =
            (&["192.0.2.1"], &["2001:db8::1", "192.0.2.1"]);
        // Two answers at once, in either order.
        for (one, other, want, problem) in [
            (&a, &b, both_of_them, None),
            (&a, &NoRecords, v4, None),
            (&a, &timeout, v4, None),
            (&NoRecords, &NoRecords, &[], Some(Error::NotFound)),
            (&NoSuchName, &timeout, &[], Some(Error::NotFound)),
            (&NoRecords, &timeout, &[], Some(Error::Timeout)),
        ] {
            for (one, other) in [(one, other), (other, one)] {
                let (resolved, _) =
                    both(async { one.clone() }, async { other.clone() }, |_, _| None::<()>).await;
                assert_eq!(
                    (texts(&resolved), resolved.err()),
                    (strings(want), problem),
                    "{one:?} {other:?}"
                );
            }
        }
        // One that comes only after the other has been told early, and joins it.
        for (first, second) in [(&a, &b), (&b, &a)] {
            let (told, early) = oneshot::channel();
            let late = async {
                early.await.unwrap();
                second.clone()
            };
            let seen = RefCell::new(Vec::new());
            let tell = |resolved: Resolved, _| {
                *seen.borrow_mut() = texts(&resolved);
                told.send(()).ok()
            };
            let (resolved, ttl) = both(async { first.clone() }, late, tell).await;
            assert_eq!(
                (seen.borrow().len(), texts(&resolved), ttl),
                (1, strings(both_of_them), Duration::from_secs(30))
            );
        }
        let (alone, ttl) = both(async { a.clone() }, pending(), |_, _| None::<()>).await;
        assert_eq!(
            (texts(&alone), ttl),
            (vec!["192.0.2.1".to_owned()], Duration::from_secs(60)),
            "nobody has to wait for the other"
        );
        let (_, ttl) = both(async { NoRecords }, async { NoRecords }, |_, _| None::<()>).await;
        assert_eq!(ttl, NEGATIVE, "what is not there may come");
    }
}

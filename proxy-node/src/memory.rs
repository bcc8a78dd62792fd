//! Memory that the allocator keeps after it has been freed goes back to the system before it
//! becomes much: each thread's heap has holes of its own once what it allocated has been evicted,
//! and another thread's objects do not fill them.

use std::{sync::Arc, time::Duration};

use crate::node::Node;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Resident bytes beyond what is accounted for which nobody asks: the process itself, idle
/// connections, freed memory that will be used again.
const USUAL: u64 = 36 << 20;
/// Looks that are left out after one that gave memory back: it is not free of cost.
const REST: u32 = 10;

/// Watches over the resident memory of this process, without end.
pub async fn watch(node: Arc<Node>) {
    let mut rest = 0;
    loop {
        tokio::time::sleep(EVERY).await;
        rest = u32::saturating_sub(rest, 1);
        let budget = node.store.budget();
        let accounted = budget.held() + budget.at_work();
        if rest == 0 && resident().is_some_and(|resident| resident > accounted + USUAL) {
            rest = REST;
            // The heaps are locked in turn while it runs, which is no thing to do on a runtime.
            if tokio::task::spawn_blocking(give_back).await.is_ok_and(|gave| gave) {
                tracing::debug!(accounted, resident = resident(), "gave memory back to the system");
            }
        }
    }
}

/// Resident memory of this process, in bytes.
#[must_use]
pub fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes =
        text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    kilobytes.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Gives free memory back; false: there was none.
#[cfg(target_env = "gnu")]
fn give_back() -> bool {
    // SAFETY: malloc_trim takes the heaps' own locks and touches nothing but free memory.
    unsafe { libc::malloc_trim(0) == 1 }
}

/// Other allocators are left to themselves.
#[cfg(not(target_env = "gnu"))]
fn give_back() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_goes_back() {
        let blocks: Vec<Vec<u8>> = (0..2000).map(|_| vec![1; 60_000]).collect();
        let full = resident().unwrap();
        // Every other one: what is in between keeps the heap from shrinking by itself.
        let kept: Vec<Vec<u8>> = blocks.into_iter().step_by(2).collect();
        give_back();
        let left = resident().unwrap();
        assert!(left + (30 << 20) < full, "{} of {} MiB", left >> 20, full >> 20);
        assert_eq!(kept.len(), 1000);
    }
}

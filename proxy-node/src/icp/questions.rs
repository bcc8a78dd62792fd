//! What was asked and is open: an answer counts only from whom was asked, with the number of the
//! question and its URL.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;

use super::packet::{Opcode, Packet};

/// So many questions may be open; beyond that nobody is asked.
const MOST: usize = 4096;

/// All of them.
#[derive(Debug, Default)]
pub struct Questions {
    open: Mutex<HashMap<u32, Open>>,
}

#[derive(Debug)]
struct Open {
    url: Box<[u8]>,
    /// Who was asked and has not answered, and by what the asker knows it.
    asked: Vec<(SocketAddr, usize)>,
    answers: mpsc::Sender<(usize, Opcode)>,
}

/// A question that is open until it is dropped.
#[derive(Debug)]
pub struct Question {
    all: Arc<Questions>,
    number: u32,
    answers: mpsc::Receiver<(usize, Opcode)>,
}

impl Question {
    /// The next answer: who, and what.
    pub async fn next(&mut self) -> Option<(usize, Opcode)> {
        self.answers.recv().await
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.all.lock().remove(&self.number);
    }
}

impl Questions {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a question to these, with a number that nobody can foresee. `None`: too many are open,
    /// or one has that number.
    #[must_use]
    pub fn open(
        self: &Arc<Self>,
        number: u32,
        url: &[u8],
        asked: Vec<(SocketAddr, usize)>,
    ) -> Option<Question> {
        let (sender, answers) = mpsc::channel(asked.len().max(1));
        let mut open = self.lock();
        if open.len() >= MOST || open.contains_key(&number) {
            return None;
        }
        open.insert(number, Open { url: url.into(), asked, answers: sender });
        Some(Question { all: self.clone(), number, answers })
    }

    /// An answer has come. False: to nothing that was asked there.
    pub fn answered(&self, from: SocketAddr, packet: &Packet<'_>) -> bool {
        let mut open = self.lock();
        let Some(question) = open.get_mut(&packet.number) else { return false };
        let Some(at) = question.asked.iter().position(|(address, _)| *address == from) else {
            return false;
        };
        if *question.url != *packet.url {
            return false;
        }
        let (_, who) = question.asked.swap_remove(at);
        // There is room for one of each.
        question.answers.try_send((who, packet.opcode)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_asked_answers_once() {
        let all = Arc::new(Questions::default());
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (one, other) = (at("192.0.2.1:3130"), at("192.0.2.2:3130"));
        let mut question = all.open(7, b"http://a/", vec![(one, 4), (other, 5)]).unwrap();
        assert!(all.open(7, b"http://b/", vec![(one, 0)]).is_none());
        let hit = |number, url| Packet { opcode: Opcode::Hit, number, url };
        for (from, packet) in [
            (at("192.0.2.3:3130"), hit(7, b"http://a/")),
            (at("192.0.2.1:3131"), hit(7, b"http://a/")),
            (one, hit(8, b"http://a/")),
            (one, hit(7, b"http://a/x")),
        ] {
            assert!(!all.answered(from, &packet), "{from} {packet:?}");
        }
        assert!(all.answered(other, &hit(7, b"http://a/")));
        assert!(!all.answered(other, &hit(7, b"http://a/")), "it has answered");
        assert!(all.answered(one, &Packet { opcode: Opcode::Miss, ..hit(7, b"http://a/") }));
        assert_eq!(question.answers.try_recv(), Ok((5, Opcode::Hit)));
        assert_eq!(question.answers.try_recv(), Ok((4, Opcode::Miss)));
        drop(question);
        assert!(!all.answered(one, &hit(7, b"http://a/")) && all.lock().is_empty());
        let many: Vec<_> = (0..5000).filter_map(|it| all.open(it, b"x", vec![])).collect();
        assert_eq!(many.len(), MOST);
    }
}

//! Seeded mutation: the same seed makes the same inputs, on every machine.

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// No input is longer; what needs more is what limits are for, and they have tests of their own.
const LONGEST: usize = 4096;

/// Makes new inputs out of kept ones.
#[derive(Debug)]
pub struct Mutator<'c> {
    random: StdRng,
    corpus: &'c [Vec<u8>],
    words: &'c [&'c [u8]],
}

impl<'c> Mutator<'c> {
    /// Of `corpus`, with the `words` of its language.
    #[must_use]
    pub fn new(seed: u64, corpus: &'c [Vec<u8>], words: &'c [&'c [u8]]) -> Self {
        Self { random: StdRng::seed_from_u64(seed), corpus, words }
    }

    /// The next input: a kept one with one to four things changed.
    pub fn input(&mut self) -> Vec<u8> {
        let mut input = self.corpus.choose(&mut self.random).cloned().unwrap_or_default();
        for _ in 0..self.random.random_range(1..=4) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.place(input);
        let range = at..(at + self.random.random_range(1..=8)).min(input.len());
        match self.random.random_range(0..10) {
            0 => self.touch(input, |byte, random| byte ^ (1 << random)),
            1 => self.touch(input, |_, random| b"\r\n\0 \t:;,\"0\xff"[usize::from(random)]),
            2 => drop(input.drain(range)),
            3 => {
                let again = input[range].to_vec();
                splice(input, at, &again);
            }
            4 => input.truncate(at),
            5 => self.count(input),
            6 | 7 => {
                let word = self.words.choose(&mut self.random).copied().unwrap_or_default();
                splice(input, at, word);
            }
            8 => {
                let word = self.words.choose(&mut self.random).copied().unwrap_or_default();
                input.splice(range, word.iter().copied());
            }
            _ => {
                // The beginning of this one, the end of another.
                let other = self.corpus.choose(&mut self.random).cloned().unwrap_or_default();
                let from = self.place(&other);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }

    fn place(&mut self, input: &[u8]) -> usize {
        self.random.random_range(0..=input.len())
    }

    fn touch(&mut self, input: &mut [u8], new: impl Fn(u8, u8) -> u8) {
        let random = self.random.random_range(0..8);
        if let Some(at) = input.len().checked_sub(1).map(|last| self.random.random_range(0..=last))
        {
            input[at] = new(input[at], random);
        }
    }

    /// Replaces a number in the text by one at an edge.
    fn count(&mut self, input: &mut Vec<u8>) {
        const EDGES: [&[u8]; 8] = [
            b"0",
            b"1",
            b"-1",
            b"255",
            b"65536",
            b"4294967296",
            b"9223372036854775808",
            b"fffffffffffffffff",
        ];
        let from = self.place(input);
        let Some(begin) = input[from..].iter().position(u8::is_ascii_digit).map(|at| from + at)
        else {
            return;
        };
        let end = input[begin..]
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .map_or(input.len(), |at| begin + at);
        let edge = EDGES.choose(&mut self.random).copied().unwrap_or_default();
        input.splice(begin..end, edge.iter().copied());
    }
}

fn splice(input: &mut Vec<u8>, at: usize, word: &[u8]) {
    input.splice(at..at, word.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_another_makes_others() {
        let corpus = [b"GET / HTTP/1.1\r\n\r\n".to_vec(), b"a".to_vec(), Vec::new()];
        let words: [&[u8]; 2] = [b"Host: a\r\n", b"7"];
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed, &corpus, &words);
            (0..2000).map(|_| mutator.input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        let distinct: std::collections::HashSet<_> = inputs(3).into_iter().collect();
        assert!(distinct.len() > 500, "only {} different inputs", distinct.len());
    }
}

//! The list of URLs, read as it is needed: it may be longer than memory.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
};

use anyhow::{Context, Result};
use futures::{Stream, stream};
use tokio::sync::mpsc;

/// Bytes of a line.
const MOST: u64 = 64 << 10;
/// Lines that are read ahead.
const AHEAD: usize = 1024;

/// Each line that names something; a bad one with what is wrong with it.
///
/// # Errors
/// The file cannot be opened.
pub(super) fn read(path: &Path) -> Result<impl Stream<Item = Result<String, String>>> {
    let input: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let opened = std::fs::File::open(path);
        Box::new(opened.with_context(|| format!("cannot open {}", path.display()))?)
    };
    let (sender, receiver) = mpsc::channel(AHEAD);
    // It ends with its input, or with its reader.
    std::thread::spawn(move || {
        let mut lines = BufReader::new(input);
        while let Some(line) = next(&mut lines) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    Ok(stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|line| (line, receiver))
    }))
}

/// The next line that is not empty and no comment.
fn next(lines: &mut impl BufRead) -> Option<Result<String, String>> {
    loop {
        let mut bytes = Vec::new();
        match lines.by_ref().take(MOST).read_until(b'\n', &mut bytes) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(Err(format!("the list cannot be read: {error}"))),
        }
        if bytes.len() as u64 == MOST && bytes.last() != Some(&b'\n') {
            return Some(Err("a line has more than 64 KiB".to_owned()));
        }
        let Ok(text) = String::from_utf8(bytes) else {
            return Some(Err("a line is not UTF-8".to_owned()));
        };
        let text = text.trim();
        if !text.is_empty() && !text.starts_with('#') {
            return Some(Ok(text.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_name_something() {
        let mut text = b"http://a/\n\n# no\n  http://b/ \r\n\xff\nhttp://c/".as_slice();
        let mut lines = Vec::new();
        while let Some(line) = next(&mut text) {
            lines.push(line.unwrap_or_else(|problem| problem));
        }
        assert_eq!(lines, ["http://a/", "http://b/", "a line is not UTF-8", "http://c/"]);
        let long = "x".repeat(70_000);
        assert!(next(&mut long.as_bytes()).is_some_and(|line| line.is_err()));
    }
}

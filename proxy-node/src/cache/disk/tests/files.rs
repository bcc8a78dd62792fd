//! A directory in memory that fails as it is told.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::cache::disk::device::{Device, File};

type Content = Arc<Mutex<Vec<u8>>>;

/// What goes wrong.
#[derive(Debug, Default)]
pub struct Faults {
    /// Reads fail.
    pub unreadable: AtomicBool,
    /// Writes fail.
    pub unwritable: AtomicBool,
    /// Bytes that all files may have; 0: any number.
    pub room: AtomicU64,
    /// Bytes that the file system says that it has left; 0: it says nothing.
    pub left: AtomicU64,
    /// Reads wait until this is false.
    stuck: Mutex<bool>,
    released: Condvar,
}

impl Faults {
    pub fn stick(&self, stuck: bool) {
        *self.stuck.lock().unwrap() = stuck;
        self.released.notify_all();
    }
}

#[derive(Clone, Debug, Default)]
pub struct Files {
    files: Arc<Mutex<BTreeMap<String, Content>>>,
    pub faults: Arc<Faults>,
}

impl Files {
    /// What a process finds after this one was killed.
    pub fn left(&self) -> Self {
        let files = self.files.lock().unwrap();
        let copy = files
            .iter()
            .map(|(name, file)| (name.clone(), Arc::new(Mutex::new(file.lock().unwrap().clone()))));
        Self { files: Arc::new(Mutex::new(copy.collect())), faults: Arc::default() }
    }

    /// Changes a file.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.files.lock().unwrap()[name].lock().unwrap());
    }

    fn bytes(&self) -> u64 {
        let files = self.files.lock().unwrap();
        files.values().map(|file| file.lock().unwrap().len() as u64).sum()
    }
}

impl Device for Files {
    fn left(&self) -> Option<u64> {
        let left = self.faults.left.load(Ordering::Relaxed);
        (left > 0).then_some(left)
    }

    fn release(&self) {}

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().unwrap().keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let content = self.files.lock().unwrap().entry(name.to_owned()).or_default().clone();
        Ok(Box::new(Open { content, all: self.clone() }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.lock().unwrap().remove(name).map(drop).ok_or(ErrorKind::NotFound.into())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let files = self.files.lock().unwrap();
        let content = files.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(content.lock().unwrap().clone())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let content = Arc::new(Mutex::new(bytes.to_vec()));
        self.files.lock().unwrap().insert(name.to_owned(), content);
        Ok(())
    }
}

#[derive(Debug)]
struct Open {
    content: Content,
    all: Files,
}

impl File for Open {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let faults = &self.all.faults;
        let mut stuck = faults.stuck.lock().unwrap();
        while *stuck {
            stuck = faults.released.wait(stuck).unwrap();
        }
        drop(stuck);
        if faults.unreadable.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let content = self.content.lock().unwrap();
        let at = usize::try_from(at).unwrap();
        let found = content.get(at..at + buffer.len()).ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.all.faults.unwritable.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let room = self.all.faults.room.load(Ordering::Relaxed);
        let full = room > 0 && self.all.bytes() + bytes.len() as u64 > room;
        let mut content = self.content.lock().unwrap();
        let at = usize::try_from(at).unwrap();
        // A full disk takes the half of it.
        let taken = if full { &bytes[..bytes.len() / 2] } else { bytes };
        if content.len() < at + taken.len() {
            content.resize(at + taken.len(), 0);
        }
        content[at..at + taken.len()].copy_from_slice(taken);
        if full { Err(io::Error::from_raw_os_error(libc::ENOSPC)) } else { Ok(()) }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().len() as u64)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.content.lock().unwrap().truncate(usize::try_from(length).unwrap());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

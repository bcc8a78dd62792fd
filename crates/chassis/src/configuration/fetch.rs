//! Completes the files of an assignment: what is not here yet comes by FetchFile and is believed
//! only when its hash is right.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use proto::config::{
    Cause, FetchFileRequest, FileReference, config_service_client::ConfigServiceClient,
};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::{
    Nack, Problem,
    store::{Store, is_hash},
};
use crate::connect::{ServiceChannel, explain};

/// Between two pieces.
const PIECE_WITHIN: Duration = Duration::from_secs(10);
/// A file may not be larger.
const LARGEST: u64 = 4 << 30;

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The disk does not take it.
    #[error("{0}")]
    Disk(#[from] io::Error),
    /// What came is not it, or nothing came.
    #[error("{0}")]
    Source(String),
}

impl Error {
    fn is_full_disk(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Disk(error) if matches!(error.kind(), StorageFull | QuotaExceeded))
    }
}

/// Makes sure that every file is in the store.
///
/// # Errors
/// One problem for every file that could not be had.
pub(super) async fn complete(
    store: &Store,
    channel: &ServiceChannel,
    files: &[FileReference],
) -> Result<(), Nack> {
    let mut refused = Nack::default();
    for file in files {
        if let Err(why) = one(store, channel, file).await {
            if why.is_full_disk() {
                refused.cause = Cause::Disk;
            }
            let message = format!("cannot fetch {}: {why}", file.path);
            let problem = Problem { file: file.path.clone(), message, ..Problem::default() };
            refused.problems.push(problem);
        }
    }
    if refused.problems.is_empty() { Ok(()) } else { Err(refused) }
}

async fn one(store: &Store, channel: &ServiceChannel, file: &FileReference) -> Result<(), Error> {
    if !is_hash(&file.sha256) {
        return Err(Error::Source(format!("{:?} is no SHA-256", file.sha256)));
    }
    let path = store.file(&file.sha256);
    // Named by its hash and renamed into place whole, so that the length is enough here; a start
    // checks every byte.
    if std::fs::metadata(&path).is_ok_and(|found| found.len() == file.size) {
        return Ok(());
    }
    if file.size > LARGEST {
        return Err(Error::Source(format!("{} bytes are too many", file.size)));
    }
    let temporary = path.with_extension("new");
    let fetched = download(channel, file, &temporary).await;
    let placed = fetched.and_then(|()| Ok(std::fs::rename(&temporary, &path)?));
    if placed.is_err() && temporary.exists() {
        // What is left behind is swept with the next generation.
        std::fs::remove_file(&temporary).unwrap_or_default();
    }
    placed
}

async fn download(channel: &ServiceChannel, file: &FileReference, to: &Path) -> Result<(), Error> {
    let silent = |_| Error::Source("the config-service does not answer".to_owned());
    let refused = |status| Error::Source(explain(&status));
    let mut client = ConfigServiceClient::new(channel.clone()).max_decoding_message_size(8 << 20);
    let call = client.fetch_file(FetchFileRequest { sha256: file.sha256.clone() });
    let mut stream =
        timeout(PIECE_WITHIN, call).await.map_err(silent)?.map_err(refused)?.into_inner();
    let (mut out, mut digest, mut length) = (File::create(to)?, Sha256::new(), 0_u64);
    while let Some(piece) =
        timeout(PIECE_WITHIN, stream.message()).await.map_err(silent)?.map_err(refused)?
    {
        length += piece.data.len() as u64;
        if length > file.size {
            let why = format!("more than the {} bytes that were announced", file.size);
            return Err(Error::Source(why));
        }
        digest.update(&piece.data);
        out.write_all(&piece.data)?;
    }
    let found = hex::encode(digest.finalize());
    if found != file.sha256 || length != file.size {
        return Err(Error::Source(format!(
            "what came is {length} bytes with the hash {found}, not {} bytes with {}",
            file.size, file.sha256
        )));
    }
    Ok(out.sync_all()?)
}

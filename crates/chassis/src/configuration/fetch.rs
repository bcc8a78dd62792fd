//! Completes the files of an assignment: what is not here yet comes by FetchFile and is believed
//! only when its hash is right.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use proto::config::{FetchFileRequest, FileReference, config_service_client::ConfigServiceClient};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::{
    Problem,
    store::{Store, is_hash},
};
use crate::connect::{ServiceChannel, explain};

/// Between two pieces.
const PIECE_WITHIN: Duration = Duration::from_secs(10);
/// A file may not be larger.
const LARGEST: u64 = 4 << 30;

/// Makes sure that every file is in the store.
///
/// # Errors
/// One problem for every file that could not be had.
pub(crate) async fn complete(
    store: &Store,
    channel: &ServiceChannel,
    files: &[FileReference],
) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    for file in files {
        if let Err(why) = one(store, channel, file).await {
            let message = format!("cannot fetch {}: {why}", file.path);
            problems.push(Problem { file: file.path.clone(), message, ..Problem::default() });
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

async fn one(store: &Store, channel: &ServiceChannel, file: &FileReference) -> Result<(), String> {
    if !is_hash(&file.sha256) {
        return Err(format!("{:?} is no SHA-256", file.sha256));
    }
    let path = store.file(&file.sha256);
    // Named by its hash and renamed into place whole, so that the length is enough here; a start
    // checks every byte.
    if std::fs::metadata(&path).is_ok_and(|found| found.len() == file.size) {
        return Ok(());
    }
    if file.size > LARGEST {
        return Err(format!("{} bytes are too many", file.size));
    }
    let temporary = path.with_extension("new");
    let fetched = download(channel, file, &temporary).await;
    let placed = fetched
        .and_then(|()| std::fs::rename(&temporary, &path).map_err(|error| error.to_string()));
    if placed.is_err() && temporary.exists() {
        // What is left behind is swept with the next generation.
        std::fs::remove_file(&temporary).unwrap_or_default();
    }
    placed
}

async fn download(channel: &ServiceChannel, file: &FileReference, to: &Path) -> Result<(), String> {
    let disk = |error: io::Error| error.to_string();
    let silent = |_| "the config-service does not answer".to_owned();
    let mut client = ConfigServiceClient::new(channel.clone()).max_decoding_message_size(8 << 20);
    let call = client.fetch_file(FetchFileRequest { sha256: file.sha256.clone() });
    let mut stream = timeout(PIECE_WITHIN, call)
        .await
        .map_err(silent)?
        .map_err(|status| explain(&status))?
        .into_inner();
    let (mut out, mut digest, mut length) = (File::create(to).map_err(disk)?, Sha256::new(), 0_u64);
    while let Some(piece) = timeout(PIECE_WITHIN, stream.message())
        .await
        .map_err(silent)?
        .map_err(|status| explain(&status))?
    {
        length += piece.data.len() as u64;
        if length > file.size {
            return Err(format!("more than the {} bytes that were announced", file.size));
        }
        digest.update(&piece.data);
        out.write_all(&piece.data).map_err(disk)?;
    }
    let found = hex::encode(digest.finalize());
    if found != file.sha256 || length != file.size {
        return Err(format!(
            "what came is {length} bytes with the hash {found}, not {} bytes with {}",
            file.size, file.sha256
        ));
    }
    out.sync_all().map_err(disk)
}

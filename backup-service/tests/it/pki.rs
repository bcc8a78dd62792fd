//! The PKI in a backup: never readable, and back only with the key that is nowhere in the cluster.

use std::{collections::BTreeMap, fs, io::Cursor, path::Path};

use age::{secrecy::ExposeSecret, x25519::Identity};
use backup_service::{
    archive::{FORMAT, Manifest, Reason, manifest::Entry, write::write},
    pki::{ENTRY, Error, Source, open, recipient, seal},
};
use sha2::{Digest, Sha256};

const KEY: &[u8] = b"-----BEGIN PRIVATE KEY----- the authority's";

fn pki(directory: &Path) {
    fs::create_dir(directory).unwrap();
    fs::write(directory.join("ca.key"), KEY).unwrap();
    fs::write(directory.join("ca.crt"), "certificate").unwrap();
    fs::create_dir(directory.join("a-directory")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", directory.join("a-link")).unwrap();
}

fn archive(path: &Path, sealed: Option<Vec<u8>>) {
    let entry = |sealed: &Vec<u8>| Entry {
        name: format!("pki/{ENTRY}"),
        size: sealed.len() as u64,
        sha256: hex::encode(Sha256::digest(sealed)),
    };
    let manifest = Manifest {
        format: FORMAT,
        id: "20261122T030000Z-00002a".to_owned(),
        created_at: "2026-11-22T03:00:00Z".parse().unwrap(),
        created_by: String::new(),
        reason: Reason::AskedFor,
        version: String::new(),
        cluster_id: String::new(),
        epoch: 1,
        authorities: Vec::new(),
        parts: BTreeMap::new(),
        entries: sealed.iter().map(entry).collect(),
    };
    let file = fs::File::create(path).unwrap();
    write(file, &manifest, |_| Ok(Cursor::new(sealed.clone().unwrap()))).unwrap();
}

fn identity(path: &Path, identity: &Identity) {
    fs::write(path, format!("# a key\n{}\n", identity.to_string().expose_secret())).unwrap();
}

#[test]
fn only_the_right_key_opens_it_and_nothing_is_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let (ours, theirs) = (Identity::generate(), Identity::generate());
    identity(&at("ours.txt"), &ours);
    identity(&at("theirs.txt"), &theirs);
    pki(&at("pki"));
    let recipients = vec![recipient(&ours.to_public().to_string()).unwrap()];
    let sealed = seal(&Source { directory: at("pki"), recipients }).unwrap();
    assert!(!sealed.windows(KEY.len()).any(|window| window == KEY), "it is encrypted");
    archive(&at("archive"), Some(sealed.clone()));

    assert!(matches!(open(&at("archive"), &at("theirs.txt"), &at("out")), Err(Error::Decrypt(_))));
    fs::write(at("nonsense.txt"), "AGE-SECRET-KEY-NONSENSE").unwrap();
    assert!(matches!(
        open(&at("archive"), &at("nonsense.txt"), &at("out")),
        Err(Error::Identity(..))
    ));
    assert!(!at("out").exists());
    let mut files = open(&at("archive"), &at("ours.txt"), &at("out")).unwrap();
    files.sort();
    assert_eq!(files, ["ca.crt", "ca.key"], "files, and no link to anywhere");
    assert_eq!(fs::read(at("out/ca.key")).unwrap(), KEY);
    let mode = |path| fs::metadata(at(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("out"), mode("out/ca.key")), (0o700, 0o600));
    assert!(matches!(open(&at("archive"), &at("ours.txt"), &at("out")), Err(Error::There(_))));

    archive(&at("without"), None);
    assert!(matches!(open(&at("without"), &at("ours.txt"), &at("none")), Err(Error::None)));
    let mut cut = sealed;
    cut.truncate(cut.len() - 1);
    archive(&at("cut"), Some(cut));
    assert!(open(&at("cut"), &at("ours.txt"), &at("none")).is_err() && !at("none").exists());
}

#[test]
fn what_is_encrypted_is_looked_at_like_everything_else() {
    let scratch = tempfile::tempdir().unwrap();
    let ours = Identity::generate();
    identity(&scratch.path().join("key"), &ours);
    // Anybody can encrypt for a public key.
    for (name, link) in
        [("up/../../etc/cron.d/x", false), ("/etc/x", false), (".ssh", false), ("link", true)]
    {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(if link { tar::EntryType::Symlink } else { tar::EntryType::Regular });
        header.set_size(0);
        header.set_cksum();
        tar.append(&header, &b""[..]).unwrap();
        let plain = tar.into_inner().unwrap();
        let sealed = age::encrypt(&ours.to_public(), &plain).unwrap();
        let path = scratch.path().join("archive");
        archive(&path, Some(sealed));
        let refused = open(&path, &scratch.path().join("key"), &scratch.path().join("out"));
        assert!(matches!(refused, Err(Error::Content(_))), "{name}: {refused:?}");
        assert!(!scratch.path().join("out").exists());
    }
}

#[test]
fn public_keys() {
    assert!(recipient("age1nonsense").unwrap_err().contains("no public key of age"));
}

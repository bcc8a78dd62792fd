//! Archives: what is written is read, and nothing else ever is. Any cut and any flipped bit is
//! refused, for every archive there can be.

use std::{collections::BTreeMap, io::Cursor, path::Path};

use backup_service::archive::{
    Error, FORMAT, Manifest, Part, Reason,
    manifest::Entry,
    read::{peek, read},
    write::write,
};
use jiff::Timestamp;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

type Files = BTreeMap<String, Vec<u8>>;

fn manifest(files: &Files) -> Manifest {
    let part = Part {
        format: 1,
        taken_at: Timestamp::UNIX_EPOCH,
        counts: BTreeMap::new(),
        facts: BTreeMap::new(),
    };
    let entry = |(name, content): (&String, &Vec<u8>)| Entry {
        name: name.clone(),
        size: content.len() as u64,
        sha256: hex::encode(Sha256::digest(content)),
    };
    Manifest {
        format: FORMAT,
        id: "20261122T030000Z-00002a".to_owned(),
        created_at: "2026-11-22T03:00:00Z".parse().unwrap(),
        created_by: "operator ann".to_owned(),
        reason: Reason::AskedFor,
        version: "0.1.0".to_owned(),
        cluster_id: "a-cluster".to_owned(),
        epoch: 3,
        authorities: vec!["00".to_owned()],
        parts: ["registry", "config-service"].map(|name| (name.to_owned(), part.clone())).into(),
        entries: files.iter().map(entry).collect(),
    }
}

fn archive(manifest: &Manifest, files: &Files) -> Vec<u8> {
    let mut bytes = Vec::new();
    let content = |name: &str| Ok(Cursor::new(files[name].clone()));
    let (sha256, size) = write(&mut bytes, manifest, content).unwrap();
    assert_eq!((sha256, size), (hex::encode(Sha256::digest(&bytes)), bytes.len() as u64));
    bytes
}

fn example() -> Files {
    [
        ("config-service/revisions.jsonl", &b"{\"number\":1}\n"[..]),
        ("config-service/files/00ff", &[0; 3000]),
        ("registry/admin-states.jsonl", b""),
        ("registry/generations.json", b"{\"given\":7}"),
    ]
    .map(|(name, content)| (name.to_owned(), content.to_vec()))
    .into()
}

/// As [`archive`], of an archive that is made by hand: a manifest of this text, under this kind of
/// entry.
fn forged(text: &[u8], kind: tar::EntryType, window: u32) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
    encoder.window_log(window).unwrap();
    let mut tar = tar::Builder::new(encoder);
    let mut header = tar::Header::new_ustar();
    header.set_path("manifest.json").unwrap();
    header.set_entry_type(kind);
    header.set_size(text.len() as u64);
    header.set_mode(0o600);
    header.set_cksum();
    tar.append(&header, text).unwrap();
    let mut bytes = tar.into_inner().unwrap().finish().unwrap();
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(
        &[&0x184D_2A5E_u32.to_le_bytes()[..], &32_u32.to_le_bytes(), &digest[..]].concat(),
    );
    bytes
}

/// A few kilobytes that would become a gigabyte: refused before they do.
#[test]
fn a_small_archive_takes_little_memory() {
    let scratch = tempfile::tempdir().unwrap();
    let honest = manifest(&example());
    let text = |most: usize| {
        let mut lying = honest.clone();
        lying.entries = vec![Entry { name: "a/b".into(), size: 0, sha256: "0".repeat(64) }; most];
        serde_json::to_vec(&lying).unwrap()
    };
    let large = text(400_000);
    let cases = [
        (
            "many entries",
            forged(&large, tar::EntryType::Regular, 21),
            "its manifest is said to have",
        ),
        ("a long name", forged(&large, tar::EntryType::GNULongName, 21), "no backup of Shoal"),
        ("a large window", forged(&large, tar::EntryType::Regular, 27), "damaged"),
    ];
    for (what, bytes, part) in cases {
        assert!(bytes.len() < 64 << 10, "{what}: {}", bytes.len());
        let path = scratch.path().join("archive");
        std::fs::write(&path, &bytes).unwrap();
        let refused = peek(&path).unwrap_err().to_string();
        assert!(refused.contains(part), "{what}: {refused}");
        let refused = read_back(scratch.path(), &bytes, false).unwrap_err().to_string();
        assert!(refused.contains(part), "{what}: {refused}");
    }
    // Content that is larger than any archive of that size can hold.
    let mut lying = honest;
    lying.entries =
        vec![Entry { name: "registry/a".into(), size: 2 << 30, sha256: "0".repeat(64) }];
    let refused = read_back(
        scratch.path(),
        &forged(&serde_json::to_vec(&lying).unwrap(), tar::EntryType::Regular, 21),
        false,
    )
    .unwrap_err();
    assert!(refused.to_string().contains("more than 1000 times its size"), "{refused}");
}

/// Looks at bytes as if they were an archive.
fn read_back(directory: &Path, bytes: &[u8], unpack: bool) -> Result<(Manifest, Files), Error> {
    let path = directory.join("archive");
    std::fs::write(&path, bytes).unwrap();
    let opened = read(&path, unpack.then_some(directory), |_, _| {})?;
    let mut files = Files::new();
    for (part, parcel) in &opened.parts {
        for entry in parcel.entries() {
            files.insert(
                format!("{part}/{}", entry.name),
                parcel.read(&entry.name).unwrap().unwrap(),
            );
        }
    }
    Ok((opened.manifest, files))
}

#[test]
fn what_is_written_is_read() {
    let (scratch, files) = (tempfile::tempdir().unwrap(), example());
    let manifest = manifest(&files);
    let bytes = archive(&manifest, &files);
    assert_eq!(read_back(scratch.path(), &bytes, true).unwrap(), (manifest.clone(), files));
    assert_eq!(
        read_back(scratch.path(), &bytes, false).unwrap(),
        (manifest.clone(), Files::new()),
        "only looked at"
    );
    assert_eq!(peek(&scratch.path().join("archive")).unwrap(), manifest);
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused() {
    let (scratch, files) = (tempfile::tempdir().unwrap(), example());
    let bytes = archive(&manifest(&files), &files);
    for end in 0..bytes.len() {
        let refused = read_back(scratch.path(), &bytes[..end], false);
        assert!(
            matches!(refused, Err(Error::Damaged(_) | Error::NotOurs)),
            "cut at {end}: {refused:?}"
        );
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let refused = read_back(scratch.path(), &flipped, false);
        assert!(
            matches!(refused, Err(Error::Damaged(_) | Error::NotOurs)),
            "bit {bit}: {refused:?}"
        );
    }
    for extra in [&b"\0"[..], b"more", &bytes] {
        assert!(
            read_back(scratch.path(), &[&bytes, extra].concat(), false).is_err(),
            "something follows"
        );
    }
}

#[test]
fn a_newer_format_is_refused_in_one_sentence() {
    let (scratch, files) = (tempfile::tempdir().unwrap(), example());
    let newer = Manifest { format: FORMAT + 1, version: "9.0.0".to_owned(), ..manifest(&files) };
    let refused = read_back(scratch.path(), &archive(&newer, &files), false).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, Error::Newer { .. }), "{text}");
    assert!(
        text.contains("format 2, made by Shoal 9.0.0")
            && text.ends_with("restore it with that version"),
        "{text}"
    );
}

#[test]
fn what_is_no_backup_is_called_so() {
    let scratch = tempfile::tempdir().unwrap();
    for bytes in [
        &b"PK\x03\x04 something else, long enough to be looked at, and then some more of it"[..],
        b"x",
    ] {
        assert!(matches!(read_back(scratch.path(), bytes, false), Err(Error::NotOurs)));
    }
    assert!(matches!(read_back(scratch.path(), b"", false), Err(Error::Damaged(_))));
}

#[test]
fn an_archive_that_lies_about_itself_is_refused() {
    type Lie = fn(&mut Manifest);
    let (scratch, files) = (tempfile::tempdir().unwrap(), example());
    let lies: [(&str, Lie); 5] = [
        ("files/00ff is not what it was", |manifest| manifest.entries[0].sha256 = "0".repeat(64)),
        ("something that its manifest does not name", |manifest| drop(manifest.entries.pop())),
        ("files/00ff is missing", |manifest| manifest.entries.push(manifest.entries[0].clone())),
        ("more than 16 GiB", |manifest| manifest.entries[0].size = u64::MAX),
        // No part of it is any service's.
        ("registry/admin-states.jsonl is missing", |manifest| {
            drop(manifest.parts.remove("registry"))
        }),
    ];
    for (says, lie) in lies {
        let honest = manifest(&files);
        let mut lying = honest.clone();
        lie(&mut lying);
        // The entries as they are, behind a manifest that says something else.
        let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
        let text = serde_json::to_vec(&lying).unwrap();
        for (name, content) in [("manifest.json", &text)]
            .into_iter()
            .chain(files.iter().map(|(name, content)| (name.as_str(), content)))
        {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            tar.append_data(&mut header, name, content.as_slice()).unwrap();
        }
        let mut bytes = tar.into_inner().unwrap().finish().unwrap();
        let digest = Sha256::digest(&bytes);
        bytes.extend([&0x184D_2A5E_u32.to_le_bytes()[..], &32_u32.to_le_bytes(), &digest].concat());
        let refused = read_back(scratch.path(), &bytes, true);
        assert!(
            matches!(&refused, Err(Error::Damaged(why)) if why.contains(says)),
            "{says}: {refused:?}"
        );
    }
}

#[test]
fn nothing_stands_between_the_content_and_the_digest() {
    let (scratch, files) = (tempfile::tempdir().unwrap(), example());
    let bytes = archive(&manifest(&files), &files);
    let frame = &bytes[..bytes.len() - 40];
    let sealed = |content: &[u8]| {
        let digest = Sha256::digest(content);
        [content, &0x184D_2A5E_u32.to_le_bytes(), &32_u32.to_le_bytes(), &digest].concat()
    };
    assert_eq!(sealed(frame), bytes);
    for extra in [&b"\0"[..], b"more", frame] {
        let refused = read_back(scratch.path(), &sealed(&[frame, extra].concat()), false);
        assert!(
            matches!(&refused, Err(Error::Damaged(why)) if why.contains("something follows its \
                end")),
            "{refused:?}"
        );
    }
}

#[test]
fn common_tools_notice_damage() {
    // What does not compress is in the archive as it is: nothing but a checksum tells.
    let mut seed = 7_u32;
    let noise = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    });
    let files = Files::from([("registry/noise".to_owned(), noise.take(50_000).collect())]);
    let mut bytes = archive(&manifest(&files), &files);
    assert!(zstd::decode_all(bytes.as_slice()).is_ok());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    assert!(zstd::decode_all(bytes.as_slice()).is_err());
}

#[test]
fn anybody_can_read_it_with_common_tools() {
    let (scratch, files) = (tempfile::tempdir().unwrap(), example());
    let bytes = archive(&manifest(&files), &files);
    // As `zstd -d` does: frames one after another, skippable ones passed over.
    let plain = zstd::decode_all(bytes.as_slice()).unwrap();
    let mut tar = tar::Archive::new(plain.as_slice());
    let names: Vec<_> = tar
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names[0], "manifest.json");
    assert_eq!(names[1..], *files.keys().cloned().collect::<Vec<_>>());
    drop(scratch);
}

fn names() -> impl Strategy<Value = String> {
    (prop_oneof![Just("registry"), Just("config-service")], "[a-z0-9]{1,20}(/[a-z0-9]{1,20})?")
        .prop_map(|(part, name)| format!("{part}/{name}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_content_survives_and_any_damage_is_noticed(
        files in proptest::collection::btree_map(
            names(),
            proptest::collection::vec(any::<u8>(), 0..20_000),
            0..12,
        ),
        cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let scratch = tempfile::tempdir().unwrap();
        let manifest = manifest(&files);
        let bytes = archive(&manifest, &files);
        prop_assert_eq!(read_back(scratch.path(), &bytes, true).unwrap(), (manifest, files));
        prop_assert!(read_back(scratch.path(), &bytes[..cut.index(bytes.len())], true).is_err());
        let mut flipped = bytes;
        let at = flip.index(flipped.len());
        flipped[at] ^= 1 << bit;
        prop_assert!(read_back(scratch.path(), &flipped, true).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..5_000)) {
        let scratch = tempfile::tempdir().unwrap();
        // Sealed, so that more than the digest gets to see them.
        let digest = Sha256::digest(&bytes);
        let [magic, length] = [0x184D_2A5E_u32, 32].map(u32::to_le_bytes);
        let sealed = [&bytes[..], &magic, &length, &digest].concat();
        let begun = [&0xFD2F_B528_u32.to_le_bytes()[..], &sealed].concat();
        for bytes in [&bytes, &sealed, &begun] {
            prop_assert!(read_back(scratch.path(), bytes, true).is_err());
        }
    }
}

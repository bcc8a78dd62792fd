//! Bundles to begin with, as files that people edit: path inside the bundle to content.

use std::collections::BTreeMap;

macro_rules! files {
    ($folder:literal: $($path:literal),+ $(,)?) => {
        BTreeMap::from([$((
            $path.to_owned(),
            include_bytes!(concat!("../templates/", $folder, "/", $path)).to_vec(),
        )),+])
    };
}

/// What `shoal lab` writes: only clients on this machine may use it, and they may reach every
/// origin, also on this machine, but not the cluster's own ports. `parent` is the `host:port` of a
/// proxy that every request goes through; it is not checked here.
pub fn lab_bundle(parent: Option<&str>) -> BTreeMap<String, Vec<u8>> {
    let mut files = files!("lab": "cluster.yaml", "lists/blocked_sites.txt", "pages/blocked.html");
    if let (Some(parent), Some(main)) = (parent, files.get_mut(crate::bundle::MAIN)) {
        let quoted = serde_json::Value::from(parent).to_string();
        let text = String::from_utf8_lossy(main)
            .replace("parents: []  ", &format!("parents: [{{address: {quoted}}}]  "));
        *main = text.into_bytes();
    }
    files
}

/// A beginning for production: what a cluster of one's own is edited from.
pub fn example_bundle() -> BTreeMap<String, Vec<u8>> {
    files!("example": "cluster.yaml", "lists/blocked_sites.txt", "pages/blocked.html")
}

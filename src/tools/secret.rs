//! What no tool may touch, whatever was approved: keys, and npast's own state. The sandbox of
//! programs takes the same list.

use std::path::{Path, PathBuf};

/// Below the user's home folder: keys, tokens, and what browsers and mail programs keep.
const AT_HOME: &[&str] = &[
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker/config.json",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".password-store",
    ".pki",
    ".mozilla",
    ".thunderbird",
    ".config/gh",
    ".config/gcloud",
    ".config/git/credentials",
    ".config/google-chrome",
    ".config/chromium",
    ".config/BraveSoftware",
    ".config/rclone",
    ".config/op",
    ".config/sops",
    ".config/age",
    ".local/share/keyrings",
    "snap/firefox",
    "Library/Keychains",
    "Library/Application Support/Firefox",
    "Library/Application Support/Google/Chrome",
];

/// In the whole system: other processes' memory and environment, devices, password hashes.
const IN_SYSTEM: &[&str] = &[
    "/proc",
    "/dev",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssl/private",
    "/root/.ssh",
];

/// The places that no tool may touch, for a user's home folder (none is known to some services)
/// and npast's own folders (data, configuration). Each comes as it was named and, where it is a
/// link or lies behind one, as what it really is.
pub fn secret_places(home: Option<&Path>, own: &[&Path]) -> Vec<PathBuf> {
    let below = |home: &Path| AT_HOME.iter().map(|name| home.join(name)).collect();
    let mut places: Vec<PathBuf> = home.map_or_else(Vec::new, below);
    places.extend(IN_SYSTEM.iter().map(PathBuf::from));
    places.extend(own.iter().map(|place| place.to_path_buf()));
    let real: Vec<PathBuf> = places
        .iter()
        .filter_map(|place| place.canonicalize().ok())
        .collect();
    places.extend(real);
    places.sort();
    places.dedup();
    places
}

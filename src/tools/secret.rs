//! What no tool may touch, whatever was approved: keys, and npast's own state. The sandbox of
//! programs takes the same list.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most files and folders in secret places that are looked at.
const MAX_LOOKED: usize = 1_000_000;

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

/// The files in secret places that have another name (a hard link) somewhere: by that name too they
/// are no tool's business.
pub(super) struct Linked {
    /// Device and inode. `None` where there is too much to look at, so that nothing is known.
    files: Option<HashSet<(u64, u64)>>,
}

impl Linked {
    /// Looks at all that lies in these places. It costs a look at each file: only for a file that
    /// has several names.
    pub fn of(places: &[PathBuf]) -> Linked {
        let mut files = HashSet::new();
        let mut left: Vec<PathBuf> = places.to_vec();
        let mut looked = 0;
        while let Some(path) = left.pop() {
            looked += 1;
            if looked > MAX_LOOKED {
                return Linked { files: None };
            }
            let Ok(meta) = path.symlink_metadata() else {
                continue;
            };
            if meta.is_dir()
                && !["/proc", "/dev"]
                    .iter()
                    .any(|whole| path == Path::new(whole))
            {
                let entries = fs::read_dir(&path).into_iter().flatten().flatten();
                left.extend(entries.map(|entry| entry.path()));
            } else if several_names(&meta) {
                files.insert((meta.dev(), meta.ino()));
            }
        }
        Linked { files: Some(files) }
    }

    /// Whether a file is, or may be, one of them.
    pub fn holds(&self, meta: &Metadata) -> bool {
        let files = self.files.as_ref();
        several_names(meta) && files.is_none_or(|all| all.contains(&(meta.dev(), meta.ino())))
    }
}

/// Whether it is a file with more than one name.
pub(super) fn several_names(meta: &Metadata) -> bool {
    meta.is_file() && meta.nlink() > 1
}

//! The cache of the Hugging Face hub, as its own tools and llama.cpp lay it out:
//!
//! ```text
//! models--OWNER--REPO/blobs/SUM                  the bytes
//! models--OWNER--REPO/blobs/SUM.incomplete       what came so far
//! models--OWNER--REPO/snapshots/COMMIT/FILE      a link to a blob
//! models--OWNER--REPO/refs/main                  the commit of the branch
//! .locks/models--OWNER--REPO/SUM.lock            held by the process that fetches that blob
//! ```
//!
//! A file counts when its link leads to bytes; a link that leads nowhere is no file.

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::ModelsError;
use super::source::Repo;
use crate::durable::{self, Attributes, Links};
use crate::llama::gguf;

/// Entries of one folder that are looked at.
const MAX_ENTRIES: usize = 10_000;
/// Folders in folders of a snapshot that are looked into.
const MAX_DEPTH: usize = 4;

/// A GGUF file of the cache, of a split model the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cached {
    /// Its repository.
    pub repo: Repo,
    /// Its path in the repository.
    pub file: String,
    /// The link in the snapshot.
    pub path: PathBuf,
}

/// The cache, or the place where it will be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hub {
    root: PathBuf,
}

impl Hub {
    /// A cache at `root`.
    pub fn new(root: PathBuf) -> Hub {
        Hub { root }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Every model of the cache, sorted: of each repository those of the newest snapshot that has
    /// them, the one of the main branch first.
    pub fn models(&self) -> Vec<Cached> {
        let mut all = Vec::new();
        for (name, _) in entries(&self.root) {
            if let Some(repo) = Repo::of_folder(&name) {
                all.extend(self.of(&repo));
            }
        }
        all.sort_by(|a, b| (&a.repo, &a.file).cmp(&(&b.repo, &b.file)));
        all
    }

    /// The models of one repository.
    pub fn of(&self, repo: &Repo) -> Vec<Cached> {
        let mut found: Vec<Cached> = Vec::new();
        for snapshot in self.snapshots(repo) {
            let mut files = Vec::new();
            walk(&snapshot, "", 0, &mut files);
            for file in files {
                if is_model(&file) && !found.iter().any(|known| known.file == file) {
                    found.push(Cached {
                        repo: repo.clone(),
                        path: snapshot.join(&file),
                        file,
                    });
                }
            }
        }
        found.sort_by(|a, b| a.file.cmp(&b.file));
        found
    }

    /// The folders of a repository's snapshots: that of the main branch, then the newest first.
    pub fn snapshots(&self, repo: &Repo) -> Vec<PathBuf> {
        let folder = self.folder(repo);
        let main = commit(&folder.join("refs/main"));
        let mut all: Vec<_> = entries(&folder.join("snapshots"))
            .into_iter()
            .filter(|(_, path)| path.is_dir())
            .map(|(name, path)| {
                let changed = path.metadata().and_then(|m| m.modified()).ok();
                ((Some(&name) == main.as_ref(), changed), path)
            })
            .collect();
        all.sort_by(|a, b| b.cmp(a));
        all.into_iter().map(|(_, path)| path).collect()
    }

    /// The folder of a repository.
    pub fn folder(&self, repo: &Repo) -> PathBuf {
        self.root.join(repo.folder())
    }

    /// Where the bytes of that sum lie.
    pub fn blob(&self, repo: &Repo, oid: &str) -> PathBuf {
        self.folder(repo).join("blobs").join(oid)
    }

    /// The lock of who fetches a blob.
    pub fn lock(&self, repo: &Repo, oid: &str) -> PathBuf {
        let folder = self.root.join(".locks").join(repo.folder());
        folder.join(format!("{oid}.lock"))
    }

    /// The place of a file in a snapshot.
    pub fn link(&self, repo: &Repo, commit: &str, file: &str) -> PathBuf {
        self.folder(repo).join("snapshots").join(commit).join(file)
    }

    /// Names a blob as a file of a snapshot. What is in the place is replaced in one step.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn name(
        &self,
        repo: &Repo,
        commit: &str,
        file: &str,
        oid: &str,
    ) -> Result<PathBuf, ModelsError> {
        let link = self.link(repo, commit, file);
        let above = link.parent().unwrap_or(&self.root);
        fs::create_dir_all(above).map_err(ModelsError::io(above))?;
        let up = "../".repeat(2 + file.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{oid}"));
        if fs::read_link(&link).is_ok_and(|old| old == target) {
            return Ok(link);
        }
        let draft = above.join(format!(".{oid}.{}.link", std::process::id()));
        let _ = fs::remove_file(&draft);
        make_link(&target, &draft, &self.blob(repo, oid))
            .and_then(|()| fs::rename(&draft, &link))
            .inspect_err(|_| drop(fs::remove_file(&draft)))
            .map_err(ModelsError::io(&link))?;
        durable::sync_folder(above).map_err(ModelsError::io(above))?;
        Ok(link)
    }

    /// Writes down which commit the main branch has.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn set_main(&self, repo: &Repo, commit: &str) -> Result<(), ModelsError> {
        let path = self.folder(repo).join("refs/main");
        if self::commit(&path).as_deref() == Some(commit) {
            return Ok(());
        }
        let above = self.folder(repo).join("refs");
        fs::create_dir_all(&above).map_err(ModelsError::io(&above))?;
        durable::replace(&path, commit.as_bytes(), Attributes::Kept, Links::Refuse)
            .map_err(|error| ModelsError::io(&path)(std::io::Error::other(error)))
    }

    /// Removes a model: all files of a split one from every snapshot, and each blob that no snapshot
    /// names any more. Returns the bytes that are free now.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn remove(&self, model: &Cached) -> Result<u64, ModelsError> {
        let folder = self.folder(&model.repo);
        let names = gguf::split_paths(Path::new(&model.file));
        let mut blobs = Vec::new();
        for snapshot in self.snapshots(&model.repo) {
            for name in &names {
                let link = snapshot.join(name);
                let Ok(meta) = link.symlink_metadata() else {
                    continue;
                };
                if meta.is_symlink() {
                    blobs.extend(link.canonicalize());
                }
                fs::remove_file(&link).map_err(ModelsError::io(&link))?;
            }
        }
        let named: Vec<PathBuf> = self
            .snapshots(&model.repo)
            .iter()
            .flat_map(|snapshot| {
                let mut files = Vec::new();
                walk(snapshot, "", 0, &mut files);
                let paths: Vec<_> = files.iter().map(|file| snapshot.join(file)).collect();
                paths
            })
            .filter_map(|path| path.canonicalize().ok())
            .collect();
        blobs.sort();
        blobs.dedup();
        let inside = folder.canonicalize().unwrap_or(folder);
        let mut freed = 0;
        for blob in blobs {
            if named.contains(&blob) || !blob.starts_with(&inside) {
                continue;
            }
            freed += blob.metadata().map_or(0, |meta| meta.len());
            fs::remove_file(&blob).map_err(ModelsError::io(&blob))?;
        }
        Ok(freed)
    }
}

/// Whether a file of a repository is a model that can be chatted with, by its name: no projector,
/// no draft, no calibration data, no later file of a split one.
pub fn is_model(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file).to_ascii_lowercase();
    let other = ["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];
    name.ends_with(".gguf")
        && !other.iter().any(|word| name.contains(word))
        && gguf::split_paths(Path::new(file))
            .first()
            .map(PathBuf::as_path)
            == Some(Path::new(file))
}

/// Whether a repository's path stays inside of a folder that it is joined to.
pub fn is_inside(file: &str) -> bool {
    let path = Path::new(file);
    !file.is_empty()
        && file.len() <= 1024
        && !file.contains(['\\', '\0'])
        && !file.chars().any(char::is_control)
        && path.components().all(|c| matches!(c, Component::Normal(_)))
        && path.components().count() <= MAX_DEPTH + 1
}

/// Which of `files` a tag means: the file's own name, or a word of it as in `…-Q4_K_M.gguf`. Without
/// one, what is commonly taken, else the first.
pub fn pick<'a>(files: &[&'a str], tag: Option<&str>) -> Option<&'a str> {
    let Some(tag) = tag else {
        let usual = ["Q4_K_M", "Q8_0"]
            .iter()
            .find_map(|tag| by_word(files, tag));
        return usual.or_else(|| files.first().copied());
    };
    let named = files.iter().copied().find(|file| {
        let last = file.rsplit('/').next().unwrap_or(file);
        [*file, last]
            .iter()
            .any(|name| *name == tag || name.strip_suffix(".gguf") == Some(tag))
    });
    named.or_else(|| by_word(files, tag))
}

fn by_word<'a>(files: &[&'a str], word: &str) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let has = |file: &&str| {
        let file = file.to_ascii_lowercase();
        file.match_indices(&word).any(|(at, _)| {
            let before = file[..at].chars().next_back();
            let after = file[at + word.len()..].chars().next();
            matches!(before, None | Some('-' | '.' | '/' | '_'))
                && matches!(after, Some('-' | '.' | '/'))
        })
    };
    files.iter().copied().find(has)
}

/// The quantization in a file's name, such as `Q4_K_M`, if there is one.
pub fn quantization(file: &str) -> Option<&str> {
    let name = file.rsplit('/').next()?.strip_suffix(".gguf")?;
    let known = |word: &&str| {
        let up = word.to_ascii_uppercase();
        let digit = |prefix: &str| {
            let rest = up.strip_prefix(prefix);
            rest.and_then(|r| r.chars().next())
                .is_some_and(|c| c.is_ascii_digit())
        };
        digit("Q")
            || digit("IQ")
            || digit("TQ")
            || digit("MXFP")
            || ["F16", "F32", "BF16"].contains(&up.as_str())
    };
    name.split(['-', '.']).rfind(known)
}

/// Names and paths of what is in a folder, without what begins with a dot.
fn entries(folder: &Path) -> Vec<(String, PathBuf)> {
    let all = fs::read_dir(folder).into_iter().flatten().take(MAX_ENTRIES);
    all.flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .filter(|(name, _)| !name.starts_with('.'))
        .collect()
}

/// The files below a snapshot, as paths in the repository.
fn walk(folder: &Path, below: &str, depth: usize, files: &mut Vec<String>) {
    for (name, path) in entries(folder) {
        let file = format!("{below}{name}");
        if path.is_file() && files.len() < MAX_ENTRIES {
            files.push(file);
        } else if depth < MAX_DEPTH && path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            walk(&path, &format!("{file}/"), depth + 1, files);
        }
    }
}

fn commit(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = fs::File::open(path).ok()?;
    file.take(100).read_to_string(&mut text).ok()?;
    let text = text.trim().to_owned();
    is_commit(&text).then_some(text)
}

/// Whether a text is a commit's hash.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A link to `target`; where the file system knows no links, the file itself under another name.
fn make_link(target: &Path, draft: &Path, blob: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let made = std::os::unix::fs::symlink(target, draft);
        if !made.as_ref().is_err_and(|e| {
            e.kind() == std::io::ErrorKind::Unsupported
                || e.kind() == std::io::ErrorKind::PermissionDenied
        }) {
            return made;
        }
    }
    let _ = target;
    fs::hard_link(blob, draft).or_else(|_| fs::rename(blob, draft))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_word_of_the_name_and_without_one_the_usual_file_is_taken() {
        let files = [
            "big/M-Q8_0-00001-of-00002.gguf",
            "M-IQ4_XS.gguf",
            "M.Q4_K_M.gguf",
            "M-Q4_K_S.gguf",
        ];
        let table = [
            (None, Some("M.Q4_K_M.gguf")),
            (Some("q8_0"), Some("big/M-Q8_0-00001-of-00002.gguf")),
            (Some("M-Q4_K_S"), Some("M-Q4_K_S.gguf")),
            (Some("M-IQ4_XS.gguf"), Some("M-IQ4_XS.gguf")),
            (Some("Q4_K"), None),
            (Some("XS"), Some("M-IQ4_XS.gguf")),
            (Some("Q2_K"), None),
        ];
        for (tag, want) in table {
            assert_eq!(pick(&files, tag), want, "{tag:?}");
        }
        assert_eq!(pick(&["a.gguf", "b.gguf"], None), Some("a.gguf"));
    }

    #[test]
    fn names_tell_models_from_what_lies_beside_them() {
        let models = ["M-Q4_K_M.gguf", "a/M-Q8_0-00001-of-00002.gguf"];
        let others = [
            "mmproj-M-f16.gguf",
            "M.imatrix.gguf",
            "README.md",
            "a/M-Q8_0-00002-of-00002.gguf",
        ];
        assert!(models.iter().all(|m| is_model(m)));
        assert!(!others.iter().any(|m| is_model(m)));
        let table = [
            ("M-Q4_K_M.gguf", Some("Q4_K_M")),
            ("SmolLM2-135M-Instruct.Q4_1.gguf", Some("Q4_1")),
            ("gpt-oss-20b-mxfp4.gguf", Some("mxfp4")),
            ("Qwen3-4B.gguf", None),
        ];
        for (file, want) in table {
            assert_eq!(quantization(file), want, "{file}");
        }
    }

    #[test]
    fn a_path_of_a_repository_never_leaves_its_snapshot() {
        for good in ["m.gguf", "sub/m.gguf"] {
            assert!(is_inside(good), "{good}");
        }
        for bad in [
            "",
            "/etc/x",
            "../m.gguf",
            "a/../../m.gguf",
            "a\\..\\m",
            "a\u{1b}.gguf",
        ] {
            assert!(!is_inside(bad), "{bad}");
        }
    }
}

//! The project's own words to agents: AGENTS.md, else CLAUDE.md, else .npast.md, in the project's
//! folder and in those above it up to the repository's root. The files are bounded, because every
//! session of the folder pays for them, and opened as a tool opens files, because they are as untrusted as
//! the repository.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::agent::values::notice::Notice;
use crate::approve::INSTRUCTION_FILES;
use crate::tools::{Secrets, gate};

use super::line::one_line;

/// Most bytes of them in a prompt, together; about 4,000 tokens.
const MAX_BYTES: usize = 16 * 1024;
/// Most folders that are looked into.
const MAX_FOLDERS: usize = 32;

/// The part of the prompt, empty without a file, and what there is to say about it.
pub(in crate::agent) fn files(project: &Path, secret: &Secrets) -> (String, Vec<Notice>) {
    let mut notices = Vec::new();
    let (folders, notice) = folders(project);
    notices.extend(notice);
    let mut left = MAX_BYTES;
    let mut parts = Vec::new();
    // What is nearest has the first right to the room.
    for (up, folder) in folders.iter().enumerate() {
        let found = SearchedFolder {
            folder,
            up: "../".repeat(up),
            project,
            secret,
        };
        parts.extend(found.read(&mut left, &mut notices));
    }
    // What is nearest is read last: it may correct what holds for the whole.
    parts.reverse();
    (parts.join("\n\n"), notices)
}

/// The project's folder and those above it up to the repository's root. As git does, a folder that
/// belongs to another user and the far side of a mount point are not trusted.
fn folders(project: &Path) -> (Vec<PathBuf>, Option<Notice>) {
    let Ok(project) = project.canonicalize() else {
        return (Vec::new(), None);
    };
    let is_root = |folder: &&Path| folder.join(".git").symlink_metadata().is_ok();
    let Some(root) = project.ancestors().take(MAX_FOLDERS).find(is_root) else {
        return (vec![project], None);
    };
    let facts = |path: &Path| fs::symlink_metadata(path).map(|meta| (meta.uid(), meta.dev()));
    let own = rustix::process::geteuid().as_raw();
    let mut all = Vec::new();
    for folder in project.ancestors() {
        all.push(folder.to_owned());
        if folder == root {
            break;
        }
        let above = folder.parent().unwrap_or(folder);
        let trusted = match (facts(&project), facts(above)) {
            (Ok((owner, device)), Ok((user, there))) => {
                [own, owner].contains(&user) && device == there
            }
            _ => false,
        };
        if !trusted {
            let notice = (
                format!(
                    "instructions above {} are not looked for: {} belongs to another user, or to \
                     another file system",
                    shown(folder),
                    shown(above)
                ),
                None,
            );
            return (all, Some(notice));
        }
    }
    (all, None)
}

/// A folder in which files are looked for.
struct SearchedFolder<'a> {
    folder: &'a Path,
    /// The way to it from the project.
    up: String,
    project: &'a Path,
    secret: &'a Secrets,
}

impl SearchedFolder<'_> {
    /// What the first usable file says, which may take `left` bytes.
    fn read(&self, left: &mut usize, notices: &mut Vec<Notice>) -> Option<String> {
        let up = &self.up;
        for name in INSTRUCTION_FILES {
            let path = self.folder.join(name);
            let shown = shown(&path);
            let file = match gate::open_inside(&path, self.folder, self.project, self.secret) {
                Ok(Some(file)) => file,
                Ok(None) => continue,
                Err(why) => {
                    notices.push((
                        format!("{shown} is not in the prompt: {why}"),
                        Some(
                            "put a file with the text in its place, and start another session"
                                .into(),
                        ),
                    ));
                    continue;
                }
            };
            let (bytes, whole) = match read(file, *left) {
                Ok(read) => read,
                Err(error) => {
                    notices.push((
                        format!("{shown} cannot be read ({error}), so it is not in the prompt"),
                        None,
                    ));
                    continue;
                }
            };
            let (text, cut, broken) = shortened(&bytes, *left);
            if text.trim().is_empty() && !cut {
                continue;
            }
            *left -= text.len().min(*left);
            let mut part = format!("# From the project's {up}{name}\n{}", text.trim_end());
            if cut {
                let kept = text.len();
                part.push_str(&format!(
                    "\n[npast: the first {kept} of {whole} bytes of {up}{name}; read_file has the rest]"
                ));
                notices.push((
                    format!("{shown} has {whole} bytes; the first {kept} are in the prompt"),
                    Some("shorten it: each session of this folder reads it".to_owned()),
                ));
            } else if !up.is_empty() {
                notices.push((format!("{shown} is in the prompt too"), None));
            }
            if broken {
                notices.push((
                    format!("{shown} is not UTF-8; what is broken in it is shown as \u{FFFD}"),
                    Some("save it as UTF-8, and start another session".to_owned()),
                ));
            }
            return Some(part);
        }
        None
    }
}

/// A path in a notice.
fn shown(path: &Path) -> String {
    one_line(&path.to_string_lossy())
}

/// At most one byte more than `most`, and how long the whole is.
fn read(file: File, most: usize) -> std::io::Result<(Vec<u8>, u64)> {
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    let whole = length.max(bytes.len() as u64);
    Ok((bytes, whole))
}

/// The text up to the limit, at the end of a line where there is one; whether it was cut; whether
/// it was broken.
fn shortened(bytes: &[u8], most: usize) -> (String, bool, bool) {
    let cut = bytes.len() > most;
    let mut kept = &bytes[..bytes.len().min(most)];
    if cut {
        let line = kept.iter().rposition(|b| *b == b'\n');
        let character = (0..4.min(kept.len() + 1))
            .map(|n| kept.len() - n)
            .find(|at| {
                // Not in the middle of a character.
                bytes.get(*at).is_none_or(|b| b & 0xC0 != 0x80)
            });
        kept = &kept[..line
            .filter(|at| *at > 0)
            .or(character)
            .unwrap_or(kept.len())];
    }
    let text = String::from_utf8_lossy(kept);
    let broken = matches!(text, std::borrow::Cow::Owned(_));
    // CR ends a line, alone too.
    let clean: String = text
        .trim_start_matches('\u{FEFF}')
        .replace("\r\n", "\n")
        .replace('\r', "\n")
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    (clean, cut, broken)
}

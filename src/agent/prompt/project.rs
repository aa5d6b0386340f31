//! The project's own words to agents: AGENTS.md, else CLAUDE.md, else .npast.md, in the project's
//! folder. Bounded, for every session of the folder pays for it.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::super::engine::Notice;

const NAMES: [&str; 3] = ["AGENTS.md", "CLAUDE.md", ".npast.md"];
/// Most bytes of it in a prompt; about 4,000 tokens.
const MAX_BYTES: usize = 16 * 1024;

/// The part of the prompt, empty without a file, and what there is to say about it.
pub(super) fn file(project: &Path) -> (String, Option<Notice>) {
    for name in NAMES {
        let path = project.join(name);
        // Asked before it is opened: opening a pipe would wait for its writer.
        let Ok(meta) = fs::metadata(&path) else {
            continue;
        };
        let shown = path.display();
        if !meta.is_file() {
            let notice = (
                format!("{shown} is no file, so it is not in the prompt"),
                None,
            );
            return (String::new(), Some(notice));
        }
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let notice = (
                    format!("{shown} cannot be read ({error}), so it is not in the prompt"),
                    Some("correct its permissions, and start another session".to_owned()),
                );
                return (String::new(), Some(notice));
            }
        };
        let whole = meta.len().max(bytes.len() as u64);
        let (text, cut, broken) = shortened(&bytes);
        if text.trim().is_empty() {
            continue;
        }
        let mut part = format!("# From the project's {name}\n{}", text.trim_end());
        let mut notice = None;
        if cut {
            let kept = text.len();
            part.push_str(&format!(
                "\n[npast: the first {kept} of {whole} bytes of {name}; read_file has the rest]"
            ));
            notice = Some((
                format!("{shown} has {whole} bytes; the first {kept} are in the prompt"),
                Some("shorten it: each session of this folder reads it".to_owned()),
            ));
        } else if broken {
            notice = Some((
                format!("{shown} is not UTF-8; what is broken in it is shown as \u{FFFD}"),
                Some("save it as UTF-8, and start another session".to_owned()),
            ));
        }
        return (part, notice);
    }
    (String::new(), None)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text up to the limit, at the end of a line where there is one; whether it was cut; whether
/// it was broken.
fn shortened(bytes: &[u8]) -> (String, bool, bool) {
    let cut = bytes.len() > MAX_BYTES;
    let mut kept = &bytes[..bytes.len().min(MAX_BYTES)];
    if cut {
        let line = kept.iter().rposition(|b| *b == b'\n');
        let character = (0..4).map(|n| kept.len() - n).find(|at| {
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
    let clean: String = text
        .trim_start_matches('\u{FEFF}')
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    (clean, cut, broken)
}

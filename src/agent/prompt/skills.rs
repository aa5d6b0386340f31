//! Skills: folders with a SKILL.md, in `.npast/skills` of the project and `skills` of the data
//! folder. The prompt has one line for each, from the front matter; the body is read when it is
//! needed, with read_file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::agent::values::notice::Notice;
use crate::tools::{Secrets, gate};

use super::line::one_line;

/// Most skills in the index.
const MAX_SKILLS: usize = 40;
/// Folders that are looked at.
const MAX_FOLDERS: usize = 400;
/// Most bytes of a SKILL.md that are searched for its front matter.
const MAX_BYTES: u64 = 8 * 1024;
/// Longest description in the index, in characters.
const MAX_LINE: usize = 200;

/// The part of the prompt, empty without skills. The project's win over those of the data folder.
/// Those of the project stay in it; those of the data folder may be links of the user's, to folders
/// out of which their files do not lead.
pub(in crate::agent) fn index(
    project: &Path,
    home: &Path,
    secret: &Secrets,
) -> (String, Vec<Notice>) {
    let mut skills: BTreeMap<String, (String, PathBuf)> = BTreeMap::new();
    let mut notices = Vec::new();
    let folders = [
        (home.join("skills"), None),
        (project.join(".npast/skills"), Some(project)),
    ];
    for (folder, within) in folders {
        let left_out = |path: &Path, why: String, hint: Option<&str>| -> Notice {
            let path = one_line(&path.to_string_lossy());
            let what = format!("{path} is not in the prompt: {why}");
            (what, hint.map(str::to_owned))
        };
        match gate::inside(&folder, within.unwrap_or(Path::new("/")), project, secret) {
            Ok(Some(_)) => {}
            Ok(None) => continue,
            Err(why) => {
                notices.push(left_out(&folder, why, None));
                continue;
            }
        }
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        let mut paths: Vec<PathBuf> = entries
            .take(MAX_FOLDERS)
            .flatten()
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        for skill in paths {
            let path = skill.join("SKILL.md");
            match gate::open_inside(&path, within.unwrap_or(&skill), project, secret) {
                Ok(Some(file)) => match read(file) {
                    Ok((name, description)) => {
                        skills.insert(name, (description, path));
                    }
                    Err(why) => {
                        let hint = "it begins with ---, name: …, description: …, ---";
                        notices.push(left_out(&path, why, Some(hint)));
                    }
                },
                Ok(None) => {}
                Err(why) => notices.push(left_out(&path, why, None)),
            }
        }
    }
    if skills.len() > MAX_SKILLS {
        notices.push((
            format!(
                "there are {} skills; the first {MAX_SKILLS} are in the prompt",
                skills.len()
            ),
            None,
        ));
    }
    let lines: Vec<String> = skills
        .iter()
        .take(MAX_SKILLS)
        .map(|(name, (what, path))| {
            format!("- {name}: {what} ({})", one_line(&path.to_string_lossy()))
        })
        .collect();
    match lines.is_empty() {
        true => (String::new(), notices),
        false => (
            format!(
                "# Skills\nInstructions for certain work; read the file before you do it.\n{}",
                lines.join("\n")
            ),
            notices,
        ),
    }
}

fn read(file: File) -> Result<(String, String), String> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("it cannot be read ({e})"))?;
    front_matter(&String::from_utf8_lossy(&bytes))
        .ok_or_else(|| "it has no name and description in its front matter".to_owned())
}

/// Name and description of a front matter: `key: value` lines between two lines `---`; a value may
/// be quoted, or a block of indented lines after `>` or `|`.
fn front_matter(text: &str) -> Option<(String, String)> {
    let mut lines = text.trim_start_matches('\u{FEFF}').lines();
    if lines.next()?.trim_end() != "---" {
        return None;
    }
    let mut fields: Vec<(&str, String)> = Vec::new();
    let mut ended = false;
    for line in lines {
        if line.trim_end() == "---" {
            ended = true;
            break;
        }
        match line.split_once(':') {
            Some((key, value)) if !line.starts_with([' ', '\t', '-', '#']) => {
                fields.push((key.trim(), value.trim().to_owned()));
            }
            _ => {
                if let Some((_, value)) = fields.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            }
        }
    }
    let get = |key: &str| {
        let (_, value) = fields.iter().find(|(k, _)| *k == key)?;
        let value = value.trim_start_matches(['>', '|', '-', '+']).trim();
        let quoted = |q: char| value.strip_prefix(q).and_then(|v| v.strip_suffix(q));
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
        let words: Vec<String> = value.split_whitespace().map(one_line).collect();
        let line: String = words.join(" ").chars().take(MAX_LINE).collect();
        (!line.is_empty()).then_some(line)
    };
    match ended {
        true => Some((get("name")?, get("description")?)),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matters_of_all_forms_give_name_and_description() {
        let table = [
            (
                "---\nname: a\ndescription: What it does: all\n---\nbody",
                Some(("a", "What it does: all")),
            ),
            (
                "\u{FEFF}---\r\nname: \"a b\"\r\ndescription: 'c'\r\nlicense: MIT\r\n---\r\n",
                Some(("a b", "c")),
            ),
            (
                "---\nname: a\ndescription: >-\n  one\n  two: three\n---\n",
                Some(("a", "one two: three")),
            ),
            ("---\nname: a\n---\n", None),
            ("---\nname: a\ndescription: b\n", None),
            ("name: a\ndescription: b", None),
            ("", None),
        ];
        for (text, want) in table {
            let want = want.map(|(n, d): (&str, &str)| (n.to_owned(), d.to_owned()));
            assert_eq!(front_matter(text), want, "{text:?}");
        }
    }
}

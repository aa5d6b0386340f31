//! The user's own editor, for a message that is longer than a line.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::durable::private;

/// Most bytes that are taken back.
const MOST: u64 = 16 << 20;

/// Opens `$VISUAL`, else `$EDITOR`, else `vi` on this text, in a file of `folder`; the text afterwards.
///
/// # Errors
/// What went wrong, as a sentence; the text is as it was then.
pub fn edit(text: &str, folder: &Path) -> Result<String, String> {
    let named = ["VISUAL", "EDITOR"].into_iter();
    let named = named.filter_map(|name| std::env::var(name).ok());
    let editor = named.into_iter().find(|words| !words.trim().is_empty());
    run(&editor.unwrap_or_else(|| "vi".to_owned()), text, folder)
}

fn run(editor: &str, text: &str, folder: &Path) -> Result<String, String> {
    let path = folder.join(format!("message-{}.md", std::process::id()));
    let file = DraftFile(&path);
    file.write(text)
        .map_err(|e| format!("{} cannot be written: {e}", path.display()))?;
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    // The terminal is the editor's as long as it runs.
    let ended = Command::new(program)
        .args(words)
        .arg(&path)
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .status()
        .map_err(|e| {
            format!("the editor {program} cannot be started: {e}; $EDITOR names another")
        })?;
    if !ended.success() {
        return Err(format!("the editor {program} failed ({ended})"));
    }
    let text = file
        .read()
        .map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// A private file that goes with this.
struct DraftFile<'a>(&'a Path);

impl DraftFile<'_> {
    fn write(&self, text: &str) -> std::io::Result<()> {
        let _ = std::fs::remove_file(self.0);
        private::create(self.0)?.write_all(text.as_bytes())
    }

    fn read(&self) -> std::io::Result<String> {
        let mut bytes = Vec::new();
        std::fs::File::open(self.0)?
            .take(MOST)
            .read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for DraftFile<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_editor_changes_the_text_and_one_that_fails_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let editor = dir.path().join("editor");
        let script = "#!/bin/sh\n[ \"$1\" = -x ] || exit 3\nprintf 'and\\nmore\\n\\n' >> \"$2\"\n";
        std::fs::write(&editor, script).unwrap();
        let with = |more: &str| {
            run(
                &format!("sh {}{more}", editor.display()),
                "first\n",
                dir.path(),
            )
        };
        assert_eq!(with(" -x"), Ok("first\nand\nmore".to_owned()));
        let failed = with("").unwrap_err();
        assert!(failed.starts_with("the editor sh failed"), "{failed}");
        let none = run("/no/such/editor", "x", dir.path()).unwrap_err();
        assert!(none.contains("cannot be started"), "{none}");
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing is left"
        );
    }
}

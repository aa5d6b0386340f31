//! The token: who has it may call. It is the file `token` in the data folder, made at the first start,
//! and nobody but its owner can read it.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::durable::{self, Attributes, Links, private};

/// Bytes of chance in a token that is made here.
const RANDOM: usize = 32;
/// Fewest characters of a token that somebody else wrote.
const FEWEST: usize = 16;
/// Most bytes that are read of the file.
const MOST: u64 = 4096;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file or its folder.
    #[error("the token in {path} cannot be read or made: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Others can read it.
    #[error("others than its owner can read the token in {0}")]
    Open(PathBuf),
    /// Not a token.
    #[error("what is in {0} is no token: it needs {FEWEST} characters or more, without spaces")]
    Wrong(PathBuf),
    /// The system has no random bytes.
    #[error("the system gave no random bytes for a token: {0}")]
    Random(String),
}

impl TokenError {
    /// What to do.
    pub fn hint(&self) -> String {
        match self {
            TokenError::Io { .. } | TokenError::Random(_) => {
                "correct that, or set NPAST_HOME to a folder that can be written".into()
            }
            TokenError::Open(path) => format!("chmod 600 {}", path.display()),
            TokenError::Wrong(path) => {
                format!(
                    "remove {}: another one is made at the next start",
                    path.display()
                )
            }
        }
    }
}

/// What callers must show.
#[derive(Clone)]
pub struct AccessToken {
    text: String,
    hash: blake3::Hash,
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl AccessToken {
    fn new(text: String) -> AccessToken {
        AccessToken {
            hash: blake3::hash(text.as_bytes()),
            text,
        }
    }

    /// The token of a data folder, made where there is none.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn of(home: &Path) -> Result<AccessToken, TokenError> {
        let path = home.join("token");
        if let Some(token) = AccessToken::read(&path)? {
            return Ok(token);
        }
        let failed = |source| TokenError::Io {
            path: path.clone(),
            source,
        };
        private::folder(home).map_err(failed)?;
        let mut bytes = [0; RANDOM];
        getrandom::fill(&mut bytes).map_err(|e| TokenError::Random(e.to_string()))?;
        let mut text = String::with_capacity(2 * RANDOM + 1);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
        durable::replace(&path, text.as_bytes(), Attributes::Private, Links::Refuse)
            .map_err(|e| failed(io::Error::other(e)))?;
        // Another process may have been faster or slower: what is in the file counts.
        AccessToken::read(&path)?.ok_or(TokenError::Wrong(path))
    }

    /// `None` where there is no file, or an empty one.
    fn read(path: &Path) -> Result<Option<AccessToken>, TokenError> {
        let failed = |source| TokenError::Io {
            path: path.to_owned(),
            source,
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
                return Err(TokenError::Open(path.to_owned()));
            }
        }
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes).map_err(failed)?;
        let wrong = || TokenError::Wrong(path.to_owned());
        let text = str::from_utf8(&bytes).map_err(|_| wrong())?.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let plain = text.len() >= FEWEST && text.bytes().all(|b| b.is_ascii_graphic());
        match plain {
            true => Ok(Some(AccessToken::new(text.to_owned()))),
            false => Err(wrong()),
        }
    }

    /// As it is shown to the owner, and typed into a client.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether this is the token. Hashes are compared, in a time that says nothing of where they
    /// differ (`blake3::Hash` compares so).
    pub fn is(&self, given: &str) -> bool {
        blake3::hash(given.as_bytes()) == self.hash
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("data");
        let token = AccessToken::of(&home).unwrap();
        assert_eq!(token.text().len(), 2 * RANDOM);
        assert_eq!(AccessToken::of(&home).unwrap().text(), token.text());
        let mode = std::fs::metadata(home.join("token"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = AccessToken::of(&dir.path().join("other")).unwrap();
        assert_ne!(other.text(), token.text());
        assert!(token.is(token.text()) && !token.is(other.text()) && !token.is(""));
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn a_token_that_others_can_read_or_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let write = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("a-token-of-my-own-choice\n", 0o600);
        assert_eq!(
            AccessToken::of(dir.path()).unwrap().text(),
            "a-token-of-my-own-choice"
        );
        write("a-token-of-my-own-choice\n", 0o640);
        assert!(matches!(
            AccessToken::of(dir.path()),
            Err(TokenError::Open(_))
        ));
        write("short", 0o600);
        assert!(matches!(
            AccessToken::of(dir.path()),
            Err(TokenError::Wrong(_))
        ));
        write("two words that are long enough", 0o600);
        assert!(matches!(
            AccessToken::of(dir.path()),
            Err(TokenError::Wrong(_))
        ));
        // A crash before anything was written.
        write("", 0o600);
        assert_eq!(
            AccessToken::of(dir.path()).unwrap().text().len(),
            2 * RANDOM
        );
    }
}

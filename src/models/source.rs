//! What can be pulled, read from one word: `hf:OWNER/REPO[:QUANT]`, an address, or a short name.

use super::ModelsError;
use super::short;

/// Longest word that is read.
const MAX_WORD: usize = 2000;

/// A repository of the hub: `OWNER/NAME`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Repo(String);

impl Repo {
    /// Two names of letters, digits, `_`, and `-` or `.` between those; so it can be part of an
    /// address and of a folder's name.
    pub fn parse(text: &str) -> Option<Repo> {
        let name = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
            part.len() <= 96
                && part.chars().all(plain)
                && edge(part.chars().next())
                && edge(part.chars().next_back())
                && !part.contains("--")
                && !part.contains("..")
        };
        let (owner, own) = text.split_once('/')?;
        (name(owner) && name(own)).then(|| Repo(text.to_owned()))
    }

    /// `OWNER/NAME`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder of the hub's cache that holds it.
    pub fn folder(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }

    /// The repository of such a folder.
    pub fn of_folder(name: &str) -> Option<Repo> {
        Repo::parse(&name.strip_prefix("models--")?.replacen("--", "/", 1))
    }
}

impl std::fmt::Display for Repo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SHA-256 in hexadecimal, in lower case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sha256Text(String);

impl Sha256Text {
    /// 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Sha256Text> {
        let good = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        good.then(|| Sha256Text(text.to_ascii_lowercase()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Something to pull.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PullSource {
    /// A file of a repository, and the rest of it where it is split.
    Hub {
        /// The repository.
        repo: Repo,
        /// A quantization such as `Q4_K_M`, or a file's name; without one the best known is taken.
        tag: Option<String>,
    },
    /// A file at an address.
    Url {
        /// Without its fragment.
        url: String,
        /// The file's name.
        name: String,
        /// From the fragment `#sha256=…`.
        sum: Option<Sha256Text>,
    },
}

impl PullSource {
    /// Reads what was typed. `endpoint` is the hub's address: one that begins with it is one of the
    /// hub's files.
    ///
    /// # Errors
    /// [`ModelsError::Source`] says what is wrong.
    pub fn parse(given: &str, endpoint: &str) -> Result<PullSource, ModelsError> {
        if given.len() > MAX_WORD || given.chars().any(char::is_control) {
            return Err(ModelsError::source(given, "it is too long, or no text"));
        }
        if let Some(rest) = given.strip_prefix("hf:") {
            return hub(given, rest);
        }
        if given.starts_with("https://") || given.starts_with("http://") {
            return match file_page(given, endpoint) {
                Some(source) => Ok(source),
                None => url(given),
            };
        }
        if let Some(known) = short::find(given) {
            return hub(given, known.source);
        }
        if Repo::parse(given.split(':').next().unwrap_or_default()).is_some() {
            let why = format!("a repository is written hf:{given}");
            return Err(ModelsError::source(given, why));
        }
        Err(ModelsError::source(given, "no model has that short name"))
    }
}

fn hub(given: &str, rest: &str) -> Result<PullSource, ModelsError> {
    let (repo, tag) = match rest.split_once(':') {
        Some((repo, tag)) => (repo, Some(tag)),
        None => (rest, None),
    };
    let repo = Repo::parse(repo)
        .ok_or_else(|| ModelsError::source(given, "it is not of the form hf:OWNER/REPO"))?;
    if tag.is_some_and(|tag| tag.is_empty() || tag.len() > 256) {
        return Err(ModelsError::source(
            given,
            "the part behind the colon is empty or long",
        ));
    }
    let tag = tag.map(str::to_owned);
    Ok(PullSource::Hub { repo, tag })
}

/// The address of a file's page or of its bytes, on the hub's main branch.
fn file_page(given: &str, endpoint: &str) -> Option<PullSource> {
    let rest = given.strip_prefix(endpoint)?.strip_prefix('/')?;
    let rest = rest.split(['?', '#']).next()?;
    let mut parts = rest.splitn(5, '/');
    let (owner, name) = (parts.next()?, parts.next()?);
    let repo = Repo::parse(&format!("{owner}/{name}"))?;
    let kind = parts.next()?;
    let file = (matches!(kind, "resolve" | "blob") && parts.next()? == "main")
        .then(|| parts.next())
        .flatten()?;
    (file.ends_with(".gguf") && !file.contains('%')).then(|| PullSource::Hub {
        repo,
        tag: Some(file.to_owned()),
    })
}

fn url(given: &str) -> Result<PullSource, ModelsError> {
    let (url, fragment) = match given.split_once('#') {
        Some((url, fragment)) => (url, Some(fragment)),
        None => (given, None),
    };
    let sum = match fragment {
        None => None,
        Some(fragment) => {
            let sum = fragment.strip_prefix("sha256=").and_then(Sha256Text::parse);
            Some(sum.ok_or_else(|| {
                ModelsError::source(given, "behind # it takes sha256= and 64 hexadecimal digits")
            })?)
        }
    };
    let uri: ureq::http::Uri = url.parse().map_err(|_| {
        ModelsError::source(given, "it is no address of the form https://host/path")
    })?;
    let authority = uri.authority().map_or("", |a| a.as_str());
    if authority.is_empty() || authority.contains('@') {
        let why = "an address has a host, and no user or password in it";
        return Err(ModelsError::source(given, why));
    }
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !name.ends_with(".gguf")
        || name.len() > 200
        || name.starts_with('.')
        || !name.chars().all(plain)
    {
        let why = "its last part is not a plain file name that ends in .gguf";
        return Err(ModelsError::source(given, why));
    }
    Ok(PullSource::Url {
        name: name.to_owned(),
        url: url.to_owned(),
        sum,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = "https://huggingface.co";

    fn read(given: &str) -> String {
        match PullSource::parse(given, HUB) {
            Ok(PullSource::Hub { repo, tag }) => format!("{repo} {}", tag.unwrap_or_default()),
            Ok(PullSource::Url { url, name, sum }) => {
                format!("{url} {name} {}", sum.map_or("", |_| "sum"))
            }
            Err(error) => {
                assert!(error.is_usage() && error.hint().is_some());
                error.to_string()
            }
        }
    }

    #[test]
    fn a_repository_an_address_and_a_short_name_can_be_pulled() {
        let sum = "ab".repeat(32);
        let with_sum = format!("https://a.b/c/m.gguf?x=1#sha256={sum}");
        let table = [
            ("hf:Qwen/Qwen3-4B-GGUF", "Qwen/Qwen3-4B-GGUF "),
            ("hf:Qwen/Qwen3-4B-GGUF:q8_0", "Qwen/Qwen3-4B-GGUF q8_0"),
            ("qwen3-4b", "Qwen/Qwen3-4B-GGUF Q4_K_M"),
            ("https://a.b/c/m.gguf", "https://a.b/c/m.gguf m.gguf "),
            (&with_sum, "https://a.b/c/m.gguf?x=1 m.gguf sum"),
            (
                "https://huggingface.co/o/r/resolve/main/sub/m.gguf?download=true",
                "o/r sub/m.gguf",
            ),
            ("https://huggingface.co/o/r/blob/main/m.gguf", "o/r m.gguf"),
        ];
        for (given, want) in table {
            assert_eq!(read(given), want, "{given}");
        }
    }

    #[test]
    fn what_cannot_be_pulled_is_said_with_its_reason() {
        let table = [
            ("hf:../..", "it is not of the form hf:OWNER/REPO"),
            ("hf:a/b/c", "it is not of the form hf:OWNER/REPO"),
            ("hf:a--b/c", "it is not of the form hf:OWNER/REPO"),
            ("hf:a/b:", "the part behind the colon is empty or long"),
            ("a/b", "a repository is written hf:a/b"),
            ("nothing", "no model has that short name"),
            (
                "https://a.b/",
                "its last part is not a plain file name that ends in .gguf",
            ),
            (
                "https://a.b/..gguf",
                "its last part is not a plain file name that ends in .gguf",
            ),
            (
                "https://me:pw@a.b/m.gguf",
                "an address has a host, and no user or password in it",
            ),
            (
                "https://a.b/m.gguf#x",
                "behind # it takes sha256= and 64 hexadecimal digits",
            ),
            ("a\u{1b}[2J", "it is too long, or no text"),
        ];
        for (given, want) in table {
            let want = format!("{given:?} cannot be pulled: {want}");
            assert_eq!(read(given), want, "{given:?}");
        }
    }

    #[test]
    fn a_folder_of_the_cache_names_its_repository() {
        let repo = Repo::parse("Qwen/Qwen3-4B-GGUF").unwrap();
        assert_eq!(repo.folder(), "models--Qwen--Qwen3-4B-GGUF");
        assert_eq!(Repo::of_folder(&repo.folder()), Some(repo));
        assert_eq!(Repo::of_folder("datasets--a--b"), None);
    }
}

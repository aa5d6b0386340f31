//! Rules: `TOOL`, or `TOOL: PATTERN`. Of a command the pattern is words (`cargo test *`): a lone `*`
//! is any number of words, within a word `*` and `?` are any characters. Of a path it is a glob
//! (`src/**`), of an address and a server's call one that crosses `/`.

use std::fmt;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};

use crate::tools::command::ShellPlaces;

/// Longest rule, in bytes.
const MAX_RULE: usize = 4 << 10;

/// The user's rules. A denial beats a question, a question beats an allowance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalRules {
    /// May run.
    pub allow: Vec<ApprovalRule>,
    /// Asked about under every policy.
    pub ask: Vec<ApprovalRule>,
    /// Never run.
    pub deny: Vec<ApprovalRule>,
}

/// Why a text is no rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the rule {rule:?} cannot be read: {reason}")]
pub struct RuleError {
    rule: String,
    reason: String,
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApprovalRule {
    /// The tool's name; a `*` at its end stands for any ending.
    tool: String,
    /// Nothing means every call of the tool.
    pattern: Option<String>,
    /// The pattern as words, where it can be.
    words: Option<Vec<Vec<PatternPart>>>,
}

/// Part of a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PatternPart {
    Is(char),
    Any,
    Many,
}

impl ApprovalRule {
    /// Reads a rule.
    ///
    /// # Errors
    /// A rule without a tool, an empty pattern, an open quote.
    pub fn parse(text: &str) -> Result<ApprovalRule, RuleError> {
        let wrong = |reason: &str| RuleError {
            rule: text.chars().take(80).collect(),
            reason: reason.to_owned(),
        };
        if text.len() > MAX_RULE {
            return Err(wrong("it is longer than 4 KiB"));
        }
        let (tool, pattern) = match text.split_once(':') {
            Some((tool, pattern)) => (tool.trim(), Some(pattern.trim())),
            None => (text.trim(), None),
        };
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        let name = tool.strip_suffix('*').unwrap_or(tool);
        if tool.is_empty() || !name.bytes().all(good) {
            return Err(wrong(
                "it begins with a tool's name, such as \"terminal: cargo test *\"",
            ));
        }
        if pattern == Some("") {
            return Err(wrong("nothing stands behind the colon"));
        }
        let words = match pattern {
            Some(pattern) => Some(split(pattern).ok_or_else(|| wrong("a quote is not closed"))?),
            None => None,
        };
        Ok(ApprovalRule {
            tool: tool.to_owned(),
            pattern: pattern.map(str::to_owned),
            words,
        })
    }

    /// Exactly these words.
    pub(super) fn words(tool: &str, words: Vec<String>) -> ApprovalRule {
        let quoted: Vec<String> = words.iter().map(|w| quote(w)).collect();
        let exact = |w: &String| w.chars().map(PatternPart::Is).collect();
        ApprovalRule {
            tool: tool.to_owned(),
            pattern: Some(quoted.join(" ")),
            words: Some(words.iter().map(exact).collect()),
        }
    }

    /// Everything below a folder.
    pub(super) fn below(tool: &str, folder: &Path) -> ApprovalRule {
        let folder = globset::escape(&folder.to_string_lossy());
        ApprovalRule::globbed(tool, format!("{folder}/**"))
    }

    /// One path.
    pub(super) fn path(tool: &str, path: &Path) -> ApprovalRule {
        ApprovalRule::globbed(tool, globset::escape(&path.to_string_lossy()))
    }

    /// One address, or one call of a server; `None` where it is no short line.
    pub(super) fn text(tool: &str, text: &str) -> Option<ApprovalRule> {
        let plain = text.len() <= MAX_RULE / 2 && !text.contains(char::is_control);
        plain.then(|| ApprovalRule::globbed(tool, globset::escape(text)))
    }

    /// Every page of an address's server; `None` where it has none.
    pub(super) fn origin(tool: &str, url: &str) -> Option<ApprovalRule> {
        let (scheme, rest) = url.split_once("://")?;
        let host = rest.split(['/', '?', '#', '\\']).next()?;
        let good =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
        let plain = !host.is_empty() && host.bytes().all(good);
        let origin = globset::escape(&format!("{scheme}://{host}/"));
        plain.then(|| ApprovalRule::globbed(tool, format!("{origin}**")))
    }

    /// Every call.
    pub(super) fn any(tool: &str) -> ApprovalRule {
        ApprovalRule {
            tool: tool.to_owned(),
            pattern: None,
            words: None,
        }
    }

    fn globbed(tool: &str, pattern: String) -> ApprovalRule {
        ApprovalRule {
            tool: tool.to_owned(),
            words: split(&pattern),
            pattern: Some(pattern),
        }
    }

    pub(super) fn is_for(&self, tool: &str) -> bool {
        match self.tool.strip_suffix('*') {
            Some(start) => tool.starts_with(start),
            None => tool == self.tool,
        }
    }

    pub(super) fn is_any(&self) -> bool {
        self.pattern.is_none()
    }

    pub(super) fn matches_words(&self, words: &[&str]) -> bool {
        match &self.words {
            None => self.is_any(),
            Some(pattern) => match_words(pattern, words),
        }
    }

    /// Whether it is for these words alone.
    pub(super) fn is_words(&self) -> bool {
        let fixed = |part: &PatternPart| matches!(part, PatternPart::Is(_));
        let words = self.words.as_ref();
        words.is_some_and(|words| words.iter().flatten().all(fixed))
    }

    /// Whether it is for this path, this address or this call of a server alone.
    pub(super) fn is_text(&self, text: &str) -> bool {
        self.pattern.as_deref() == Some(&globset::escape(text))
    }

    /// Relative patterns begin in the project, `~/` in the home folder.
    pub(super) fn matches_path(&self, path: &Path, places: &ShellPlaces) -> bool {
        let Some(pattern) = &self.pattern else {
            return true;
        };
        let below = |folder: &Path, rest: &str| {
            format!("{}/{rest}", globset::escape(&folder.to_string_lossy()))
        };
        let whole = match pattern.strip_prefix("~/") {
            Some(rest) => below(&places.home, rest),
            None if pattern.starts_with('/') => pattern.clone(),
            None => below(&places.project, pattern),
        };
        // A folder's own pattern is for the folder too.
        let folder = whole.strip_suffix("/**");
        folder
            .and_then(|f| glob(f, true))
            .is_some_and(|g| g.is_match(path))
            || glob(&whole, true).is_some_and(|g| g.is_match(path))
    }

    pub(super) fn matches_text(&self, text: &str) -> bool {
        let Some(pattern) = &self.pattern else {
            return true;
        };
        glob(pattern, false).is_some_and(|g| g.is_match(text))
    }
}

impl fmt::Display for ApprovalRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pattern {
            Some(pattern) => write!(f, "{}: {pattern}", self.tool),
            None => f.write_str(&self.tool),
        }
    }
}

fn glob(pattern: &str, parts: bool) -> Option<GlobMatcher> {
    let mut builder = GlobBuilder::new(pattern);
    let glob = builder
        .literal_separator(parts)
        .backslash_escape(true)
        .build();
    glob.ok().map(|g| g.compile_matcher())
}

/// Words as a shell would split them, quotes removed; an unquoted `*` or `?` is a wildcard.
fn split(text: &str) -> Option<Vec<Vec<PatternPart>>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<PatternPart>> = None;
    let mut quote: Option<char> = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(PatternPart::Is(c)),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '*') => word.get_or_insert_default().push(PatternPart::Many),
            (None, '?') => word.get_or_insert_default().push(PatternPart::Any),
            (None, '\\') => word
                .get_or_insert_default()
                .push(PatternPart::Is(rest.next()?)),
            (None, c) => word.get_or_insert_default().push(PatternPart::Is(c)),
        }
    }
    words.extend(word.take());
    quote.is_none().then_some(words)
}

/// A word as [`split`] reads it back.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./,:=+@%^".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn match_words(pattern: &[Vec<PatternPart>], words: &[&str]) -> bool {
    // Which beginnings of the words the pattern so far matches.
    let mut at = vec![false; words.len() + 1];
    at[0] = true;
    for word in pattern {
        let mut next = vec![false; words.len() + 1];
        if word.as_slice() == [PatternPart::Many] {
            let first = at.iter().position(|here| *here);
            next[first.unwrap_or(words.len() + 1).min(words.len() + 1)..].fill(true);
        } else {
            for (n, text) in words.iter().enumerate() {
                next[n + 1] = at[n] && match_word(word, text);
            }
        }
        at = next;
    }
    at[words.len()]
}

fn match_word(pattern: &[PatternPart], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut at = vec![false; text.len() + 1];
    at[0] = true;
    for part in pattern {
        let mut next = vec![false; text.len() + 1];
        match part {
            PatternPart::Many => {
                let first = at.iter().position(|here| *here);
                next[first.unwrap_or(text.len() + 1).min(text.len() + 1)..].fill(true);
            }
            part => {
                for (n, c) in text.iter().enumerate() {
                    next[n + 1] =
                        at[n] && (*part == PatternPart::Any || *part == PatternPart::Is(*c));
                }
            }
        }
        at = next;
    }
    at[text.len()]
}

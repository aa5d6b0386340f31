//! Valid names of sessions, and a name for a session that the user did not name.

/// Longest session name, in bytes.
pub const MAX_NAME: usize = 100;

/// Limits of a name made from words: enough to recognise a conversation in a list.
const SLUG_WORDS: usize = 6;
const SLUG_BYTES: usize = 48;
/// Characters of a prompt that are looked at for a name.
const SLUG_LOOK: usize = 1000;

/// Which rule a session name breaks.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// No characters.
    #[error("a session name may not be empty")]
    Empty,
    /// More than [`MAX_NAME`] bytes.
    #[error("a session name may have at most {MAX_NAME} bytes, and this one has {0}")]
    Long(usize),
    /// `/` or `\`.
    #[error("a session name may not contain the separator '{0}'")]
    Separator(char),
    /// A control character, or one that reorders or hides text on a terminal.
    #[error("a session name may not contain the invisible character U+{0:04X}")]
    Invisible(u32),
    /// Two dots in a row.
    #[error("a session name may not contain \"..\"")]
    Dots,
    /// White space at an end, which nobody sees and nobody types again.
    #[error("a session name may not begin or end with white space")]
    Margin,
}

/// Checks a session name. Names are never used as paths; the rules keep them typable, printable
/// on a terminal, and safe in scripts that do make paths of them.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(NameError::Long(name.len()));
    }
    for c in name.chars() {
        if c == '/' || c == '\\' {
            return Err(NameError::Separator(c));
        }
        if invisible(c) {
            return Err(NameError::Invisible(c as u32));
        }
    }
    if name.contains("..") {
        return Err(NameError::Dots);
    }
    if name.trim() != name {
        return Err(NameError::Margin);
    }
    Ok(())
}

/// A name from the first words of a text: lower case, words joined by `-`, never empty, always
/// accepted by [`check_name`]. Not unique: see [`super::Db::free_name`].
pub fn name_from_words(text: &str) -> String {
    let mut name = String::new();
    let mut words = 0;
    let mut between = true;
    'text: for c in text.chars().take(SLUG_LOOK) {
        if separates(c) {
            between = true;
            continue;
        }
        if between {
            if words == SLUG_WORDS {
                break;
            }
            words += 1;
            if !name.is_empty() {
                name.push('-');
            }
            between = false;
        }
        for low in c.to_lowercase() {
            if name.len() + low.len_utf8() > SLUG_BYTES {
                break 'text;
            }
            name.push(low);
        }
    }
    name.truncate(name.trim_end_matches('-').len());
    if check_name(&name).is_err() {
        return "session".into();
    }
    name
}

/// `name` with a number behind it, shortened so that it still fits.
pub(super) fn numbered(name: &str, n: u64) -> String {
    let suffix = format!("-{n}");
    let mut end = name.len().min(MAX_NAME - suffix.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", name[..end].trim_end())
}

/// What ends a word: white space, ASCII and general punctuation, CJK and full-width marks.
/// Letters of every script, their combining marks, digits and pictures do not.
fn separates(c: char) -> bool {
    c.is_whitespace()
        || invisible(c)
        || c.is_ascii_punctuation()
        || matches!(
            c,
            '\u{00a1}' | '\u{00ab}' | '\u{00b7}' | '\u{00bb}' | '\u{00bf}'
        )
        || matches!(c as u32, 0x2000..=0x206f | 0x3000..=0x303f | 0xff01..=0xff0f | 0xff1a..=0xff20)
}

/// Controls, and characters that break lines or reorder text.
fn invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c as u32,
            0x061c | 0x200b | 0x200e | 0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_that_breaks_a_rule_is_refused_with_that_rule() {
        let table = [
            ("", NameError::Empty),
            ("a/b", NameError::Separator('/')),
            ("a\\b", NameError::Separator('\\')),
            ("a\nb", NameError::Invisible(0x0a)),
            ("a\0", NameError::Invisible(0)),
            ("\u{1b}[2J", NameError::Invisible(0x1b)),
            ("a\u{202e}b", NameError::Invisible(0x202e)),
            ("..", NameError::Dots),
            ("a..b", NameError::Dots),
            (" a", NameError::Margin),
            ("a\u{3000}", NameError::Margin),
        ];
        for (name, error) in table {
            assert_eq!(check_name(name), Err(error), "{name:?}");
        }
        assert_eq!(check_name(&"x".repeat(101)), Err(NameError::Long(101)));
        assert_eq!(
            check_name("a/b").unwrap_err().to_string(),
            "a session name may not contain the separator '/'"
        );
        for name in ["work", "fix the parser", "v1.2", "日本語", "é", "🎉"] {
            assert_eq!(check_name(name), Ok(()), "{name:?}");
        }
        assert_eq!(check_name(&"x".repeat(100)), Ok(()));
    }

    #[test]
    fn a_prompt_gives_a_short_name_in_any_script() {
        let table = [
            ("Fix the parser, please!", "fix-the-parser-please"),
            (
                "one two three four five six seven",
                "one-two-three-four-five-six",
            ),
            ("", "session"),
            ("../../etc/passwd", "etc-passwd"),
            ("  \n\t?!", "session"),
            ("Cafe\u{301} au lait", "cafe\u{301}-au-lait"),
            ("日本語で、書いて", "日本語で-書いて"),
            ("\u{202e}evil", "evil"),
            ("🎉 party", "🎉-party"),
        ];
        for (text, name) in table {
            assert_eq!(name_from_words(text), name, "{text:?}");
        }
        assert_eq!(name_from_words(&"長".repeat(500)), "長".repeat(16));
    }

    proptest! {
        #[test]
        fn a_made_name_always_passes_the_rules(text in any::<String>(), n in 2u64..) {
            let name = name_from_words(&text);
            prop_assert_eq!(check_name(&name), Ok(()));
            prop_assert!(name.len() <= SLUG_BYTES);
            prop_assert_eq!(check_name(&numbered(&name, n)), Ok(()));
        }

        #[test]
        fn a_numbered_name_passes_the_rules_at_full_length(text in "[a-z é長]{1,100}", n in 2u64..) {
            let mut text = text;
            while text.len() > MAX_NAME {
                text.pop();
            }
            prop_assume!(check_name(&text).is_ok());
            let name = numbered(&text, n);
            prop_assert_eq!(check_name(&name), Ok(()), "{}", name);
        }
    }
}

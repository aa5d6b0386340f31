//! The colours of code. A line is read once, when all of it is there; the state behind it is kept for the
//! next one. Code in an unknown language, and what would take long, has no colours.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use syntect::parsing::{ParseState, Scope, ScopeStack, SyntaxReference, SyntaxSet};

use crate::cli::output::style::{Hue, StyledText, TextStyle, add};

/// Bytes of a line that is read for colours.
const LINE: usize = 1024;
/// How long one block of code may take in all.
const PATIENCE: Duration = Duration::from_millis(500);

/// Colours a block of code line by line.
pub struct CodePainter {
    /// Where the reading stands; nothing where there are no colours.
    reading: Option<(ParseState, ScopeStack)>,
    spent: Duration,
}

impl CodePainter {
    /// For a language as the mark before the code names it (`rust`, `py`).
    pub fn new(language: &str) -> CodePainter {
        let syntax = syntax(language);
        CodePainter {
            reading: syntax.map(|syntax| (ParseState::new(syntax), ScopeStack::new())),
            spent: Duration::ZERO,
        }
    }

    /// A whole line without its line feed.
    pub fn line(&mut self, line: &str) -> Vec<StyledText> {
        let plain = || vec![StyledText::new(line, TextStyle::PLAIN)];
        let Some((state, stack)) = &mut self.reading else {
            return plain();
        };
        if line.len() > LINE {
            return plain();
        }
        let began = Instant::now();
        let read = state.parse_line(&format!("{line}\n"), syntaxes());
        self.spent += began.elapsed();
        let Ok(changes) = read else {
            self.reading = None;
            return plain();
        };
        let mut pieces = Vec::new();
        let mut at = 0;
        for (place, change) in &changes {
            let place = (*place).min(line.len());
            if let Some(text) = line.get(at..place) {
                add(&mut pieces, text, style(stack));
                at = place;
            }
            if stack.apply(change).is_err() {
                break;
            }
        }
        add(
            &mut pieces,
            line.get(at..).unwrap_or_default(),
            style(stack),
        );
        if self.spent > PATIENCE {
            self.reading = None;
        }
        pieces
    }
}

fn syntaxes() -> &'static SyntaxSet {
    static SYNTAXES: OnceLock<SyntaxSet> = OnceLock::new();
    SYNTAXES.get_or_init(two_face::syntax::extra_newlines)
}

/// The language of a block: the first word of its mark.
fn syntax(language: &str) -> Option<&'static SyntaxReference> {
    let mut words = language.split(|c: char| c.is_whitespace() || matches!(c, ',' | '{' | ':'));
    let word = words
        .next()
        .filter(|word| !word.is_empty() && word.len() < 40)?;
    let word = match word.to_ascii_lowercase().as_str() {
        "shell" | "console" | "shell-session" => "sh".to_owned(),
        "text" | "txt" | "plain" | "plaintext" => return None,
        word => word.to_owned(),
    };
    syntaxes().find_syntax_by_token(&word)
}

/// Beginnings of names of scopes, and how text in them looks. The innermost scope that is listed counts;
/// of two beginnings the longer one.
const LOOKS: [(&str, TextStyle); 23] = [
    ("comment", TextStyle::DIM),
    ("string", hue(Hue::Green)),
    ("constant.character.escape", hue(Hue::Cyan)),
    ("constant", hue(Hue::Cyan)),
    ("keyword.operator", TextStyle::PLAIN),
    ("keyword", hue(Hue::Magenta)),
    ("storage.type.numeric", hue(Hue::Cyan)),
    ("storage", hue(Hue::Magenta)),
    ("entity.name.function", hue(Hue::Blue)),
    ("support.function", hue(Hue::Blue)),
    ("support.macro", hue(Hue::Blue)),
    ("variable.function", hue(Hue::Blue)),
    ("entity.name.tag", hue(Hue::Blue)),
    ("entity.other.attribute-name", hue(Hue::Yellow)),
    ("entity.name", hue(Hue::Yellow)),
    ("support.type", hue(Hue::Yellow)),
    ("support.class", hue(Hue::Yellow)),
    ("variable.language", hue(Hue::Magenta)),
    ("markup.inserted", hue(Hue::Green)),
    ("markup.deleted", hue(Hue::Red)),
    ("markup.heading", TextStyle::BOLD),
    ("meta.diff.range", hue(Hue::Cyan)),
    ("meta.diff.header", TextStyle::BOLD),
];

const fn hue(hue: Hue) -> TextStyle {
    TextStyle {
        hue: Some(hue),
        ..TextStyle::PLAIN
    }
}

fn style(stack: &ScopeStack) -> TextStyle {
    static SCOPES: OnceLock<Vec<(Scope, TextStyle)>> = OnceLock::new();
    let looks = SCOPES.get_or_init(|| {
        let scopes = LOOKS.iter().filter_map(|(name, style)| {
            let scope = Scope::new(name).ok()?;
            Some((scope, *style))
        });
        scopes.collect()
    });
    let of = |scope: &Scope| {
        let fits = looks.iter().filter(|(begin, _)| begin.is_prefix_of(*scope));
        fits.max_by_key(|(begin, _)| begin.len())
            .map(|(_, style)| *style)
    };
    let found = stack.as_slice().iter().rev().find_map(of);
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hues(language: &str, line: &str) -> Vec<(String, Option<Hue>)> {
        let pieces = CodePainter::new(language).line(line);
        pieces
            .iter()
            .map(|piece| (piece.text().trim().to_owned(), piece.style().hue))
            .filter(|(text, hue)| !text.is_empty() && hue.is_some())
            .collect()
    }

    #[test]
    fn the_usual_languages_have_colours() {
        let table = [
            ("rust", "let n = 1;", "let", Hue::Magenta),
            ("rs", "fn main() {}", "main", Hue::Blue),
            ("python", "x = \"a\"", "\"a\"", Hue::Green),
            ("py", "def f(): pass", "f", Hue::Blue),
            ("bash", "echo \"a\"", "\"a\"", Hue::Green),
            ("sh", "if true; then x; fi", "if", Hue::Magenta),
            ("json", "{\"a\": 1}", "1", Hue::Cyan),
            ("toml", "a = 1", "1", Hue::Cyan),
            ("typescript", "const a = 1", "const", Hue::Magenta),
            ("js", "const a = 1", "const", Hue::Magenta),
            ("c", "int x = 1;", "1", Hue::Cyan),
            ("cpp", "int x = 1;", "1", Hue::Cyan),
            ("go", "func main() {}", "func", Hue::Magenta),
            ("yaml", "a: 1", "1", Hue::Cyan),
            ("sql", "SELECT 1", "SELECT", Hue::Magenta),
            ("diff", "+a", "+a", Hue::Green),
            ("html", "<p>", "p", Hue::Blue),
            ("dockerfile", "FROM a", "FROM", Hue::Magenta),
        ];
        for (language, line, text, hue) in table {
            let hues = hues(language, line);
            let found = hues.iter().any(|(t, h)| t == text && *h == Some(hue));
            assert!(found, "{language}: {hues:?}");
        }
        assert_eq!(hues("nosuch", "let n = 1;"), []);
        assert_eq!(hues("", "let n = 1;"), []);
    }

    #[test]
    fn a_comment_over_lines_ends_where_it_ends() {
        let mut painter = CodePainter::new("rust");
        painter.line("/* one");
        let inside = painter.line("two");
        assert!(inside[0].style().dim, "{inside:?}");
        let behind = painter.line("*/ let n = 1;");
        assert!(behind.iter().any(|piece| piece.text().contains("let")));
        assert!(!behind.last().unwrap().style().dim, "{behind:?}");
    }

    #[test]
    fn nothing_of_a_line_is_lost_whatever_is_in_it() {
        let long = "let ".repeat(1000);
        for line in ["", "日本 \"é", "}}}))", "\u{301}", "'", &long] {
            for language in ["rust", "python", "html", "markdown", "bash"] {
                let pieces = CodePainter::new(language).line(line);
                let text: String = pieces.iter().map(StyledText::text).collect();
                assert_eq!(text, line, "{language}");
            }
        }
    }
}

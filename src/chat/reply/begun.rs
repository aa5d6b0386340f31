//! A call while it is written: which tool it is for, and what it is about, as far as that is known. Only for
//! people to look at; what runs is decided when the reply is whole.

/// Parameters that say what a call is about, the most telling first.
const TELLING: [&str; 6] = ["path", "command", "url", "query", "pattern", "name"];
/// Bytes of the arguments that are looked at.
const LOOKED_AT: usize = 2 << 10;
/// Most characters of what it is about.
const MAX_TARGET: usize = 200;

/// A call that is being written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BegunCall {
    /// Its place among the calls of the reply.
    pub place: usize,
    /// The tool; empty as long as it is not known.
    pub name: String,
    /// The beginning of the arguments: JSON that ends anywhere.
    arguments: String,
}

impl BegunCall {
    /// The call at `place`, with its arguments as far as they are written.
    pub(super) fn new(place: usize, name: String, arguments: &str) -> BegunCall {
        let mut end = arguments.len().min(LOOKED_AT);
        while !arguments.is_char_boundary(end) {
            end -= 1;
        }
        BegunCall {
            place,
            name,
            arguments: arguments[..end].to_owned(),
        }
    }

    /// The file, command or address that it is about, as far as it is written.
    pub fn target(&self) -> Option<String> {
        TELLING.iter().find_map(|name| value(&self.arguments, name))
    }
}

/// The text that a parameter has, or its beginning.
fn value(arguments: &str, name: &str) -> Option<String> {
    let mark = format!("\"{name}\"");
    let at = arguments.find(&mark)? + mark.len();
    let rest = arguments[at..].trim_start().strip_prefix(':')?;
    let rest = rest.trim_start().strip_prefix('"')?;
    let mut escaped = false;
    let end = rest.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let written = &rest[..end.unwrap_or(rest.len())];
    // An escape sequence may be cut.
    let texts = (0..=6).filter_map(|less| written.get(..written.len().checked_sub(less)?));
    let mut texts =
        texts.filter_map(|text| serde_json::from_str::<String>(&format!("\"{text}\"")).ok());
    let text: String = texts.next()?.chars().take(MAX_TARGET).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_is_about_is_known_before_the_call_is_whole() {
        let target = |arguments: &str| BegunCall::new(0, "x".into(), arguments).target();
        let table = [
            ("", None),
            ("{\"pa", None),
            ("{\"path\"", None),
            ("{\"path\": \"", None),
            ("{\"path\": \"src/ca", Some("src/ca")),
            ("{\"path\": \"a b\\\"c\", \"content\": \"x", Some("a b\"c")),
            ("{\"command\":\"echo \\u00e", Some("echo ")),
            ("{\"command\":\"echo \\", Some("echo ")),
            // A name inside of a text is none.
            ("{\"content\": \"\\\"path\\\": \\\"no\\\"\", \"pa", None),
            ("{\"timeout\": 5, \"command\": \"ls\"}", Some("ls")),
        ];
        for (arguments, want) in table {
            assert_eq!(target(arguments).as_deref(), want, "{arguments}");
        }
        let long = format!("{{\"path\": \"{}", "日".repeat(5000));
        assert_eq!(target(&long).map(|text| text.chars().count()), Some(200));
    }
}

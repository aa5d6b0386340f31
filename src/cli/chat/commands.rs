//! The commands of a chat that go back, aside, or to another session, as typed.

/// A command with what stands behind it.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Take so many turns back.
    Undo(usize),
    /// Put back what was taken off last, or a branch.
    Redo(Option<i64>),
    /// Another reply.
    Retry,
    /// Another text for the last message; none brings the old one into the line editor.
    Edit(Option<String>),
    /// Go on in a session made from this one.
    Fork(Option<String>),
    /// Put a summary in the place of the middle, with most room for this.
    Compress(Option<String>),
    /// Replace old long results of tools by a line each.
    Prune,
    /// Go on in another session.
    Open(String),
    /// A question beside the conversation.
    Aside(String),
    /// It was not understood: how it is typed.
    Wrong(&'static str),
}

/// Reads a line without white space around it; `None` when it is none of these.
pub fn read(line: &str) -> Option<Command> {
    let (word, rest) = match line.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (line, ""),
    };
    let given = (!rest.is_empty()).then(|| rest.to_owned());
    Some(match (word, given) {
        ("/undo", None) => Command::Undo(1),
        ("/undo", Some(n)) => n.parse().map_or(
            Command::Wrong("/undo takes the number of turns, or nothing for the last one"),
            Command::Undo,
        ),
        ("/redo", None) => Command::Redo(None),
        ("/redo", Some(n)) => n.parse().map_or(
            Command::Wrong("/redo takes the number of a branch, or nothing for the last one"),
            |n| Command::Redo(Some(n)),
        ),
        ("/retry", None) => Command::Retry,
        ("/retry", Some(_)) => {
            Command::Wrong("/retry stands alone; /edit TEXT changes the message")
        }
        ("/edit", text) => Command::Edit(text),
        ("/fork", name) => Command::Fork(name),
        ("/compress", topic) => Command::Compress(topic),
        ("/btw", Some(question)) => Command::Aside(question),
        ("/btw", None) => Command::Wrong("/btw QUESTION asks something beside the conversation"),
        ("/prune", None) => Command::Prune,
        ("/prune", Some(_)) => Command::Wrong("/prune stands alone"),
        ("/open", Some(name)) => Command::Open(name),
        ("/open", None) => Command::Wrong("/open takes the name of a session"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_its_first_word_and_the_rest_is_what_it_takes() {
        let table = [
            ("/undo", Some(Command::Undo(1))),
            ("/undo 3", Some(Command::Undo(3))),
            ("/redo\t7", Some(Command::Redo(Some(7)))),
            ("/redo", Some(Command::Redo(None))),
            ("/retry", Some(Command::Retry)),
            ("/edit", Some(Command::Edit(None))),
            (
                "/edit  two words",
                Some(Command::Edit(Some("two words".into()))),
            ),
            ("/fork", Some(Command::Fork(None))),
            (
                "/fork other way",
                Some(Command::Fork(Some("other way".into()))),
            ),
            ("/compress", Some(Command::Compress(None))),
            ("/prune", Some(Command::Prune)),
            (
                "/btw  what was it? ",
                Some(Command::Aside("what was it?".into())),
            ),
            (
                "/compress the parser",
                Some(Command::Compress(Some("the parser".into()))),
            ),
            ("/open work", Some(Command::Open("work".into()))),
            ("/undone", None),
            ("/etc/passwd", None),
            ("/help me", None),
        ];
        for (line, want) in table {
            assert_eq!(read(line), want, "{line:?}");
        }
        for line in ["/undo two", "/undo -1", "/redo x", "/retry now", "/open"] {
            assert!(matches!(read(line), Some(Command::Wrong(_))), "{line:?}");
        }
    }
}

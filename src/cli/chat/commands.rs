//! The commands of a chat that go back, aside, or to another session, as typed.

use crate::approve::Approve;

/// A command with what stands behind it.
#[derive(Debug, PartialEq)]
pub enum ChatCommand {
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
    /// What happens to calls that no rule speaks of; nothing asks what it is now.
    Mode(Option<Approve>),
    /// A result whole; without a number the last one.
    Show(Option<usize>),
    /// An unknown form of a command: how the command is typed.
    Wrong(&'static str),
}

/// Reads a line without white space around it; `None` when it is none of these.
pub fn read(line: &str) -> Option<ChatCommand> {
    let (word, rest) = match line.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (line, ""),
    };
    let given = (!rest.is_empty()).then(|| rest.to_owned());
    Some(match (word, given) {
        ("/undo", None) => ChatCommand::Undo(1),
        ("/undo", Some(n)) => n.parse().map_or(
            ChatCommand::Wrong("/undo takes the number of turns, or nothing for the last one"),
            ChatCommand::Undo,
        ),
        ("/redo", None) => ChatCommand::Redo(None),
        ("/redo", Some(n)) => n.parse().map_or(
            ChatCommand::Wrong("/redo takes the number of a branch, or nothing for the last one"),
            |n| ChatCommand::Redo(Some(n)),
        ),
        ("/retry", None) => ChatCommand::Retry,
        ("/retry", Some(_)) => {
            ChatCommand::Wrong("/retry stands alone; /edit TEXT changes the message")
        }
        ("/edit", text) => ChatCommand::Edit(text),
        ("/fork", name) => ChatCommand::Fork(name),
        ("/compress", topic) => ChatCommand::Compress(topic),
        ("/btw", Some(question)) => ChatCommand::Aside(question),
        ("/btw", None) => {
            ChatCommand::Wrong("/btw QUESTION asks something beside the conversation")
        }
        ("/prune", None) => ChatCommand::Prune,
        ("/prune", Some(_)) => ChatCommand::Wrong("/prune stands alone"),
        ("/approve", None) => ChatCommand::Mode(None),
        ("/approve", Some(word)) => Approve::parse(&word).map_or(
            ChatCommand::Wrong("/approve takes ask, edits, auto or deny"),
            |mode| ChatCommand::Mode(Some(mode)),
        ),
        ("/show", None) => ChatCommand::Show(None),
        ("/show", Some(n)) => n.parse().map_or(
            ChatCommand::Wrong("/show takes the number of a result, or nothing for the last one"),
            |n| ChatCommand::Show(Some(n)),
        ),
        ("/open", Some(name)) => ChatCommand::Open(name),
        ("/open", None) => ChatCommand::Wrong("/open takes the name of a session"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_its_first_word_and_the_rest_is_what_it_takes() {
        let table = [
            ("/undo", Some(ChatCommand::Undo(1))),
            ("/undo 3", Some(ChatCommand::Undo(3))),
            ("/redo\t7", Some(ChatCommand::Redo(Some(7)))),
            ("/redo", Some(ChatCommand::Redo(None))),
            ("/retry", Some(ChatCommand::Retry)),
            ("/edit", Some(ChatCommand::Edit(None))),
            (
                "/edit  two words",
                Some(ChatCommand::Edit(Some("two words".into()))),
            ),
            ("/fork", Some(ChatCommand::Fork(None))),
            (
                "/fork other way",
                Some(ChatCommand::Fork(Some("other way".into()))),
            ),
            ("/compress", Some(ChatCommand::Compress(None))),
            ("/prune", Some(ChatCommand::Prune)),
            (
                "/btw  what was it? ",
                Some(ChatCommand::Aside("what was it?".into())),
            ),
            (
                "/compress the parser",
                Some(ChatCommand::Compress(Some("the parser".into()))),
            ),
            ("/approve", Some(ChatCommand::Mode(None))),
            (
                "/approve edits",
                Some(ChatCommand::Mode(Some(Approve::Edits))),
            ),
            ("/show 3", Some(ChatCommand::Show(Some(3)))),
            ("/open work", Some(ChatCommand::Open("work".into()))),
            ("/undone", None),
            ("/etc/passwd", None),
            ("/help me", None),
        ];
        for (line, want) in table {
            assert_eq!(read(line), want, "{line:?}");
        }
        for line in [
            "/undo two",
            "/undo -1",
            "/redo x",
            "/retry now",
            "/open",
            "/approve all",
            "/show x",
        ] {
            assert!(
                matches!(read(line), Some(ChatCommand::Wrong(_))),
                "{line:?}"
            );
        }
    }
}

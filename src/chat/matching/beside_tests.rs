use super::*;

/// A coding agent's conversation with tools, and a chat without a system text.
fn agent() -> Open {
    Open {
        system: Some("You are a coding agent. Use the tools.\n".repeat(9)),
        tools: true,
        said: vec![
            "<system-reminder>\nToday's date is 2026-12-01.\n</system-reminder>\nWhy does the \"parser\" \
             hang on empty files?"
                .into(),
            "Now run the tests.".into(),
        ],
        named: false,
    }
}

fn chat() -> Open {
    Open {
        said: vec![
            "How do I bake rye bread?".into(),
            "And without yeast?\nI have none.".into(),
        ],
        ..Open::default()
    }
}

struct Case {
    what: &'static str,
    system: Option<&'static str>,
    tools: bool,
    messages: Vec<Message>,
    most: Option<usize>,
    open: Vec<Open>,
    want: Option<Sign>,
}

fn case(what: &'static str, messages: Vec<Message>, open: Vec<Open>, want: Option<Sign>) -> Case {
    Case {
        what,
        system: None,
        tools: false,
        messages,
        most: None,
        open,
        want,
    }
}

fn user(text: &str) -> Vec<Message> {
    vec![Message::user(text)]
}

#[test]
fn requests_beside_a_conversation_are_told_from_conversations() {
    let named = |open: Open| Open {
        named: true,
        ..open
    };
    let quoting = "### Task:\nGenerate a concise title with an emoji.\n<chat_history>\nUSER: How do I bake \
                   rye bread?\nASSISTANT: With rye.\n</chat_history>";
    let table = [
        // A chat front end without a system text: the title quotes, and so do tags.
        case(
            "a title that quotes",
            user(quoting),
            vec![chat()],
            Some(Sign::Quotes),
        ),
        case(
            "follow-up questions about the last message",
            user("Suggest 3 follow-up questions.\nUSER: And without yeast?\nI have none."),
            vec![agent(), chat()],
            Some(Sign::Quotes),
        ),
        // An agent's title: a system text of its own, and the message as it was.
        Case {
            system: Some("You name threads. Output a thread name only."),
            ..case(
                "a name from the first message",
                vec![
                    Message::user("Name this:\n"),
                    Message::user("Why does the \"parser\" hang on empty files?"),
                ],
                vec![agent()],
                Some(Sign::Quotes),
            )
        },
        case(
            "the message inside of JSON",
            user(r#"{"first": "Why does the \"parser\" hang on empty files?"}"#),
            vec![agent()],
            Some(Sign::Quotes),
        ),
        Case {
            system: Some("You are a baker."),
            ..case(
                "another conversation that begins with the same message",
                user("How do I bake rye bread?"),
                vec![chat()],
                None,
            )
        },
        Case {
            most: Some(1),
            ..case(
                "a ping",
                user("quota"),
                vec![agent()],
                Some(Sign::FewTokens),
            )
        },
        Case {
            most: Some(FEW_TOKENS + 1),
            ..case("a short chat", user("Hello there"), vec![agent()], None)
        },
        Case {
            system: Some("Say whether this message begins a new topic. Answer in JSON."),
            most: Some(200),
            ..case(
                "a topic, with the beginning of its answer",
                vec![Message::user("Now something else"), Message::assistant("{")],
                vec![agent()],
                Some(Sign::Asks),
            )
        },
        Case {
            system: Some("Say whether this message begins a new topic. Answer in JSON."),
            most: Some(SOME_TOKENS + 1),
            ..case(
                "the same with a long answer",
                user("Now something else"),
                vec![agent()],
                None,
            )
        },
        Case {
            system: Some("Be a poet."),
            ..case(
                "a conversation's name with another head",
                user("Roses are red"),
                vec![named(agent())],
                Some(Sign::SharedName),
            )
        },
        case(
            "a conversation's name with its head",
            user("Roses are red"),
            vec![named(chat())],
            None,
        ),
        // Conversations.
        case("nothing is open", user(quoting), vec![], None),
        case(
            "the first message of a chat",
            user("Who was Ada Lovelace?"),
            vec![agent(), chat()],
            None,
        ),
        case(
            "the same first message again",
            user(" How do I bake rye bread?\n"),
            vec![chat()],
            None,
        ),
        case(
            "a chat that takes up another one under the same head",
            user("Earlier I asked: How do I bake rye bread? Go on from there."),
            vec![chat()],
            None,
        ),
        Case {
            tools: true,
            most: Some(8),
            ..case("a sub-agent with tools", user(quoting), vec![chat()], None)
        },
        Case {
            most: Some(8),
            ..case(
                "a history with replies",
                vec![
                    Message::user("Who?"),
                    Message::assistant("Me."),
                    Message::user("Why?"),
                ],
                vec![chat()],
                None,
            )
        },
        Case {
            most: Some(8),
            ..case(
                "too many messages",
                [user("a"), user("b"), user("c"), user("d")].concat(),
                vec![chat()],
                None,
            )
        },
        Case {
            most: Some(8),
            ..case(
                "too long",
                user(&"x".repeat(MOST_BYTES + 1)),
                vec![chat()],
                None,
            )
        },
    ];
    for case in table {
        let asked = Asked {
            system: case.system,
            tools: case.tools,
            messages: &case.messages,
            most: case.most,
        };
        assert_eq!(sign(&asked, &case.open), case.want, "{}", case.what);
    }
}

#[test]
fn what_is_looked_for_is_long_enough_and_the_users_own() {
    assert_eq!(
        quotable("<env>\nplatform: linux and more\n</env>\nGo on"),
        [""; 0]
    );
    assert_eq!(
        quotable("Short one\n\na much longer line of text"),
        ["Short one", "a much longer line of text"]
    );
    let long = "ü".repeat(200);
    assert_eq!(quotable(&long), ["ü".repeat(QUOTED / 2)]);
}

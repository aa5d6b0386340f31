use super::*;

/// Prompt, session, piped input, what is understood.
type Row = (
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static [u8]>,
    &'static str,
);

fn talk(prompt: Option<&str>, session: Option<&str>) -> TalkArgs {
    TalkArgs {
        prompt: prompt.map(str::to_owned),
        session: session.map(str::to_owned),
        ..TalkArgs::default()
    }
}

/// One line for what was understood.
fn told(talk: &TalkArgs, piped: Option<&[u8]>) -> String {
    match read(talk, piped.unwrap_or_default(), piped.is_none()) {
        Ok(Invocation::Chat) => "chat".into(),
        Ok(Invocation::Turn(Input::Text(text))) => format!("text {text:?}"),
        Ok(Invocation::Turn(Input::Messages(list))) => format!("{} messages", list.len()),
        Ok(Invocation::Turn(Input::Open)) => "open".into(),
        Ok(Invocation::Turn(Input::Continue)) => "continue".into(),
        Err(failure) => format!("exit {}: {}", failure.exit, failure.message),
    }
}

#[test]
fn prompt_and_piped_input_make_one_message() {
    let work = Some("work");
    let table: [Row; 11] = [
        (None, None, None, "chat"),
        (None, work, None, "chat"),
        (Some("hi"), None, None, "text \"hi\""),
        (None, None, Some(b"piped\r\n\n"), "text \"piped\""),
        (Some("hi"), None, Some(b"piped\n"), "text \"hi\\n\\npiped\""),
        (Some("hi"), None, Some(b""), "text \"hi\""),
        (Some(""), None, Some(b"piped"), "text \"piped\""),
        (Some(" \n"), None, None, "exit 2: the prompt is empty"),
        (None, None, Some(b"\n"), "exit 2: the prompt is empty"),
        (None, work, Some(b""), "open"),
        (
            None,
            None,
            Some(b"ab\xff"),
            "exit 2: standard input is not UTF-8 (at byte 2)",
        ),
    ];
    for (prompt, session, piped, want) in table {
        let got = told(&talk(prompt, session), piped);
        assert_eq!(got, want, "{prompt:?} {session:?} {piped:?}");
    }
    let again = TalkArgs {
        continue_: true,
        ..TalkArgs::default()
    };
    assert_eq!(told(&again, Some(b"unread")), "continue");
}

#[test]
fn messages_are_user_and_tool_lines_and_a_wrong_one_is_named_by_its_number() {
    let from_stdin = TalkArgs {
        messages: Some("-".into()),
        ..TalkArgs::default()
    };
    let table: [(&[u8], &str); 6] = [
        (
            b"{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"3\"}\n\n{\"role\":\"user\",\"content\":\"go\"}\n",
            "2 messages",
        ),
        (
            b"{\"role\":\"user\",\"content\":\"a\"}\n{",
            "exit 2: line 2 of standard input is not a message: not JSON \
             (EOF while parsing an object at line 1 column 1)",
        ),
        (
            b"{\"role\":\"assistant\",\"content\":\"a\"}",
            "exit 2: line 1 of standard input is not a message: \
             the role assistant cannot be appended, only user and tool",
        ),
        (
            b"[]",
            "exit 2: line 1 of standard input is not a message: \
             a message must be a JSON object, this is a list",
        ),
        (b"\n", "exit 2: line 1 of standard input is not a message: there is none"),
        (b"\xff", "exit 2: standard input is not UTF-8 (at byte 0)"),
    ];
    for (piped, want) in table {
        assert_eq!(told(&from_stdin, Some(piped)), want);
    }
}

#[test]
fn a_flag_that_takes_a_file_says_how_it_is_written() {
    let failure = at_file("tools.json", "--tools").unwrap_err();
    assert_eq!(
        failure.message,
        "--tools takes a file, written @FILE, not \"tools.json\""
    );
    assert_eq!(failure.hint.as_deref(), Some("--tools @tools.json"));
    assert_eq!(text_or_file("plain", "x").unwrap(), "plain");
    assert_eq!(text_or_file("@@at", "x").unwrap(), "@at");
    let dir = tempfile::tempdir().unwrap();
    let folder = format!("@{}", dir.path().display());
    let failure = text_or_file(&folder, "the system prompt").unwrap_err();
    assert!(failure.message.ends_with("cannot be read: it is a folder"));
    assert_eq!(failure.exit, 2);
}

#[test]
fn a_tool_list_is_a_json_list_of_named_functions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.json");
    let given = format!("@{}", path.display());
    let told = |text: &str| {
        std::fs::write(&path, text).unwrap();
        match tools(&given) {
            Ok(value) => value.to_string(),
            Err(e) => e.message.split(": ").nth(1).unwrap().to_owned(),
        }
    };
    let good = r#"[{"type":"function","function":{"name":"now"}}]"#;
    assert_eq!(told(good), good);
    assert_eq!(told("{}"), "it must be a JSON list");
    assert_eq!(told(r#"[{"function":{}}]"#), "entry 0 has no function name");
}

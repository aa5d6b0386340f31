use super::*;

fn press(state: &mut ConsoleState, keys: &str) -> Vec<KeyEffect> {
    let keys = super::super::keys::KeyDecoder::default().feed(keys.as_bytes());
    keys.into_iter().filter_map(|key| state.key(key)).collect()
}

fn line(text: &str) -> Option<PromptAnswer> {
    Some(PromptAnswer::Line(text.to_owned()))
}

#[test]
fn lines_that_come_in_one_piece_are_all_said_one_after_another() {
    let mut state = ConsoleState::default();
    state.prompt("");
    press(&mut state, "line one\rline two\rline three\rrest");
    assert_eq!(state.fetch(), line("line one"));
    state.prompt("");
    assert_eq!(state.fetch(), line("line two"));
    state.prompt("");
    assert_eq!(state.fetch(), line("line three"));
    state.prompt("");
    assert_eq!((state.fetch(), state.buffer().text()), (None, "rest"));
}

#[test]
fn a_paste_is_one_message_and_so_are_lines_that_are_typed_as_one() {
    let mut state = ConsoleState::default();
    state.prompt("");
    press(&mut state, "\u{1b}[200~one\rtwo\r\nthree\u{1b}[201~");
    assert_eq!(state.fetch(), None);
    press(&mut state, "\r");
    assert_eq!(state.fetch(), line("one\ntwo\nthree"));
    state.prompt("");
    press(&mut state, "one\\\rtwo\nthree\u{1b}\rfour\r");
    assert_eq!(state.fetch(), line("one\ntwo\nthree\nfour"));
}

#[test]
fn ctrl_c_ends_the_turn_and_gives_back_what_waits_and_a_second_one_leaves() {
    let mut state = ConsoleState::default();
    press(&mut state, "first\rsecond\rhalf");
    assert_eq!(state.queue().len(), 2);
    assert_eq!(press(&mut state, "\u{3}"), [KeyEffect::Cancel]);
    assert_eq!(state.buffer().text(), "first\nsecond\nhalf");
    state.prompt("taken back");
    assert_eq!(state.buffer().text(), "taken back\nfirst\nsecond\nhalf");
    assert_eq!(state.fetch(), None);
    press(&mut state, "\u{3}");
    assert_eq!(state.fetch(), Some(PromptAnswer::Interrupted));
    assert_eq!(state.interrupts(), 0, "a turn's own are counted");

    assert_eq!(press(&mut state, "\u{3}"), [KeyEffect::Cancel]);
    assert!(matches!(
        press(&mut state, "\u{3}")[..],
        [KeyEffect::Say(_)]
    ));
    assert!(state.leaving());
    assert_eq!(press(&mut state, "\u{3}"), [KeyEffect::Exit]);
    state.prompt("");
    assert_eq!(state.fetch(), Some(PromptAnswer::End));
    assert_eq!(state.interrupts(), 3, "by what it ended is known");
}

#[test]
fn ctrl_d_before_the_prompt_ends_the_chat_at_the_prompt() {
    let mut state = ConsoleState::default();
    press(&mut state, "said\r\u{4}");
    state.prompt("");
    assert_eq!(state.fetch(), Some(PromptAnswer::End));
    let mut state = ConsoleState::default();
    state.prompt("");
    press(&mut state, "ab\u{1}\u{4}\r");
    assert_eq!(state.fetch(), line("b"), "in a text it deletes");
}

#[test]
fn a_question_is_answered_by_what_is_typed_after_it() {
    let mut state = ConsoleState::default();
    press(&mut state, "y\rya");
    state.ask("Run it? ");
    assert_eq!(state.answered(), None);
    press(&mut state, "n\u{1b}[200~y\ry\r\u{1b}[201~o");
    assert_eq!(state.answered(), None);
    press(&mut state, "\rtyped on");
    assert_eq!(state.answered(), Some(Some("no".to_owned())));
    assert_eq!(state.mode(), InputMode::Busy);
    state.prompt("");
    assert_eq!(state.fetch(), line("y"), "what was said before waits");
    assert!(
        state.buffer().text().starts_with("ya"),
        "{:?}",
        state.buffer()
    );
}

#[test]
fn ctrl_d_at_a_question_refuses_that_one_and_the_next_is_asked() {
    let mut state = ConsoleState::default();
    state.ask("Run it? ");
    press(&mut state, "\u{4}");
    assert_eq!(state.answered(), Some(None));
    state.ask("Run it? ");
    press(&mut state, "y\r");
    assert_eq!(state.answered(), Some(Some("y".to_owned())));
    state.prompt("");
    assert_eq!(state.fetch(), Some(PromptAnswer::End));
}

#[test]
fn a_byte_that_is_no_text_is_a_character_and_the_chat_goes_on() {
    let mut state = ConsoleState::default();
    state.prompt("");
    for key in super::super::keys::KeyDecoder::default().feed(b"dr\xfcck\r") {
        state.key(key);
    }
    assert_eq!(state.fetch(), line("dr\u{fffd}ck"));
}

#[test]
fn the_arrow_keys_go_through_what_was_said_and_back_to_what_was_typed() {
    let mut state = ConsoleState::default();
    state.set_history(vec!["old".into(), "two\nlines".into()]);
    state.remember("last");
    state.prompt("");
    press(&mut state, "new\u{1b}[A\u{1b}[A");
    assert_eq!(state.buffer().text(), "two\nlines");
    press(&mut state, "\u{1b}[A");
    assert_eq!(state.buffer().text(), "two\nlines", "within it first");
    press(&mut state, "\u{1b}[A\u{1b}[A");
    assert_eq!(state.buffer().text(), "old");
    press(&mut state, "\u{1b}[B\u{1b}[B\u{1b}[B");
    assert_eq!(state.buffer().text(), "new");
}

#[test]
fn the_arrow_key_takes_back_what_waits_last() {
    let mut state = ConsoleState::default();
    press(&mut state, "first\rsecnd\r\u{1b}[A\u{1b}[D\u{1b}[Do\r");
    assert_eq!(
        state.queue().iter().collect::<Vec<_>>(),
        ["first", "second"]
    );
    press(&mut state, "\u{1b}[A\u{15}\u{1b}[A");
    assert_eq!(state.buffer().text(), "first");
    assert!(state.queue().is_empty());
}

#[test]
fn what_is_steered_goes_to_the_turn_and_not_into_the_queue() {
    let mut state = ConsoleState::default();
    let effects = press(&mut state, "/steer not there\r/steer\r/steering\r\r");
    assert_eq!(effects[0], KeyEffect::Steer("not there".into()));
    assert!(matches!(effects[1], KeyEffect::Say(_)));
    assert_eq!(state.queue().iter().collect::<Vec<_>>(), ["/steering"]);
}

use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::super::prose::{Prose, ProseForm};
use super::super::style::{StyledText, TextStyle};
use super::super::{AreaRow, Pipe};
use super::*;

/// What was written, for a test to look at.
#[derive(Clone, Default)]
pub struct Bytes(Arc<Mutex<Option<Vec<u8>>>>);

impl Bytes {
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap();
        String::from_utf8(bytes.clone().unwrap_or_default()).unwrap()
    }

    /// Whoever reads goes away.
    pub fn close(&self) {
        *self.0.lock().unwrap() = None;
    }
}

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().unwrap();
        let all = all.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        all.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A screen, and what is written on its two streams; on a terminal both are one.
pub fn piped(looks: Looks) -> (Pipe, Bytes, Bytes) {
    let bytes = || Bytes(Arc::new(Mutex::new(Some(Vec::new()))));
    let (out, err) = (bytes(), bytes());
    let screen = Screen::new(Box::new(out.clone()), Box::new(err.clone()), looks);
    let screen = Arc::new(Mutex::new(screen));
    (
        Pipe::new(screen, Arc::new(AtomicBool::new(false))),
        out,
        err,
    )
}

/// A terminal that obeys.
pub struct Vt(vt100::Parser);

impl Vt {
    /// One that got this, as a kernel gives it on: with a carriage return at each line end.
    pub fn of(written: &str, width: u16) -> Vt {
        let size = |n| std::num::NonZero::new(n).unwrap();
        let mut parser = vt100::Parser::new(size(300), size(width), 0);
        // This one leaves the replacement character out.
        let written = written.replace('\n', "\r\n").replace('\u{fffd}', "?");
        parser.process(written.as_bytes());
        Vt(parser)
    }

    pub fn lines(&self) -> Vec<String> {
        let screen = self.0.screen();
        let (_, columns) = screen.size();
        let rows = screen
            .rows(0, columns.get())
            .map(|row| row.trim_end().to_owned());
        let mut rows: Vec<String> = rows.collect();
        while rows.len() > 1 && rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        rows
    }

    pub fn cursor(&self) -> (u16, u16) {
        self.0.screen().cursor_position()
    }
}

const TERMINAL: Looks = Looks {
    out: true,
    err: true,
    color: true,
    moves: true,
};

/// Both streams are the terminal.
fn terminal(width: usize) -> (Screen, Bytes) {
    let bytes = Bytes(Arc::new(Mutex::new(Some(Vec::new()))));
    let mut screen = Screen::new(Box::new(bytes.clone()), Box::new(bytes.clone()), TERMINAL);
    screen.width = width;
    (screen, bytes)
}

fn rows(lines: &[&str]) -> Vec<AreaRow> {
    lines
        .iter()
        .map(|l| AreaRow::plain((*l).to_owned()))
        .collect()
}

#[test]
fn what_is_typed_stays_below_what_is_said() {
    let (mut screen, bytes) = terminal(20);
    screen.answer("The answer is it:").unwrap();
    screen.input(Some((rows(&["> hel"]), (0, 5))));
    screen.answer(" forty-two,\nand").unwrap();
    screen.input(Some((rows(&["> hello", "  you"]), (1, 5))));
    screen.say(TextStyle::PLAIN, "npast: a notice");
    screen.status(Some("reading".into()));
    let seen = Vt::of(&bytes.text(), 20);
    assert_eq!(
        seen.lines(),
        [
            "The answer is it: fo",
            "rty-two,",
            "and",
            "npast: a notice",
            "reading",
            "> hello",
            "  you"
        ]
    );
    assert_eq!(seen.cursor(), (6, 5));
    screen.status(None);
    screen.input(None);
    screen.answer("it.\n").unwrap();
    assert_eq!(
        Vt::of(&bytes.text(), 20).lines(),
        [
            "The answer is it: fo",
            "rty-two,",
            "and",
            "npast: a notice",
            "it."
        ]
    );
}

#[test]
fn a_key_writes_its_character_and_not_the_whole_input_again() {
    let (mut screen, bytes) = terminal(80);
    let long = "x".repeat(60);
    let lines: Vec<String> = (0..40).map(|_| long.clone()).collect();
    let typed = |last: &str| {
        let all = lines.iter().cloned().chain([last.to_owned()]);
        all.map(AreaRow::plain).collect::<Vec<_>>()
    };
    screen.input(Some((typed("ab"), (40, 2))));
    let before = bytes.text().len();
    screen.input(Some((typed("abc"), (40, 3))));
    let more = bytes.text()[before..].to_owned();
    assert!(more.len() < 8, "{more:?}");
}

#[test]
fn a_line_that_is_full_ends_once() {
    let (mut screen, bytes) = terminal(10);
    screen.answer("0123456789").unwrap();
    screen.input(Some((rows(&["> a"]), (0, 3))));
    screen.input(None);
    screen.answer("\nnext").unwrap();
    assert_eq!(Vt::of(&bytes.text(), 10).lines(), ["0123456789", "next"]);
}

#[derive(Clone, Debug)]
enum Act {
    Say(String),
    Answer(String),
    Thinking(String),
    /// A reply in rows of words that comes in two pieces.
    Reply(String, String),
    Input(Vec<String>),
    Status(bool),
    /// A call that runs, and what it has written.
    Live(Vec<String>),
    /// A result or a diff.
    Rows(Vec<String>),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let text = "[a-c \n日é👍\u{1b}\u{9b}\u{7}\r\u{202e}]{0,30}";
    let act = prop_oneof![
        "[a-c 日\u{1b}]{0,30}".prop_map(Act::Say),
        text.prop_map(Act::Answer),
        text.prop_map(Act::Thinking),
        (text, text).prop_map(|(one, two)| Act::Reply(one, two)),
        proptest::collection::vec("[a-c 日]{0,5}", 0..4).prop_map(Act::Input),
        any::<bool>().prop_map(Act::Status),
        proptest::collection::vec("[a-c 日\u{1b}\n]{0,40}", 0..8).prop_map(Act::Live),
        proptest::collection::vec("[a-c 日\u{1b}]{0,40}", 0..4).prop_map(Act::Rows),
    ];
    proptest::collection::vec(act, 0..12)
}

fn act(screen: &mut Screen, act: &Act) {
    match act {
        Act::Say(text) => screen.say(TextStyle::DIM, text),
        Act::Answer(text) => screen.answer(text).unwrap(),
        Act::Thinking(text) => screen.part(TextStyle::DIM, text),
        Act::Reply(one, two) => {
            let mut prose = Prose::new(ProseForm::Markdown, TextStyle::PLAIN);
            for piece in [one, two] {
                let more = |column, width| prose.more(piece, column, width);
                screen.answer_styled(more).unwrap();
            }
            screen.answer_styled(|c, w| prose.end(c, w)).unwrap();
        }
        Act::Input(lines) => {
            let all: Vec<AreaRow> = lines.iter().cloned().map(AreaRow::plain).collect();
            let cursor = (all.len().saturating_sub(1), 0);
            screen.input((!all.is_empty()).then_some((all, cursor)));
        }
        Act::Live(rows) => screen.live(rows),
        Act::Rows(rows) => {
            let styles = [TextStyle::ADDED, TextStyle::PLAIN, TextStyle::REMOVED]
                .into_iter()
                .cycle();
            let rows = rows.iter().zip(styles);
            let rows = rows.map(|(text, style)| StyledText::new(text.clone(), style));
            screen.rows(&rows.collect::<Vec<_>>());
        }
        Act::Status(on) => screen.status(on.then(|| "reading\u{1b}".to_owned())),
    }
}

/// A window that is lower than what goes on is high shows what is typed, and the end of the rest.
#[test]
fn the_rows_at_the_end_of_the_terminal_fit_the_window() {
    let (mut screen, bytes) = terminal(20);
    screen.height = 6;
    screen.input(Some((rows(&["> typed"]), (0, 7))));
    let live: Vec<String> = (0..6).map(|n| format!("row {n}")).collect();
    screen.live(&live);
    let seen = Vt::of(&bytes.text(), 20).lines();
    assert_eq!(seen, ["row 0", "row 3", "row 4", "row 5", "> typed"]);
    screen.height = 2;
    screen.live(&live);
    let seen = Vt::of(&bytes.text(), 20).lines();
    assert_eq!(seen, ["row 5", "> typed"]);
}

proptest! {
    /// The output is what it would be if nobody had typed, whatever was typed meanwhile.
    #[test]
    fn typing_leaves_no_trace_in_the_output(all in acts(), width in 9usize..30) {
        let (mut typed, with) = terminal(width);
        let (mut plain, without) = terminal(width);
        for one in &all {
            act(&mut typed, one);
            if !matches!(one, Act::Input(_) | Act::Status(_) | Act::Live(_)) {
                act(&mut plain, one);
            }
        }
        typed.input(None);
        typed.status(None);
        let (with, without) = (with.text(), without.text());
        let width = u16::try_from(width).unwrap();
        prop_assert_eq!(Vt::of(&with, width).lines(), Vt::of(&without, width).lines());
    }

    /// Every way to print, with anything: no control character but the screen's own.
    #[test]
    fn nothing_printed_is_obeyed_but_what_npast_writes(
        text in "(\\PC|\\pC|[\\x00-\\x1f\\x7f-\\x9f\u{202e}]|\u{1b}\\]52;c;UFdO\u{7}|\u{1b}\\[2J){0,20}"
    ) {
        let (mut screen, bytes) = terminal(80);
        screen.answer(&text).unwrap();
        screen.page(&text).unwrap();
        screen.say(TextStyle::PLAIN, &text);
        screen.say(TextStyle::DIM, &text);
        screen.part(TextStyle::DIM, &text);
        act(&mut screen, &Act::Reply(text.clone(), format!("**{text}** `{text}` &#27;[2J")));
        screen.say_rows(TextStyle::DIM, &text);
        screen.say_styled(vec![StyledText::new(&*text, TextStyle::BOLD)]);
        screen.status(Some(text.clone()));
        screen.event(&serde_json::json!({ "text": text }).to_string()).unwrap();
        screen.status(None);
        let mut rest = bytes.text();
        let (dim, bright, erase) = ("\u{1b}[2m", "\u{1b}[0m", "\u{1b}[J");
        for own in [dim, bright, erase, "\u{1b}[K", "\r", "\n", "\t"] {
            rest = rest.replace(own, "");
        }
        // Up to the end of the output, and along its last line.
        while let Some(at) = rest.find("\u{1b}[") {
            let number = |c: &char| c.is_ascii_digit() || *c == ';';
            let digits = rest[at + 2..].chars().take_while(number).count();
            let way = rest[at + 2 + digits..].chars().next();
            prop_assert!(digits > 0 && matches!(way, Some('A' | 'C' | 'm')), "{:?}", &rest[at..]);
            rest.replace_range(at..at + 3 + digits, "");
        }
        prop_assert!(!rest.contains(char::is_control), "{rest:?}");
        prop_assert!(!rest.contains('\u{202e}'), "{rest:?}");
    }
}

use super::*;
use crate::tools::{FileDiff, Unread};

fn question(text: &str) -> OpenQuestion {
    OpenQuestion {
        id: 1,
        tool: "terminal".into(),
        verb: "run".into(),
        text: text.into(),
        change: None,
        why: None,
        scope: None,
        rules: Vec::new(),
    }
}

fn shown(question: &OpenQuestion, columns: usize, most: usize) -> String {
    let mut view = QuestionView::new(question, columns);
    let mut rows = view.head();
    rows.extend(view.page(most));
    rows.extend(view.foot());
    let texts: Vec<String> = rows.into_iter().map(|row| row.text().to_owned()).collect();
    texts.join("\n")
}

/// A command that pads itself to the next row writes npast's own words there.
#[test]
fn no_row_of_a_question_is_the_models_but_behind_its_mark() {
    let padded = format!("ls{}Run it? [y]es", " ".repeat(55));
    let hostile = OpenQuestion {
        tool: "run\u{200b}\nRun it?".into(),
        why: Some("a\nRun it? \u{2800}".into()),
        ..question(&harmless::exact(&format!(
            "{padded}\n\u{1b}[2J\u{202e}日本日本日本日本日本日本日本日本日本日本"
        )))
    };
    assert_eq!(
        shown(&hostile, 40, 20),
        "Run this? (run\\u{200b} Run it?)\n  \
           | ls                                 \n  \
           |                       Run it? [y]es\n  \
           | \\u{1b}[2J\\u{202e}日本日本日本日本日\n  \
           | 本日本日本日本日本日本\n\
         It asks because a Run it? \\u{2800}."
    );
}

#[test]
fn a_change_is_asked_with_its_file_and_a_name_that_is_no_plain_one_stands_behind_a_mark() {
    let change = |file: &str| OpenQuestion {
        verb: "change".into(),
        tool: "edit_file".into(),
        change: Some(FileDiff {
            file: file.into(),
            made: false,
            unread: None,
            added: 1,
            removed: 2,
            diff: "@@ -1,2 +1 @@\n-a\n-b\n+c\n".into(),
        }),
        scope: Some("all changes of files in this folder".into()),
        rules: vec!["edit_file: /p/**".into()],
        ..question(&harmless::exact(file))
    };
    assert_eq!(
        shown(&change("src/calc.py"), 100, 20),
        "Change src/calc.py? (+1 -2)\n  | @@ -1,2 +1 @@\n  | -a\n  | -b\n  | +c\n\
         s and a: all changes of files in this folder. n REASON tells the model why not."
    );
    let hostile = change("x                              Change y? [y]es");
    assert!(
        shown(&hostile, 30, 20).starts_with("Change this file? (+1 -2)\n  | x"),
        "{}",
        shown(&hostile, 30, 20)
    );
    let mut unread = change("a.bin");
    for (why, columns, head) in [
        (
            Unread::TooLarge,
            100,
            "Change a.bin? (+1; the old content is too large to compare and is not shown)\n  | @@",
        ),
        (
            Unread::Unreadable,
            40,
            "Change this file? (+1; the old content\n  cannot be read and is not shown)\n  | a.bin\n",
        ),
    ] {
        if let Some(change) = &mut unread.change {
            change.unread = Some(why);
        }
        let shown = shown(&unread, columns, 20);
        assert!(shown.starts_with(head), "{shown}");
    }
    let hidden = shown(&change("\u{1b}[2Jx"), 100, 20);
    assert!(hidden.starts_with("Change \\u{1b}[2Jx? "), "{hidden}");
    // A row is as wide as a terminal shows it: these characters take two columns each.
    let wide = shown(&change("日本日本日本日本"), 32, 20);
    assert!(
        wide.starts_with("Change this file? (+1 -2)\n  | 日本"),
        "{wide}"
    );
    let wide = shown(&change("日本日本日本日本"), 33, 20);
    assert!(
        wide.starts_with("Change 日本日本日本日本? (+1 -2)\n"),
        "{wide}"
    );
    // Two characters that are one picture take as many columns as one.
    let thumbs = shown(&change("👍🏽👍🏽👍🏽👍🏽"), 25, 20);
    assert!(thumbs.starts_with("Change 👍🏽👍🏽👍🏽👍🏽? (+1 -2)\n"), "{thumbs}");
    let words = QuestionView::new(&hostile, 40).words();
    assert!(words.len() < 40, "it fits a small window: {words:?}");
}

#[test]
fn what_is_longer_than_a_screen_comes_a_page_at_a_time() {
    let lines: Vec<String> = (1..=25).map(|n| format!("line {n}")).collect();
    let long = question(&lines.join("\n"));
    let mut view = QuestionView::new(&long, 40);
    let page = |view: &mut QuestionView<'_>| {
        let rows: Vec<String> = view
            .page(10)
            .into_iter()
            .map(|row| row.text().to_owned())
            .collect();
        rows
    };
    let first = page(&mut view);
    assert_eq!((first.len(), &*first[0]), (11, "  | line 1"));
    assert_eq!(first[10], "  … 15 more lines: v shows more");
    assert_eq!(page(&mut view)[10], "  … 5 more lines: v shows more");
    // Another width keeps the place.
    view.resize(12);
    assert_eq!(page(&mut view).len(), 5);
    assert!(view.is_whole());
    // A line of ten megabytes comes in pages too.
    let long = question(&"x".repeat(10 << 20));
    let mut view = QuestionView::new(&long, 40);
    assert_eq!(page(&mut view)[10], "  … 1 more line: v shows more");
    assert_eq!(page(&mut view).len(), 11);
}

#[test]
fn only_a_clear_yes_is_one_and_what_is_not_clear_is_asked_again() {
    let grant = |grant| Some(Answer::Grant(grant, None));
    let no = |reason: &str| Some(Answer::Grant(Grant::No, Some(reason.to_owned())));
    let table = [
        ("y", grant(Grant::Once)),
        (" YES ", grant(Grant::Once)),
        ("s", grant(Grant::Session)),
        ("always", grant(Grant::Always)),
        ("", grant(Grant::No)),
        ("n", grant(Grant::No)),
        ("n use mkdir instead", no("use mkdir instead")),
        ("No, not there", no("not there")),
        ("v", Some(Answer::View)),
        ("yes please", None),
        ("ja", None),
        ("yy", None),
    ];
    for (line, want) in table {
        assert_eq!(read(line, true), want, "{line:?}");
    }
    assert_eq!(
        read("a", false),
        None,
        "there is nothing to grant for always"
    );
}

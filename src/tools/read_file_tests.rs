//! Reading as it is met: large files, files that are none, files that change under the reader.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::super::testing::{Place, make_fifo};
use super::*;

fn place_with_lines(n: usize) -> Place {
    let place = Place::new();
    let lines: String = (1..=n).map(|i| format!("line {i}\n")).collect();
    place.file("notes.txt", lines);
    place
}

#[test]
fn a_file_is_read_whole_in_parts_and_on_from_where_it_stopped() {
    let place = place_with_lines(6);
    let read = |arguments: Value| place.call("read_file", arguments);
    assert_eq!(
        read(json!({"path": "notes.txt"})),
        ToolAnswer::good("notes.txt, 6 lines:\nline 1\nline 2\nline 3\nline 4\nline 5\nline 6")
    );
    assert_eq!(
        read(json!({"path": "./x/../notes.txt", "from": 2, "lines": 2})),
        ToolAnswer::good("notes.txt, lines 2-3 of 6 lines:\nline 2\nline 3\n[read on with from=4]")
    );
    assert_eq!(
        read(json!({"path": "notes.txt", "from": 6})),
        ToolAnswer::good("notes.txt, line 6 of 6 lines:\nline 6")
    );
    assert_eq!(
        read(json!({"path": "notes.txt", "from": 7})),
        ToolAnswer::bad("notes.txt has 6 lines: there is no line 7.")
    );
}

#[test]
fn the_end_of_a_file_may_lack_its_line_feed_and_a_file_may_be_empty() {
    let place = Place::new();
    place.file("a", "one\r\ntwo");
    place.file("b", "");
    place.file("c", "\n\n");
    let read = |path: &str| place.call("read_file", json!({"path": path}));
    assert_eq!(read("a"), ToolAnswer::good("a, 2 lines:\none\ntwo"));
    assert_eq!(read("b"), ToolAnswer::good("b is empty."));
    assert_eq!(read("c"), ToolAnswer::good("c, 2 lines:\n\n"));
}

/// Text behind a CR is text: no line hides another one.
#[test]
fn a_cr_alone_ends_a_line_too() {
    let mut place = Place::new();
    place.file("mac.csv", "name,age\rann,31\rbob,42\r");
    place.file(
        "log",
        "first 10%\rsecond 50%\rthird 100%\nnext\r\n\r\r\nend",
    );
    let read = |place: &Place, arguments: Value| place.call("read_file", arguments);
    assert_eq!(
        read(&place, json!({"path": "mac.csv"})),
        ToolAnswer::good("mac.csv, 3 lines:\nname,age\nann,31\nbob,42")
    );
    assert_eq!(
        read(&place, json!({"path": "log"})),
        ToolAnswer::good("log, 7 lines:\nfirst 10%\nsecond 50%\nthird 100%\nnext\n\n\nend")
    );
    assert_eq!(
        read(&place, json!({"path": "log", "from": 2, "lines": 2})),
        ToolAnswer::good(
            "log, lines 2-3 of 7 lines:\nsecond 50%\nthird 100%\n[read on with from=4]"
        )
    );
    assert_eq!(
        read(&place, json!({"path": "log", "byte": 10})),
        ToolAnswer::good(
            "log, from byte 10 to 44 of 44 bytes:\nsecond 50%\nthird 100%\nnext\n\n\nend"
        )
    );
    // A CR LF that lies on the border of two reads is one line end.
    let border = format!("{}\r\nlast\r\n", "x".repeat((64 << 10) - 1));
    place.file("border", border);
    place.limits.bytes = 100_000;
    let text = read(&place, json!({"path": "border", "from": 2})).text;
    assert_eq!(text, "border, line 2 of 2 lines:\nlast");
}

/// Whoever reads on as told sees every line once.
#[test]
fn a_long_file_is_read_in_as_many_calls_as_it_takes() {
    let mut place = place_with_lines(5000);
    place.limits = ResultLimits {
        bytes: 4096,
        lines: 100,
    };
    let (mut from, mut seen, mut calls) = (1, String::new(), 0);
    loop {
        let answer = place.call("read_file", json!({"path": "notes.txt", "from": from}));
        assert!(answer.ok && answer.text.len() <= 4096, "{answer:?}");
        let (_, body) = answer.text.split_once('\n').unwrap();
        calls += 1;
        let Some((lines, next)) = body.split_once("\n[read on with from=") else {
            seen += body;
            break;
        };
        seen += &format!("{lines}\n");
        from = next.trim_end_matches(']').parse().unwrap();
    }
    assert_eq!(seen, place.read("notes.txt").trim_end());
    assert_eq!(calls, 53, "96 lines a call");
}

/// One line of 5 MB, with characters of several bytes: bounded, and every byte can be reached.
#[test]
fn a_line_of_5_mb_is_read_on_by_bytes() {
    let place = Place::new();
    let content = "äöü€😀x".repeat(5_000_000 / 14);
    place.file("long", &content);
    let first = place.call("read_file", json!({"path": "long"}));
    let (head, rest) = first.text.split_once('\n').unwrap();
    let (body, note) = rest.rsplit_once('\n').unwrap();
    assert_eq!(head, "long, line 1 of 1 line:");
    assert!(content.starts_with(body) && first.text.len() <= 16 << 10);
    assert_eq!(
        note,
        format!(
            "[line 1 is longer than can be shown; read on with byte={}]",
            body.len()
        )
    );
    let next = place.call("read_file", json!({"path": "long", "byte": body.len()}));
    let next = next.text.split('\n').nth(1).unwrap();
    assert!(content[body.len()..].starts_with(next) && next.len() > 10_000);
    let end = content.len() - 5;
    assert_eq!(
        place.call("read_file", json!({"path": "long", "byte": end})),
        ToolAnswer::good(format!(
            "long, from byte {end} to {0} of 4,999,988 bytes:\n😀x",
            end + 5
        )),
    );
    assert_eq!(
        place.call("read_file", json!({"path": "long", "byte": content.len()})),
        ToolAnswer::bad("long has 4,999,988 bytes.")
    );
}

#[test]
fn what_is_no_text_is_named_with_its_kind_and_size() {
    let place = Place::new();
    let refused = |name: &str, content: &[u8]| {
        place.file(name, content);
        let answer = place.call("read_file", json!({"path": name}));
        assert!(!answer.ok);
        answer.text
    };
    let nul = vec![0; 5_000_000];
    assert_eq!(refused("nul", &nul), "nul is no text: binary data, 5.0 MB.");
    assert_eq!(
        refused("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        "a.png is no text: a PNG image, 16 bytes."
    );
    assert_eq!(
        refused("a.pdf", b"%PDF-1.7\n"),
        "a.pdf is no text: a PDF document, 9 bytes."
    );
    assert_eq!(
        refused("utf16", b"\xff\xfeh\0i\0"),
        "utf16 is no text: UTF-16 text; `iconv -f utf-16 -t utf-8` makes it readable, 6 bytes."
    );
    // Text that only begins like something else.
    place.file("bz.md", "BZh is how bzip2 data begin");
    let text = place.call("read_file", json!({"path": "bz.md"})).text;
    assert_eq!(text, "bz.md, 1 line:\nBZh is how bzip2 data begin");
}

#[test]
fn broken_utf8_is_shown_and_said_and_escapes_do_not_reach_the_model() {
    let place = Place::new();
    place.file("latin1", b"gr\xfc\xdfe\n");
    place.file("esc", "\u{1b}[2J\u{1b}]0;title\u{7}plain\u{0008}\n");
    assert_eq!(
        place.call("read_file", json!({"path": "latin1"})),
        ToolAnswer::good(
            "latin1, 1 line:\ngr\u{fffd}\u{fffd}e\n[bytes that are not UTF-8 are shown as \u{fffd}]"
        )
    );
    assert_eq!(
        place.call("read_file", json!({"path": "esc"})),
        ToolAnswer::good(
            "esc, 1 line:\nplain\n[control characters and escape sequences in it are not shown]"
        )
    );
}

#[test]
fn folders_pipes_links_to_nowhere_and_missing_files_are_sentences() {
    let place = Place::new();
    place.file("dir/file", "x");
    let pipe = place.project().join("pipe");
    make_fifo(&pipe);
    symlink("gone", place.project().join("link")).unwrap();
    symlink("turn", place.project().join("turn")).unwrap();
    let read = |path: &str| place.call("read_file", json!({"path": path})).text;
    assert_eq!(read("dir"), "dir is a folder: list shows what is in it.");
    assert_eq!(read("pipe"), "pipe is a named pipe, not a file.");
    assert_eq!(read("nothing"), "There is no file nothing.");
    assert_eq!(
        read("dir/file/x"),
        "dir/file/x: a part of this path is a file."
    );
    assert_eq!(
        read("link"),
        "link is a link that leads nowhere: No such file or directory (os error 2)."
    );
    assert!(read("turn").starts_with("turn is a link that leads nowhere: "));
    assert_eq!(
        read("~/x"),
        "~ is not expanded here: write the home folder out."
    );
    assert_eq!(
        read("a\0b"),
        "\"a\\0b\" is no path: it must have 1 to 4096 bytes and no NUL."
    );
    assert!(read(&"x/".repeat(1 << 20)).len() < 200);
}

#[test]
fn names_of_files_may_hold_anything() {
    let place = Place::new();
    place.file("a\nb\u{1b}[31m", "x");
    assert_eq!(
        place.call("read_file", json!({"path": "a\nb\u{1b}[31m"})),
        ToolAnswer::good("a\\nb\\u{1b}[31m, 1 line:\nx")
    );
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff");
    fs::create_dir(place.project().join(odd)).unwrap();
    fs::write(place.project().join(odd).join("file"), "deep").unwrap();
    symlink(odd, place.project().join("even")).unwrap();
    assert_eq!(
        place.call("read_file", json!({"path": "even/file"})),
        ToolAnswer::good("odd\u{fffd}/file, 1 line:\ndeep")
    );
}

#[test]
fn outside_of_the_project_a_file_is_read_where_it_really_is_and_keys_never_are() {
    let mut place = Place::new();
    let home = place.base().join("home");
    fs::create_dir(home.join(".ssh")).unwrap();
    fs::write(home.join(".ssh/id"), "KEY").unwrap();
    fs::write(home.join("free"), "yes").unwrap();
    symlink(home.join("free"), place.project().join("out")).unwrap();
    symlink(home.join(".ssh"), place.project().join("innocent")).unwrap();
    place.guard();
    place.secret.close(&place.temp());
    assert_eq!(
        place.subject("read_file", json!({"path": "out"})),
        Subject::Path(home.join("free"))
    );
    let read = |path: &str| place.call("read_file", json!({"path": path}));
    assert_eq!(
        read("out"),
        ToolAnswer::good("BASE/home/free, 1 line:\nyes")
    );
    for path in ["innocent/id", "../home/.ssh/id", "innocent/../.ssh/id"] {
        assert_eq!(
            read(path),
            ToolAnswer::bad(
                "BASE/home/.ssh/id holds keys, other programs' secrets or npast's own state: no \
                 tool may touch it."
            ),
            "{path}"
        );
    }
    assert!(!read("/proc/self/environ").ok);
    assert!(!read("/dev/null").ok);
    // The session's own temporary folder, although it lies in npast's state.
    fs::write(place.temp().join("result"), "mine").unwrap();
    assert_eq!(
        read("../temp/result"),
        ToolAnswer::good("BASE/temp/result, 1 line:\nmine")
    );
}

/// A key by another name is the same key; other files may have as many names as they like.
#[test]
fn a_hard_link_to_a_key_is_as_closed_as_the_key() {
    let mut place = Place::new();
    let home = place.base().join("home");
    fs::create_dir(home.join(".ssh")).unwrap();
    fs::write(home.join(".ssh/id"), "KEY\n").unwrap();
    place.guard();
    fs::hard_link(home.join(".ssh/id"), place.project().join("notes.txt")).unwrap();
    let twin = place.file("twin", "twin\n");
    fs::hard_link(twin, place.project().join("other")).unwrap();
    let refused = ToolAnswer::bad(
        "BASE/project/notes.txt is a hard link to a file with keys, other programs' secrets or \
         npast's own state: no tool may touch it.",
    );
    for (tool, arguments) in [
        ("read_file", json!({"path": "notes.txt"})),
        ("search", json!({"path": "notes.txt", "pattern": "K"})),
        (
            "edit_file",
            json!({"path": "notes.txt", "old": "K", "new": "k"}),
        ),
        (
            "write_file",
            json!({"path": "notes.txt", "content": "mine"}),
        ),
    ] {
        assert_eq!(place.call(tool, arguments), refused, "{tool}");
    }
    let found = place.call("search", json!({"pattern": "KEY|twin"})).text;
    assert!(found.contains("twin") && !found.contains("KEY"), "{found}");
    assert_eq!(
        place.call("read_file", json!({"path": "other"})),
        ToolAnswer::good("other, 1 line:\ntwin")
    );
    assert_eq!(fs::read_to_string(home.join(".ssh/id")).unwrap(), "KEY\n");
}

/// What was approved is what is read: a link that was turned round since is noticed.
#[test]
fn a_link_that_is_turned_round_after_approval_is_refused() {
    let place = Place::new();
    place.file("good", "good");
    place.file("bad", "bad");
    let link = place.project().join("link");
    symlink("good", &link).unwrap();
    let arguments = json!({"path": "link"});
    let granted = place.subject("read_file", arguments.clone());
    let run = || {
        place.room(Some(&granted), |room| {
            place.registry.run("read_file", &arguments, room)
        })
    };
    assert_eq!(run(), ToolAnswer::good("good, 1 line:\ngood"));
    fs::remove_file(&link).unwrap();
    symlink("bad", &link).unwrap();
    let (was, is) = (place.project().join("good"), place.project().join("bad"));
    assert_eq!(
        run(),
        ToolAnswer::bad(format!(
            "{} was approved, and the path leads to {} by now. Nothing was done.",
            was.display(),
            is.display()
        ))
    );
}

/// A file that somebody writes while it is read: both ways of writing, seen from both sides.
#[test]
fn a_file_that_changes_while_it_is_read_is_said() {
    let place = Place::new();
    let content = "line\n".repeat(100_000);
    let changed = "[notes was changed while it was read: parts may not belong together]";
    let ways: [fn(&Path); 3] = [
        |path| fs::write(path, "other\n").unwrap(),
        |path| fs::remove_file(path).unwrap(),
        |path| {
            fs::write(path.with_extension("new"), "line\n").unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        },
    ];
    for way in ways {
        let path = place.file("notes", &content);
        let text = place.room(None, |room| {
            read_with(&json!({"path": "notes"}), room, || way(&path)).unwrap()
        });
        assert_eq!(text.lines().last(), Some(changed));
    }
}

#[test]
fn a_cancelled_read_ends() {
    let place = place_with_lines(3);
    place.cancel();
    assert_eq!(
        place.call("read_file", json!({"path": "notes.txt"})),
        ToolAnswer::bad("Reading notes.txt was interrupted.")
    );
}

#[test]
fn a_vanished_project_is_a_sentence() {
    let place = place_with_lines(1);
    fs::remove_dir_all(place.project()).unwrap_or_default();
    let gone = place.base().join("project");
    let room = CallContext {
        project: &gone,
        temp: &place.temp(),
        results: &results::Results::new(&place.temp(), results::MOST, None),
        secret: &crate::tools::Secrets::default(),
        limits: ResultLimits::default(),
        granted: None,
        asked: None,
        call: "c1",
        cancel: &place.cancel,
        live: &crate::tools::LiveOutput::default(),
        host: &place.host,
    };
    for (tool, arguments) in [
        ("read_file", json!({"path": "notes.txt"})),
        ("write_file", json!({"path": "notes.txt", "content": ""})),
        (
            "edit_file",
            json!({"path": "notes.txt", "old": "a", "new": "b"}),
        ),
        ("list", json!({})),
        ("search", json!({"pattern": "x"})),
    ] {
        let answer = place.registry.run(tool, &arguments, &room);
        let sentence = format!(
            "The project's folder {} cannot be used: No such file or directory (os error 2).",
            gone.display()
        );
        assert_eq!(answer, ToolAnswer::bad(sentence), "{tool}");
    }
}

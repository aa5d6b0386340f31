//! What is found in command lines, and what the hard list says to it.

use proptest::prelude::*;

use super::*;

fn places() -> ShellPlaces {
    ShellPlaces {
        home: "/home/me".into(),
        project: "/home/me/work".into(),
        data: "/home/me/.local/share/npast".into(),
    }
}

/// Every command as one line; what is not known as `‹guess›`, a glob as `*…`.
fn told(text: &str) -> Vec<String> {
    let script = parse(text, &places());
    let word = |w: &ShellWord| match w.known {
        Certainty::Fixed => w.text.clone(),
        Certainty::Glob => format!("*{}", w.text),
        Certainty::Not => format!("‹{}›", w.text),
    };
    let line = |c: &ShellCommand| {
        let mut parts: Vec<String> = c
            .assigns
            .iter()
            .map(|(n, v)| format!("{n}={}", word(v)))
            .collect();
        parts.extend(c.words.iter().map(word));
        parts.extend(
            c.redirects
                .iter()
                .map(|r| format!("{}{}", if r.writes { ">" } else { "<" }, word(&r.target))),
        );
        parts.join(" ")
    };
    let mut lines: Vec<String> = script.commands.iter().map(line).collect();
    lines.extend(script.unknown.map(|why| format!("? {why}")));
    lines
}

const NAMELESS: &str = "? it runs a program whose name is not known";
const EXOTIC: &str = "? a part of it cannot be read with certainty before it runs";

#[test]
fn every_command_is_found_however_it_is_written() {
    let table: &[(&str, &[&str])] = &[
        ("ls -l", &["ls -l"]),
        (
            "git status && cargo test || echo no; pwd &",
            &["git status", "cargo test", "echo no", "pwd"],
        ),
        (
            "cat a | sort | uniq -c > out",
            &["cat a", "sort", "uniq -c >out"],
        ),
        ("(cd x; ls) 2>&1 </dev/null", &["cd x", "ls", "</dev/null"]),
        ("ls\nrm -r a # rm -r b\n", &["ls", "rm -r a"]),
        ("r\\m '-r' \"a b\" $'\\x63'", &["rm -r a b c", EXOTIC]),
        ("'r'\"m\" -r x", &["rm -r x"]),
        ("rm{,} x", &["rm rm x", NAMELESS]),
        ("{rm,-rf,/}", &["rm -rf /", NAMELESS]),
        ("echo \"$(rm a)\" `rm b`", &["rm a", "rm b", "echo ‹› ‹›"]),
        ("X=1 Y=$(rm a) make", &["rm a", "X=1 Y=‹› make"]),
        (
            "ls *.rs ~/x \"$HOME\"/y",
            &["ls **.rs /home/me/x /home/me/y"],
        ),
        ("X=a; ls $X $Y", &["X=a", "ls ‹a› ‹›"]),
        (
            "if a; then b; elif c; then d; else e; fi",
            &["a", "b", "c", "d", "e"],
        ),
        (
            "while read l; do rm $l; done < list",
            &["read l", "rm ‹›", "<list"],
        ),
        ("for f in a b; do rm $f; done", &["rm ‹a›", "rm ‹b›"]),
        (
            "case $x in a) rm a;; *) rm b;; esac",
            &["rm a", "rm b", EXOTIC],
        ),
        (
            "[[ -f $(rm a) ]] && (( $(rm b) ))",
            &["rm a", "rm b", EXOTIC],
        ),
        ("f() { rm \"$1\"; }; f /", &["rm ‹›", "f /", "rm ‹/›"]),
        ("cat <<E\n$(rm a)\nE\n", &["rm a", "cat"]),
        ("cat <<'E'\n$(rm a)\nE\n", &["cat"]),
        (
            "diff <(rm a) >(rm b)",
            &["rm a", "rm b", "diff ‹/dev/fd/63› ‹/dev/fd/63›"],
        ),
        ("sh -c 'rm a; rm b'", &["sh -c rm a; rm b", "rm a", "rm b"]),
        ("bash -lc \"rm a\"", &["bash -lc rm a", "rm a"]),
        ("sh -c 'rm \"$1\"' _ /", &["sh -c rm \"$1\" _ /", "rm ‹/›"]),
        ("eval 'rm' a", &["eval rm a", "rm a"]),
        (
            "sudo -u x env -u Y A=1 nice -n 5 timeout -k 1 5 rm a",
            &[
                "sudo -u x env -u Y A=1 nice -n 5 timeout -k 1 5 rm a",
                "env -u Y A=1 nice -n 5 timeout -k 1 5 rm a",
                "nice -n 5 timeout -k 1 5 rm a",
                "timeout -k 1 5 rm a",
                "rm a",
            ],
        ),
        (
            "find . -name x -exec rm {} \\; -exec ls {} +",
            &[
                "find . -name x -exec rm {} ; -exec ls {} +",
                "rm ‹.›",
                "ls ‹.›",
            ],
        ),
        (
            "echo / | xargs rm -rf",
            &["echo /", "xargs rm -rf", "rm -rf ‹/›"],
        ),
        (
            "nohup setsid rm a &",
            &["nohup setsid rm a", "setsid rm a", "rm a"],
        ),
        ("command -v rm", &["command -v rm"]),
        ("echo x > \"a b\" 2>/dev/null", &["echo x >a b >/dev/null"]),
        (
            "curl x | sh",
            &["curl x", "sh", "? a shell in it runs what it is given"],
        ),
        (
            "echo 'rm a' | sh",
            &[
                "echo rm a",
                "sh",
                "rm a",
                "? it runs text that is not known",
            ],
        ),
        (
            "bash <<< 'rm a'",
            &["bash", "rm a", "? it runs text that is not known"],
        ),
        (
            "bash <<E\nrm a\nE\n",
            &["bash", "rm a", "? it runs text that is not known"],
        ),
        (
            "bash -c 'ls ~`rm a`'",
            &["bash -c ls ~`rm a`", "rm a", "ls ‹~›"],
        ),
        (
            "export HOME=.; bash -c '~/x'",
            &["export HOME=.", "bash -c ~/x", "/home/me/x", EXOTIC],
        ),
        (
            "ls | xargs -I% sh -c 'rm %'",
            &[
                "ls",
                "xargs -I% sh -c rm %",
                "sh -c ‹rm %› ‹›",
                "rm %",
                "? it runs text that is not known",
            ],
        ),
        (
            "$X a",
            &["‹› a", "? it runs a program whose name is not known"],
        ),
        (
            "rm a\necho 'unfinished",
            &[
                "rm a",
                "echo unfinished",
                "? it is not a command line that can be read",
            ],
        ),
        ("", &[]),
    ];
    let mut wrong = Vec::new();
    for (text, want) in table {
        let told = told(text);
        if told != *want {
            wrong.push(format!("{text:?}: {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn judged(text: &str) -> Option<String> {
    hard(&parse(text, &places()), &places())
}

#[test]
fn the_hard_list_holds_against_quotes_wrappers_and_detours() {
    let stopped = [
        "rm -rf /",
        "rm -rf /*",
        "rm -r -f ~",
        "rm -rf ~/",
        "rm -rf ~/*",
        "rm -rf \"$HOME\"",
        "rm -rf ${HOME}/",
        "rm -fr /etc",
        "rm --recursive /usr",
        "rm --rec /usr",
        "'rm' -rf /",
        "r\\m -rf /",
        "$'\\x72m' -rf /",
        "rm -rf /./",
        "rm -rf /home/me/work/../..",
        "rm -rf /home/you",
        "rm -rf ../..",
        "cd / && rm -rf *",
        "cd /; rm -rf ./*",
        "(cd /etc && rm -rf .)",
        "cd ~; rm -rf .",
        "rm -rf /h*",
        "rm -rf /{etc,usr}",
        "{rm,-rf,/}",
        "rm${IFS}-rf${IFS}/",
        "rm -rf $X/*",
        "X=/; rm -rf $X",
        "X='-rf /'; rm $X",
        "rm -rf ${X:-/}",
        "for d in a /; do rm -rf $d; done",
        "f() { rm -rf \"$1\"; }; f /",
        "sh -c 'rm -rf /'",
        "bash -c \"sh -c 'rm -rf /'\"",
        "eval rm -rf /",
        "eval -- rm -rf /",
        "eval \"$(echo rm -rf /)\"",
        "$(echo rm) -rf /",
        "echo rm -rf / | sh",
        "bash <<< 'rm -rf /'",
        "sh <<E\nrm -rf /\nE\n",
        "sudo rm -rf /",
        "env X=1 rm -rf /",
        "env -S 'rm -rf /'",
        "nohup rm -rf / &",
        "timeout 5 rm -rf /",
        "echo / | xargs rm -rf",
        "printf '%s' / | xargs rm -rf",
        "find / -delete",
        "find ~ -delete",
        "find / -name '*.c' -delete",
        "find / -exec rm -rf {} +",
        "find / | xargs rm -rf",
        "busybox rm -rf /",
        "command rm -rf /",
        "exec rm -rf /",
        "\\rm -rf /",
        "/bin/rm -rf /",
        "mv ~ /tmp/x",
        "mv /etc /tmp/",
        "chmod -R 777 /",
        "chmod 000 /",
        "chown -R me /usr",
        "chmod -R 0 ~",
        "rm -rf ~/.ssh",
        "rm -rf /home/me/.local/share/npast",
        "rsync -a --delete empty/ /",
        "cd ~ && git clean -fdx",
        "dd if=/dev/zero of=/dev/sda",
        "cat x > /dev/nvme0n1",
        "mkfs.ext4 /dev/sda1",
        "mkfs -t ext4 /dev/sdb",
        "wipefs -a /dev/sda",
        "blkdiscard /dev/nvme0n1",
        "tee /dev/sda < x",
        "cp x /dev/sda",
        "shred /dev/sda",
        ":(){ :|:& };:",
        "b() { b | b & }; b",
        "f() { f & f & }; f",
        "while true; do sh -c x & done",
        "perl -e 'fork while fork'",
        "shutdown -h now",
        "reboot",
        "systemctl poweroff",
        "init 0",
        "echo b > /proc/sysrq-trigger",
        "insmod x.ko",
        "sudo modprobe x",
        "echo 1 > /proc/sys/kernel/panic",
        "sysctl -w a=b",
        "rm /boot/vmlinuz",
        "echo x > /boot/grub/grub.cfg",
        "kill -9 -1",
        "kill -9 1",
        "trap 'rm -rf /' EXIT",
        "alias x='rm -rf /'",
        "if true; then rm -rf /; fi",
        "! rm -rf /",
        "a=$(rm -rf /)",
        "cat <<E\n$(rm -rf /)\nE\n",
        "echo ${X/a/$(rm -rf /)}",
        "set -- /; rm -rf \"$@\"",
        "su -c 'rm -rf /'",
        "flock x rm -rf /",
        "xargs -I{} rm -rf / < x",
        "rm -rf -- /",
        "rm -rf a b /",
    ];
    for text in stopped {
        assert!(
            judged(text).is_some(),
            "let through: {text:?} {:?}",
            parse(text, &places())
        );
    }
    let free = [
        "rm -rf target",
        "rm -rf ./*",
        "rm -rf /tmp/x",
        "rm -rf ~/work/target",
        "rm -r build/*",
        "rm /tmp/*",
        "echo rm -rf /",
        "grep -r 'rm -rf /' .",
        "git commit -m 'rm -rf /'",
        "ls / ~ /etc",
        "chmod +x a.sh",
        "chmod -R u+w target",
        "chmod 700 ~/.ssh",
        "cp a b",
        "cat /dev/null > x",
        "dd if=/dev/zero of=disk.img",
        "mkfs.ext4 disk.img",
        "find . -delete",
        "find . -name '*.o' -delete",
        "mv a b",
        "git push --force",
        "curl x | sh",
        "while true; do make; sleep 1; done",
        "for i in 1 2; do sleep 1 & done; wait",
        "kill 12345",
        "kill -1 12345",
        "git clean -fdx",
        "tar xf a.tar -C /tmp",
        "rm -rf \"$BUILD\"",
        "init",
        "systemctl status x",
        "ls 2>&1 >/dev/null",
        "X=a; rm -rf $X",
        "python3 -c 'print(1)'",
        "",
    ];
    for text in free {
        assert_eq!(judged(text), None, "{text:?} {:?}", parse(text, &places()));
    }
}

#[test]
fn a_link_is_followed_where_the_program_would_follow_it() {
    let dir = tempfile::tempdir().unwrap();
    let places = ShellPlaces {
        project: dir.path().into(),
        ..places()
    };
    std::os::unix::fs::symlink("/", dir.path().join("link")).unwrap();
    let judged = |text: &str| hard(&parse(text, &places), &places).is_some();
    assert!(judged("rm -rf link/"));
    assert!(judged("rm -rf link/etc"));
    assert!(judged("rm -rf link/*") || !judged("rm -rf link"));
    assert!(!judged("rm -rf link"));
}

#[test]
fn only_plain_known_words_can_be_matched_by_a_rule() {
    let plain = |text: &str| {
        parse(text, &places())
            .commands
            .iter()
            .all(ShellCommand::is_plain)
    };
    assert!(plain("cargo test --lib 'a b' 2>/dev/null | sort < x"));
    for text in [
        "cargo $X",
        "X=1 cargo test",
        "ls *",
        "echo x > y",
        "echo $(ls)",
        "PATH=.",
    ] {
        assert!(!plain(text), "{text}");
    }
}

#[test]
fn what_no_bound_lets_in_is_not_read() {
    let unknown = |text: &str| parse(text, &places()).unknown;
    assert!(unknown(&"a ".repeat(40 << 10)).is_some());
    assert!(unknown("ls\0rm").is_some());
}

/// Most steps of a line: what it may cost, and what the readers still take while they end.
const MOST: usize = steps::MAX_STEPS + MAX_BYTES;

/// Lines of all kinds that took a reader much time or memory, or could.
fn growing() -> Vec<String> {
    let lines = [
        "(".repeat(5_000),
        "$(".repeat(5_000),
        "{ ".repeat(5_000),
        "\\`".repeat(5_000),
        "`".repeat(5_000),
        "${".repeat(5_000),
        "if a; then ".repeat(5_000),
        "$((".repeat(5_000),
        "((".repeat(20) + &"))".repeat(20),
        "$(".repeat(30) + "ls" + &")".repeat(30),
        "$((".repeat(19) + "1" + &"))".repeat(19),
        "\"$(".repeat(38) + "ls" + &")\"".repeat(38),
        "${x:-".repeat(30) + &"}".repeat(30),
        "{a,b}".repeat(2_000),
        "{a,{b,".repeat(19) + &"}}".repeat(19),
        "{'}'a,".repeat(8_000),
        "{'}'a,".repeat(4_000) + &"}".repeat(4_000),
        "{1..99999}{1..99999}{1..99999}".to_owned(),
        "x{".repeat(39) + &",".repeat(20_000),
        "for i in 1 2 3 4 5 6 7 8 9; do ".repeat(9) + "ls" + &"; done".repeat(9),
        "for i in 1 2 3 4 5 6 7 8 9; do ".repeat(9) + "[[ a ]]" + &"; done".repeat(9),
        "f() { f; f; f; }; ".repeat(500) + "f",
        "eval ".repeat(3_000) + "ls",
        "sudo ".repeat(3_000) + "ls",
        "a|".repeat(20_000) + "b",
        "<<E ".repeat(500),
        "<<E\n".repeat(16_000),
        (0..9_000).map(|n| format!("<<{n}\n")).collect(),
        "$(<<E\n".repeat(30) + &"x\n".repeat(30_000),
        "echo $(cat <<E\nx".to_owned(),
        "$($(\"\"<< )''$(".to_owned(),
        "<\\\n".repeat(20_000),
        "[[ ".to_owned() + &"( ".repeat(30) + "a" + &" )".repeat(30) + " ]]",
        "case x in ".repeat(30),
        "case x in a) ".repeat(39),
        "a=(".repeat(30),
        "a[".repeat(39) + &"=".repeat(60_000),
        "a".repeat(30_000) + &"=".repeat(30_000),
        "'\"".repeat(5_000),
        "x() ".repeat(3_000),
        "$((')) ".repeat(9_000),
        "in ".repeat(9_000),
        "&& ".repeat(9_000),
        "coproc ".repeat(9_000),
        "for i in {1..60}; do x=$x$x$x$x; x=${x:-a}; done; echo $x$x$x".to_owned(),
        "f() { f \"$@\" \"$@\"; }; set -- a a; ".to_owned()
            + &"f $@ $@; set -- $@ $@; ".repeat(300),
        format!("x={}; ", "a".repeat(30_000)) + &"sh -c \"$x\"; ".repeat(2_000),
        format!("cd {}; ", "a".repeat(30_000)) + &"b; ".repeat(9_000),
        "a=1;".repeat(8_000) + &"(b);".repeat(7_000),
        (1..5_000)
            .map(|n| format!("a{}=$a{n};", n - 1))
            .collect::<String>()
            + "((a0))",
        format!(
            "find {}-exec rm {}\\;",
            "a ".repeat(15_000),
            "{} ".repeat(10_000)
        ),
        "find a -exec rm {} \\; ".repeat(2_500),
        format!(
            "printf {} {}",
            "%s".to_owned() + &"a".repeat(30_000),
            "b ".repeat(15_000)
        ),
        format!("echo {}| ", "a ".repeat(20_000)) + &"xargs ".repeat(3_000),
        "echo $(".repeat(38) + "echo a" + &")".repeat(38),
        "echo $(echo a;".repeat(38) + &")".repeat(38),
        "let '$(let '".repeat(4_000),
        "sh -c 'a' ".repeat(6_000),
        "sh -c 'a'; ".repeat(5_000),
        "trap 'a' 0; eval 'b'; ".repeat(2_500),
        "bash -c ".repeat(8_000),
        "( ".repeat(30_000),
        "$(a ".repeat(15_000),
        "${x:-".repeat(10_000),
        "\"$(a ".repeat(12_000),
        "a=(b[".repeat(10_000),
        "`\\`".repeat(10_000),
        "<(".repeat(20_000),
        "x() { ".repeat(10_000),
        "coproc { ".repeat(7_000),
        "sh -c '".repeat(9_000),
        "$((1+".repeat(12_000),
    ];
    lines.into()
}

#[test]
fn no_line_of_the_kinds_that_grow_takes_more_than_a_line_may() {
    let mut most = (0, String::new());
    for text in growing() {
        assert!(
            text.len() <= MAX_BYTES,
            "{} bytes: {:.40}",
            text.len(),
            text
        );
        let script = parse(&text, &places());
        let kept: usize = script.commands.iter().map(kept).sum();
        assert!(script.steps <= MOST, "{} steps: {:.40}", script.steps, text);
        assert!(kept <= 2 * steps::MAX_STEPS, "{kept} bytes: {text:.40}");
        assert!(
            script.unknown.as_deref() != Some("it could not be read"),
            "{text:.40}"
        );
        most = most.max((script.steps, text.chars().take(40).collect()));
    }
    // The bound is reached: it is what keeps the largest of them small.
    assert!(most.0 > steps::MAX_STEPS, "{most:?}");
}

/// What a command holds, in bytes.
fn kept(command: &ShellCommand) -> usize {
    let words = command.words.iter();
    let words: usize = words.map(|w| size_of::<ShellWord>() + w.text.len()).sum();
    size_of::<ShellCommand>() + words + command.folder.as_ref().map_or(0, |f| f.as_os_str().len())
}

#[test]
fn a_line_that_costs_too_much_is_asked_about() {
    // Each of these runs in a folder whose name is long.
    let deep = |times| format!("cd {}; ", "a".repeat(30_000)) + &"b; ".repeat(times);
    let unknown = |text: &str| parse(text, &places()).unknown;
    assert_eq!(unknown(&deep(100)), None);
    assert_eq!(unknown(&deep(1_000)).as_deref(), Some(certain::LONG));
    // An ordinary one of the same length costs a fraction.
    let script = parse(
        &format!("cat > a <<'E'\n{}E\n", "a b $c\n".repeat(9_000)),
        &places(),
    );
    assert_eq!(script.unknown, None);
    assert!(
        script.steps < steps::MAX_STEPS / 16,
        "{} steps",
        script.steps
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Anything can be read, and a harmless beginning hides nothing.
    #[test]
    fn nothing_makes_it_panic(text in "[ -~\n]{0,120}|\\PC{0,40}") {
        let places = places();
        hard(&parse(&text, &places), &places);
    }

    #[test]
    fn pieces_of_shell_in_any_order_are_read(parts in prop::collection::vec(prop::sample::select(vec![
        "rm", "-rf", "/", "$(", ")", "`", "'", "\"", "${", "}", "|", "&&", ";", "&", "(", "((", "))", "{ ", "; }",
        "if", "then", "fi", "for", "in", "do", "done", "case", "esac", "<<E", "\n", "E", "<", ">", "$X", "~",
        "*", "[[", "]]", "sh -c", "eval", "xargs", "find", "-exec", "f()", "\\", "=", "a", " ",
    ]), 0..40)) {
        let places = places();
        hard(&parse(&parts.concat(), &places), &places);
    }

    /// Any bytes up to the longest line are read in a bounded number of steps.
    #[test]
    fn no_bytes_take_more_steps_than_a_line_may(
        parts in prop::collection::vec((prop::sample::select(vec![
            "rm", "-rf", "/", "$(", ")", "`", "'", "\"", "${", "}", "|", "&&", ";", "&", "(", "((", "))", "{ ", "; }",
            "if ", "then ", "fi ", "for x in ", "in ", "do ", "done ", "case x in ", "esac ", "<<E", "\n", "E", "<", ">",
            "$x", "x=$x$x;", "~", "*", "[[ ", " ]]", "sh -c ", "eval ", "xargs ", "find / ", "-exec ", "f() ", "\\", "=",
            "a", " ", "{a,b}", "{1..9}", "$((", "$[", "]", "a=(", "a[", "$'", "$\"", "<(", "<<<", "#", "coproc ",
            "set -- $@ $@;", "f $@ $@;", "sudo ", "cd a;", "\u{fffd}", "é",
        ]), 1usize..3_000), 0..12),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut text: String = parts.iter().map(|(part, times)| part.repeat(1 + times % 3_000 / (1 + times % 7 * 100))).collect();
        text.push_str(&String::from_utf8_lossy(&bytes).replace('\0', ""));
        let end = (0..=MAX_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        let script = parse(&text, &places());
        prop_assert!(script.steps <= MOST, "{} steps: {:?}", script.steps, text);
    }

    /// However a word is quoted, it is the same word.
    #[test]
    fn quoting_hides_nothing(styles in prop::collection::vec(0u8..4, 5)) {
        let quoted = |word: &str, from: usize| -> String {
            word.chars().enumerate().map(|(n, c)| match styles[(from + n) % styles.len()] {
                0 => format!("\\{c}"),
                1 => format!("'{c}'"),
                2 => format!("\"{c}\""),
                _ => format!("$'\\x{:02x}'", c as u32),
            }).collect()
        };
        let text = format!("{} {} {}", quoted("rm", 0), quoted("-rf", 2), quoted("/etc", 1));
        prop_assert!(judged(&text).is_some(), "{}", text);
    }
}

//! Where the guessing reader finds commands, and what its parser costs.

#[path = "../../../../tests/support/lines.rs"]
mod lines;

use proptest::prelude::*;

use super::parse;
use super::*;
use crate::tools::command::certain::{self, Shell};
use crate::tools::command::steps::Steps;
use crate::tools::command::{STACK, ShellPlaces, unreadable};

fn places() -> ShellPlaces {
    ShellPlaces {
        home: "/home/me".into(),
        project: "/home/me/work".into(),
        data: "/home/me/.local/share/npast".into(),
    }
}

/// The commands that are guessed in `text`, as lines; on a stack like that of the program.
fn guessed(text: &str) -> Vec<String> {
    let guess = || {
        let places = places();
        let mut walk = ShellState::new(&places);
        walk.text(text);
        let commands = walk.script.commands.iter();
        let lines = commands.map(|command| {
            let words: Vec<&str> = command.words.iter().map(|w| w.text.as_str()).collect();
            words.join(" ")
        });
        lines.collect()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        thread.spawn_scoped(scope, guess).unwrap().join().unwrap()
    })
}

#[test]
fn a_command_is_found_wherever_bash_would_run_it() {
    let table = [
        // Lists, blocks and functions.
        "a & git push",
        "a&&\ngit push",
        "a|&git push",
        "! ! git push",
        "time -p git push",
        "(git push)&",
        "{ git push; }",
        "if git push; then :; fi",
        "if a; then b; elif c; then git push; fi",
        "if a; then b; else git push; fi",
        "while git push; do :; done",
        "until :; do git push; done",
        "for x in a\ndo git push\ndone",
        "for x; do git push; done",
        "for x in a; { git push; }",
        "for ((;;)) do git push; done",
        "for ((x='$(git push)';0;)); do :; done",
        "select x in a; do git push; done",
        "case x in a) b;; (x|y) git push;& esac",
        "case $(git push) in x) ;; esac",
        "case x in $(git push)) ;; esac",
        "coproc git push",
        "coproc N { git push; }",
        "f() { git push; }",
        "f()\n( git push )",
        "function f { git push; }",
        "function f() { git push; }",
        "X=git; f() { $X push; }; f",
        // Redirects before and behind.
        ">x git push",
        "2>&1 git push",
        "&>x git push",
        "{fd}>x git push",
        "2>&-git push",
        ">&- git push",
        "<<<x git push",
        "> >(git push) a",
        "{ a; } > $(git push)",
        // Words.
        "g\\\nit push",
        "'git' \"push\"",
        "$'\\x67it' push",
        "$\"git\" push",
        "X=git; $X push",
        "${X:-git} push",
        "${X:+git} push",
        "{git,push}",
        "a[0 ]=1 git push",
        "a+=1 git push",
        "echo a#b; git push",
        "echo a #b\ngit push",
        // Substitutions.
        "a $(git push)",
        "a \"$(git push)\"",
        "a b$(git push)c",
        "$(a; git push)",
        "a `git push`",
        "a \"`git push`\"",
        "a `b \\`git push\\``",
        "a ~`git push`",
        "a b<(git push)",
        "a >(git push)",
        "a ${x:-$(git push)}",
        "a \"${x:=\"$(git push)\"}\"",
        "a ${x/a/$(git push)}",
        "a ${x[$(git push)]}",
        "a ${!x[$(git push)]}",
        "a ${ git push; }",
        "a=(b $(git push))",
        "a=([$(git push)]=b)",
        "declare -a a=($(git push))",
        "a[$(git push)]=1",
        "{{1..70},$(git push)}",
        "a $'\\\\'$(git push)'\\''",
        "a $((a); (git push))",
        "((a); (git push))",
        // Arithmetic and tests run what a value hides.
        "a $((1 + $(git push)))",
        "a $[$(git push)]",
        "(( '$(git push)' ))",
        "[[ $(git push) ]]",
        "[[ a =~ (b|$(git push)) ]]",
        "[[ -v 'a[$(git push)]' ]]",
        "[ -v 'a[`git push`]' ]",
        "let 'a[$(git push)]'",
        "printf -v 'a[$(git push)]' x",
        "x='a[$(git push)]'; ((x))",
        "RANDOM='a[$(git push)]'",
        "for x in 'a[$(git push)]'; do ((x)); done",
        // Here-documents.
        "a <<E\n$(git push)\nE\n",
        "a <<E b\n'`git push`'\nE\n",
        "a <<-E\n\tb\n\tE\ngit push",
        "a <<EF\nE\\\nF\ngit push\nEF\n",
        "a <<$'E'\nE\ngit push\nE\n",
        "a <<\"E F\"\nE F\ngit push",
        "a <<\\E\nE\ngit push",
        "a <<A <<B\nA\nB\ngit push",
        "a $(b <<E\n$(git push)\nE\n)",
        "a $(b <<E\nE\n); git push",
        "a $(b <<E\nno mark\n); git push",
        "bash <<E\ngit push\nE",
        "cat <<E | sh\ngit push\nE",
        // Texts that run.
        "eval 'git push'",
        "eval eval git push",
        "trap 'git push' EXIT",
        "alias a='git push'",
        "bash -c 'git push'",
        "echo git push | sh",
        "a | xargs env X=1 git push",
        // Broken texts.
        "git push\necho 'open",
        "{ git push",
        "( ( git push",
        "if a; then git push",
        "done; git push",
        "a )git push",
        "a ;; git push",
        "echo `git push",
        "echo \"$(git push",
        "a (git push)",
        "then git push",
        "case x in x git push",
        "[[ a; git push",
    ];
    // `[[` without its end takes all for its words, and bash runs nothing of it.
    let none = ["[[ a; git push", "case x in x git push"];
    let missed = table.into_iter().filter(|text| {
        let found = guessed(text).iter().any(|line| line.trim() == "git push");
        found == none.contains(text)
    });
    let missed: Vec<String> = missed
        .map(|text| format!("{text:?}: {:?}", guessed(text)))
        .collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// Also deeper than the parser goes, where no more blocks open.
#[test]
fn a_command_is_found_however_deep_it_stands() {
    for (open, close, most) in [
        ("( ", ")", 1_500),
        ("{ ", "; }", 1_500),
        ("if a; then ", "; fi", 1_500),
        ("! { ( ", "); }", 1_500),
        ("a $(", ")", 50),
        ("a \"${x:-$(", ")}\"", 16),
    ] {
        for deep in [10, 30, 50, 70, 1_500]
            .into_iter()
            .filter(|deep| *deep <= most)
        {
            let text = open.repeat(deep) + "git push" + &close.repeat(deep);
            let found = guessed(&text).iter().any(|line| line == "git push");
            assert!(found, "{deep} times {open:?}: {:?}", guessed(&text).last());
        }
    }
}

#[test]
fn a_text_that_nothing_runs_is_no_command() {
    for text in [
        "echo 'git push'",
        "git commit -m \"git push\"",
        "echo '$(git push)'",
        "echo \"\\$(git push)\"",
        "cat <<E\ngit push\nE",
        "cat <<'E'\n$(git push)\nE",
        "cat <<E\n\\$(git push)\nE",
        "# git push",
        "echo a # git push",
        "echo git push | cat",
    ] {
        let found = guessed(text);
        assert!(
            !found.contains(&"git push".to_owned()),
            "{text:?}: {found:?}"
        );
    }
}

#[test]
fn what_is_whole_is_known_as_whole() {
    let whole = |text: &str| parse::commands(text, &mut Steps::default()).whole;
    for text in [
        "",
        "a && b | c; d &",
        "if a; then b; elif c; then d; else e; fi > x",
        "while a; do b; done < x",
        "for x in a b; do c; done",
        "case x in (a|b) c;; d) e;& *) ;; esac",
        "f() { a; }; function g { b; }",
        "[[ a == b && ( -f c || ! -d e ) ]] && (( 1 + (2) ))",
        "a <<E | b\n$(c)\nE\n",
        "x=(a b) y=$(c) d \"${e:-`f`}\" <(g)",
    ] {
        assert!(whole(text), "{text}");
    }
    for text in [
        "a 'b", "a \"b", "$(a", "`a", "${a", "{ a", "( a", "if a", "a)", "fi", "<<E", "a ;; b",
    ] {
        assert!(!whole(text), "{text}");
    }
}

/// Else a line that runs without a question would be asked about.
#[test]
fn what_is_read_with_certainty_is_whole_for_the_guess_too() {
    let (places, mut lines, mut read) = (places(), lines::Lines::new(3), 0);
    for n in 0..20_000 {
        let line = match n % 2 {
            0 => lines.next_line(),
            _ => lines.next_plain(),
        };
        let mut steps = Steps::default();
        let certain = certain::read(&line, &places, Shell::Bash, true, &mut steps).is_ok();
        if certain && unreadable(&line).is_none() {
            read += 1;
            assert!(parse::commands(&line, &mut steps).whole, "{line:?}");
        }
    }
    assert!(read > 4_000, "{read} lines");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// The parser takes a number of steps for each character, and no more of them for a longer text.
    #[test]
    fn parsing_is_linear(parts in prop::collection::vec((prop::sample::select(vec![
        "$(", ")", "`", "'", "\"", "${", "}", "|", "&&", ";", "(", "((", "))", "{ ", "if ", "then ", "fi ", "for x in ",
        "do ", "done ", "case x in ", "esac ", "<<E", "\n", "E", "<", "a", " ", "[[ ", "$((", "$[", "]", "a=(", "a[",
        "$'", "<(", "#", "coproc ", "\\", "=", "f() ", "<<E\n", "{a,",
    ]), 1usize..2_000), 0..10)) {
        let text: String = parts.iter().map(|(part, times)| part.repeat(*times)).collect();
        let mut steps = Steps::default();
        parse::commands(&text, &mut steps);
        let taken = steps.taken();
        prop_assert!(taken <= 300 * (text.len() + 1), "{taken} steps for {} bytes: {parts:?}", text.len());
    }
}

//! What is read with certainty, and what is not.

use super::*;

fn places() -> ShellPlaces {
    ShellPlaces {
        home: "/home/me".into(),
        project: "/home/me/work".into(),
        data: "/home/me/.local/share/npast".into(),
    }
}

fn bash(text: &str) -> Result<CertainReading, Unsure> {
    read(text, &places(), Shell::Bash, true, &mut Steps::default())
}

/// The commands as lines; `‹…›` is not known, `*…` a glob.
fn told(text: &str) -> Vec<String> {
    let word = |word: &ShellWord| match word.known {
        Certainty::Fixed => word.text.clone(),
        Certainty::Glob => format!("*{}", word.text),
        Certainty::Not => format!("‹{}›", word.text),
    };
    let line = |command: &ShellCommand| {
        let assigns = command.assigns.iter();
        let redirects = command.redirects.iter();
        let mut parts: Vec<String> = assigns.map(|(n, v)| format!("{n}={}", word(v))).collect();
        parts.extend(command.words.iter().map(word));
        parts.extend(redirects.map(|r| {
            let sign = if r.writes { '>' } else { '<' };
            format!("{sign}{}", word(&r.target))
        }));
        parts.join(" ")
    };
    match bash(text) {
        Ok(reading) => reading.commands.iter().map(line).collect(),
        Err(why) => vec![format!("? {why}")],
    }
}

/// What agents run all day is read, and to the word.
#[test]
fn ordinary_commands_are_read() {
    let table: &[(&str, &[&str])] = &[
        ("", &[]),
        (
            "cargo test 2>&1 | tail -n 20",
            &["cargo test", "tail -n 20"],
        ),
        ("cd src && ls -la; pwd &", &["cd src", "ls -la", "pwd"]),
        ("make || echo \"it failed\"", &["make", "echo it failed"]),
        (
            "git commit -m 'a \"b\" $c `d`'",
            &["git commit -m a \"b\" $c `d`"],
        ),
        (
            "git log HEAD~3..HEAD^ --format=%H%n",
            &["git log HEAD~3..HEAD^ --format=%H%n"],
        ),
        (
            "grep -rn \"fn main\\b\" src | head",
            &["grep -rn fn main\\b src", "head"],
        ),
        (
            "grep 'x$' a; grep \"x$\" a; grep x$ a",
            &["grep x$ a", "grep x$ a", "grep x$ a"],
        ),
        ("ls *.rs src/[ab]?.c", &["ls **.rs *src/[ab]?.c"]),
        ("echo a > out 2>/dev/null", &["echo a >out >/dev/null"]),
        ("make >> log 2>&1 < in", &["make >log <in"]),
        (
            "make &> log; make |& tee log",
            &["make >log", "make", "tee log"],
        ),
        (
            "cat > a.py <<'EOF'\nprint('$(x)')\n`\\\nEOF\npython3 a.py",
            &["cat >a.py", "python3 a.py"],
        ),
        (
            "cat <<EOF | sort\n$X ${Y} $(id) \\$(no) it's \"\nEOF",
            &["cat", "id", "sort"],
        ),
        ("cat <<-\"E\"\n\ta\n\tE\n", &["cat"]),
        ("wc -l <<< \"a $b\"", &["wc -l"]),
        ("X=1 Y=$Z make", &["X=1 Y=‹› make"]),
        (
            "x=$(git rev-parse HEAD); echo \"$x\"",
            &["git rev-parse HEAD", "x=‹›", "echo ‹›"],
        ),
        (
            "make -j$(nproc) CC=\"ccache gcc\"",
            &["nproc", "make ‹-j› CC=ccache gcc"],
        ),
        ("cat `which make`", &["which make", "cat ‹›"]),
        ("for f in *.c a; do gcc -c \"$f\"; done", &["gcc -c ‹›"]),
        ("for i in {1..30}\ndo\n echo $i\ndone", &["echo ‹›"]),
        (
            "while read -r line; do echo \"$line\"; done < a.txt",
            &["read -r line", "echo ‹›", "<a.txt"],
        ),
        (
            "while IFS= read -r a b; do echo $a; done",
            &["IFS= read -r a b", "echo ‹›"],
        ),
        (
            "if [ -f a ]; then b; elif test -d c; then d; else e; fi",
            &["[ -f a ]", "b", "test -d c", "d", "e"],
        ),
        ("[ -f Makefile ] && make", &["[ -f Makefile ]", "make"]),
        (
            "[ ! -e \"$x\" ] || [ \"$x\" = \"$y\" ]",
            &["[ ! -e ‹› ]", "[ ‹› = ‹› ]"],
        ),
        (
            "[ $? -eq 0 ] && [ $# -gt 1 ] && [ -z $CI ]",
            &["[ ‹› -eq 0 ]", "[ ‹› -gt 1 ]", "[ -z ‹› ]"],
        ),
        ("[[ -n $x && $y == *.rs ]] && make", &["make"]),
        ("[[ $x =~ ^[0-9]+$ ]] || exit 1", &["exit 1"]),
        (
            "i=0; while [ $i -lt 5 ]; do i=$((i+1)); done",
            &["i=0", "[ ‹› -lt 5 ]", "i=‹›"],
        ),
        (
            "i=3; [[ $i -gt 2 ]] && echo $((i * 2))",
            &["i=3", "echo ‹›"],
        ),
        (
            "(cd a && make) && { b; c; } > log",
            &["cd a", "make", "b", "c", ">log"],
        ),
        ("f() { rm \"$1\"; }; f a", &["rm ‹›", "f a"]),
        (
            "time cargo build && ! grep -q x y",
            &["cargo build", "grep -q x y"],
        ),
        (
            "diff <(sort a) <(sort b)",
            &["sort a", "sort b", "diff ‹› ‹›"],
        ),
        (
            "find . -name '*.o' -exec rm {} \\;",
            &["find . -name *.o -exec rm {} ;"],
        ),
        (
            "ls ~ ~/a \"$HOME/b\" ~you",
            &["ls /home/me /home/me/a /home/me/b ‹~you›"],
        ),
        (
            "mkdir -p a/{b,c} && cp x{,.bak}",
            &["mkdir -p ‹a/{b,c}›", "cp ‹x{,.bak}›"],
        ),
        (
            "git checkout stash@{0} -- a",
            &["git checkout ‹stash@{0}› -- a"],
        ),
        (
            "docker run -v \"$PWD:/x\" \\\n  -p 80:80 img # web",
            &["docker run -v ‹:/x› -p 80:80 img"],
        ),
        (
            "set -euo pipefail\nexport A=1\nmake",
            &["set -euo pipefail", "export A=1", "make"],
        ),
        (
            "source .venv/bin/activate && pytest -q",
            &["source .venv/bin/activate", "pytest -q"],
        ),
        (
            "command -v rg >/dev/null || exec make all",
            &["command -v rg >/dev/null", "exec make all", "make all"],
        ),
        (
            "eval 'rm a'; trap 'rm -f t' EXIT",
            &["eval rm a", "rm a", "trap rm -f t EXIT", "rm -f t"],
        ),
        (
            "echo ${x:-none} ${f%.txt} ${#x} ${x//a/b}",
            &["echo ‹› ‹› ‹› ‹›"],
        ),
        ("echo \\$'\\'; touch P #'\\'", &["echo $\\", "touch P"]),
        ("cat файл.txt \"naïve\"", &["cat файл.txt naïve"]),
        (
            "awk '{print $1}' a | sed -e 's/a\\.b/c/'",
            &["awk {print $1} a", "sed -e s/a\\.b/c/"],
        ),
        (
            "printf '%s\\n' a b; wait $!",
            &["printf %s\\n a b", "wait ‹›"],
        ),
        ("sleep 1 & p=$!; wait $p", &["sleep 1", "p=‹›", "wait ‹›"]),
    ];
    let mut wrong = Vec::new();
    for (text, want) in table {
        let told = told(text);
        if told != *want {
            wrong.push(format!("{text:?} is read as {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each of these runs `touch P` under some bash, or could be read in two ways, or is rare.
#[test]
fn what_bash_could_read_otherwise_is_not_read() {
    let many = (0..70).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let lists = format!("echo {{{many},$(touch P)}}");
    let table = [
        "echo {{1..70},$(touch P)}",
        &lists,
        "echo {$,x}['a[$(touch P)]']",
        "echo \"a\"{b,c}",
        "echo $'\\\\'$(touch P)'\\''",
        "echo $'a'",
        "echo $\"a\"",
        "echo <<EF\nE\\\nF\ntouch P\nEF\n",
        "echo <<$'E'\nE\ntouch P\nE\n",
        "cat <<E\\\nF\nEF\n",
        "cat <<\"a b\"\na b\n",
        "cat <<'E'F\nEF\n",
        "cat <<E\nno mark",
        "echo $(cat <<E\nx\nE\n)",
        "(( '$(touch P)' ))",
        "echo $(( 'a[$(touch P)]' ))",
        "echo $[ 1 ]",
        "for ((x='$(touch P)';0;)); do echo; done",
        "for x in 'a[$(touch P)]'; do ((x)); done",
        "for x in 'a[$(touch P)]'; do echo $((x)); done",
        "x='a[$(touch P)]'; y=$x; echo $((y + 1))",
        "read -r x; echo $((x))",
        "x='a[$(touch P)]'; [[ $x -eq 1 ]]",
        "[[ -v 'a[$(touch P)]' ]]",
        "[[ 'a[$(touch P)]' -eq 1 ]]",
        "[[ x == x && -v 'a[$(touch P)]' ]]",
        "[[ -R x ]]",
        "[[ a < b ]]",
        "[ -v 'a[$(touch P)]' ]",
        "test ! -v 'a[$(touch P)]'",
        "x=-v; [ $x 'a[$(touch P)]' ]",
        "x=-v; [ \"$x\" 'a[$(touch P)]' ]",
        "x='-v a[$(touch P)]'; [ $x ]",
        "x=-v; [ -n a -a \"$x\" \"$y\" ]",
        "RANDOM='a[$(touch P)]'",
        "for OPTIND in 'a[$(touch P)]'; do :; done",
        "HISTCMD='a[$(touch P)]' make",
        "export SECONDS=1",
        "read -r RANDOM",
        "read 'a[$(touch P)]'",
        "unset 'a[$(touch P)]'",
        "printf -v 'a[$(touch P)]' x",
        "printf \"$x\" y",
        "wait -p 'a[$(touch P)]'",
        "export 'a[$(touch P)]=1'",
        "export $x",
        "declare -i x='a[$(touch P)]'",
        "let 'a[$(touch P)]'",
        "a[$(touch P)]=1",
        "a=(1 2)",
        "a[0 ]=1 touch P",
        "echo ${x[$(touch P)]} ${x@P}",
        "echo ${x:=$(touch P)}",
        "echo ${!x}",
        "echo ${x:a}",
        "echo ${x/a/$(touch P)}",
        "mapfile -C 'touch P' -c 1 x",
        "compgen -C 'touch P'",
        "jobs -x touch P",
        "alias echo='touch P'",
        "shopt -s expand_aliases",
        "enable -n echo",
        "hash -p /bin/touch echo",
        "builtin eval 'touch P'",
        "command -p touch P",
        "eval -- touch P",
        "HOME=.; ~/touch P",
        "for HOME in .; do $HOME/touch P; done",
        "read -r HOME; ~/touch P",
        "unset HOME; ls ~",
        "eval \"$x\"",
        "$x a",
        "~/bin/* a",
        "set -k",
        "set -- a",
        "IFS=x; make",
        "PS4='$(touch P)'; set -x",
        "case x in x) touch P;; esac",
        "select x in a; do touch P; done",
        "function f { touch P; }",
        "coproc touch P",
        "exec 3<>/dev/tcp/a/1",
        "exec {x}>a",
        "make > >(cat)x",
        "echo a<(touch P)",
        "echo `echo \\`touch P\\``",
        "echo `echo 'a`",
        "echo a\\\nb",
        "echo \"a\\\nb\"",
        "echo \\\n#a",
        "echo &\\\n& touch P",
        "echo a\r",
        "echo \u{1}",
        "echo \u{7f}",
        "echo 'é\\'",
        "echo ü|cat",
        "$(touch P) # x\n)",
        "echo $(touch P # )\n)",
        "( (a)",
        "((a); (b))",
        "echo $((a); (b))",
        "{ a",
        "if a; then b",
        "echo 'a",
        "a ;; b",
        "time -p make",
        "time",
        "! ",
        "a && ",
        "12>x make",
        "2>&x make",
        "make >&x",
        "make 2>&-1",
        "make 2>&-x",
        "make <& -1",
        "make >&1-",
        "sudo ( a )",
        "bash -c 'a' <<E",
    ];
    let read = table.into_iter().filter(|text| bash(text).is_ok());
    let read: Vec<String> = read
        .map(|text| format!("{text:?} is read as {:?}", told(text)))
        .collect();
    assert!(read.is_empty(), "{}", read.join("\n"));
}

#[test]
fn a_shell_of_another_kind_is_given_less() {
    let posix =
        |text: &str| read(text, &places(), Shell::Posix, false, &mut Steps::default()).is_ok();
    for text in [
        "a && b | c > d",
        "for x in 1 2; do [ $x = 1 ]; done",
        "[ \"$x\" = a ] && b",
    ] {
        assert!(posix(text), "{text}");
    }
    // dash runs `[[` and what follows the `&`; what is in $x another program may have chosen.
    for text in [
        "[[ x && touch P ]]",
        "a &> b",
        "a |& b",
        "time a",
        "a <<< b",
        "a <(b)",
        "[ $x -lt 2 ]",
    ] {
        assert!(!posix(text), "{text}");
    }
}

/// The texts of `bash -c` begin with variables that the text around them may have filled.
#[test]
fn a_variable_counts_as_filled_by_others_until_it_surely_has_a_value() {
    let inner =
        |text: &str| read(text, &places(), Shell::Bash, false, &mut Steps::default()).is_ok();
    for text in [
        "x=1; [[ $x -eq 1 ]]",
        "x=1; y=$x; echo $((y + 1))",
        "x=1 && [[ $x -eq 1 ]]",
        "for x in 1 2; do [[ $x -eq 1 ]]; done",
        "if x=1; then [[ $x -eq 1 ]]; fi",
        "while x=1; do echo $((x)); done",
        "x=1; { (echo $((x))); }",
        "export x=1; echo $((x))",
        "[[ $x == 1 ]]",
    ] {
        assert!(inner(text), "{text}");
        assert!(bash(text).is_ok(), "{text}");
    }
    for text in [
        "[[ $x -eq 1 ]]; x=1",
        "echo $((x)); x=1",
        "y=$x; x=1; [[ $y -eq 1 ]]",
        "false && x=1; [[ $x -eq 1 ]]",
        "if a; then x=1; fi; [[ $x -eq 1 ]]",
        "if a; then b; elif x=1; then c; else [[ $x -eq 1 ]]; fi",
        "while a; do x=1; done; echo $((x))",
        "while break; x=1; do :; done; echo $((x))",
        "for x in $y; do :; done; echo $((x))",
        "x=1 | a; echo $((x))",
        "a | x=1; echo $((x))",
        "x=1 & echo $((x))",
        "(x=1); echo $((x))",
        "a $(x=1); echo $((x))",
        "a `x=1`; echo $((x))",
        "x=1 a; echo $((x))",
        "f() { x=1; }; echo $((x))",
        "trap 'x=1' EXIT; echo $((x))",
        "x=1; read -r x; echo $((x))",
    ] {
        assert!(!inner(text), "{text}");
    }
}

#[test]
fn what_changes_the_meaning_of_names_is_seen() {
    let renames = |text: &str| bash(text).expect(text).renames;
    for text in [
        "PATH=. git status",
        "PATH=.; git status",
        "for PATH in .; do git status; done",
        "for HOME in .; do git status; done",
        "for http_proxy in x; do git status; done",
        "read -r PATH < x; git status",
        "export PATH; git status",
        "unset HOME; git status",
        "git() { make; }; git status",
        ". ./x; git status",
        "eval 'PATH=.'; git status",
        "echo $(PATH=. git status)",
    ] {
        assert!(renames(text), "{text}");
    }
    assert!(!renames("for f in a b; do git status; done"));
}

/// The list of bash's own variables, against the bash that is here.
#[test]
fn every_variable_that_bash_makes_is_known_as_its_own() {
    let Some(path) = super::super::bash() else {
        return eprintln!("not tested: this system has no bash");
    };
    let mut command = std::process::Command::new(path);
    let output = command
        .env_clear()
        .args(["-c", "compgen -v"])
        .output()
        .expect("bash");
    let names = String::from_utf8(output.stdout).expect("UTF-8");
    // Made for programs, and nothing that bash evaluates.
    let harmless = ["PATH", "TERM", "SHELL"];
    let unknown: Vec<&str> = names
        .lines()
        .filter(|name| !value::is_bashs(name) && !harmless.contains(name))
        .collect();
    assert!(
        names.lines().count() > 20 && unknown.is_empty(),
        "{unknown:?}"
    );
}

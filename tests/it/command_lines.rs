//! What a command line was judged to run, against what bash runs of it. Lines are made up at random
//! ([`Lines`]) and run in a scratch folder where each program is a marker that writes its name and
//! its arguments down. Nothing may run that the judgement did not name, and of a line that rules
//! allow nothing that no rule allows.
//!
//! `NPAST_LINES` says how many lines each test runs in bash, `NPAST_FIRST` behind how many. Each
//! thousand is made from a seed of its own, so runs add up: 3,000 lines behind none and 2,000 behind
//! 3,000 are the lines of one run of 5,000.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Instant;

use npast::approve::{
    ApprovalRule, ApprovalRules, ApprovalSetup, Approvals, Approve, CallVerdict, SandboxMode,
};
use npast::tools::Registry;
use npast::tools::command::{self, Certainty, ShellScript, ShellWord};
use serde_json::json;

use crate::lines::Lines;
use crate::yard::Yard;

/// Lines that one bash runs, each in a subshell of its own, and each twentieth in a bash of its own.
const BATCH: usize = 1_000;

/// What bash reads before the first line: any name that is no program is a marker, and so are
/// builtins that only say something. Markers say what they were given, and half of them fail. A loop
/// that runs too many is ended. Line feeds are written as another sign: what others write at the same
/// time comes between lines. A program with more than a thousand characters of words is not written down:
/// bash writes so much in pieces, and another program's record would come between them.
const MARKERS: &str = r#"
__say() {
  builtin local __all __up __one _
  builtin printf -v __one '%s\037' "${@//$'\n'/$'\035'}" $'\036'
  if ((${#__one} <= 1000)); then builtin printf %s "$__one" >> "$__LOG/$__N"; fi
  builtin read -r -d '' __all < "$__LOG/$__N" || if ((${#__all} > 3000)); then
    builtin read -r _ _ _ __up _ < /proc/$BASHPID/stat
    if [[ $__up != "$__DRIVER" ]]; then builtin kill -9 $__up; fi
    builtin kill -9 $BASHPID
  fi
}
command_not_found_handle() { __say "$@"; builtin printf '%s\n' "${*:2}"; builtin return $((__N & 1)); }
echo() { __say echo "$@"; builtin echo "$@"; }
pwd() { __say pwd "$@"; builtin pwd; }
true() { __say true "$@"; }
false() { __say false "$@"; builtin return 1; }
test() { __say test "$@"; builtin test "$@"; }
[() { __say [ "$@"; builtin [ "$@"; }
"#;

/// Runs the lines of standard input, which end in NUL; each begins with its number.
const DRIVER: &str = r#"
FUNCNEST=8
export __DRIVER=$$
while IFS= builtin read -r -d '' __line; do
  (
    export __N=${__line%%:*}
    builtin ulimit -t 1 -v 400000 -f 65536
    if ((__N % 20 == 0)); then exec /bin/bash -c "${__line#*:}"; fi
    builtin eval "${__line#*:}"
  ) </dev/null >/dev/null 2>&1
done
builtin exit 0
"#;

/// A program that was run: its words.
type Ran = Vec<String>;

struct Ground {
    yard: Yard,
}

impl Ground {
    fn new() -> Ground {
        let yard = Yard::default();
        let write = |name: &str, text: &str, mode: u32| {
            let path = yard.at(name);
            std::fs::write(&path, text).expect("a file");
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).expect("a mode");
        };
        std::fs::create_dir(yard.at("home/work/sub")).expect("a folder");
        write("home/bin/markers", MARKERS, 0o644);
        write("home/bin/driver", &format!("{MARKERS}{DRIVER}"), 0o644);
        let marker = format!("#!/bin/bash\n{MARKERS}\n__say \"${{0##*/}}\" \"$@\"\n");
        write("home/bin/prog", &marker, 0o755);
        for (link, to) in [
            ("work/prog", yard.at("home/bin/prog")),
            ("work/sub/prog", yard.at("home/bin/prog")),
            ("bin/bash", "/bin/bash".into()),
            ("bin/sh", "/bin/sh".into()),
            ("bin/env", "/usr/bin/env".into()),
            ("bin/xargs", "/usr/bin/xargs".into()),
            ("bin/timeout", "/usr/bin/timeout".into()),
        ] {
            let link = yard.at("home").join(link);
            std::os::unix::fs::symlink(to, link).expect("a link");
        }
        Ground { yard }
    }

    /// Runs the lines in the sandbox; what each of them ran.
    fn run(&self, lines: &[String]) -> HashMap<usize, Vec<Ran>> {
        let log = self.yard.at("home/temp/log");
        let _ = std::fs::remove_dir_all(&log);
        std::fs::create_dir(&log).expect("a folder");
        let mut sandbox = self.yard.sandbox(true);
        sandbox.read = vec![self.yard.at("home/bin")];
        sandbox.environment = [
            ("PATH", self.yard.at("home/bin")),
            ("HOME", self.yard.at("home")),
            ("BASH_ENV", self.yard.at("home/bin/markers")),
            ("__LOG", log.clone()),
            ("LANG", "C.UTF-8".into()),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec();
        let words = ["/bin/bash".into(), self.yard.at("home/bin/driver").into()];
        let mut bash = sandbox
            .wrap(&words, &self.yard.at("home/work"))
            .expect("words");
        let said = self.yard.at("home/temp/said");
        let said = std::fs::File::create(said).expect("a file");
        bash.stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(said);
        let mut bash = bash.spawn().expect("bash");
        let mut input = bash.stdin.take().expect("its input");
        for (n, line) in lines.iter().enumerate() {
            let line = format!("{n}:{line}\0");
            input.write_all(line.as_bytes()).expect("its input");
        }
        drop(input);
        let end = bash.wait().expect("bash");
        let said = std::fs::read_to_string(self.yard.at("home/temp/said"));
        assert!(end.success(), "{end}: {said:?}");
        let mut ran: HashMap<usize, Vec<Ran>> = HashMap::new();
        for entry in std::fs::read_dir(&log).expect("the log") {
            let path = entry.expect("an entry").path();
            let number = path.file_name().and_then(|n| n.to_str()?.parse().ok());
            let text = std::fs::read(&path).expect("a file");
            let text = String::from_utf8_lossy(&text).replace('\u{1d}', "\n");
            let records = text.split_terminator("\u{1f}\u{1e}\u{1f}");
            let words = records.map(|r| r.split('\u{1f}').map(str::to_owned).collect());
            ran.insert(number.expect("a number"), words.collect());
        }
        ran
    }

    fn approvals(&self, rules: ApprovalRules) -> Approvals {
        let setup = ApprovalSetup {
            policy: Approve::Deny,
            rules,
            places: self.yard.places(),
            temp: self.yard.at("home/temp"),
            sandbox: SandboxMode::Sandbox,
            attended: false,
        };
        Approvals::new(setup).0
    }

    /// Runs lines that `good` lets through until there were enough; `allowed` says of each what it
    /// may run. Every line that ran something else.
    fn compare<J>(
        &self,
        seed: u64,
        next: impl Fn(&mut Lines) -> String,
        good: impl Fn(&str) -> Option<J>,
        allowed: impl Fn(&J, &Ran) -> bool,
    ) -> Vec<String> {
        let (start, first, wanted) = (Instant::now(), number("NPAST_FIRST", 0), wanted());
        assert!(first % BATCH == 0, "NPAST_FIRST is a number of thousands");
        let (mut all, mut wrong) = (HashSet::new(), Vec::new());
        let (mut made, mut run, mut programs) = (0, 0, 0);
        while run < wanted {
            let batch = (first + run) / BATCH;
            let mut lines = Lines::new(seed + 1_000 * batch as u64);
            let (mut batch, mut judged, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
            while batch.len() < BATCH.min(wanted - run) {
                let line = next(&mut lines);
                made += 1;
                assert!(made < 1_000 * wanted, "too few of the lines can be run");
                if !seen.insert(line.clone()) {
                    continue;
                }
                if let Some(judgement) = good(&line) {
                    judged.push(judgement);
                    batch.push(line);
                }
            }
            for (n, ran) in self.run(&batch) {
                programs += ran.len();
                if let Some(bad) = ran.iter().find(|ran| !allowed(&judged[n], ran)) {
                    wrong.push(format!("{:?} ran {bad:?}", batch[n]));
                    eprintln!("{}", wrong[wrong.len() - 1]);
                }
            }
            run += batch.len();
            all.extend(batch);
            if run % 10_000 == 0 || run == wanted {
                let (took, different) = (start.elapsed().as_secs(), all.len());
                eprintln!(
                    "{made} lines made, {run} run behind {first} in {took} s, {different} different, \
                     {programs} programs seen, {} wrong, at most {} MiB held",
                    wrong.len(),
                    peak(),
                );
            }
        }
        wrong
    }
}

/// The most memory that this process held, in MiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kilobytes.unwrap_or(0) >> 10
}

/// How many lines each test runs.
fn wanted() -> usize {
    number("NPAST_LINES", 1_200)
}

fn number(variable: &str, usual: usize) -> usize {
    let set = std::env::var(variable).ok();
    set.map_or(usual, |n| n.parse().expect("a number"))
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether `script` says that this may run.
fn names(script: &ShellScript, ran: &Ran) -> bool {
    script.commands.iter().any(|command| {
        // What is not known may be any number of words.
        let mut at = vec![false; ran.len() + 1];
        at[0] = true;
        for (n, word) in command.words.iter().enumerate() {
            let mut next = vec![false; ran.len() + 1];
            if word.known == Certainty::Fixed {
                for (m, text) in ran.iter().enumerate() {
                    let same = match n {
                        0 => name(&word.text) == name(text),
                        _ => word.text == *text,
                    };
                    next[m + 1] = at[m] && same;
                }
            } else if let Some(first) = at.iter().position(|here| *here) {
                next[first..].fill(true);
            }
            at = next;
        }
        at[ran.len()]
    })
}

/// Whether it runs a file, in which other lines may have written.
fn runs_a_file(script: &ShellScript) -> bool {
    script
        .commands
        .iter()
        .any(|command| match command.program() {
            "." | "source" => true,
            "bash" | "sh" => !has_its_text(command.rest()),
            _ => false,
        })
}

/// Whether these words of a shell are options and then `-c`: what it runs stands behind that.
fn has_its_text(words: &[ShellWord]) -> bool {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.text.strip_prefix('-') {
            Some(flags) if !flags.starts_with('-') && flags.contains('c') => return true,
            Some(flags) if flags.ends_with(['o', 'O']) => drop(words.next()),
            Some(_) => {}
            None if word.text.starts_with('+') => {}
            None => return false,
        }
    }
    false
}

/// Nothing to be compared where nothing keeps a wrong line from the rest of the system.
fn holds(ground: &Ground) -> bool {
    let probed = ground
        .yard
        .sandbox(true)
        .probe(&ground.yard.at("home/temp"));
    if !probed.holds() {
        eprintln!("not tested: this system has no sandbox: {probed}");
    }
    probed.holds()
}

#[test]
fn nothing_runs_that_the_judgement_did_not_name() {
    let ground = Ground::new();
    if !holds(&ground) {
        return;
    }
    let places = ground.yard.places();
    let judge = |line: &str| {
        let script = command::parse(line, &places);
        let stopped = command::hard(&script, &places).is_some();
        let read = script.unknown.is_none() && !stopped && !runs_a_file(&script);
        read.then_some(script)
    };
    let wrong = ground.compare(1, Lines::next_line, judge, names);
    assert!(
        wrong.is_empty(),
        "{} lines:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_line_that_rules_allow_runs_only_what_a_rule_allows() {
    let ground = Ground::new();
    if !holds(&ground) {
        return;
    }
    // Beside them what needs nobody.
    let texts = [
        "m1 *",
        "m2 a *",
        "git status *",
        "prog *",
        "./prog",
        "ls",
        "[ *",
        "test *",
        "true",
        "eval *",
        "command *",
        "exec *",
        "trap *",
        "bash -c *",
        "env *",
        "export *",
        "read *",
        "cd *",
        "wait *",
        "set *",
        "unset *",
        "printf *",
        "timeout 5 *",
    ];
    let rule = |text: &&str| ApprovalRule::parse(&format!("terminal: {text}")).expect("a rule");
    let rules = ApprovalRules {
        allow: texts.iter().map(rule).collect(),
        ..ApprovalRules::default()
    };
    let approvals = ground.approvals(rules);
    let registry: Registry = ground.yard.registry(true);
    let terminal = registry.get("terminal").expect("the tool");
    let judge = |line: &str| match approvals.judge(terminal, &json!({"command": line})) {
        CallVerdict::Allow(_) => Some(()),
        _ => None,
    };
    let allowed = |(): &(), ran: &Ran| {
        let words: Vec<&str> = ran.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["m1" | "prog" | "[" | "test" | "echo", ..] => true,
            ["m2", "a", ..] | ["git", "status", ..] => true,
            ["ls"] => true,
            // These need nobody with any words.
            ["true" | "pwd" | "false", ..] => true,
            _ => false,
        }
    };
    let wrong = ground.compare(2, Lines::next_plain, judge, allowed);
    assert!(
        wrong.is_empty(),
        "{} lines:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

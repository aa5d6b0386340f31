//! Command lines made up at random: what agents write, what bash reads in odd ways, and both broken
//! at random places. All programs in them are markers.

/// A small generator: the same lines from the same seed.
pub struct Lines(u64);

/// Names of markers. `evil` stands where no name should be one.
const PROGRAMS: &[&str] = &["m1", "m2", "ls", "git", "prog", "./prog", "cargo", "evil"];

/// Texts that bash reads in a way of its own.
#[rustfmt::skip]
const NASTY: &[&str] = &[
    "'", "\"", "\\", "`", "$", "$(", "${", "$((", "$[", "$'", "$\"", "((", "))", "(", ")", "{",
    "}", "[", "]", "[[", "]]", "<", ">", "|", "&", ";", ";;", "&&", "||", "|&", "&>", ">&", "<<",
    "<<-", "<<<", "<(", ">(", "#", " #", "!", "!!", "!evil", "~", "=", "*", "?", "^", "%", "@",
    "+", ",", ":", "-", "\n", "\\\n", " \\\n", " ", "\t", "\r", "\u{1}", "\u{7f}", "\u{a0}",
    "\u{85}", "é", "日", "\u{2028}", "\u{feff}", "0", "1", "2>", "2>&1", "{fd}>f", "<>f", ">|f",
    "/dev/null", "$(evil)", "`evil`", "'$(evil)'", "\"$(evil)\"", "a[$(evil)]", "'a[$(evil)]'",
    "\\$(evil)", "$'\\'$(evil)'", "\\`evil\\`", "$'\\x27'", "$'\\''", "$'\\\\'", "$'\\$(evil)'",
    "$\"$(evil)\"", "<<E\n", "\nE\n", "<<'E'\n", "<<\"E\"\n", "<<$'E'\n", "<<E\\\nF\n", "<<\\E\n",
    "{1..3}", "{a,b}", "{a,$(evil)}", "{{1..70},$(evil)}", "{,}", "{}", "{a..c}", "{$,x}",
    "{\\$,}", "{$,a}['a[$(evil)]']", "if ", "then ", "else ", "fi", "for x in ", "do ", "done",
    "while ", "until ", "case x in ", "esac", "x) ", "in ", "function ", "f() ", "f() { evil; }",
    "select x in ", "coproc ", "time ", "time -p ", "[[ -v ", " -eq ", " -lt ", " -v ", " -o ",
    " -a ", " == ", " =~ ", "eval ", "exec ", "command ", "builtin ", "export ", "declare ",
    "declare -i ", "local ", "readonly ", "let ", "set ", "set -- ", "set -k ", "set +B ",
    "shopt -s extglob\n", "shopt -s expand_aliases\n", "alias m1=evil\n", "unset ", "read ",
    "read -r ", "read -a ", "printf -v ", "mapfile -C evil -c1 ", "trap ", "trap evil EXIT",
    "test ", "test -v ", "[ -v ", "wait -p ", "source ", ". ", "compgen -C evil ", "jobs -x evil",
    "hash -p ", "enable -n ", "bash -c ", "sh -c ", "env ", "xargs ", "timeout 5 ", "env -S ",
    "x=", "PATH=. ", "HOME=. ", "IFS=x ", "RANDOM=", "OPTIND=", "HISTCMD=", "PS4=", "BASH_ENV=",
    "LC_ALL=C ", "x+=", "a[", "a[0]=", "a=(", "@(", "!(", "*(", "?(", "$x", "${x}", "${x", "$1",
    "$@", "$?", "$_", "${!x}", "${x@P}", "${x:-", "${x:=", "${x/", "${x[", "${#x}", "evil",
    ";evil", "\nevil", "|evil", "&evil", " evil ", "\\evil", "''evil", "m1", "x", "a", "echo ",
    "true", ":",
];

/// Values that some builtins and all arithmetic evaluate.
#[rustfmt::skip]
const VALUES: &[&str] = &[
    "1", "a", "x", "y", "-v", "-R", "-f", "=", "!", "''", "\"\"", "'a[$(evil)]'",
    "'-v a[$(evil)]'", "'x[$(evil)]'", "\"a[\\$(evil)]\"", "'$(evil)'", "\\$\\(evil\\)", "'y'",
    "$y", "$x", "\"$x\"", "$(echo 'a[$(evil)]')", "$(echo -v)", "`echo 1`", "{1..3}", "a[`evil`]",
    "'`evil`'", "0", "12", "-1", "'1+a[$(evil)]'", "\"$(echo 1)\"", "$((1+2))", "$((x))",
    "$((x+1))", "$(($x*2))", "$#", "$?",
];

/// Lines that were read in a wrong way once.
const SEEDS: &[&str] = &[
    "echo {{1..70},$(evil)}",
    "echo $'\\\\'$(evil)'\\''",
    "echo <<EF\nE\\\nF\nevil\nEF\n",
    "echo <<$'E'\nE\nevil\nE\n",
    "(( '$(evil)' ))",
    "echo x; [[ -v 'a[$(evil)]' ]]",
    "echo x; [[ 'a[$(evil)]' -eq 1 ]]",
    "for ((x='$(evil)';0;)); do echo; done",
    "for x in 'a[$(evil)]'; do ((x)); echo y; done",
    "echo \\$'\\'; evil #'\\'",
    "for x in 'a[$(evil)]'; do echo $((x)); done",
    "x='a[$(evil)]'; [ -v $x ]",
    "RANDOM='a[$(evil)]'",
    "echo {$,x}['a[$(evil)]']",
    "m1 <<E\n$(evil)\n\\$(evil)\nE\nm2",
    "[ -f x ] && m1 || m2",
    "while [ -f x ]; do m1; done; for f in a b; do m1 \"$f\"; done",
    "if [ \"$x\" = y ]; then m1; elif [[ -n $x && $y == *.rs ]]; then m2; else git status; fi",
    "cat > f <<'EOF'\n$(evil) `evil`\nEOF\nprog a b",
    "i=0; [ $i -lt 5 ] && i=$((i+1)); m1 $i",
    "bash -c 'm1 \"$1\"; [ -f y ]' _ a",
    "x=`m1 a` m2 \"$(ls | git status)\" 2>&1 | m1 > f; m2 &",
    "f() { m1 \"$1\"; }; f a",
    "! m1 | m2 |& git status &> f",
    "cd sub && ./prog || { m1; (m2; git); }",
    "m1 <(m2) > >(git) <<< \"$x\"",
    "m1 2>&-1 m2 <&-a",
    "x='a[$(evil)]' bash -c '[[ $x -eq 1 ]]; x=1'",
    "export y='a[$(evil)]'; bash -c 'x=$y; y=1; m1 $((x))'",
];

impl Lines {
    pub fn new(seed: u64) -> Lines {
        Lines(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }

    /// The next line; it holds no NUL.
    pub fn next_line(&mut self) -> String {
        let mut line = match self.roll(10) {
            0 => self.soup(),
            1 | 2 => self.pick(SEEDS).to_owned(),
            _ => self.list(3),
        };
        let times = match self.roll(4) {
            0 | 1 => 0,
            2 => 1,
            _ => 1 + self.roll(4),
        };
        for _ in 0..times {
            line = self.broken(&line);
        }
        line
    }

    /// A line of programs that are often allowed, some of them broken.
    pub fn next_plain(&mut self) -> String {
        let mut line = self.plain();
        for _ in 0..self.roll(3) {
            let glue = self.pick(&[" && ", " || ", "; ", " | ", "\n", " & ", "|", ";", " && ! "]);
            line = format!("{line}{glue}{}", self.plain());
        }
        line = match self.roll(12) {
            0 => format!("({line})"),
            1 => format!("{{ {line}; }}"),
            2 => format!("for {} in {} b; do {line}; done", self.name(), self.value()),
            3 => format!("if [ -f a ]; then {line}; fi"),
            4 => format!("eval '{}'", line.replace('\'', "'\\''")),
            5 => format!("bash -c '{}'", line.replace('\'', "'\\''")),
            6 => format!("{line} <<'E'\n{}\nE\n{}", self.body(), self.plain()),
            _ => line,
        };
        for _ in 0..self.roll(3) {
            line = self.broken(&line);
        }
        line
    }

    fn plain(&mut self) -> String {
        let mut text = self
            .pick(&[
                "m1",
                "m1",
                "m2 a",
                "git status",
                "prog",
                "./prog",
                "ls",
                "echo",
                "true",
                "pwd",
                "[ -f a ]",
                "[ a = a ]",
                "test a",
                "test 1 -lt 2",
                "[[ -f a ]]",
                "command m1",
                "exec m1",
                "env prog",
                "timeout 5 prog",
                "eval m1",
                "cd sub",
                "g'i't st\"at\"us",
                "trap 'm1' EXIT",
                "export x=1",
                "read -r x",
                "m2",
                "git",
            ])
            .to_owned();
        if self.roll(3) > 0 && !text.ends_with(']') && !text.starts_with("test") {
            text = format!("{text} {}", self.plain_word());
        }
        match self.roll(8) {
            0 => text + " 2>&1",
            1 => text + " < f 2>/dev/null",
            2 => text + " >/dev/null",
            _ => text,
        }
    }

    fn plain_word(&mut self) -> String {
        match self.roll(8) {
            0 => format!("'{}'", self.pick(NASTY).replace('\'', "")),
            1 => format!(
                "\"{}\"",
                self.pick(NASTY).replace(['"', '\\', '$', '`'], "")
            ),
            2 => format!(
                "\\{}",
                self.pick(&[
                    "$", "a", ";", "'", "\"", "\\", "|", " ", "(", "#", "~", "*", "{", "`"
                ])
            ),
            3 => self.pick(NASTY).to_owned(),
            _ => self
                .pick(&[
                    "a",
                    "-x",
                    "b.c",
                    "--all",
                    "12",
                    "'a b'",
                    "~/a",
                    "\"$HOME\"",
                    "a=b",
                    "a#b",
                    "-",
                    "{}",
                ])
                .to_owned(),
        }
    }

    fn soup(&mut self) -> String {
        let parts = 1 + self.roll(8);
        (0..parts).map(|_| self.pick(NASTY)).collect()
    }

    /// One change at a random place.
    fn broken(&mut self, line: &str) -> String {
        let chars: Vec<char> = line.chars().collect();
        let at = self.roll(chars.len() + 1);
        let to = (at + self.roll(6)).min(chars.len());
        let text = |part: &[char]| part.iter().collect::<String>();
        let (head, cut, tail) = (text(&chars[..at]), text(&chars[at..to]), text(&chars[to..]));
        match self.roll(6) {
            0 => format!("{head}{tail}"),
            1 => format!("{head}{cut}{cut}{tail}"),
            2 => format!("{head}{}{tail}", self.pick(NASTY)),
            3 => format!("{head}{}{cut}{}{tail}", self.pick(NASTY), self.pick(NASTY)),
            _ => format!("{head}{}{cut}{tail}", self.pick(NASTY)),
        }
    }

    fn list(&mut self, deep: usize) -> String {
        let mut text = self.command(deep);
        for _ in 0..self.roll(3) {
            let glue = self.pick(&[
                " && ", " || ", "; ", " | ", "\n", " & ", "|", "&&", ";", " |& ",
            ]);
            text = format!("{text}{glue}{}", self.command(deep));
        }
        text
    }

    fn command(&mut self, deep: usize) -> String {
        let inner = deep.saturating_sub(1);
        match self.roll(if deep == 0 { 8 } else { 26 }) {
            8 => format!("({})", self.list(inner)),
            9 => format!("{{ {}; }}", self.list(inner)),
            10 => format!(
                "if {}; then {}; else {}; fi",
                self.list(inner),
                self.list(inner),
                self.list(inner)
            ),
            11 => format!(
                "for {} in {} {}; do {}; done",
                self.name(),
                self.value(),
                self.value(),
                self.list(inner)
            ),
            12 => format!(
                "while ! {}; do {}; break; done",
                self.command(inner),
                self.list(inner)
            ),
            13 => format!("f() {{ {}; }}; f {}", self.list(inner), self.value()),
            14 => format!(
                "{} <<{}\n{}\nE\n{}",
                self.simple(),
                self.mark(),
                self.body(),
                self.command(inner)
            ),
            15 => format!(
                "case {} in {}) {};; *) {};; esac",
                self.value(),
                self.value(),
                self.list(inner),
                self.list(inner)
            ),
            16 => format!(
                "[[ {} {} {} ]]",
                self.value(),
                self.pick(&["==", "-eq", "=~", "-lt", "!="]),
                self.value()
            ),
            17 => format!(
                "[[ {} {} ]]",
                self.pick(&["-v", "-n", "-f", "-R", "-z", "!"]),
                self.value()
            ),
            18 => format!("(( {} ))", self.value()),
            19 => format!("eval {}", self.quote(inner)),
            20 => format!(
                "{} -c {} a b",
                self.pick(&["bash", "sh", "bash -eu"]),
                self.quote(inner)
            ),
            21 => format!("{}={}; {}", self.name(), self.value(), self.list(inner)),
            22 => format!("trap {} EXIT", self.quote(inner)),
            23 => format!(
                "{} {}",
                self.pick(&[
                    "export",
                    "local",
                    "read -r",
                    "unset",
                    "declare",
                    "printf -v",
                    "set",
                    "wait",
                    "read"
                ]),
                self.name()
            ),
            _ => self.simple(),
        }
    }

    fn quote(&mut self, deep: usize) -> String {
        let text = self.list(deep);
        match self.roll(3) {
            0 => format!("\"{}\"", text.replace(['"', '\\'], "")),
            _ => format!("'{}'", text.replace('\'', "'\\''")),
        }
    }

    fn simple(&mut self) -> String {
        let mut text = match self.roll(12) {
            0 => format!("{}={} ", self.name(), self.value()),
            1 => "! ".to_owned(),
            2 => "time ".to_owned(),
            _ => String::new(),
        };
        match self.roll(12) {
            0 => {
                let (a, op, b) = (
                    self.value(),
                    self.pick(&["=", "-eq", "-lt", "!=", "-a", "-o"]),
                    self.value(),
                );
                text += &format!("[ {a} {op} {b} ]");
            }
            1 => {
                text += &format!(
                    "[ {} {} ]",
                    self.pick(&["-f", "-v", "-n", "-z", "!"]),
                    self.value()
                )
            }
            2 => text += &format!("test {}", self.value()),
            3 => text += &format!("echo {}", self.word()),
            4 => {
                text += &format!(
                    "{} {}",
                    self.pick(&["command", "exec", "command -v", "env", "timeout 5", "xargs"]),
                    self.pick(PROGRAMS)
                )
            }
            5 => text += "git status",
            _ => text += self.pick(PROGRAMS),
        }
        for _ in 0..self.roll(4) {
            text = format!("{text} {}", self.word());
        }
        match self.roll(8) {
            0 => text + " > f",
            1 => text + " 2>&1",
            2 => text + " < /dev/null 2>/dev/null",
            3 if self.roll(3) == 0 => format!("{text} <<< {}", self.value()),
            _ => text,
        }
    }

    fn word(&mut self) -> String {
        match self.roll(12) {
            0 => format!("$({})", self.list(0)),
            1 => format!("\"$({}) \"", self.list(0)),
            2 => self.pick(NASTY).to_owned(),
            3 | 4 => self.value(),
            5 => format!("\"{}\"", self.pick(NASTY).replace('"', "")),
            6 => format!("'{}'", self.pick(NASTY).replace('\'', "")),
            7 => format!(
                "{}{}",
                self.pick(&["a", "~", "\"$x\"", "--o="]),
                self.value()
            ),
            8 => self
                .pick(&[
                    "*",
                    "s*",
                    "{a,b}",
                    "~/a",
                    "$HOME/a",
                    "\"$HOME\"",
                    "a\\ b",
                    "<(m1)",
                    "`m2 a`",
                ])
                .to_owned(),
            _ => self
                .pick(&[
                    "a", "-x", "b.c", "--all", "status", "x=1", "12", "'a b'", "\"a $x\"",
                ])
                .to_owned(),
        }
    }

    fn value(&mut self) -> String {
        self.pick(VALUES).to_owned()
    }

    fn name(&mut self) -> &'static str {
        self.pick(&[
            "x", "y", "x", "y", "f", "PATH", "HOME", "RANDOM", "OPTIND", "IFS", "LINENO",
            "SECONDS", "_", "x[0]", "X", "LC_ALL",
        ])
    }

    fn mark(&mut self) -> &'static str {
        self.pick(&[
            "E", "'E'", "\"E\"", "\\E", "-E", "$'E'", "E\\\n", " E", "E$x", "`E`", "'E'E", "{E,F}",
            "$(E)", "- 'E'",
        ])
    }

    fn body(&mut self) -> String {
        let parts = self.roll(4);
        (0..parts).map(|_| self.pick(NASTY)).collect()
    }
}

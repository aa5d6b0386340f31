//! The rules, and the values in a text that they allow to change. Each such value is masked, so that two
//! texts that differ only there are equal.

use std::sync::LazyLock;

use regex_automata::meta::Regex;
use serde::{Deserialize, Serialize};

/// Where something differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeadPlace {
    /// The system text.
    System,
    /// The tools.
    Tools,
    /// The first user message.
    First,
}

/// A kind of change that keeps the pinned tokens. The forms are those of clients of 2025 and 2026, from
/// memory where a test does not say otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinRule {
    /// `x-anthropic-billing-header: …` as a line of the system text (Claude Code). It is not said to
    /// the model.
    BillingLine,
    /// `cache_control` in a tool (every client of the Anthropic API). In messages it is an unknown field
    /// and never read. The model gets no note.
    CacheControl,
    /// A date behind words that announce today's: `Today's date: 2026-11-30` (Claude Code), `Today's
    /// date: Mon Nov 30 2026` (OpenCode), `<current_date>2026-11-30</current_date>` (Codex),
    /// `Conversation started: Monday, November 30, 2026 10:12 AM` (Hermes).
    Date,
    /// A time of day, or a time zone, behind words that announce it.
    Time,
    /// The branch, the changed files and the last commits of a repository behind `gitStatus:` (Claude
    /// Code) or `Git status:`. Clients say of it that it is of the conversation's start; it is not said
    /// to the model again.
    GitStatus,
    /// Which model the client believes to talk to: `You are powered by the model named …. The exact
    /// model ID is ….` (Claude Code, OpenCode), lines `Model: …` and `Provider: …` (Hermes), `You are
    /// GPT-5 running in the Codex CLI` (Codex). The model gets no note.
    ModelName,
    /// The same tools in another order.
    ToolOrder,
    /// At most 3 lines of the system text, at most 600 bytes and a tenth of it: what memory, counters and
    /// lists of files change. The model gets the new text as it is.
    FewLines,
}

impl PinRule {
    /// All of them.
    pub const ALL: [PinRule; 8] = [
        PinRule::BillingLine,
        PinRule::CacheControl,
        PinRule::Date,
        PinRule::Time,
        PinRule::GitStatus,
        PinRule::ModelName,
        PinRule::ToolOrder,
        PinRule::FewLines,
    ];

    /// Its name in configuration and receipts.
    pub fn name(self) -> &'static str {
        match self {
            PinRule::BillingLine => "billing_line",
            PinRule::CacheControl => "cache_control",
            PinRule::Date => "date",
            PinRule::Time => "time",
            PinRule::GitStatus => "git_status",
            PinRule::ModelName => "model_name",
            PinRule::ToolOrder => "tool_order",
            PinRule::FewLines => "few_lines",
        }
    }

    /// The inverse of [`PinRule::name`].
    pub fn parse(name: &str) -> Option<PinRule> {
        PinRule::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// What it is about, in words.
    pub fn thing(self) -> &'static str {
        match self {
            PinRule::BillingLine => "billing line",
            PinRule::CacheControl => "cache control",
            PinRule::Date => "date",
            PinRule::Time => "time",
            PinRule::GitStatus => "git status",
            PinRule::ModelName => "model name",
            PinRule::ToolOrder => "order of tools",
            PinRule::FewLines => "line",
        }
    }

    /// Whether the model gets a note about such a change.
    pub fn told(self) -> bool {
        matches!(self, PinRule::Date | PinRule::Time | PinRule::FewLines)
    }

    /// The character that stands for what it masked.
    fn sign(self) -> char {
        let at = PinRule::ALL.iter().position(|rule| *rule == self);
        // Code points that are no characters of any text.
        char::from_u32(0xfdd0 + at.unwrap_or_default() as u32).unwrap_or('\u{fdd0}')
    }
}

/// The rules in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(into = "Vec<String>", try_from = "Vec<String>")]
pub struct PinRules(u16);

impl Default for PinRules {
    fn default() -> PinRules {
        PinRules::all()
    }
}

/// The names of those that hold.
impl From<PinRules> for Vec<String> {
    fn from(rules: PinRules) -> Vec<String> {
        let all = PinRule::ALL.into_iter().filter(|rule| rules.has(*rule));
        all.map(|rule| rule.name().to_owned()).collect()
    }
}

impl TryFrom<Vec<String>> for PinRules {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<PinRules, String> {
        let mut off = PinRule::ALL.to_vec();
        for name in names {
            let rule = PinRule::parse(&name).ok_or_else(|| format!("there is no rule {name:?}"))?;
            off.retain(|other| *other != rule);
        }
        Ok(off.into_iter().fold(PinRules::all(), PinRules::without))
    }
}

impl PinRules {
    /// All of them.
    pub fn all() -> PinRules {
        PinRules(u16::MAX)
    }

    /// None: whatever changes is a new prefix.
    pub fn none() -> PinRules {
        PinRules(0)
    }

    /// The rules without one of them.
    #[must_use]
    pub fn without(self, rule: PinRule) -> PinRules {
        PinRules(self.0 & !(1 << rule as u16))
    }

    /// Whether one is among them.
    pub fn has(self, rule: PinRule) -> bool {
        self.0 & (1 << rule as u16) != 0
    }
}

/// What a rule is about, found in a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct MaskedValue {
    pub rule: PinRule,
    pub value: String,
}

/// A text with a sign in each place that a rule is about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Masked {
    pub text: String,
    pub found: Vec<MaskedValue>,
}

impl Masked {
    /// The part of its first lines, of some lines behind them, and of the rest.
    pub fn parts(&self, head: &[&str], middle: &[&str]) -> (Masked, Masked, Masked) {
        let text = |lines: &[&str]| lines.join("\n");
        // Lines that are masked whole leave no sign; they belong to the head.
        let (whole, mut rest): (Vec<_>, Vec<_>) = self
            .found
            .iter()
            .cloned()
            .partition(|found| found.rule == PinRule::BillingLine);
        let mut take = |text: &str| -> Vec<MaskedValue> {
            let signs = text.chars().filter(|c| is_sign(*c)).count();
            let tail = rest.split_off(signs.min(rest.len()));
            std::mem::replace(&mut rest, tail)
        };
        let (first, second) = (text(head), text(middle));
        let mut found = take(&first);
        found.extend(whole);
        let head = Masked { text: first, found };
        let found = take(&second);
        let middle = Masked {
            text: second,
            found,
        };
        let tail = Masked {
            text: String::new(),
            found: rest,
        };
        (head, middle, tail)
    }

    /// The text as it was.
    pub fn unmasked(&self) -> String {
        let mut found = self.found.iter();
        let mut out = String::with_capacity(self.text.len());
        for c in self.text.chars() {
            match is_sign(c).then(|| found.next()).flatten() {
                Some(found) => out.push_str(&found.value),
                None => out.push(c),
            }
        }
        out
    }
}

fn is_sign(c: char) -> bool {
    ('\u{fdd0}'..='\u{fddf}').contains(&c)
}

/// Words that announce what follows as of now.
const NOW: &str = r"(?:today['’]?s date|today|current[ _]date(?: and time)?|current[ _]time|current[ _]datetime|currentdate|the date|date and time|local time|conversation started|session started|timestamp)";
/// What may stand between them and it.
const BETWEEN: &str = r"(?:[ \t]*(?:is|\(utc\)|[:=>]))*\s*";
const WEEKDAY: &str = r"(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?,?[ ]+";
const MONTH: &str = r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?";
const CLOCK: &str =
    r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:[ ]?[ap]m)?(?:[ ]?(?:z\b|utc|gmt|[+-]\d{2}:?\d{2}))?";

/// A pattern; what it masks is the group `x`.
fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

/// The patterns of rules that mask a part of a line.
static INSIDE: LazyLock<Vec<(PinRule, Regex)>> = LazyLock::new(|| {
    let date = format!(
        r"(?:\d{{4}}-\d{{2}}-\d{{2}}|\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}}|{MONTH}[ ]+\d{{1,2}}(?:st|nd|rd|th)?,?[ ]+\d{{4}}|\d{{1,2}}\.?[ ]+{MONTH},?[ ]+\d{{4}})"
    );
    let moment = format!(
        r"(?i)\b{NOW}{BETWEEN}(?P<x>(?:{WEEKDAY})?{date}(?:(?:t|,?[ ]+(?:at[ ]+)?){CLOCK})?)"
    );
    let all = [
        (PinRule::Date, moment),
        (
            PinRule::Time,
            format!(r"(?i)\b{NOW}{BETWEEN}(?P<x>{CLOCK})"),
        ),
        (
            PinRule::Time,
            r"(?i)<timezone>(?P<x>[\w/+:-]{1,64})</timezone>".to_owned(),
        ),
        (
            PinRule::ModelName,
            r"You are powered by the model(?: named)? (?P<x>[^\n]{1,120}?)\.(?:\s|$)".to_owned(),
        ),
        (
            PinRule::ModelName,
            r"The exact model ID is (?P<x>\S{1,120}?)\.(?:\s|$)".to_owned(),
        ),
        (
            PinRule::ModelName,
            r"(?m)^(?:Model|Provider): (?P<x>\S{1,120})$".to_owned(),
        ),
        (
            PinRule::ModelName,
            r"You are (?P<x>(?:GPT|gpt)-[\w.-]{1,40}) running in the Codex CLI".to_owned(),
        ),
    ];
    let compiled = all.iter().map(|(rule, text)| Some((*rule, pattern(text)?)));
    compiled.flatten().collect()
});

/// Lines of a git status behind its heading.
static GIT_LINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"^(?:\s*|Current branch: .*|Main branch.*|Git user: .*|Status:|Recent commits:|\(clean\)|[ MADRCTU?!]{1,2} \S.*|[0-9a-f]{7,40} .*)$",
    )
});

/// A text with signs in the places that rules are about. Costs O(bytes).
pub(super) fn mask(text: &str) -> Masked {
    let mut cuts: Vec<(usize, usize, PinRule)> = Vec::new();
    let mut line_at = 0;
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let (from, bare) = (line_at, line.trim());
        line_at += line.len();
        if bare.starts_with("x-anthropic-billing-header:") {
            cuts.push((from, line_at, PinRule::BillingLine));
        } else if let Some(words) = after_git_heading(bare) {
            // The sentence behind the heading stays: it is the client's own and always the same.
            let start = line_at;
            let inside = |line: &&str| {
                let regex = GIT_LINE.as_ref();
                let line = line.trim_end_matches(['\n', '\r']);
                regex.is_some_and(|regex| regex.is_match(line))
            };
            while let Some(line) = lines.next_if(inside) {
                line_at += line.len();
            }
            if line_at > start && words.len() < 400 {
                cuts.push((start, line_at, PinRule::GitStatus));
            }
        }
    }
    for (rule, regex) in INSIDE.iter() {
        let mut at = 0;
        let mut captures = regex.create_captures();
        while at <= text.len() {
            regex.search_captures(&regex_automata::Input::new(text).range(at..), &mut captures);
            let Some(span) = captures.get_group_by_name("x") else {
                break;
            };
            cuts.push((span.start, span.end, *rule));
            at = span.end.max(at + 1);
            while !text.is_char_boundary(at) {
                at += 1;
            }
        }
    }
    cuts.sort_by_key(|(from, to, _)| (*from, usize::MAX - to));
    let mut out = Masked::default();
    let mut at = 0;
    for (from, to, rule) in cuts {
        if from < at {
            continue;
        }
        out.text.push_str(&text[at..from]);
        if rule != PinRule::BillingLine {
            out.text.push(rule.sign());
        }
        out.found.push(MaskedValue {
            rule,
            value: text[from..to].trim_end_matches(['\n', '\r']).to_owned(),
        });
        at = to;
        // A whole line takes its end along; what follows begins a line.
        if rule == PinRule::GitStatus && text[from..to].ends_with('\n') {
            out.text.push('\n');
        }
    }
    out.text.push_str(&text[at..]);
    out
}

/// What follows the heading of a git status in its line.
fn after_git_heading(line: &str) -> Option<&str> {
    ["gitStatus:", "Git status:", "git status:", "# gitStatus"]
        .iter()
        .find_map(|heading| line.strip_prefix(heading))
}

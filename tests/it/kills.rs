//! Law 5 at moments that nobody chose: processes are killed while they load, read, reply, save and
//! collect, again and again on one data folder. After each kill all that was reported is there and
//! all that is stored is right; at the end the session has the tokens of one that was never killed.
//!
//! `NPAST_KILLS` kills (4 without it, on one class) from the seed `NPAST_SEED`; `scripts/kill` sets
//! both. The seed chooses every moment; what the machine does in the microseconds around it is its
//! own.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use npast::agent::{Input, WhichSession};
use npast::chat::ReplyScript;
use npast::ledger::{Finish, Token};
use npast::session::{Db, MessageState};
use serde_json::{Value, json};

use crate::model::Class;
use crate::program::{Program, events, honest, n, one_receipt};
use crate::talk::{self, Desk};
use crate::witness::{Reader, Stored};

const SESSION: &str = "work";
/// Text events of a prepared reply, about.
const WORDS: usize = 60;
/// Kills of one session's life; then it is let go on, and compared.
const LIFE: usize = 10;
/// A restart begins at most so many tokens behind what was reported as read: a segment that was on
/// its way to the disk, one that was not full, and the batch at hand
/// (64 tokens in a [`Program`]'s runs).
const BEHIND: usize = 2 * 2048 + 64;

/// Where in a run the kill comes.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// After this share of the time that a start takes.
    Load(f64),
    /// Once this share of the prompt was read.
    Prefill(f64),
    /// At the reply's text event of this number.
    Reply(usize),
    /// After the receipt: KV is on its way to the disk.
    Save,
    /// In `npast kv gc`, after this share of its time.
    Gc(f64),
}

const PHASES: [&str; 5] = ["load", "prefill", "reply", "save", "gc"];

impl Moment {
    fn phase(self) -> usize {
        match self {
            Moment::Load(_) => 0,
            Moment::Prefill(_) => 1,
            Moment::Reply(_) => 2,
            Moment::Save => 3,
            Moment::Gc(_) => 4,
        }
    }
}

/// Numbers that a seed chooses: splitmix64.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// In [0, 1).
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn moment(&mut self) -> Moment {
        match self.below(20) {
            0..3 => Moment::Load(self.share()),
            3..11 => Moment::Prefill(self.share()),
            11..15 => Moment::Reply(1 + self.below(WORDS)),
            15..19 => Moment::Save,
            _ => Moment::Gc(self.share()),
        }
    }
}

/// What was counted of one class.
#[derive(Clone, Default)]
struct Tally {
    /// By phase.
    kills: [usize; PHASES.len()],
    /// The process was done before its moment came.
    missed: usize,
    whole_turns: usize,
    named_misses: usize,
    proven: usize,
    /// Writes that a kill cut: temporary files that were there afterwards.
    torn: usize,
    /// Of prompts cut in a long prefill: the share that was read, the share that was restored.
    prefills: Vec<(f64, f64)>,
    /// The most tokens that one of them read again.
    again: usize,
    lives: usize,
    same_tokens: usize,
    same_reply: usize,
    /// Lives without a reply that was cut or read again: there the next reply must be the same.
    exact: usize,
}

/// One data folder under attack.
struct Siege<'a> {
    class: Class,
    program: Program,
    reader: Reader,
    draw: &'a mut Draw,
    tally: &'a mut Tally,
    /// How long a start takes, and a `kv gc`.
    start: Duration,
    gc: Duration,
    /// Messages as they were said, and replies as a script says them again.
    told: Vec<(String, Value)>,
    /// Tokens of replies are in the ledger whose KV was not written.
    unsaved: bool,
    /// What a restart restored of the message that is open: it can only grow.
    floor: usize,
    /// How far a long prefill had come when it was cut.
    reached: Option<usize>,
    /// The end of a reply after which the process was killed.
    reply_end: Option<usize>,
    /// A cut reply whose text makes other tokens: no script can say it again.
    unspeakable: bool,
    inexact: bool,
}

/// A run, killed or not.
struct Seen {
    events: Vec<Value>,
    killed: bool,
}

impl Seen {
    fn has(&self, kind: &str) -> bool {
        self.events.iter().any(|e| e["type"] == kind)
    }

    /// Whether anything was said that comes after the message is stored.
    fn sent(&self) -> bool {
        ["prefill", "reasoning", "text", "receipt"]
            .iter()
            .any(|kind| self.has(kind))
    }

    fn prefill(&self) -> Option<(usize, usize)> {
        let last = self.events.iter().rfind(|e| e["type"] == "prefill")?;
        Some((n(last, "done"), n(last, "total")))
    }

    fn text(&self) -> String {
        let texts = self.events.iter().filter(|e| e["type"] == "text");
        texts.flat_map(|e| e["text"].as_str()).collect()
    }
}

/// What a run left of the turn it was about.
#[derive(PartialEq)]
enum Left {
    /// The message is not stored: it is said again.
    Nothing,
    /// The message waits for its answer.
    Message,
    /// A reply, whole or cut.
    Reply,
}

impl<'a> Siege<'a> {
    fn new(class: Class, draw: &'a mut Draw, tally: &'a mut Tally) -> Siege<'a> {
        let mut program = Program::new(class);
        program.desk.system = Some("You are brief.".to_owned());
        let (start, gc) = measure(class);
        Siege {
            reader: Reader::of(&program.desk),
            program,
            class,
            draw,
            tally,
            start,
            gc,
            told: Vec::new(),
            unsaved: false,
            floor: 0,
            reached: None,
            reply_end: None,
            unspeakable: false,
            inexact: false,
        }
    }

    fn stored(&self) -> Option<Stored> {
        let path = self.program.desk.home.join("npast.db");
        let db = path
            .exists()
            .then(|| Db::open(&path).expect("npast.db opens"))?;
        db.find(SESSION).expect("a query")?;
        Some(Stored::of(&self.program.desk, SESSION))
    }

    /// Runs a command and kills it at a moment. All that it said is read to its end.
    fn run(&mut self, mut command: std::process::Command, moment: Option<Moment>) -> Seen {
        let jitter = Duration::from_micros(match moment {
            Some(Moment::Save) => self.draw.below(20_000),
            _ => self.draw.below(3_000),
        } as u64);
        let mut child = command.stderr(Stdio::null()).spawn().expect("a run");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let mut said = String::new();
        let mut texts = 0;
        let reached = match moment {
            None => false,
            Some(Moment::Load(share)) => {
                std::thread::sleep(self.start.mul_f64(share));
                true
            }
            Some(Moment::Gc(share)) => {
                std::thread::sleep(self.gc.mul_f64(share));
                true
            }
            Some(moment) => loop {
                let from = said.len();
                if out.read_line(&mut said).expect("a line") == 0 {
                    break false;
                }
                let event: Value = serde_json::from_str(&said[from..]).expect("an event");
                texts += usize::from(event["type"] == "text");
                let here = match moment {
                    Moment::Prefill(share) => {
                        event["type"] == "prefill"
                            && n(&event, "done") as f64 >= share * n(&event, "total") as f64
                    }
                    Moment::Reply(count) => texts >= count,
                    _ => event["type"] == "receipt",
                };
                if here {
                    break true;
                }
            },
        };
        if reached {
            std::thread::sleep(jitter);
            // It may be done: then this does nothing.
            child.kill().expect("SIGKILL");
        }
        out.read_to_string(&mut said).expect("its output");
        let killed = child.wait().expect("an end").signal() == Some(9);
        let phase = moment.map_or(0, Moment::phase);
        match (moment.is_some(), killed) {
            (true, true) => self.tally.kills[phase] += 1,
            (true, false) => self.tally.missed += 1,
            (false, killed) => assert!(!killed, "nobody killed it"),
        }
        Seen {
            events: events(&said),
            killed,
        }
    }

    /// One run of a turn, and what must hold after it.
    fn attack(&mut self, words: &str, reply: &Value, moment: Option<Moment>) -> Seen {
        let before = self.stored();
        let command = self.program.turn(SESSION, words, Some(reply));
        let seen = self.run(command, moment);
        let what = format!(
            "{:?}, {} turns told, {moment:?}",
            self.class,
            self.told.len()
        );
        let after = self.stored();
        self.check(&what, before.as_ref(), after.as_ref(), &seen, words);
        if let Some(after) = &after {
            self.follow(&what, after, &seen, moment);
        }
        seen
    }

    /// All that was there is there, all that was reported is there, all that is stored is right.
    fn check(
        &mut self,
        what: &str,
        before: Option<&Stored>,
        after: Option<&Stored>,
        seen: &Seen,
        words: &str,
    ) {
        let error = seen.events.iter().find(|e| e["type"] == "error");
        assert_eq!(error, None, "{what}");
        let users = |stored: Option<&Stored>| -> Vec<String> {
            let all = stored.iter().flat_map(|s| s.outline());
            let users = all.filter(|m| m.0 == "user");
            users.map(|m| m.2.trim().to_owned()).collect()
        };
        let (had, has) = (users(before), users(after));
        let mut due = had.clone();
        due.extend((!words.is_empty()).then(|| words.trim().to_owned()));
        assert!(
            has == due || (has == had && !seen.sent()),
            "{what}: {} messages before, {} after, reported: {}",
            had.len(),
            has.len(),
            seen.sent()
        );
        let Some(after) = after else { return };
        if let Some(before) = before {
            assert!(
                after.ledger.starts_with(before.decoded()),
                "{what}: what was decoded is another text now"
            );
            for (was, is) in before.messages.iter().zip(&after.messages) {
                assert_eq!((was.id, &was.role), (is.id, &is.role), "{what}");
                // A reply that a kill cut is completed from its tokens.
                let cut = was.finish == Some(Finish::Interrupted);
                assert!(was.body == is.body || cut, "{what}: {was:?} became {is:?}");
            }
        }
        if !after.messages.is_empty() {
            self.reader.render(after);
        }
        // Of a text that was shown at most 64 tokens, and what the parser held back, are gone.
        let shown = self.reader.vocab().tokenize(&seen.text(), false);
        let shown = shown.expect("tokens").len();
        let span = after.messages.last().and_then(|m| m.span);
        let kept = match after.messages.last() {
            Some(m) if m.role == "assistant" => span.map_or(0, |s| s.end - s.start),
            _ => 0,
        };
        assert!(
            kept + 64 >= shown,
            "{what}: {shown} tokens shown, {kept} kept"
        );
        if !seen.killed {
            let receipt = one_receipt(&seen.events).expect(what);
            honest(what, receipt);
            let held = n(receipt, "context") + n(receipt, "pending");
            assert_eq!(held, after.ledger.len(), "{what}: {receipt}");
            if let Some(reason) = receipt["miss"]["reason"].as_str() {
                assert!(self.unsaved, "{what}: {reason}");
                assert!(reason.contains("before it was saved"), "{what}: {reason}");
                self.tally.named_misses += 1;
            }
            self.unsaved = false;
            self.tally.whole_turns += 1;
        }
        self.tally.torn += self.temporary();
        self.tally.proven += self.program.verify(what);
    }

    /// Temporary files of a cut write.
    fn temporary(&self) -> usize {
        let Ok(models) = std::fs::read_dir(self.program.desk.home.join("kv/v1")) else {
            return 0;
        };
        let files = models
            .flatten()
            .filter_map(|m| std::fs::read_dir(m.path()).ok());
        let names = files.flatten().flatten().map(|f| f.file_name());
        names
            .filter(|f| f.to_string_lossy().ends_with(".tmp"))
            .count()
    }

    /// Where this run's evaluation started and how far it came, against the runs before it.
    fn follow(&mut self, what: &str, after: &Stored, seen: &Seen, moment: Option<Moment>) {
        let Some((done, total)) = seen.prefill() else {
            return;
        };
        // What was evaluated ends where the reply begins.
        let reply = after.messages.last().filter(|m| m.role == "assistant");
        let prompt = match reply.and_then(|m| m.span) {
            Some(span) => span.start,
            None => after.ledger.len(),
        };
        let start = prompt - total;
        assert!(
            start >= self.floor,
            "{what}: restarts at {start}, and {} were restored before",
            self.floor
        );
        self.floor = start;
        if let Some(reached) = self.reached.take() {
            let again = reached.saturating_sub(start);
            assert!(
                again <= BEHIND,
                "{what}: cut at {reached}, restarts at {start}"
            );
            self.tally.again = self.tally.again.max(again);
            let share = |at: usize| at as f64 / prompt as f64;
            self.tally.prefills.push((share(reached), share(start)));
        }
        if self.reply_end.take().is_some_and(|end| start + 1 < end) {
            self.inexact = true;
        }
        let long = total >= 4096;
        if seen.killed && long && matches!(moment, Some(Moment::Prefill(_))) && reply.is_none() {
            self.reached = Some(start + done);
        }
    }

    /// What is left of the turn; a reply is taken into what was told.
    fn left(&mut self, words: &str, seen: &Seen) -> Left {
        let Some(stored) = self.stored() else {
            return Left::Nothing;
        };
        let users = stored.outline().iter().filter(|m| m.0 == "user").count();
        if users == self.told.len() {
            return Left::Nothing;
        }
        let (row, _) = stored.last();
        if row.role == "user" {
            assert_eq!(row.state, MessageState::Open);
            return Left::Message;
        }
        let span = row.span.expect("a span");
        let tokens = &stored.ledger[span.start..span.end];
        let vocab = self.reader.vocab();
        let ended = tokens.last().is_some_and(|t| vocab.is_end(*t));
        let said = &tokens[..tokens.len() - usize::from(ended)];
        let text = self.reader.text(said);
        let mut line = json!({ "text": text });
        if !ended {
            line["finish"] = json!("interrupted");
            let again: Vec<Token> = vocab.tokenize(&text, true).expect("tokens");
            self.unspeakable |= again != said;
            self.inexact = true;
        }
        if seen.killed {
            self.unsaved = true;
            self.reply_end = Some(span.end);
        }
        self.told.push((words.to_owned(), line));
        (self.floor, self.reached) = (0, None);
        Left::Reply
    }

    /// A message and its prepared reply, said until there is one.
    fn turn(&mut self, words: &str, text: &str, kills: &mut usize) {
        let reply = json!({ "text": text });
        let mut say = words.to_owned();
        loop {
            let attacked = *kills > 0 && self.draw.below(4) > 0;
            let moment = attacked.then(|| self.draw.moment());
            if matches!(moment, Some(Moment::Gc(_))) {
                *kills -= usize::from(self.collect(moment));
                continue;
            }
            let seen = self.attack(&say, &reply, moment);
            *kills -= usize::from(seen.killed);
            match self.left(words, &seen) {
                Left::Nothing => say = words.to_owned(),
                Left::Message => say.clear(),
                Left::Reply => return,
            }
        }
    }

    /// `npast kv gc`, killed. It may take what a cut prefill has left, since nobody holds that.
    fn collect(&mut self, moment: Option<Moment>) -> bool {
        let before = self.stored();
        let command = self.program.command(&["kv", "gc", "--json"]);
        let seen = self.run(command, moment);
        let after = self.stored();
        let ledger =
            |s: &Option<Stored>| s.as_ref().map(|s| (s.ledger.clone(), s.messages.clone()));
        assert!(
            ledger(&before) == ledger(&after),
            "gc is not about sessions"
        );
        self.tally.proven += self.program.verify("gc");
        (self.floor, self.reached) = (0, None);
        seen.killed
    }

    /// The end of a life: one more turn, sampled, beside a session of the same turns in one process
    /// that nobody killed.
    fn compare(self) {
        let mine = self.stored().expect("a session");
        let ran = self.program.say(SESSION, "And now?", None);
        let miss = !ran.receipt()["miss"].is_null();
        assert!(!miss || self.unsaved, "{ran:?}");
        let reply = self.stored().expect("a session");

        let mut twin = Desk::with_model(&self.program.desk.model);
        twin.system = self.program.desk.system.clone();
        twin.limit = 16_384;
        let engine = twin.engine().expect("an engine");
        let open = WhichSession::Named(SESSION.to_owned());
        let mut talk = engine
            .conversation(open, twin.new_session())
            .expect("a session");
        let mut say = |words: &str, line: Option<&Value>| {
            let mut script =
                line.map(|l| ReplyScript::read(l.to_string().as_bytes()).expect("a script"));
            let options = match line {
                Some(_) => Default::default(),
                None => talk::greedy(24),
            };
            let input = Input::Text(words.to_owned());
            talk::turn(&mut talk, input, &options, script.as_mut(), &|_| false).expect("a turn");
            Stored::of(&twin, SESSION)
        };
        let mut plain = None;
        for (words, line) in &self.told {
            plain = Some(say(words, Some(line)));
        }
        let plain = plain.expect("turns");
        self.tally.lives += 1;
        if !self.unspeakable {
            assert!(
                plain.ledger == mine.ledger,
                "{:?}: other tokens than without kills",
                self.class
            );
            self.tally.same_tokens += 1;
        }
        let answer = say("And now?", None);
        if !self.inexact && !miss {
            self.tally.exact += 1;
            assert_eq!(
                self.reader.text(&reply.ledger[mine.ledger.len()..]),
                self.reader.text(&answer.ledger[plain.ledger.len()..]),
                "{:?}: another reply than without kills",
                self.class
            );
        }
        let same = reply.ledger[mine.ledger.len()..] == answer.ledger[plain.ledger.len()..];
        self.tally.same_reply += usize::from(same);
    }
}

pub fn long(seed: usize, words: usize) -> String {
    (0..words)
        .map(|i| format!("{} ", (i * i + seed) % 97))
        .collect()
}

/// One session's life: four turns, one of them with so many words or up to twice as many, and at
/// most so many kills. How many there were.
fn life(class: Class, most: usize, words: usize, draw: &mut Draw, tally: &mut Tally) -> usize {
    let seed = draw.below(1000);
    let words = [
        "Hello.".to_owned(),
        long(seed, words + draw.below(words)),
        long(seed + 1, 50 + draw.below(200)),
        "And then?".to_owned(),
    ];
    let reply: String = (0..WORDS).map(|i| format!("{i}, ")).collect();
    let mut siege = Siege::new(class, draw, tally);
    let mut left = most;
    for words in &words {
        siege.turn(words, &reply, &mut left);
    }
    siege.compare();
    most - left
}

/// How long a start takes until its first event, and a `kv gc`, on this machine now.
fn measure(class: Class) -> (Duration, Duration) {
    let program = Program::new(class);
    let begun = Instant::now();
    program.say(SESSION, "Hello.", Some(&json!({"text": "Yes."})));
    let start = begun.elapsed();
    let begun = Instant::now();
    let mut gc = program.command(&["kv", "gc"]);
    assert!(gc.output().expect("a run").status.success());
    (start, begun.elapsed())
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

#[test]
fn kills_at_any_moment_lose_no_message_and_leave_nothing_wrong() {
    let asked = setting("NPAST_KILLS").map(|n| n as usize);
    let seed = setting("NPAST_SEED").unwrap_or(1);
    let (kills, words, classes) = match asked {
        Some(kills) => (kills, 1500, &Class::ALL[..]),
        None => (4, 700, &[Class::Hybrid][..]),
    };
    println!("{kills} kills, seed {seed}");
    let mut draw = Draw(seed);
    let mut tallies = vec![Tally::default(); classes.len()];
    let mut done = 0;
    for (class, tally) in classes.iter().zip(0..).cycle() {
        if done >= kills {
            break;
        }
        let most = (kills - done).min(LIFE).min(kills.div_ceil(classes.len()));
        done += life(*class, most, words, &mut draw, &mut tallies[tally]);
        println!("{done} kills; {}", class.as_str());
    }
    print(classes, &tallies);
    for tally in &tallies {
        assert!(
            tally.proven > 0 && tally.same_tokens > 0,
            "nothing was compared"
        );
    }
}

#[test]
fn a_kill_in_a_long_prefill_restarts_near_the_cut_on_every_class() {
    for class in Class::ALL {
        let (mut draw, mut tally) = (Draw(7), Tally::default());
        let mut siege = Siege::new(class, &mut draw, &mut tally);
        let words = long(3, 3500);
        let reply = json!({"text": "Yes."});
        let seen = siege.attack(&words, &reply, Some(Moment::Prefill(0.8)));
        let (_, total) = seen.prefill().expect("a prefill");
        assert!(seen.killed && total > 2 * BEHIND, "{class:?}: {total}");
        assert!(siege.left(&words, &seen) == Left::Message, "{class:?}");
        // Where it starts is held against how far it had come.
        let seen = siege.attack("", &reply, None);
        assert!(siege.left(&words, &seen) == Left::Reply, "{class:?}");
        assert_eq!(tally.prefills.len(), 1, "{class:?}");
    }
}

fn print(classes: &[Class], tallies: &[Tally]) {
    print!("\n{:<34}", "");
    classes.iter().for_each(|c| print!("{:>11}", c.as_str()));
    println!();
    let row = |name: &str, of: &dyn Fn(&Tally) -> String| {
        print!("{name:<34}");
        tallies.iter().for_each(|t| print!("{:>11}", of(t)));
        println!();
    };
    for (i, phase) in PHASES.iter().enumerate() {
        row(&format!("kills in {phase}"), &|t| t.kills[i].to_string());
    }
    row("done before the kill", &|t| t.missed.to_string());
    row("writes torn by a kill", &|t| t.torn.to_string());
    row("turns that ended", &|t| t.whole_turns.to_string());
    row("  with a named miss", &|t| t.named_misses.to_string());
    row("stored files proven, none bad", &|t| t.proven.to_string());
    row("lives", &|t| t.lives.to_string());
    row("  with the tokens of no kill", &|t| {
        t.same_tokens.to_string()
    });
    row("  where the reply must be the same", &|t| {
        t.exact.to_string()
    });
    row("  where it is", &|t| t.same_reply.to_string());
    row("long prefills cut", &|t| t.prefills.len().to_string());
    row("  tokens read again, at most", &|t| t.again.to_string());
    let mean = |values: &mut dyn Iterator<Item = f64>, count: usize| match count {
        0 => "-".to_owned(),
        _ => format!("{:.0} %", values.sum::<f64>() / count as f64 * 100.0),
    };
    row("  cut at, in the middle", &|t| {
        mean(&mut t.prefills.iter().map(|p| p.0), t.prefills.len())
    });
    row("  restarted at, in the middle", &|t| {
        mean(&mut t.prefills.iter().map(|p| p.1), t.prefills.len())
    });
}

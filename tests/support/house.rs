//! A machine whose npast.db can be made to fail: many sessions in one process, each held against
//! what is on disk and against what another process would make of that.

use std::path::Path;

use npast::agent::{AgentError, Engine, Input, Mirror, NewSession, WhichSession};
use npast::ledger::Finish;
use npast::session::fault::{self, Count, Fault};
use npast::tools::{Effect, Tool, ToolAnswer};

use crate::agent::{At, Bench, Worked, says, setup, tool};
use crate::model::Class;
use crate::talk::Desk;
use crate::witness::{Reader, Stored};

pub fn tools() -> Vec<Box<dyn Tool>> {
    vec![
        tool("read", Effect::Reads, |a, _| {
            ToolAnswer::good(format!("read {}", a["x"]))
        }),
        tool("write", Effect::Writes, |_, _| {
            ToolAnswer::good("written\n")
        }),
        tool("fail", Effect::Runs, |_, _| ToolAnswer::bad("no")),
    ]
}

/// See [`House::close_kv`].
pub struct ClosedKv(Vec<(std::path::PathBuf, std::path::PathBuf)>);

impl Drop for ClosedKv {
    fn drop(&mut self) {
        for (place, aside) in &self.0 {
            let _ = std::fs::remove_file(place);
            let _ = std::fs::rename(aside, place);
        }
    }
}

pub struct House {
    pub bench: Bench,
    pub engine: Engine,
    pub reader: Reader,
    /// Another machine, for copies of npast.db.
    there: Desk,
    elsewhere: Engine,
}

impl House {
    pub fn new(class: Class) -> House {
        let mut bench = Bench::thinker(class);
        let setup = setup(tools());
        bench.desk.system = Some(setup.system);
        bench.desk.tools = Some(setup.tools);
        let mut there = Desk::with_model(&bench.desk.model);
        there.limit = bench.desk.limit;
        House {
            engine: bench.desk.engine().expect("an engine"),
            reader: Reader::of(&bench.desk),
            elsewhere: there.engine().expect("an engine"),
            there,
            bench,
        }
    }

    pub fn enter(&self, name: &str) -> Result<At, AgentError> {
        self.bench.enter(&self.engine, name, &tools)
    }

    /// Until it is dropped nothing can be read or written in the KV folder: files stand in the place of
    /// the folders.
    pub fn close_kv(&self) -> ClosedKv {
        let mut away = Vec::new();
        let entries = std::fs::read_dir(self.bench.desk.home.join("kv/v1"));
        for entry in entries.into_iter().flatten() {
            let place = entry.expect("an entry").path();
            if place.is_dir() && place.extension().is_none() {
                let aside = place.with_extension("away");
                std::fs::rename(&place, &aside).expect("a rename");
                std::fs::write(&place, b"in the way").expect("a file");
                away.push((place, aside));
            }
        }
        ClosedKv(away)
    }

    pub fn stored(&self, name: &str) -> Stored {
        Stored::of(&self.bench.desk, name)
    }

    /// Whether a session of this name is on disk.
    pub fn has(&self, name: &str) -> bool {
        let db = npast::session::Db::open(&self.bench.desk.home.join("npast.db"));
        let found = db.expect("npast.db").find(name).expect("a query");
        found.is_some()
    }

    /// What another process holds that opens the session as it is on disk now.
    fn seen_elsewhere(&self, name: &str) -> Mirror {
        let db = |home: &Path, end: &str| home.join(format!("npast.db{end}"));
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(db(&self.there.home, end));
            let here = db(&self.bench.desk.home, end);
            if end != "-shm" && here.exists() {
                std::fs::copy(here, db(&self.there.home, end)).expect("a copy");
            }
        }
        let open = WhichSession::Named(name.to_owned());
        let talk = self.elsewhere.conversation(open, NewSession::default());
        talk.expect("the copy opens").mirror()
    }

    /// Memory and disk say the same, before and after the conversation was put in order; another
    /// process would put it in the same order; the template renders it.
    pub fn truth(&self, what: &str, at: &mut At, name: &str, read: bool) {
        if read {
            self.same(what, at, name);
        }
        let there = self.seen_elsewhere(name);
        at.talk.fresh().expect(what);
        let here = at.talk.mirror();
        alike(what, &timeless(&here), &timeless(&there));
        self.same(what, at, name);
        self.whole(what, &self.stored(name));
    }

    fn same(&self, what: &str, at: &At, name: &str) {
        let (memory, disk) = (at.talk.mirror(), self.stored(name));
        let stored = Mirror {
            messages: disk.messages,
            ledger: disk.ledger.clone(),
            ..memory.clone()
        };
        alike(what, &memory, &stored);
        assert_eq!(at.talk.info().context, disk.ledger.len(), "{what}");
    }

    /// A history that can be sent: no two replies in a row, no call without a result, spans within
    /// the ledger and in order.
    fn whole(&self, what: &str, disk: &Stored) {
        let roles: Vec<&str> = disk.messages.iter().map(|m| m.role.as_str()).collect();
        let twice = roles
            .windows(2)
            .any(|two| two == ["assistant", "assistant"]);
        assert!(!twice, "{what}: two replies in a row: {roles:?}");
        let last = disk.messages.last();
        let called = last.is_some_and(|m| m.finish == Some(Finish::ToolCalls));
        assert!(!called, "{what}: calls without results");
        let mut end = 0;
        for span in disk.messages.iter().filter_map(|m| m.span) {
            assert!(
                span.start <= span.end && span.end <= disk.ledger.len(),
                "{what}"
            );
            assert!(span.end >= end, "{what}: spans in order");
            end = span.end;
        }
        if !disk.messages.is_empty() {
            self.reader.render(disk);
        }
    }

    /// The next message works as any other.
    pub fn goes_on(&self, what: &str, at: &mut At, name: &str) {
        let input = Input::Text("Next.".to_owned());
        let before = self.said(name, "Next.");
        let (worked, end) = at.attempt(input, &[says("Fine.")], &|_| false);
        end.expect(what);
        self.accounted(what, &worked);
        let disk = self.stored(name);
        let (reply, finish) = disk.reply();
        assert_eq!(
            (reply.text.as_str(), finish),
            ("Fine.", Some(Finish::Stop)),
            "{what}"
        );
        assert_eq!(self.said(name, "Next."), before + 1, "{what}");
        self.same(what, at, name);
        self.whole(what, &disk);
    }

    /// Law 2 on every call.
    pub fn accounted(&self, what: &str, worked: &Worked) {
        for r in &worked.receipts {
            assert_eq!(r.context, r.prompt() + r.generated - r.pending, "{what}");
            assert_eq!(r.miss.is_some(), r.evaluated > r.appended, "{what}: {r:?}");
        }
    }

    /// How often the user said these words, as it is on disk.
    pub fn said(&self, name: &str, words: &str) -> usize {
        let disk = self.stored(name);
        let all = disk.outline();
        let users = all.iter().filter(|m| m.0 == "user");
        users.map(|m| m.2.matches(words).count()).sum()
    }

    /// All that was shown of replies is on disk, in the conversation or on a branch.
    pub fn shown_is_stored(&self, what: &str, name: &str, story: &[String]) {
        let db = npast::session::Db::open(&self.bench.desk.home.join("npast.db"));
        let db = db.expect("npast.db");
        let id = db.find(name).expect("a query").expect("the session").id;
        let mut all = db.messages(id).expect("messages");
        for branch in db.branches(id).expect("branches") {
            all.extend(db.branch_messages(id, branch.id).expect("messages"));
        }
        let replies = all.iter().filter(|m| m.role == "assistant");
        let texts: Vec<&str> = replies.filter_map(|m| m.body["content"].as_str()).collect();
        for shown in story.iter().filter_map(|line| line.strip_prefix("text ")) {
            let stored = texts.iter().any(|text| text.contains(shown));
            assert!(stored, "{what}: {shown:?} was shown; stored: {texts:?}");
        }
    }
}

/// Runs something while npast.db fails; also what was counted of it.
pub fn while_failing<T>(fault: Fault, act: impl FnOnce() -> T) -> (T, Count) {
    fault::order(fault);
    let done = act();
    (done, fault::heal())
}

/// Without the moments at which something was written.
fn timeless(mirror: &Mirror) -> Mirror {
    let mut mirror = mirror.clone();
    for message in &mut mirror.messages {
        message.created_ms = 0;
    }
    mirror
}

/// The same, or what differs: not all of it, which would be long.
fn alike(what: &str, one: &Mirror, other: &Mirror) {
    assert_eq!((&one.name, one.tries), (&other.name, other.tries), "{what}");
    assert_eq!(one.messages.len(), other.messages.len(), "{what}: messages");
    for (one, other) in one.messages.iter().zip(&other.messages) {
        assert_eq!(one, other, "{what}");
    }
    let same = npast::ledger::common_prefix(&one.ledger, &other.ledger);
    assert_eq!(
        one.ledger[same..],
        other.ledger[same..],
        "{what}: from {same} on"
    );
}

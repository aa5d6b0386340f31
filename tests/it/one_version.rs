//! The KV of a token prefix has one version: what the slot holds is what the store has or will have,
//! however the conversations came to share their tokens. So a process that never stopped goes on bit
//! for bit like one that restarted, and `verify --deep` finds no byte that differs.

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use npast::kv::storage::{Disk, OutputFile, Storage};
use npast::ledger::Token;
use npast::slot::Compared;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::model::Class;
use crate::rig::{Rig, Rows, Stop, UBATCH, cost, tokens};

/// What came of evaluating every stored segment again: the same, other bytes, not compared.
fn compared(rig: &Rig) -> (usize, Vec<String>, Vec<String>) {
    let (mut same, mut differ, mut not) = (0, Vec::new(), Vec::new());
    rig.store().flush().expect("a flush");
    for one in rig.store().sampled(1000).expect("segments") {
        let place = format!("{}..{}", one.edge.p0, one.edge.p1);
        match rig.handle().compare(one).expect("a comparison") {
            Compared::Same => same += 1,
            Compared::Differs { bytes, of } => differ.push(format!("{place}: {bytes} of {of}")),
            Compared::Not(why) => not.push(why),
        }
    }
    (same, differ, not)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let place = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &place),
            false => {
                std::fs::copy(entry.path(), place).expect("a copy");
            }
        }
    }
}

/// Conversations of several owners, served by two processes on one folder.
struct World {
    class: Class,
    home: tempfile::TempDir,
    processes: Vec<Rig>,
    /// By owner: the ledger with its pending token, and where its last prompt ended.
    talks: Vec<(Vec<Token>, usize)>,
    seed: u64,
    /// Comparisons that were bit for bit, and those where the restarted process began elsewhere.
    exact: usize,
    elsewhere: usize,
}

const OWNERS: [&str; 3] = ["one", "two", "three"];

impl World {
    fn new(class: Class) -> World {
        let home = tempfile::tempdir().expect("a folder");
        let processes = (0..2).map(|_| Rig::new(class, Some(home.path())));
        World {
            class,
            processes: processes.collect(),
            home,
            talks: vec![(Vec::new(), 0); OWNERS.len()],
            seed: 1000,
            exact: 0,
            elsewhere: 0,
        }
    }

    fn flush(&self) {
        for process in &self.processes {
            process.store().flush().expect("a flush");
        }
    }

    fn ask(&mut self, process: usize, owner: usize, target: &[Token], reply: &[Token], stop: Stop) {
        let rig = &mut self.processes[process];
        let (outcome, _) = rig.ask(OWNERS[owner], target, Some(reply), stop);
        let outcome = outcome.expect("a call");
        assert!(outcome.error.is_none(), "{outcome:?}");
        let mut ledger = rig.held();
        ledger.extend(outcome.tokens.last().filter(|_| outcome.pending == 1));
        if !outcome.tokens.is_empty() {
            self.talks[owner] = (ledger, target.len());
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Say(process, owner, message, reply) => {
                let target = [&self.talks[owner].0, &message_of(message)[..]].concat();
                self.ask(process, owner, &target, &reply_of(reply), Stop::Never);
            }
            Op::Cancel(process, owner, message, at) => {
                let target = [&self.talks[owner].0, &message_of(message)[..]].concat();
                self.ask(process, owner, &target, &[], Stop::Prompt(at));
            }
            Op::Retry(process, owner, reply) => {
                let (ledger, prompt) = &self.talks[owner];
                let target = ledger[..*prompt].to_vec();
                if !target.is_empty() {
                    self.ask(process, owner, &target, &reply_of(reply), Stop::Never);
                }
            }
            Op::Copy(from, to) => self.talks[to] = self.talks[from].clone(),
            Op::Undo(owner, thousandths) => {
                let (ledger, prompt) = &mut self.talks[owner];
                ledger.truncate(ledger.len() * thousandths / 1000);
                *prompt = (*prompt).min(ledger.len());
            }
            Op::Merge(process) => {
                self.flush();
                self.processes[process].store().merge().expect("a merge");
            }
            Op::Restart(process) => {
                let rig = self.processes.remove(process);
                self.processes.insert(process, rig.restart());
            }
            Op::Forget(owner) => {
                self.flush();
                self.processes[0].store().unpin(OWNERS[owner]);
                self.processes[0].store().collect().expect("a collection");
                self.talks[owner] = (Vec::new(), 0);
            }
            Op::Flush => self.flush(),
            Op::Compare(process, owner) => self.compare(process, owner),
        }
    }

    /// The next message of a conversation, answered by the running process and by one that has
    /// nothing but the disk.
    fn compare(&mut self, process: usize, owner: usize) {
        self.flush();
        let elsewhere = tempfile::tempdir().expect("a folder");
        copy(self.home.path(), elsewhere.path());
        self.seed += 1;
        let target = [&self.talks[owner].0, &tokens(self.seed, 45)[..]].concat();
        let reply = tokens(self.seed + 50_000, 6);
        let run = |rig: &mut Rig| -> (usize, Rows) {
            let (outcome, rows) = rig.ask(OWNERS[owner], &target, Some(&reply), Stop::Never);
            let outcome = outcome.expect("a call");
            assert!(outcome.error.is_none(), "{outcome:?}");
            (outcome.kept + outcome.restored, rows)
        };
        let (start, rows) = run(&mut self.processes[process]);
        let (start_again, rows_again) = run(&mut Rig::new(self.class, Some(elsewhere.path())));
        if start == start_again {
            assert!(
                rows == rows_again,
                "{:?}: rows differ after {start}",
                self.class
            );
            self.exact += 1;
        } else {
            self.elsewhere += 1;
        }
        let ledger = [target.clone(), reply].concat();
        self.talks[owner] = (ledger, target.len());
    }

    /// Every owner's next message, then every stored segment.
    fn end(mut self) -> (usize, usize) {
        for owner in 0..OWNERS.len() {
            for process in 0..2 {
                self.compare(process, owner);
            }
        }
        self.flush();
        let (exact, elsewhere) = (self.exact, self.elsewhere);
        let rig = self.processes.remove(0);
        self.processes.clear();
        let rig = rig.restart();
        let (same, differ, not) = compared(&rig);
        assert!(differ.is_empty(), "{:?}: {differ:?}", self.class);
        assert!(self.class == Class::Recurrent || same > 0, "{not:?}");
        assert_eq!(rig.store().take_notices(), []);
        (exact, elsewhere)
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// Process, owner, message, reply.
    Say(usize, usize, usize, usize),
    /// A message that is cut after so many tokens.
    Cancel(usize, usize, usize, usize),
    /// Another reply to the last prompt.
    Retry(usize, usize, usize),
    /// The second owner's conversation becomes the first one's, as a client that sends it again.
    Copy(usize, usize),
    /// The first thousandths of a ledger.
    Undo(usize, usize),
    Merge(usize),
    Restart(usize),
    Forget(usize),
    Flush,
    Compare(usize, usize),
}

/// One of a few messages, so that conversations come to have the same tokens. Two begin alike.
fn message_of(which: usize) -> Vec<Token> {
    match which {
        0 => tokens(1, 7),
        1 => tokens(2, 2 * UBATCH),
        2 => tokens(3, 150),
        3 => [tokens(3, 100), tokens(4, 31)].concat(),
        _ => tokens(5, 700),
    }
}

fn reply_of(which: usize) -> Vec<Token> {
    match which {
        0 => tokens(11, 3),
        1 => [tokens(11, 2), tokens(12, 9)].concat(),
        _ => [tokens(3, 40), tokens(13, 2)].concat(),
    }
}

fn op() -> BoxedStrategy<Op> {
    let (process, owner) = (0usize..2, 0usize..3);
    let (message, reply) = (0usize..5, 0usize..3);
    let who = (process.clone(), owner.clone());
    prop_oneof![
        8 => (who.clone(), message.clone(), reply.clone())
            .prop_map(|((p, o), m, r)| Op::Say(p, o, m, r)),
        2 => (who.clone(), message, 0usize..200).prop_map(|((p, o), m, at)| Op::Cancel(p, o, m, at)),
        3 => (who.clone(), reply).prop_map(|((p, o), r)| Op::Retry(p, o, r)),
        2 => (owner.clone(), owner.clone()).prop_map(|(a, b)| Op::Copy(a, b)),
        2 => (owner.clone(), 0usize..=1000).prop_map(|(o, at)| Op::Undo(o, at)),
        2 => process.clone().prop_map(Op::Merge),
        3 => process.prop_map(Op::Restart),
        1 => owner.prop_map(Op::Forget),
        2 => Just(Op::Flush),
        4 => who.prop_map(|(p, o)| Op::Compare(p, o)),
    ]
    .boxed()
}

/// Cases per class; NPAST_CASES raises it.
fn cases() -> u32 {
    let set = std::env::var("NPAST_CASES").ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(10)
}

fn any_history(class: Class) {
    let config = Config {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[class as u8 + 80; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let exact = std::cell::Cell::new((0, 0));
    let ran = runner.run(&proptest::collection::vec(op(), 4..16), |ops| {
        let mut world = World::new(class);
        for op in &ops {
            world.step(op);
        }
        let (more, elsewhere) = world.end();
        let (all, others) = exact.get();
        exact.set((all + more, others + elsewhere));
        Ok(())
    });
    if let Err(error) = ran {
        panic!("{class:?}: {error}");
    }
    println!("{class:?}: {:?} compared, began elsewhere", exact.get());
    assert!(exact.get().0 > 0, "nothing was compared bit for bit");
}

#[test]
fn any_history_of_conversations_in_two_processes_is_one_version_on_dense() {
    any_history(Class::Dense);
}

#[test]
fn any_history_of_conversations_in_two_processes_is_one_version_on_swa() {
    any_history(Class::Swa);
}

#[test]
fn any_history_of_conversations_in_two_processes_is_one_version_on_hybrid() {
    any_history(Class::Hybrid);
}

#[test]
fn any_history_of_conversations_in_two_processes_is_one_version_on_recurrent() {
    any_history(Class::Recurrent);
}

/// The same first message in a second conversation, whose row of logits the first one's next turn
/// has replaced: the last token is evaluated for the row alone.
#[test]
fn a_second_session_with_the_same_first_message_has_the_stores_bytes_in_the_slot() {
    for class in [Class::Dense, Class::Swa, Class::Hybrid] {
        let mut world = World::new(class);
        let first = tokens(1, 1350);
        for owner in 0..2 {
            world.ask(0, owner, &first, &tokens(20 + owner as u64, 5), Stop::Never);
            for turn in 0..3 {
                let said = tokens(30 + turn, 12);
                let target = [&world.talks[owner].0, &said[..]].concat();
                world.ask(0, owner, &target, &tokens(40 + turn, 7), Stop::Never);
            }
        }
        let outcome = {
            let rig = &mut world.processes[1];
            let (outcome, _) = rig.ask("three", &first, Some(&tokens(60, 4)), Stop::Never);
            outcome.expect("a call")
        };
        if class == Class::Dense {
            assert_eq!(cost(&outcome), (0, 1349, 1, 1350, false));
        }
        let (exact, _) = world.end();
        assert!(exact >= 4, "{class:?}: {exact}");
    }
}

/// A reply was stored as it was sampled, token by token, and another process gets its beginning as
/// part of a message: it evaluates the same tokens in batches, and ends inside of what is stored.
#[test]
fn a_reply_that_comes_back_as_a_message_has_the_stores_rows_in_the_slot() {
    for class in [Class::Dense, Class::Swa, Class::Hybrid] {
        let mut world = World::new(class);
        let (prompt, reply) = (tokens(1, 45), tokens(2, 40));
        world.ask(0, 0, &prompt, &reply, Stop::Never);
        world.flush();
        let sent = [&prompt[..], &reply[..30]].concat();
        world.ask(1, 1, &sent, &tokens(3, 5), Stop::Never);
        world.compare(1, 1);
        world.compare(1, 1);
        assert_eq!((world.exact, world.elsewhere), (2, 0), "{class:?}");
        world.end();
    }
}

/// What llama.cpp refuses while stored rows take their place costs an evaluation, whichever state it
/// is: the n-th is refused, for all n.
#[test]
fn a_state_that_is_refused_while_stored_rows_are_taken_costs_an_evaluation() {
    for class in [Class::Dense, Class::Swa, Class::Hybrid] {
        let prompt = tokens(3, 150);
        for n in 0.. {
            let mut world = World::new(class);
            // The store has the prompt in whole batches; the second process evaluates less of it,
            // and ends in the middle of one.
            world.ask(0, 0, &prompt, &tokens(20, 5), Stop::Never);
            world.flush();
            world.processes[1]
                .handle()
                .refuse(Some(n))
                .expect("a live engine");
            let (outcome, _) =
                world.processes[1].ask("two", &prompt[..92], Some(&tokens(21, 5)), Stop::Never);
            let outcome = outcome.expect("a call");
            let left = world.processes[1]
                .handle()
                .refuse(None)
                .expect("a live engine");
            if left {
                // On the model with a window the rows come out equal, and nothing is put back.
                assert!(
                    n > 0 || class == Class::Swa,
                    "{class:?}: nothing was refused"
                );
                break;
            }
            let mut ledger = prompt[..92].to_vec();
            ledger.extend(&outcome.tokens);
            ledger.extend(tokens(22, 40));
            world.ask(1, 1, &ledger, &tokens(23, 5), Stop::Never);
            world.flush();
            let rig = world.processes.remove(1);
            world.processes.clear();
            let (_, differ, _) = compared(&rig.restart());
            assert!(differ.is_empty(), "{class:?}, {n}: {differ:?}");
        }
    }
}

/// A disk that keeps who creates a file waiting while it is shut.
#[derive(Default)]
struct Door {
    shut: Mutex<bool>,
    opened: Condvar,
    /// Who waits.
    waiting: Condvar,
    waits: Mutex<bool>,
}

impl Door {
    fn shut(&self) {
        *self.shut.lock().expect("a door") = true;
    }

    fn open(&self) {
        *self.shut.lock().expect("a door") = false;
        self.opened.notify_all();
    }

    /// Until somebody waits.
    fn is_waited_at(&self) {
        let waits = self.waits.lock().expect("a door");
        drop(self.waiting.wait_while(waits, |waits| !*waits));
    }
}

impl Storage for Door {
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutputFile>> {
        let mut shut = self.shut.lock().expect("a door");
        while *shut {
            *self.waits.lock().expect("a door") = true;
            self.waiting.notify_all();
            shut = self.opened.wait(shut).expect("a door");
        }
        Disk.create(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        Disk.make_folder(path)
    }

    fn open(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
        Disk.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        Disk.sync_folder(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Disk.list(path)
    }
}

/// Two processes are at work at the same time. Their messages begin alike, and while the one writes its
/// turn, the other one stores these tokens first. The slower one then ends.
#[test]
fn a_process_that_was_slower_has_all_of_its_turn_on_disk_when_it_ends_on_every_class() {
    for class in Class::ALL {
        let home = tempfile::tempdir().expect("a folder");
        let door = Arc::new(Door::default());
        let mut slower = Rig::on_storage(class, home.path(), door.clone());
        let mut faster = Rig::new(class, Some(home.path()));
        let (prompt, said) = (tokens(1, 45), tokens(2, 5));
        for (rig, owner) in [(&mut slower, "one"), (&mut faster, "two")] {
            let (outcome, _) = rig.ask(owner, &prompt, Some(&said), Stop::Never);
            assert_eq!(outcome.expect("a call").miss, None, "{class:?}");
            rig.store().flush().expect("a flush");
        }
        let beginning = [&prompt[..], &said, &tokens(3, 4)].concat();
        let say = |rig: &mut Rig, owner: &str, seed: u64| {
            let target = [&beginning[..], &tokens(seed, 70)].concat();
            let (outcome, _) = rig.ask(owner, &target, Some(&tokens(seed + 1, 5)), Stop::Never);
            let outcome = outcome.expect("a call");
            let mut ledger = rig.held();
            ledger.extend(outcome.tokens.last().filter(|_| outcome.pending == 1));
            ledger
        };
        door.shut();
        let mut ledger = say(&mut slower, "one", 10);
        door.is_waited_at();
        say(&mut faster, "two", 20);
        faster.store().flush().expect("a flush");
        door.open();

        // The rig that is dropped stores what it has left to store, as a process does at its end.
        let mut next = slower.restart();
        let had = ledger.len() - 1;
        ledger.extend(tokens(30, 20));
        let (outcome, _) = next.ask("one", &ledger, Some(&tokens(31, 5)), Stop::Never);
        let outcome = outcome.expect("a call");
        let what = format!("{class:?}: {outcome:?}");
        assert_eq!(outcome.miss, None, "{what}");
        assert_eq!((outcome.restored, outcome.evaluated), (had, 21), "{what}");
        drop((faster, next));
        let (_, differ, _) = compared(&Rig::new(class, Some(home.path())));
        assert!(differ.is_empty(), "{class:?}: {differ:?}");
    }
}

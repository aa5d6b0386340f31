//! Progress in the last line of the terminal: of a model that is fetched or loaded, or of a long prompt
//! that is read. Only on a terminal.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::screen::{Screen, lock, shared};
use super::term::{bytes, count};
use crate::agent::Stage;
use crate::models::PullStep;

/// Below this many tokens reading is over before a bar is seen.
const SHORT: usize = 256;
/// Cells of a bar.
const CELLS: usize = 30;
/// A bar is not drawn more often.
const OFTEN: Duration = Duration::from_millis(50);

/// At most one line at a time.
pub struct ProgressLine {
    shown: bool,
    screen: Arc<Mutex<Screen>>,
    /// Since when this is going on, how far it was then, and when it was drawn last.
    since: Option<(Instant, usize, Instant)>,
    /// Bytes of the file that is fetched, where they are known.
    whole: usize,
}

impl ProgressLine {
    /// `shown` says whether there is a terminal that wants bars.
    pub fn new(shown: bool, screen: Arc<Mutex<Screen>>) -> ProgressLine {
        ProgressLine {
            shown,
            screen,
            since: None,
            whole: 0,
        }
    }

    /// On this process's terminal.
    pub fn here(shown: bool) -> ProgressLine {
        ProgressLine::new(shown, shared().clone())
    }

    /// The model is being loaded.
    pub fn stage(&mut self, stage: &Stage) {
        match stage {
            Stage::Check => self.show(0, "trying the new model once"),
            Stage::Model(done) => {
                let done = (done.clamp(0.0, 1.0) * 100.0) as usize;
                let text = format!("loading  {} {done:>3} %", bar(done, 100));
                self.show(done, &text);
            }
            Stage::Context => {
                self.clear();
                self.show(0, "preparing the context");
            }
            Stage::Ready => self.clear(),
        }
    }

    /// A model is fetched.
    pub fn fetching(&mut self, step: &PullStep<'_>) {
        let whole = self.whole;
        match *step {
            PullStep::Waiting(_) => {
                self.clear();
                self.show(0, "waiting for another process that fetches it");
            }
            PullStep::Begin { have, whole, .. } => {
                self.clear();
                self.whole = size(whole.unwrap_or(0));
                self.fetched(size(have));
            }
            PullStep::Have(have) => self.fetched(size(have)),
            PullStep::Proving(read) => {
                let read = size(read);
                let percent = (read * 100).checked_div(whole).unwrap_or(0);
                let text = format!("checking  {} {percent:>3} %", bar(read, whole));
                self.show(read, &text);
            }
            PullStep::Again(_) => {
                self.clear();
                self.show(0, "trying again");
            }
        }
    }

    /// So much of a file is there. What came in an earlier run says nothing about the speed of this
    /// one.
    fn fetched(&mut self, have: usize) {
        let whole = self.whole;
        let mut text = format!("fetching  {}", bytes(have as u64));
        if whole > 0 {
            text = format!(
                "fetching  {} {} of {}",
                bar(have, whole),
                bytes(have as u64),
                bytes(whole as u64)
            );
        }
        if let Some((since, from, _)) = self.since
            && have > from
        {
            let pace = (have - from) as f64 / since.elapsed().as_secs_f64().max(0.001);
            text += &format!(", {}/s", bytes(pace as u64));
            if let Some(left) = whole.checked_sub(have).filter(|_| whole > 0) {
                text += &format!(", {:.0} s left", left as f64 / pace);
            }
        }
        self.show(have, &text);
    }

    /// The model is there, and servers of tools are not yet.
    pub fn servers(&mut self) {
        self.show(0, "starting the MCP servers");
    }

    /// The gateway is there, and its model is not yet.
    pub fn gateway(&mut self) {
        self.show(0, "waiting for the gateway, which loads its model");
    }

    /// Other requests come first.
    pub fn waiting(&mut self, place: usize) {
        self.clear();
        self.show(0, &format!("waiting for {} other requests", count(place)));
    }

    /// Stored tokens are put back.
    pub fn restoring(&mut self, tokens: usize) {
        self.clear();
        if tokens >= SHORT {
            self.show(0, &format!("restoring {} tokens", count(tokens)));
        }
    }

    /// Tokens are read.
    pub fn prefill(&mut self, done: usize, total: usize) {
        if done >= total || total < SHORT {
            return self.clear();
        }
        let left = match self.since {
            Some((since, from, _)) if done > from => {
                let pace = since.elapsed().as_secs_f64() / (done - from) as f64;
                format!(", {:.0} s left", pace * (total - done) as f64)
            }
            _ => String::new(),
        };
        let (bar, done_) = (bar(done, total), count(done));
        let text = format!("reading  {bar} {done_} of {} tokens{left}", count(total));
        self.show(done, &text);
    }

    /// A call that is written or runs: what it is, how far it is, and what it wrote last.
    pub fn call(&mut self, rows: &[String]) {
        if !self.shown {
            return;
        }
        let now = Instant::now();
        self.since = Some((now, 0, now));
        lock(&self.screen).live(rows);
    }

    /// Nothing is going on that takes long.
    pub fn clear(&mut self) {
        if self.since.take().is_some() {
            lock(&self.screen).status(None);
        }
    }

    fn show(&mut self, done: usize, text: &str) {
        if !self.shown {
            return;
        }
        let now = Instant::now();
        match &mut self.since {
            Some((_, _, drawn)) if now - *drawn < OFTEN => return,
            Some((_, _, drawn)) => *drawn = now,
            None => self.since = Some((now, done, now)),
        }
        lock(&self.screen).status(Some(text.to_owned()));
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.clear();
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn bar(done: usize, total: usize) -> String {
    let full = (done * CELLS / total.max(1)).min(CELLS);
    format!("{}{}", "█".repeat(full), "░".repeat(CELLS - full))
}

#[cfg(test)]
mod tests {
    use super::super::screen::Looks;
    use super::super::screen::tests::{Vt, piped};
    use super::*;

    #[test]
    fn what_takes_long_has_one_line_and_leaves_none() {
        let looks = Looks {
            err: true,
            moves: true,
            ..Looks::default()
        };
        let (pipe, _, err) = piped(looks);
        let seen = || Vt::of(&err.text(), 80).lines();
        let mut progress = ProgressLine::new(true, pipe.screen.clone());
        progress.stage(&Stage::Model(0.5));
        let half = format!("loading  {}{}  50 %", "█".repeat(15), "░".repeat(15));
        assert_eq!(seen(), [half]);
        progress.stage(&Stage::Context);
        assert_eq!(seen(), ["preparing the context"]);
        progress.stage(&Stage::Ready);
        progress.prefill(10, 20);
        assert_eq!(seen(), [""], "a short prompt has none");
        progress.restoring(9_000);
        assert_eq!(seen(), ["restoring 9,000 tokens"]);
        progress.prefill(1_200, 1_200);
        progress.prefill(600, 1_200);
        assert!(seen()[0].ends_with("600 of 1,200 tokens"), "{:?}", seen());
        drop(progress);
        assert_eq!(seen(), [""]);
        let (pipe, out, err) = piped(Looks::default());
        ProgressLine::new(false, pipe.screen.clone()).stage(&Stage::Context);
        assert_eq!((out.text(), err.text()), (String::new(), String::new()));
    }

    #[test]
    fn a_model_that_is_fetched_shows_what_came_and_what_is_missing() {
        let looks = Looks {
            err: true,
            moves: true,
            ..Looks::default()
        };
        let (pipe, _, err) = piped(looks);
        let seen = || Vt::of(&err.text(), 80).lines();
        let mut progress = ProgressLine::new(true, pipe.screen.clone());
        let begin = PullStep::Begin {
            name: "m.gguf",
            have: 400,
            whole: Some(1000),
        };
        progress.fetching(&begin);
        let some = format!(
            "fetching  {}{} 400 B of 1000 B",
            "█".repeat(12),
            "░".repeat(18)
        );
        assert_eq!(seen(), [some]);
        // Of the bytes that came since, and not of all that are there.
        let (began, from, _) = progress.since.expect("it goes on");
        assert_eq!(from, 400);
        progress.since = Some((began - Duration::from_secs(2), 400, began - OFTEN));
        progress.fetching(&PullStep::Have(600));
        let line = seen().remove(0);
        let (_, pace) = line.split_once("600 B of 1000 B, ").expect(&line);
        let (pace, left) = pace.split_once(" B/s, ").expect(&line);
        assert!(
            pace.parse::<u32>()
                .is_ok_and(|pace| (1..=100).contains(&pace)),
            "{line}"
        );
        assert!(left.ends_with(" s left"), "{line}");
        progress.fetching(&PullStep::Again("it broke off"));
        assert_eq!(seen(), ["trying again"]);
        progress.fetching(&PullStep::Waiting("m.gguf"));
        assert_eq!(seen(), ["waiting for another process that fetches it"]);
    }
}

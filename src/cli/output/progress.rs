//! Bars on standard error while a model is fetched or loaded and a long prompt is read. Only on a
//! terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::agent::Stage;
use crate::models::Step;

/// Below this many tokens reading is over before a bar is seen.
const SHORT: usize = 256;

/// At most one bar at a time.
pub struct Progress {
    shown: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// `shown` says whether there is a terminal that wants bars.
    pub fn new(shown: bool) -> Progress {
        Progress { shown, bar: None }
    }

    /// The model is being loaded.
    pub fn stage(&mut self, stage: &Stage) {
        match stage {
            Stage::Check => self.show(1, 1, "trying the new model once"),
            Stage::Model(done) => {
                let done = (done.clamp(0.0, 1.0) * 100.0) as u64;
                self.show(done, 100, "loading  {bar:30} {percent:>3} %");
            }
            Stage::Context => self.show(100, 100, "preparing the context"),
            Stage::Ready => self.clear(),
        }
    }

    /// The model is there, and servers of tools are not yet.
    pub fn servers(&mut self) {
        self.show(1, 1, "starting the MCP servers");
    }

    /// Stored tokens are put back.
    pub fn restoring(&mut self, tokens: usize) {
        self.clear();
        if tokens >= SHORT {
            self.show(tokens as u64, tokens as u64, "restoring {len} tokens");
        }
    }

    /// Tokens are read.
    pub fn prefill(&mut self, done: usize, total: usize) {
        if done >= total || total < SHORT {
            return self.clear();
        }
        let style = "reading  {bar:30} {human_pos} of {human_len} tokens, {eta} left";
        self.show(done as u64, total as u64, style);
    }

    /// A model is fetched.
    pub fn fetching(&mut self, step: &Step<'_>) {
        match step {
            Step::Waiting(_) => self.show(1, 1, "waiting for another process that fetches it"),
            Step::Begin { have, whole, .. } => {
                self.clear();
                let style = "fetching  {bar:30} {binary_bytes} of {binary_total_bytes}, \
                             {binary_bytes_per_sec}, {eta} left";
                self.show(*have, whole.unwrap_or(0), style);
                if let Some(bar) = &self.bar {
                    // What came in an earlier run says nothing about the speed of this one.
                    bar.reset_eta();
                }
            }
            Step::Have(have) => self.bar.iter().for_each(|bar| bar.set_position(*have)),
            Step::Proving(read) => {
                let whole = self.bar.as_ref().and_then(|bar| bar.length()).unwrap_or(0);
                self.show(*read, whole, "checking  {bar:30} {percent:>3} %");
            }
            Step::Again(_) => self.show(1, 1, "trying again"),
        }
    }

    /// Whether a bar stands on the terminal now.
    pub fn drawn(&self) -> bool {
        self.bar.is_some()
    }

    /// Nothing is going on that takes long.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn show(&mut self, done: u64, total: u64, style: &str) {
        if !self.shown {
            return;
        }
        let same = self.bar.as_ref().is_some_and(|b| b.length() == Some(total));
        if !same {
            self.clear();
        }
        let bar = self.bar.get_or_insert_with(|| {
            ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
        });
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_has_a_style_that_can_be_read_and_none_is_left() {
        let mut progress = Progress::new(true);
        progress.stage(&Stage::Model(0.5));
        assert_eq!(progress.bar.as_ref().map(|b| b.position()), Some(50));
        progress.stage(&Stage::Context);
        progress.stage(&Stage::Ready);
        assert!(progress.bar.is_none());
        progress.servers();
        assert!(progress.bar.is_some());
        progress.restoring(5000);
        progress.prefill(128, 1000);
        assert_eq!(progress.bar.as_ref().map(|b| b.position()), Some(128));
        progress.prefill(1000, 1000);
        assert!(progress.bar.is_none());
        progress.prefill(1, 20);
        assert!(progress.bar.is_none(), "a short prompt needs no bar");
        for style in [
            "{bar:30} {percent:>3}",
            "{human_pos} {human_len} {eta} {len}",
        ] {
            assert!(ProgressStyle::with_template(style).is_ok());
        }
    }

    #[test]
    fn a_model_that_is_fetched_shows_what_came_and_what_is_missing() {
        let mut progress = Progress::new(true);
        let begin = Step::Begin {
            name: "m.gguf",
            have: 40,
            whole: Some(100),
        };
        progress.fetching(&begin);
        progress.fetching(&Step::Have(70));
        let bar = progress.bar.as_ref().map(|b| (b.position(), b.length()));
        assert_eq!(bar, Some((70, Some(100))));
        progress.fetching(&Step::Proving(10));
        let bar = progress.bar.as_ref().map(|b| (b.position(), b.length()));
        assert_eq!(bar, Some((10, Some(100))));
        progress.fetching(&Step::Again("it broke off"));
        progress.fetching(&Step::Waiting("m.gguf"));
        assert!(progress.bar.is_some());
    }

    #[test]
    fn without_a_terminal_there_is_no_bar() {
        let mut progress = Progress::new(false);
        progress.stage(&Stage::Model(0.5));
        progress.prefill(1, 1000);
        assert!(progress.bar.is_none());
    }
}

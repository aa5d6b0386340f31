//! What the reading of one command line may cost. Every loop over a text, a word or a command pays
//! here, so that no line takes more time or memory than [`MAX_STEPS`] buys, however it is made.

/// Most steps that one line may take. A step is about one character read or one byte kept, so this
/// bounds memory as well as time.
pub(super) const MAX_STEPS: usize = 16 << 20;

/// The steps that were taken for one line.
#[derive(Debug, Default)]
pub(super) struct Steps {
    taken: usize,
    spent: bool,
}

impl Steps {
    /// Pays `steps` before they are taken. Where this is `false` they must not be taken, and nothing
    /// else.
    #[must_use]
    pub fn pay(&mut self, steps: usize) -> bool {
        let fits = !self.spent && self.taken.saturating_add(steps) <= MAX_STEPS;
        self.took(if fits { steps } else { 1 });
        self.spent |= !fits;
        fits
    }

    /// Counts steps that were taken.
    pub fn took(&mut self, steps: usize) {
        self.taken = self.taken.saturating_add(steps);
        self.spent |= self.taken > MAX_STEPS;
    }

    /// Whether the line has used up what it may cost.
    pub fn spent(&self) -> bool {
        self.spent
    }

    /// Steps taken so far.
    pub fn taken(&self) -> usize {
        self.taken
    }
}

//! Finds that a reply repeats itself: small models come into loops that only a limit would end.
//!
//! A text is read as units: words, single signs, single characters of scripts without spaces. The end of a
//! text is *periodic* when its last units are those of some distance before, all the way. Three rules say when
//! that is a loop:
//! - Sentences: the period has at least three words and no sign of code, tables or markup. It was said at
//!   least [`SENTENCE_TIMES`] times, in at least [`SENTENCE_CHARS`] characters.
//! - White space alone: [`FORM_CHARS`] characters of it.
//! - Anything else, as code, tables, JSON, numbers, and all that stands in a code fence: at least
//!   [`FORM_TIMES`] times, in at least [`FORM_CHARS`] characters. A zero matrix of 64 rows and a table of 500
//!   equal rows are no loops.
//!
//! The rules were measured: none of 311 MB of sources and documents is a loop. With a quarter to a half of
//! the bounds two tables of zeros are. A test reads all text of this project.
//!
//! Costs O(1) for each character: the place where the last few units stood before is looked up, and a period
//! that goes on is compared with one unit only.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// So often a sentence is said in a loop.
pub const SENTENCE_TIMES: usize = 8;
/// So many characters a loop of sentences has.
pub const SENTENCE_CHARS: usize = 600;
/// So often something that is no sentence stands in a loop.
pub const FORM_TIMES: usize = 256;
/// So many characters such a loop has.
pub const FORM_CHARS: usize = 16_384;

/// Units by which a place is looked up.
const GRAM: usize = 4;
/// Longest period, in units.
const MOST_UNITS: usize = 2048;
/// Longest unit in characters; a longer word is several.
const MOST_CHARS: usize = 16;
/// Signs that sentences have too.
const SENTENCE_SIGNS: &str = ".,;:!?'\"()-–—…’‘“”„«»¿¡。、，！？：；「」『』（）*";

/// One unit of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
struct TextUnit {
    hash: u64,
    /// Where it begins, in characters.
    at: usize,
    kind: UnitKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum UnitKind {
    /// Letters, two at least, or one of a script without spaces.
    Word,
    /// A sign that sentences have, or a single letter.
    Sign,
    /// A digit, and every other sign.
    Form,
}

/// Backticks or tildes in a row.
#[derive(Clone, Copy)]
struct FenceRun {
    sign: char,
    count: usize,
}

/// A text's end that repeats itself.
#[derive(Clone, Copy)]
struct Period {
    /// Its length in units.
    units: usize,
    /// The number of the unit from which on the text repeats itself.
    since: usize,
    /// Where that is, in characters.
    at: usize,
}

/// Reads a reply as it comes.
pub struct RepeatWatch {
    /// The last units; the first of them has the number `first`.
    units: VecDeque<TextUnit>,
    first: usize,
    /// Where the last [`GRAM`] units up to a number stood last, by their hash.
    places: HashMap<u64, usize>,
    /// What the end of the text repeats.
    period: Option<Period>,
    /// The word that is being read: its text, where it begins, its length in characters.
    word: String,
    word_at: usize,
    word_chars: usize,
    /// Characters so far.
    chars: usize,
    /// What opened the code fence in which the end is.
    fence: Option<FenceRun>,
    /// The backticks or tildes in a row at the end, where nothing but these stands in the line.
    marks: Option<FenceRun>,
    /// Only white space and the marks of a fence stand in the line so far.
    line_begins: bool,
    /// White space in a row at the end, in characters.
    blank: usize,
}

impl Default for RepeatWatch {
    fn default() -> RepeatWatch {
        RepeatWatch::new()
    }
}

impl RepeatWatch {
    /// Nothing was read.
    pub fn new() -> RepeatWatch {
        RepeatWatch {
            units: VecDeque::new(),
            first: 0,
            places: HashMap::new(),
            period: None,
            word: String::new(),
            word_at: 0,
            word_chars: 0,
            chars: 0,
            fence: None,
            marks: None,
            line_begins: true,
            blank: 0,
        }
    }

    /// Reads more; whether the text, with this, is a loop.
    pub fn feed(&mut self, text: &str) -> bool {
        text.chars().any(|c| self.take(c))
    }

    /// What is repeated by a text that is a loop, shortened, and how often it stands there.
    pub fn find(text: &str) -> Option<(String, usize)> {
        let mut watch = RepeatWatch::new();
        let mut end = 0;
        for c in text.chars() {
            end += 1;
            if watch.take(c) {
                let from = watch.units.len().checked_sub(watch.period?.units)?;
                let start = watch.units[from].at;
                let phrase: String = text.chars().skip(start).take(end - start).collect();
                let phrase = phrase.split_whitespace().collect::<Vec<_>>().join(" ");
                return Some((phrase, watch.times()));
            }
        }
        None
    }

    /// How often the period stands at the end.
    fn times(&self) -> usize {
        let end = self.first + self.units.len();
        let times = |period: Period| (end - period.since) / period.units;
        self.period.map_or(0, times)
    }

    fn take(&mut self, c: char) -> bool {
        let at = self.chars;
        self.chars += 1;
        self.look_for_fence(c);
        match c.is_whitespace() {
            true => self.blank += 1,
            false => self.blank = 0,
        }
        if self.blank >= FORM_CHARS {
            return true;
        }
        let spaced = c.is_alphanumeric() && !stands_alone(c);
        if spaced && self.word_chars < MOST_CHARS {
            if self.word_chars == 0 {
                self.word_at = at;
            }
            self.word.push(c);
            self.word_chars += 1;
            return false;
        }
        let looped = self.end_word();
        if spaced {
            self.word_at = at;
            self.word.push(c);
            self.word_chars = 1;
            return looped;
        }
        if c.is_whitespace() {
            return looped;
        }
        let kind = match c {
            c if stands_alone(c) => UnitKind::Word,
            c if SENTENCE_SIGNS.contains(c) => UnitKind::Sign,
            // ASCII's other signs, arrows, lines of tables, blocks. What is left are marks of letters.
            c if c.is_ascii() || matches!(c as u32, 0x2190..=0x2bff) => UnitKind::Form,
            _ => UnitKind::Sign,
        };
        looped | self.unit(hashed(&c), at, kind)
    }

    /// A fence is opened and closed at the beginning of a line, by three marks at least; one of more marks
    /// holds those of fewer.
    fn look_for_fence(&mut self, c: char) {
        if let Some(marks) = &mut self.marks
            && marks.sign == c
        {
            marks.count += 1;
            return;
        }
        if let Some(marks) = self.marks.take().filter(|marks| marks.count >= 3) {
            self.fence = match self.fence {
                None => Some(marks),
                Some(open) if open.sign == marks.sign && open.count <= marks.count => None,
                open => open,
            };
        }
        if self.line_begins && matches!(c, '`' | '~') {
            self.marks = Some(FenceRun { sign: c, count: 1 });
        }
        self.line_begins = c == '\n' || (self.line_begins && c.is_whitespace());
    }

    fn end_word(&mut self) -> bool {
        if self.word_chars == 0 {
            return false;
        }
        let kind = match (self.word_chars, self.word.chars().all(char::is_alphabetic)) {
            (_, false) => UnitKind::Form,
            (1, true) => UnitKind::Sign,
            _ => UnitKind::Word,
        };
        let hash = hashed(&self.word);
        self.word.clear();
        self.word_chars = 0;
        self.unit(hash, self.word_at, kind)
    }

    /// A unit came; whether the text is a loop with it.
    fn unit(&mut self, hash: u64, at: usize, kind: UnitKind) -> bool {
        let number = self.first + self.units.len();
        self.units.push_back(TextUnit { hash, at, kind });
        if self.units.len() > MOST_UNITS + GRAM {
            self.units.pop_front();
            self.first += 1;
        }
        let goes_on = self.period.is_some_and(|period| {
            let before = (number - self.first).checked_sub(period.units);
            before.is_some_and(|before| self.units[before].hash == hash)
        });
        let gram = self.gram();
        let stood = gram.and_then(|gram| self.places.insert(gram, number));
        if self.places.len() > 2 * MOST_UNITS {
            let first = self.first;
            self.places.retain(|_, place| *place >= first);
        }
        if !goes_on {
            // The units from the last place on are the period, and the last ones are its second time.
            let stood = stood.filter(|place| *place >= self.first + GRAM);
            self.period = stood.map(|place| Period {
                units: number - place,
                since: place + 1 - GRAM,
                at: self.units[place + 1 - GRAM - self.first].at,
            });
        }
        self.is_loop()
    }

    /// The hash of the last units.
    fn gram(&self) -> Option<u64> {
        let from = self.units.len().checked_sub(GRAM)?;
        let mut hasher = DefaultHasher::new();
        for unit in self.units.range(from..) {
            unit.hash.hash(&mut hasher);
        }
        Some(hasher.finish())
    }

    /// Looked at once in a period, so that reading the period costs O(1) for each unit.
    fn is_loop(&self) -> bool {
        let Some(period) = self.period else {
            return false;
        };
        let units = self.first + self.units.len() - period.since;
        let times = self.times();
        if !units.is_multiple_of(period.units) || times < SENTENCE_TIMES {
            return false;
        }
        let chars = self.chars - period.at;
        if times >= FORM_TIMES && chars >= FORM_CHARS {
            return true;
        }
        let last = self.units.range(self.units.len() - period.units..);
        let (mut words, mut form) = (0, false);
        for unit in last {
            words += usize::from(unit.kind == UnitKind::Word);
            form |= unit.kind == UnitKind::Form;
        }
        chars >= SENTENCE_CHARS && words >= 3 && !form && self.fence.is_none()
    }
}

/// Scripts that are written without spaces: each character is a unit.
fn stands_alone(c: char) -> bool {
    matches!(c as u32,
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x2e80..=0x9fff | 0xac00..=0xd7af
        | 0xf900..=0xfaff | 0x20000..=0x3ffff)
        && (c.is_alphanumeric() || (c as u32) < 0x2e80)
}

fn hashed(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "repeats_tests.rs"]
mod tests;

//! What may already be shown while a reply streams: complete characters only, and no text that may
//! turn out to be the beginning of a stop string. The output depends on the bytes, never on how
//! they were cut into pieces.

use aho_corasick::AhoCorasick;

/// Turns the bytes of tokens into text; a character whose bytes are not all there waits.
#[derive(Clone, Debug, Default)]
pub struct Utf8Hold {
    held: Vec<u8>,
}

impl Utf8Hold {
    /// Nothing held.
    pub fn new() -> Utf8Hold {
        Utf8Hold::default()
    }

    /// Takes more bytes and gives all text that is certain. Bytes that cannot become a character
    /// are U+FFFD as soon as that is sure, one for each such run, as [`String::from_utf8_lossy`].
    pub fn feed(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.held.len());
        let mut done = 0;
        for chunk in self.held.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            let bad = chunk.invalid();
            if bad.is_empty() {
                continue;
            }
            if done + bad.len() == self.held.len() && may_go_on(bad) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            done += bad.len();
        }
        self.held.drain(..done);
        text
    }

    /// The end: an incomplete character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        text
    }

    /// Bytes that wait for the rest of their character: at most three.
    pub fn held(&self) -> &[u8] {
        &self.held
    }
}

/// Whether these bytes at the end of the input are the beginning of a character.
fn may_go_on(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// What one call of [`StopHold`] lets through.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Emitted {
    /// Text to show; it ends before a stop string.
    pub text: String,
    /// The stop string that was found, as its index in the list given to [`StopHold::new`]. All
    /// later input gives nothing.
    pub found: Option<usize>,
}

/// Lets text through that cannot be the beginning of a stop string. The stop string that is
/// complete first counts; of several that end at the same byte, the longest.
#[derive(Clone, Debug)]
pub struct StopHold {
    stops: Vec<String>,
    search: Option<AhoCorasick>,
    held: String,
    found: Option<usize>,
}

impl StopHold {
    /// Empty stop strings are ignored; without any, all text passes at once.
    ///
    /// # Errors
    /// When the stop strings together are too large to be searched for (gigabytes).
    pub fn new(stops: &[String]) -> Result<StopHold, aho_corasick::BuildError> {
        let search = if stops.iter().all(String::is_empty) {
            None
        } else {
            Some(AhoCorasick::new(stops)?)
        };
        Ok(StopHold {
            stops: stops.to_vec(),
            search,
            held: String::new(),
            found: None,
        })
    }

    /// Takes more text.
    pub fn feed(&mut self, text: &str) -> Emitted {
        if self.found.is_some() {
            return Emitted {
                text: String::new(),
                found: self.found,
            };
        }
        let Some(search) = &self.search else {
            return Emitted {
                text: text.to_owned(),
                found: None,
            };
        };
        self.held.push_str(text);
        let mut first: Option<(usize, usize, usize)> = None;
        for hit in search.find_overlapping_iter(&self.held) {
            if hit.is_empty() {
                continue;
            }
            // Hits come in the order of their ends.
            if first.is_some_and(|(end, ..)| hit.end() > end) {
                break;
            }
            let hit = (hit.end(), hit.start(), hit.pattern().as_usize());
            first = Some(first.map_or(hit, |other| other.min(hit)));
        }
        if let Some((_, start, which)) = first {
            self.found = Some(which);
            self.held.truncate(start);
            return Emitted {
                text: std::mem::take(&mut self.held),
                found: self.found,
            };
        }
        let keep = self.undecided();
        let rest = self.held.split_off(self.held.len() - keep);
        Emitted {
            text: std::mem::replace(&mut self.held, rest),
            found: None,
        }
    }

    /// The end: what was held is text after all, unless a stop string was found.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Length in bytes of the longest end of the held text that begins a stop string.
    fn undecided(&self) -> usize {
        let held = self.held.as_bytes();
        self.stops
            .iter()
            .filter(|stop| !stop.is_empty())
            .filter_map(|stop| {
                let most = held.len().min(stop.len() - 1);
                (1..=most)
                    .rev()
                    .find(|n| stop.as_bytes().starts_with(&held[held.len() - n..]))
            })
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut<'a, T>(input: &'a [T], cuts: &[usize]) -> Vec<&'a [T]> {
        let mut at: Vec<usize> = cuts.iter().map(|c| c % (input.len() + 1)).collect();
        at.extend([0, input.len()]);
        at.sort_unstable();
        at.windows(2).map(|w| &input[w[0]..w[1]]).collect()
    }

    fn stops(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| s.to_string()).collect()
    }

    fn run(list: &[String], pieces: &[&str]) -> (String, Option<usize>) {
        let mut hold = StopHold::new(list).expect("a search");
        let mut text = String::new();
        let mut found = None;
        for piece in pieces {
            let emitted = hold.feed(piece);
            text += &emitted.text;
            found = emitted.found;
        }
        text += &hold.finish();
        (text, found)
    }

    #[test]
    fn a_character_in_four_tokens_comes_out_once() {
        let mut hold = Utf8Hold::new();
        let fed: Vec<String> = "a🦀".bytes().map(|b| hold.feed(&[b])).collect();
        assert_eq!(fed, ["a", "", "", "", "🦀"]);
        assert_eq!(hold.finish(), "");
    }

    #[test]
    fn a_bad_byte_is_replaced_where_it_is_certain_to_be_bad() {
        let mut hold = Utf8Hold::new();
        assert_eq!(hold.feed(b"a\xff"), "a\u{fffd}");
        assert_eq!(hold.feed(b"\xe2\x82"), "");
        assert_eq!(hold.held(), b"\xe2\x82");
        assert_eq!(hold.feed(b"b"), "\u{fffd}b");
        assert_eq!(hold.feed(b"\xf0\x9f"), "");
        assert_eq!(hold.finish(), "\u{fffd}");
        assert_eq!(hold.finish(), "");
    }

    #[test]
    fn text_ends_before_the_stop_string_and_nothing_follows() {
        let list = stops(&["\nUser:", "END"]);
        assert_eq!(run(&list, &["hi\nUs", "er", ": x"]), ("hi".into(), Some(0)));
        assert_eq!(run(&list, &["aENEND", "more"]), ("aEN".into(), Some(1)));
        assert_eq!(run(&list, &["aE", "N", "d\nU"]), ("aENd\nU".into(), None));
        assert_eq!(run(&stops(&[""]), &["a", "b"]), ("ab".into(), None));
    }

    #[test]
    fn the_stop_string_that_is_complete_first_counts() {
        let list = stops(&["bc", "abcd", "abc"]);
        assert_eq!(run(&list, &["xabcd"]), ("x".into(), Some(2)));
        assert_eq!(
            run(&stops(&["bc", "abcd"]), &["xabcd"]),
            ("xa".into(), Some(0))
        );
    }

    #[test]
    fn text_that_cannot_begin_a_stop_string_is_shown_at_once() {
        let mut hold = StopHold::new(&stops(&["aab"])).expect("a search");
        assert_eq!(hold.feed("xaaa").text, "xa");
        assert_eq!(hold.feed("c").text, "aac");
    }

    proptest! {
        #[test]
        fn bytes_cut_anywhere_give_the_text_of_all_bytes(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), Just(0xf0), Just(0x9f), Just(0xa6), Just(0x80), Just(b'a')], 0..40),
            cuts in prop::collection::vec(any::<usize>(), 0..6),
        ) {
            let mut hold = Utf8Hold::new();
            let mut text: String = cut(&bytes, &cuts).into_iter().map(|b| hold.feed(b)).collect();
            prop_assert!(hold.held().len() <= 3);
            text += &hold.finish();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn text_cut_anywhere_stops_at_the_same_place(
            chars in prop::collection::vec(prop::char::ranges(vec!['a'..='c', 'é'..='é'].into()), 0..30),
            list in prop::collection::vec("[a-cé]{0,4}", 0..4),
            cuts in prop::collection::vec(any::<usize>(), 0..6),
        ) {
            let pieces: Vec<String> = cut(&chars, &cuts).into_iter().map(|c| c.iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let whole: String = chars.iter().collect();
            let (text, found) = run(&list, &pieces);
            prop_assert_eq!((text.clone(), found), run(&list, &[&whole]));
            // The plain definition: the first byte at which some stop string ends.
            let end = (0..=whole.len()).find(|end| list.iter().any(|s| !s.is_empty() && whole.as_bytes()[..*end].ends_with(s.as_bytes())));
            match (end, found) {
                (None, None) => prop_assert_eq!(text, whole),
                (Some(end), Some(which)) => prop_assert_eq!(text + &list[which], &whole[..end]),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}

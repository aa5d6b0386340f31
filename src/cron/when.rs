//! Expressions: five fields, or a word such as `@daily`.

use chrono::{DateTime, TimeZone};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use super::zone::time;

/// Most bytes of an expression.
const MOST: usize = 200;

/// The times at which a job is due.
#[derive(Clone, Debug)]
pub struct When(Cron);

/// Why an expression is of no use.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WhenError {
    /// Longer than any that is meant.
    #[error("an expression may have at most {MOST} bytes, and this one has {0}")]
    Long(usize),
    /// Not five fields, or a field that cannot be read.
    #[error("{text:?} is no expression: {why}")]
    Unread {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// No such day.
    #[error("{0:?} never comes true")]
    Never(String),
}

impl WhenError {
    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            WhenError::Never(_) => "nothing was stored; no month has such a day",
            _ => {
                "minute, hour, day of the month, month, day of the week, such as \"30 7 * * MON-FRI\"; or \
                 @hourly, @daily, @weekly, @monthly, @yearly"
            }
        }
    }
}

impl When {
    /// Reads an expression that comes true some time after `now_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// See [`WhenError`].
    pub fn new(text: &str, now_ms: i64) -> Result<When, WhenError> {
        let when = When::read(text)?;
        match when.after(&time(now_ms)) {
            Some(_) => Ok(when),
            None => Err(WhenError::Never(text.to_owned())),
        }
    }

    /// Reads an expression.
    ///
    /// # Errors
    /// As [`When::new`]; one that never comes true is read.
    pub fn read(text: &str) -> Result<When, WhenError> {
        if text.len() > MOST {
            return Err(WhenError::Long(text.len()));
        }
        let unread = |why: String| WhenError::Unread {
            text: text.to_owned(),
            why: why.trim_end_matches('.').to_owned(),
        };
        // One word, so that no field is taken for one.
        let words = text.split_whitespace().count();
        if words != 5 && !(words == 1 && text.trim().starts_with('@')) {
            return Err(unread(format!("it has {words} fields, and five are meant")));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(text);
        Ok(When(cron.map_err(|error| unread(error.to_string()))?))
    }

    /// The first time after `from`; none where there is none.
    pub(super) fn after<Tz: TimeZone>(&self, from: &DateTime<Tz>) -> Option<DateTime<Tz>> {
        self.0.find_next_occurrence(from, false).ok()
    }

    /// The last time up to `to`, itself included.
    pub(super) fn until<Tz: TimeZone>(&self, to: &DateTime<Tz>) -> Option<DateTime<Tz>> {
        self.0.find_previous_occurrence(to, true).ok()
    }

    /// The first time after a moment, in Unix milliseconds of this machine.
    pub fn next_ms(&self, after_ms: i64) -> Option<i64> {
        Some(self.after(&time(after_ms))?.timestamp_millis())
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    fn next(text: &str) -> Result<String, String> {
        let from = Utc.with_ymd_and_hms(2026, 2, 28, 23, 30, 0).unwrap();
        let when = When::read(text).map_err(|e| e.to_string())?;
        Ok(when
            .after(&from)
            .map_or("never".into(), |t| t.format("%F %R").to_string()))
    }

    #[test]
    fn five_fields_and_words_are_read() {
        let table = [
            ("* * * * *", "2026-02-28 23:31"),
            ("*/20 * * * *", "2026-02-28 23:40"),
            ("30 7 * * MON-FRI", "2026-03-02 07:30"),
            ("0 0 29 2 *", "2028-02-29 00:00"),
            ("0 0 L * *", "2026-03-31 00:00"),
            (" @daily ", "2026-03-01 00:00"),
            ("@hourly", "2026-03-01 00:00"),
            ("@yearly", "2027-01-01 00:00"),
            ("0 0 31 2 *", "never"),
            ("0 0 30 2,2 *", "never"),
            ("0 0 31 4,6,9,11 *", "never"),
        ];
        for (text, want) in table {
            assert_eq!(next(text).as_deref(), Ok(want), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_its_next_time_is_later(
            text in proptest::prop_oneof![
                proptest::arbitrary::any::<String>(),
                proptest::string::string_regex(
                    "([0-9*,/LW#?+-]{1,5}|[0-9]{1,2}|\\*|[A-Z]{3}) ([0-9*,/-]{1,5}|\\*|[0-9]{1,2}) \
                     ([0-9LW*,-]{1,5}|\\*|[0-9]{1,2}) (\\*|[0-9]{1,2}|[A-Z]{3}) (\\*|[0-9#L+-]{1,4}|[A-Z]{3})"
                ).unwrap(),
            ],
        ) {
            let from = Utc.with_ymd_and_hms(2026, 2, 28, 23, 30, 0).unwrap();
            if let Ok(when) = When::read(&text) {
                proptest::prop_assert!(when.after(&from).is_none_or(|next| next > from));
                proptest::prop_assert!(when.until(&from).is_none_or(|last| last <= from));
            }
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_in_a_sentence() {
        for text in [
            "",
            "daily",
            "@reboot",
            "@",
            "* * * *",
            "* * * * * *",
            "0 0 0 0 0",
            "60 * * * *",
            "* 24 * * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * * 8",
            "a * * * *",
            "*/0 * * * *",
            "5-1-2 * * * *",
            "@daily @daily",
            "foo@daily",
            "\u{0} * * * *",
            "* * * * *,",
        ] {
            let error = When::read(text).unwrap_err();
            assert!(
                matches!(error, WhenError::Unread { .. }),
                "{text}: {error:?}"
            );
        }
        let long = "1,".repeat(200);
        assert_eq!(When::read(&long).unwrap_err(), WhenError::Long(400));
        let never = When::new("0 0 31 2 *", 0).unwrap_err();
        assert_eq!(never.to_string(), "\"0 0 31 2 *\" never comes true");
    }
}

//! What a look at a job decides.

use chrono::{DateTime, TimeZone};

use super::When;
use crate::session::Decision;

/// How late a time may be found and still be run, in milliseconds. A timer looks each minute or so; what
/// is found later was missed: the machine was off, or asleep.
pub const LATE_MS: i64 = 10 * 60 * 1000;

/// Times that are counted of those that were missed.
const COUNTED: usize = 1000;

/// What a look saw of the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// It went on.
    On,
    /// It shows an earlier time than at a look before, by so many milliseconds.
    Back(i64),
}

/// Looks at a job whose times up to `looked` were decided about. `known` says whether a time (Unix
/// milliseconds) was decided about before, which it may be where the clock went back. Of several times
/// that came since, the last one is run, if it is not too late; the others were missed.
pub fn look<Tz: TimeZone>(
    when: &When,
    looked: &DateTime<Tz>,
    now: &DateTime<Tz>,
    known: &dyn Fn(i64) -> bool,
) -> (Decision, Clock) {
    let ms = |time: &DateTime<Tz>| time.timestamp_millis();
    if now < looked {
        return (Decision::default(), Clock::Back(ms(looked) - ms(now)));
    }
    let mut decision = Decision::default();
    let last = when.until(now).filter(|last| last > looked);
    if let Some(last) = last {
        let on_time = ms(now) - ms(&last) <= LATE_MS;
        decision.run = Some(ms(&last)).filter(|due| on_time && !known(*due));
    }
    let mut missed = 0;
    let mut here = looked.clone();
    let mut last = None;
    while let Some(due) = when.after(&here).filter(|due| due <= now) {
        if decision.run != Some(ms(&due)) && !known(ms(&due)) {
            missed += 1;
            last = Some(ms(&due));
        }
        if missed == COUNTED {
            break;
        }
        here = due;
    }
    decision.missed = last.map(|last| (last, missed));
    (decision, Clock::On)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::HashSet;

    use chrono::Utc;
    use proptest::prelude::*;

    use super::super::zone::Zone;
    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;

    fn utc(ms: i64) -> DateTime<Utc> {
        Utc.timestamp_millis_opt(ms).unwrap()
    }

    /// A job and a clock that a test sets.
    struct Desk {
        when: When,
        looked: i64,
        known: RefCell<HashSet<i64>>,
        runs: Vec<i64>,
    }

    impl Desk {
        fn new(text: &str) -> Desk {
            Desk {
                when: When::read(text).unwrap(),
                looked: 0,
                known: RefCell::default(),
                runs: Vec::new(),
            }
        }

        /// A look as the program does it: run, missed (last, count), how far the clock went back.
        fn look(&mut self, now: i64) -> (Option<i64>, Option<(i64, usize)>, i64) {
            let known = |due: i64| self.known.borrow().contains(&due);
            let (decision, clock) = look(&self.when, &utc(self.looked), &utc(now), &known);
            self.looked = now;
            let all = decision.run.into_iter().chain(decision.missed.map(|m| m.0));
            self.known.borrow_mut().extend(all);
            self.runs.extend(decision.run);
            let back = match clock {
                Clock::On => 0,
                Clock::Back(by) => by,
            };
            (decision.run, decision.missed, back)
        }
    }

    #[test]
    fn a_time_is_run_by_the_look_that_finds_it_and_by_no_other() {
        let mut desk = Desk::new("0 * * * *");
        assert_eq!(desk.look(HOUR - 1), (None, None, 0));
        assert_eq!(desk.look(HOUR), (Some(HOUR), None, 0));
        assert_eq!(desk.look(HOUR), (None, None, 0));
        assert_eq!(desk.look(HOUR + MINUTE), (None, None, 0));
        assert_eq!(desk.look(2 * HOUR + LATE_MS), (Some(2 * HOUR), None, 0));
    }

    #[test]
    fn what_nobody_looked_for_in_time_is_said_and_not_run() {
        let mut desk = Desk::new("0 * * * *");
        assert_eq!(desk.look(HOUR + LATE_MS + 1), (None, Some((HOUR, 1)), 0));
        assert_eq!(desk.look(HOUR + LATE_MS + 2), (None, None, 0));
        // Of many the last is run if it is not late.
        assert_eq!(
            desk.look(6 * HOUR + MINUTE),
            (Some(6 * HOUR), Some((5 * HOUR, 4)), 0)
        );
        // Years: the count ends somewhere.
        let years = 24 * 365 * 3 * HOUR;
        let (run, missed, _) = desk.look(years);
        assert_eq!((run, missed.map(|m| m.1)), (Some(years), Some(COUNTED)));
    }

    #[test]
    fn a_clock_that_goes_back_runs_nothing_again_and_goes_on_from_there() {
        let mut desk = Desk::new("0 * * * *");
        desk.look(HOUR);
        desk.look(2 * HOUR);
        assert_eq!(desk.look(HOUR / 2), (None, None, 2 * HOUR - HOUR / 2));
        // Both hours come again, and are known.
        assert_eq!(desk.look(HOUR), (None, None, 0));
        assert_eq!(desk.look(2 * HOUR + MINUTE), (None, None, 0));
        assert_eq!(desk.look(3 * HOUR), (Some(3 * HOUR), None, 0));
        // A wrong year, and back: the times in between are still to come.
        desk.look(24 * 365 * 50 * HOUR);
        desk.look(3 * HOUR + MINUTE);
        assert_eq!(desk.look(4 * HOUR), (Some(4 * HOUR), None, 0));
    }

    proptest! {
        #[test]
        fn no_time_is_run_twice_or_late_by_any_clock(
            steps in proptest::collection::vec((-3 * HOUR..3 * HOUR, any::<bool>()), 1..60),
            text in prop::sample::select(vec!["0 * * * *", "*/7 * * * *", "30 2 * * *", "* * * * *"]),
        ) {
            let mut desk = Desk::new(text);
            let mut now = 100 * HOUR;
            desk.looked = now;
            for (step, jumps) in steps {
                now += if jumps { step } else { step.abs() / 60 };
                now = now.max(0);
                let (run, missed, back) = desk.look(now);
                if let Some(due) = run {
                    prop_assert!(due <= now && now - due <= LATE_MS);
                    prop_assert_eq!(due % MINUTE, 0);
                }
                prop_assert!(back == 0 || (run.is_none() && missed.is_none()));
                if let (Some(due), Some((last, _))) = (run, missed) {
                    prop_assert!(last < due);
                }
            }
            let different: HashSet<i64> = desk.runs.iter().copied().collect();
            prop_assert_eq!(different.len(), desk.runs.len());
        }
    }

    /// Runs itself as a second process, since the time zone is the whole process's.
    #[cfg(unix)]
    #[test]
    fn where_clocks_change_a_time_of_day_is_due_once() {
        const ZONE: &str = "NPAST_TEST_ZONE";
        if std::env::var_os(ZONE).is_none() {
            let name = "cron::due::tests::where_clocks_change_a_time_of_day_is_due_once";
            let ran = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                // Central Europe: forward on 2026-03-29 at 02:00, back on 2026-10-25 at 03:00.
                .env("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
                .env(ZONE, "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert!(ran.status.success(), "{text}");
            return;
        }
        let at = |d, h, m, s| Utc.with_ymd_and_hms(2026, d, h, m, s, 0).unwrap();
        let due = |text: &str, from: DateTime<Utc>, to: DateTime<Utc>| {
            let when = When::read(text).unwrap();
            let mut here = from.with_timezone(&Zone);
            let mut all = Vec::new();
            while let Some(next) = when.after(&here).filter(|next| *next <= to) {
                all.push(next.with_timezone(&Utc).format("%d %R").to_string());
                here = next;
            }
            all
        };
        // In UTC. Forward: half past two does not exist on the 29th, and three o'clock follows two.
        let (from, to) = (at(3, 28, 0, 0), at(3, 30, 12, 0));
        assert_eq!(
            due("30 2 * * *", from, to),
            ["28 01:30", "29 01:00", "30 00:30"]
        );
        // Back: half past two comes twice on the 25th, at 00:30 and at 01:30.
        let (from, to) = (at(10, 24, 12, 0), at(10, 26, 12, 0));
        assert_eq!(due("30 2 * * *", from, to), ["25 00:30", "26 01:30"]);
        let (from, to) = (at(10, 25, 0, 10), at(10, 25, 2, 0));
        assert_eq!(
            due("*/30 * * * *", from, to),
            ["25 00:30", "25 01:00", "25 01:30", "25 02:00"]
        );
        // By looks, as the program does it.
        let when = When::read("30 2 * * *").unwrap();
        let (mut looked, mut runs) = (at(10, 24, 12, 0), 0);
        while looked < at(10, 26, 12, 0) {
            let now = looked + chrono::TimeDelta::minutes(1);
            let (a, b) = (looked.with_timezone(&Zone), now.with_timezone(&Zone));
            let (decision, clock) = look(&when, &a, &b, &|_| false);
            assert_eq!((decision.missed, clock), (None, Clock::On));
            runs += usize::from(decision.run.is_some());
            looked = now;
        }
        assert_eq!(runs, 2);
    }
}

//! This machine's time zone.

use chrono::{DateTime, FixedOffset, Local, MappedLocalTime, NaiveDate, NaiveDateTime, TimeZone};

/// This machine's time zone. Of a time of day that comes twice, the earlier moment is the first: of zones
/// that go by a rule, `Local` alone gives both in the other order.
#[derive(Clone, Copy, Debug)]
pub struct Zone;

impl Zone {
    fn in_order(found: MappedLocalTime<FixedOffset>) -> MappedLocalTime<FixedOffset> {
        match found {
            // The farther ahead of UTC a clock is, the earlier it shows a time of day.
            MappedLocalTime::Ambiguous(one, other)
                if one.local_minus_utc() < other.local_minus_utc() =>
            {
                MappedLocalTime::Ambiguous(other, one)
            }
            found => found,
        }
    }
}

impl TimeZone for Zone {
    type Offset = FixedOffset;

    fn from_offset(_: &FixedOffset) -> Zone {
        Zone
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> MappedLocalTime<FixedOffset> {
        let midnight = local.and_time(chrono::NaiveTime::MIN);
        self.offset_from_local_datetime(&midnight)
    }

    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<FixedOffset> {
        Zone::in_order(Local.offset_from_local_datetime(local))
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> FixedOffset {
        self.offset_from_utc_datetime(&utc.and_time(chrono::NaiveTime::MIN))
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> FixedOffset {
        Local.offset_from_utc_datetime(utc)
    }
}

/// A moment as this machine's clock shows it; the beginning of 1970 for one that no clock shows.
pub fn time(ms: i64) -> DateTime<Zone> {
    let time = Zone.timestamp_millis_opt(ms).earliest();
    time.unwrap_or_else(|| DateTime::UNIX_EPOCH.with_timezone(&Zone))
}

//! Time: instants to the millisecond and spans in words people write. Nothing here reads a clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use chrono::{Datelike as _, NaiveDate, NaiveDateTime, Timelike as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::Malformed;

/// An instant in UTC with milliseconds, within the years 0000 to 9999.
///
/// Its one text form is `YYYY-MM-DDTHH:MM:SS.mmmZ`: a real calendar time, seconds 00 to 59.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"))]
pub struct Timestamp(i64);

impl Timestamp {
    /// 0000-01-01T00:00:00.000Z.
    pub const MIN: Self = Self(-62_167_219_200_000);
    /// 9999-12-31T23:59:59.999Z.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// The instant this many milliseconds after the Unix epoch, held to the years that can be written.
    pub fn from_unix_millis(millis: i64) -> Self {
        Self(millis.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Milliseconds since the Unix epoch.
    pub fn unix_millis(self) -> i64 {
        self.0
    }

    fn calendar(self) -> NaiveDateTime {
        chrono::DateTime::from_timestamp_millis(self.0).unwrap_or_default().naive_utc()
    }
}

impl Timestamp {
    /// The time this much earlier, never before [`Timestamp::MIN`].
    #[must_use]
    pub fn before(self, span: Span) -> Self {
        Self::from_unix_millis(self.0.saturating_sub(span.0))
    }

    /// The time in the middle between this one and a later one; this one where the other is not later.
    #[must_use]
    pub fn halfway(self, later: Self) -> Self {
        Self::from_unix_millis(self.0.saturating_add(later.0.saturating_sub(self.0).max(0) / 2))
    }
}

impl FromStr for Timestamp {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        parse(text)
            .ok_or_else(|| Malformed::new(text, "a time: YYYY-MM-DDTHH:MM:SS.mmmZ, in the calendar, seconds 00 to 59"))
    }
}

/// Digits where the pattern has `0`, the pattern's own character elsewhere; then the calendar decides.
fn parse(text: &str) -> Option<Timestamp> {
    const PATTERN: &[u8; 24] = b"0000-00-00T00:00:00.000Z";
    let bytes: &[u8; 24] = text.as_bytes().try_into().ok()?;
    let fits = bytes.iter().zip(PATTERN).all(|(byte, pattern)| match pattern {
        b'0' => byte.is_ascii_digit(),
        _ => byte == pattern,
    });
    if !fits {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u32>().ok();
    let date = NaiveDate::from_ymd_opt(i32::try_from(number(0, 4)?).ok()?, number(5, 7)?, number(8, 10)?)?;
    let second = number(17, 19).filter(|second| *second < 60)?;
    let time = date.and_hms_milli_opt(number(11, 13)?, number(14, 16)?, second, number(20, 23)?)?;
    Some(Timestamp(time.and_utc().timestamp_millis()))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.calendar();
        let (date, millis) = (t.date(), t.nanosecond() / 1_000_000);
        write!(f, "{:04}-{:02}-{:02}T", date.year(), date.month(), date.day())?;
        write!(f, "{:02}:{:02}:{:02}.{millis:03}Z", t.hour(), t.minute(), t.second())
    }
}

impl TryFrom<String> for Timestamp {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        time.to_string()
    }
}

impl Add<Span> for Timestamp {
    type Output = Timestamp;

    /// Never past [`Timestamp::MAX`].
    fn add(self, span: Span) -> Timestamp {
        Self::from_unix_millis(self.0.saturating_add(span.0))
    }
}

impl Sub for Timestamp {
    type Output = Span;

    /// The time from `earlier` to this; zero where `earlier` is the later one.
    fn sub(self, earlier: Timestamp) -> Span {
        Span(self.0.saturating_sub(earlier.0).max(0))
    }
}

/// A length of time, as policy says it: a whole number and a unit (`250ms`, `30s`, `15m`, `12h`, `90d`). A day is 24 h.
/// Bounded by 1,000 years, so that adding one to any instant stays within what can be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-9]+(ms|s|m|h|d)$"))]
pub struct Span(i64);

/// The units, largest first, with their milliseconds.
const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// 365,000 days.
    pub const MAX: Self = Self(365_000 * 86_400_000);

    /// This many milliseconds, at most [`Span::MAX`].
    pub const fn from_millis(millis: u32) -> Self {
        Self(millis as i64)
    }

    /// This many seconds.
    pub const fn from_secs(secs: u32) -> Self {
        Self(secs as i64 * 1_000)
    }

    /// The length in milliseconds.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// For timers.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.unsigned_abs())
    }
}

impl Add for Span {
    type Output = Span;

    /// Never past [`Span::MAX`].
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0).min(Self::MAX.0))
    }
}

impl FromStr for Span {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed =
            || Malformed::new(text, "a length of time: a whole number with ms, s, m, h or d, such as `30d`");
        let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
        let (count, unit) = text.split_at_checked(at).ok_or_else(malformed)?;
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(malformed)?;
        let count: i64 = count.parse().map_err(|_| malformed())?;
        count.checked_mul(*millis).filter(|total| *total <= Self::MAX.0).map(Self).ok_or_else(malformed)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, millis)| self.0 != 0 && self.0 % millis == 0);
        let (unit, millis) = whole.unwrap_or(&("s", 1_000));
        write!(f, "{}{unit}", self.0 / millis)
    }
}

impl TryFrom<String> for Span {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn time(text: &str, good: bool) {
        let read = text.parse::<Timestamp>();
        assert_eq!(read.is_ok(), good, "{text}");
        if let Ok(time) = read {
            assert_eq!(time.to_string(), text);
        }
    }

    #[test]
    fn times_are_real_and_have_one_form() {
        time("2026-11-23T17:00:01.000Z", true);
        time("0000-01-01T00:00:00.000Z", true);
        time("9999-12-31T23:59:59.999Z", true);
        time("2024-02-29T00:00:00.000Z", true);
        time("2026-02-29T00:00:00.000Z", false);
        time("2026-11-31T17:00:01.000Z", false);
        time("2026-11-23T24:00:00.000Z", false);
        time("2026-11-23T17:00:60.000Z", false);
        time("2026-11-23T17:00:01Z", false);
        time("2026-11-23T17:00:01.000z", false);
        time("2026-11-23T17:00:01.000+00:00", false);
        time("2026-11-23 17:00:01.000Z", false);
        time("+026-11-23T17:00:01.000Z", false);
        time("2026-11-23T17:00:01.00٠Z", false);
        assert_eq!(Timestamp::MIN.to_string(), "0000-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[track_caller]
    fn span(text: &str, read: Option<&str>) {
        assert_eq!(text.parse::<Span>().ok().map(|span| span.to_string()).as_deref(), read, "{text}");
    }

    #[test]
    fn spans_are_words_people_write() {
        span("30s", Some("30s"));
        span("60s", Some("1m"));
        span("24h", Some("1d"));
        span("250ms", Some("250ms"));
        span("0s", Some("0s"));
        span("365000d", Some("365000d"));
        span("365001d", None);
        span("99999999999999999999d", None);
        span("1w", None);
        span("-1s", None);
        span("1.5h", None);
        span("30", None);
        span("", None);
    }

    #[test]
    fn adding_stays_within_what_can_be_written() {
        assert_eq!(Timestamp::MAX + Span::from_secs(1), Timestamp::MAX);
        assert_eq!(Timestamp::MIN - Timestamp::MAX, Span::ZERO);
    }
}

//! Ages in Docker's words.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A length of time as Docker says it: `About a minute`, `7 days`.
pub(crate) fn duration_words(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Docker rounds hours half up and everything above is cut from the rounded hours.
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// How long ago `then` was: `7 days ago`; `N/A` for a time that was never set.
pub(crate) fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    match then {
        Some(then) => format!("{} ago", duration_words(now.as_second() - then.as_second())),
        None => "N/A".to_owned(),
    }
}

/// The CREATED AT form of listings: `2026-11-21 13:06:04 +0000 UTC`, in the zone of this machine.
pub(crate) fn stamp(then: Timestamp) -> String {
    let zoned = then.to_zoned(TimeZone::system());
    let rounded = Timestamp::from_second(zoned.timestamp().as_second()).unwrap_or(then);
    rounded.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: B06-07, B07-18
    #[test]
    fn ages_are_told_in_dockers_words() {
        const DAY: i64 = 86_400;
        for (seconds, text) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (2, "2 seconds"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (2 * DAY, "2 days"),
            (7 * DAY, "7 days"),
            (8 * DAY, "8 days"),
            (14 * DAY, "2 weeks"),
            (59 * DAY, "8 weeks"),
            (60 * DAY, "2 months"),
            (700 * DAY, "23 months"),
            (730 * DAY, "2 years"),
            (3650 * DAY, "10 years"),
        ] {
            assert_eq!(duration_words(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn an_unset_time_has_no_age() {
        assert_eq!(age(None, Timestamp::UNIX_EPOCH), "N/A");
    }
}

use engine::runtime::{LogEntry, LogQuery, OutputStream};
use jiff::Timestamp;

use super::Session;
use crate::error::{Error, Result};

/// Fetch the logs of a container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "string")]
    since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(
        short = 'n',
        long,
        value_name = "string",
        default_value = "all",
        allow_hyphen_values = true
    )]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "string")]
    until: Option<String>,
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
}

impl Args {
    /// Copies the container's output to the streams it came from.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let query = self.query(Timestamp::now())?;
        let containers = session.runtime()?;
        let id = containers.resolve(&self.container)?;
        let timestamps = self.timestamps;
        let mut failed = None;
        let result = containers.logs(&id, &query, &mut |entry| {
            write(&entry, timestamps)
                .inspect_err(|error| failed = Some(std::io::Error::from(error.kind())))
        });
        match failed {
            Some(error) => Err(Error::Output(error)),
            None => Ok(result?),
        }
    }

    fn query(&self, now: Timestamp) -> Result<LogQuery> {
        Ok(LogQuery {
            follow: self.follow,
            // Docker takes anything that is not a number of lines for all of them.
            tail: self.tail.parse().ok(),
            since: self.since.as_deref().map(|text| moment(text, now)).transpose()?,
            until: self.until.as_deref().map(|text| moment(text, now)).transpose()?,
        })
    }
}

fn write(entry: &LogEntry, timestamps: bool) -> std::io::Result<()> {
    let mut stdout;
    let mut stderr;
    let to: &mut dyn std::io::Write = match entry.stream {
        OutputStream::Stdout => {
            stdout = std::io::stdout().lock();
            &mut stdout
        }
        OutputStream::Stderr => {
            stderr = std::io::stderr().lock();
            &mut stderr
        }
    };
    if timestamps {
        write!(to, "{:.9} ", entry.time)?;
    }
    to.write_all(&entry.line)?;
    to.flush()
}

/// A moment as Docker reads it: RFC 3339 (also shortened), seconds since 1970, or a length of time before `now`.
pub(crate) fn moment(text: &str, now: Timestamp) -> Result<Timestamp> {
    let wrong = || {
        Error::refused(
            format!("invalid value for time: {text:?}"),
            "write 2013-01-02T13:23:37Z or 42m",
        )
    };
    if let Some(seconds) = duration(text) {
        let span = jiff::SignedDuration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
        return now.checked_sub(span).map_err(|_| wrong());
    }
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Timestamp::UNIX_EPOCH
            .checked_add(jiff::SignedDuration::try_from_secs_f64(seconds).map_err(|_| wrong())?)
            .map_err(|_| wrong());
    }
    let padded = match text.len() {
        10 => format!("{text}T00:00:00"),
        13 => format!("{text}:00:00"),
        16 => format!("{text}:00"),
        _ => text.to_owned(),
    };
    let local: jiff::civil::DateTime = padded.parse().map_err(|_| wrong())?;
    let zoned = local.to_zoned(jiff::tz::TimeZone::system()).map_err(|_| wrong())?;
    Ok(zoned.timestamp())
}

/// Go's duration (`1h30m`, `1.5s`, `300ms`) in seconds.
pub(crate) fn duration(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    Some(sign * total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_docker_reads_them() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (text, time) in [
            ("42m", "2026-11-21T11:18:00Z"),
            ("1h30m", "2026-11-21T10:30:00Z"),
            ("1.5s", "2026-11-21T11:59:58.5Z"),
            ("2013-01-02T13:23:37Z", "2013-01-02T13:23:37Z"),
            ("2013-01-02T13:23:37.5+01:00", "2013-01-02T12:23:37.5Z"),
            ("1136073845", "2006-01-01T00:04:05Z"),
        ] {
            assert_eq!(moment(text, now).unwrap(), time.parse().unwrap(), "{text}");
        }
        for text in ["", "yesterday", "5x", "1h2", "2013-13-01"] {
            assert!(moment(text, now).is_err(), "{text}");
        }
    }
}

//! Errors as runc tells them: a line on stderr, and one in the log for the program that called.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use super::arguments::Global;
use crate::clock;
use crate::error::Error;

/// Tells of a failed command; 1 but for a program that could not be started in the foreground.
pub(super) fn failure(global: &Global, error: &Error) -> ExitCode {
    let message = error.to_string();
    if let Some(log) = &global.log
        && let Ok(mut file) = OpenOptions::new().append(true).create(true).open(log)
    {
        let time = clock::now().to_string();
        let line = match global.json_log {
            true => json!({ "level": "error", "msg": message, "time": time }).to_string(),
            false => format!("time=\"{time}\" level=error msg={message:?}"),
        };
        let _ = writeln!(file, "{line}");
    }
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::from(1)
}

//! `wherry`: the command line over the engine.

mod args;
mod command;
mod error;
mod format;
mod help;
#[cfg(test)]
mod reference;
mod template;
mod ui;

use std::ffi::OsString;
use std::process::ExitCode;

use args::Parsed;
use ui::Ui;

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    // The monitor and the helper fork: they must run before anything has started a thread.
    if let Some(code) = engine::dispatch(argv.get(1..).unwrap_or_default()) {
        return code;
    }
    match run(&argv) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error::report(&error),
    }
}

fn run(argv: &[OsString]) -> error::Result<()> {
    let ui = Ui::detect();
    match args::parse(argv)? {
        Parsed::Help(text) => ui.print(&text),
        Parsed::Verb(cli) => {
            log_to_stderr(cli.log_filter());
            cli.execute(ui)
        }
    }
}

/// The rooms whose log lines `--log-level` is about.
const ROOMS: [&str; 10] = [
    "wherry",
    "engine",
    "oci",
    "store",
    "registry_client",
    "registry",
    "trust",
    "builder",
    "runtime",
    "network",
];

/// Log lines go to standard error. What libraries log is theirs, and shown from errors up or with `--debug`.
fn log_to_stderr(level: &str) {
    let filter = match level {
        "debug" => "debug".to_owned(),
        level => std::iter::once("error".to_owned())
            .chain(ROOMS.iter().map(|room| format!("{room}={level}")))
            .collect::<Vec<_>>()
            .join(","),
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        // A reader of stderr that goes away must not end the command with a panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .init();
}

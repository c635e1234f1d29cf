//! `oci-runtime`: an OCI runtime with runc's command line, so that docker, containerd and podman can use this program as theirs.
//!
//! The life cycle and the error rules are those of the runtime specification (`runtime.md`); isolation, filter and the start of
//! the program are the same as for the containers of [`crate::Runtime`].

mod arguments;
mod container;
mod create;
mod exec;
mod report;
mod show;

use std::ffi::OsString;
use std::process::ExitCode;

use arguments::{Global, Parsed};
use container::Store;

use crate::error::{Error, Result};

/// Runs the OCI command line. Must be called before any thread exists.
pub fn oci_runtime_main(args: &[OsString]) -> ExitCode {
    let words: Option<Vec<String>> =
        args.iter().map(|arg| arg.to_str().map(str::to_owned)).collect();
    let Some(words) = words else {
        return report::failure(
            &Global::default(),
            &Error::invalid("arguments", "", "they are not UTF-8"),
        );
    };
    match arguments::parse(&words) {
        Err((global, error)) => report::failure(&global, &error),
        Ok(parsed) => match run(&parsed) {
            Ok(code) => ExitCode::from(code),
            Err(error) => report::failure(&parsed.global, &error),
        },
    }
}

fn run(parsed: &Parsed) -> Result<u8> {
    let store = Store::new(parsed.global.root.clone());
    let flags = &parsed.flags;
    match parsed.command.as_str() {
        "create" => create::create(&store, flags).map(|()| 0),
        "run" => create::run(&store, flags),
        "start" => create::start(&store, flags.id()?).map(|()| 0),
        "state" => show::state(&store, flags.id()?).map(|()| 0),
        "kill" => container::kill(&store, flags).map(|()| 0),
        "delete" => container::delete(&store, flags).map(|()| 0),
        "pause" => container::pause(&store, flags.id()?).map(|()| 0),
        "resume" => container::resume(&store, flags.id()?).map(|()| 0),
        "update" => container::update(&store, flags).map(|()| 0),
        "exec" => exec::exec(&store, flags),
        "ps" => show::ps(&store, flags).map(|()| 0),
        "list" => show::list(&store, flags).map(|()| 0),
        "events" => show::events(&store, flags).map(|()| 0),
        "features" => show::features().map(|()| 0),
        "spec" => show::spec(flags).map(|()| 0),
        "version" => show::version().map(|()| 0),
        "help" => show::help().map(|()| 0),
        other => Err(Error::unsupported(
            format!("the command \"{other}\""),
            "see oci-runtime --help for those there are",
        )),
    }
}

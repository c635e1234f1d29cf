//! `cargo xtask`: see `cargo xtask help`.

use std::process::ExitCode;

use xtask::shell::{Failure, Result, workspace_root};
use xtask::{apt, bench, ci, golden, images, quickstart, suite, tidy};

const HELP: &str = "\
Usage: cargo xtask COMMAND

Commands:
  quickstart      Build the release binary and walk through the main job: build, ship, sign, verify, run
  test [ARGS]     Install what the tests need, build the binary, run every test, count what was skipped
  ci              What .ci/run runs: formatting, clippy, tidy, tests
  tidy            Check the rules of docs/style.md and docs/architecture.md that a program can check
  golden          Rewrite the golden files and inline expectations, and print what changed;
                  'golden corpus' asks peers what they make of testdata/dockerfiles/corpus
  bench AREA      Measure Wherry and its peers in turn (areas: build, run) and write docs/benchmarks.md
  images [NAME]   Make the base images of testdata/images, or one of them, and print where they are
  packages        Print the Debian packages that the tests need, with the reason for each
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<()> {
    let root = workspace_root();
    let (command, rest) = args.split_first().map_or(("help", args), |(c, r)| (c.as_str(), r));
    match command {
        "quickstart" => quickstart::main(&root, rest),
        "test" => suite::main(&root, rest),
        "ci" => ci::main(&root),
        "tidy" => tidy::main(&root),
        "golden" => golden::main(&root, rest),
        "bench" => bench::main(&root, rest),
        "images" => print_images(&root, rest),
        "packages" => {
            print!("{}", apt::describe());
            Ok(())
        }
        "sim" => Err(Failure::new(
            "there is no simulator yet: it arrives with the swarm package; see docs/not-covered.md",
        )),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failure::new(format!("unknown command '{other}'\n\n{HELP}"))),
    }
}

/// All with their names, or the path of the one that is asked for.
fn print_images(root: &std::path::Path, names: &[String]) -> Result<()> {
    if let [name] = names {
        let known = images::Base::ALL.iter().find(|base| base.name() == name);
        let base = known.ok_or_else(|| Failure::new(format!("no base image '{name}'")))?;
        println!("{}", images::ensure(root, *base)?.display());
        return Ok(());
    }
    for image in images::Base::ALL {
        println!("{:<16} {}", image.name(), images::ensure(root, image)?.display());
    }
    Ok(())
}

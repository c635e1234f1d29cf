//! A temporary installation: a root, a run folder, a home, and the binary under test over them.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tempfile::TempDir;
use xtask::images::{self, Base};

use crate::lan::Host;
use crate::leak;
use crate::run::Run;
use crate::text::words;

/// The longest that a command of a test may take.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// A root of Wherry that a test owns.
pub struct Site {
    dir: TempDir,
    environment: Vec<(String, String)>,
    host: Option<Host>,
}

impl Site {
    /// An empty installation.
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("wherry-test-").expect("make a temporary folder");
        for folder in ["home", "context"] {
            fs::create_dir(dir.path().join(folder)).expect("make a folder of the site");
        }
        Site { dir, environment: Vec::new(), host: None }
    }

    /// An installation with `busybox:latest`.
    pub fn with_busybox() -> Self {
        let site = Site::new();
        site.import(Base::Busybox, "busybox");
        site
    }

    /// An installation with `busybox:latest` on a host of its own: its commands, and all containers, are in that network
    /// namespace.
    pub fn on_own_host() -> Self {
        let mut site = Site::with_busybox();
        site.host = Some(Host::new());
        site
    }

    /// From now on the site's commands are on a host of its own.
    pub fn move_to_own_host(&mut self) {
        self.host = Some(Host::new());
    }

    /// The host of its own.
    pub fn host(&self) -> &Host {
        self.host.as_ref().expect("the site was made with a host of its own")
    }

    /// A program where this site's commands run.
    fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        match &self.host {
            Some(host) => host.command(program),
            None => Command::new(program),
        }
    }

    /// Imports a base image under a name.
    pub fn import(&self, base: Base, name: &str) {
        let mut args = vec!["import".to_owned()];
        for change in base.changes() {
            args.extend(["--change".to_owned(), (*change).to_owned()]);
        }
        if base == Base::BusyboxArm64 {
            args.extend(["--platform".to_owned(), "linux/arm64".to_owned()]);
        }
        args.extend([base_tar(base).display().to_string(), name.to_owned()]);
        self.run(&args).ok();
    }

    /// Sets a variable for every later command of this site.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The folder of everything.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The root of the store, containers and policy.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("lib")
    }

    /// The build context of the site, or a file in it.
    pub fn context(&self, name: &str) -> PathBuf {
        self.dir.path().join("context").join(name)
    }

    /// Writes a file below the site's folder, with its folders.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("make the folder");
        fs::write(&path, text).expect("write the file");
        path
    }

    /// Writes the Dockerfile of the site's context.
    pub fn dockerfile(&self, text: &str) {
        self.write("context/Dockerfile", text);
    }

    /// Builds the site's context under a tag, with more words before it, and asserts success.
    #[track_caller]
    pub fn build(&self, tag: &str, more: &str) -> Run {
        self.try_build(tag, more).ok()
    }

    /// Builds the site's context under a tag, with more words before it.
    pub fn try_build(&self, tag: &str, more: &str) -> Run {
        let mut args = vec![
            "build".to_owned(),
            "--progress=plain".to_owned(),
            "-t".to_owned(),
            tag.to_owned(),
        ];
        args.extend(words(more));
        args.push(self.context("").display().to_string());
        self.run(&args)
    }

    /// Runs `wherry` with the words of a line, in the site's folder, and waits for its end.
    pub fn wherry(&self, line: &str) -> Run {
        self.run(&words(line))
    }

    /// Runs `wherry` with these arguments, and waits for its end.
    pub fn run<S: AsRef<str>>(&self, args: &[S]) -> Run {
        self.run_with_input(args, b"")
    }

    /// Runs `wherry` with something on its standard input, which is closed after it.
    pub fn run_with_input<S: AsRef<str>>(&self, args: &[S], input: &[u8]) -> Run {
        let mut command = self.command(args);
        let line = shown(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
        let mut stdin = child.stdin.take().expect("a pipe was asked for");
        let input = input.to_vec();
        // A command may end before it has read everything: a closed pipe is its right.
        std::thread::spawn(move || drop(stdin.write_all(&input)));
        finish(child, line)
    }

    /// Starts `wherry` and gives the process: for what goes on while the test looks.
    pub fn spawn(&self, line: &str) -> Child {
        let mut command = self.command(&words(line));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|error| panic!("cannot start wherry {line}: {error}"))
    }

    /// Runs a line of `sh` in which `wherry` is this site's.
    pub fn shell(&self, script: &str) -> Run {
        let mut command = self.program("sh");
        command.args(["-euc", script]);
        self.place(&mut command);
        let bin = binary();
        let folder = bin.parent().expect("a binary has a folder").display();
        command.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap_or_default()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command.spawn().expect("start sh"), script.to_owned())
    }

    /// Runs `wherry` on a terminal, types `input`, and gives what the terminal showed as standard output.
    pub fn terminal(&self, line: &str, input: &str) -> Run {
        let mut command = self.program("script");
        let full = format!("{} {line}", binary().display());
        command.args(["--quiet", "--return", "--command", &full, "/dev/null"]);
        self.place(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start script");
        let mut stdin = child.stdin.take().expect("a pipe was asked for");
        stdin.write_all(input.as_bytes()).expect("type");
        let run = finish(child, line.to_owned());
        drop(stdin);
        Run { stdout: run.stdout.replace('\r', ""), ..run }
    }

    /// A `wherry` command over this site, not started.
    pub fn command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        let mut command = self.program(binary());
        command.args(args.iter().map(AsRef::as_ref));
        self.place(&mut command);
        command
    }

    fn place(&self, command: &mut Command) {
        command
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("HOME", self.dir.path().join("home"))
            .env("TERM", "xterm")
            .env("LANG", "C.UTF-8")
            .env("RUST_BACKTRACE", "1")
            .env("WHERRY_ROOT", self.root())
            .env("WHERRY_RUN_ROOT", self.dir.path().join("run"))
            .env("WHERRY_CONFIG_DIR", self.dir.path().join("config"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
    }

    /// Asserts that the store is sound.
    #[track_caller]
    pub fn check_store(&self) {
        self.wherry("store check").ok();
    }

    /// Removes every container, asserts that nothing is left in the kernel, and removes the folder.
    fn close(&mut self) -> Result<(), String> {
        let ids = self.wherry("ps -aq");
        if !ids.out().is_empty() {
            let mut args = vec!["rm", "-f"];
            args.extend(ids.out().lines());
            self.run(&args);
        }
        let mut left = leak::left_behind(self.dir.path());
        left.extend(self.host.as_ref().map(leak::left_on).unwrap_or_default());
        leak::clear(self.dir.path());
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    }
}

impl Default for Site {
    fn default() -> Self {
        Site::new()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let closed = self.close();
        // A second panic would hide the first.
        if let Err(left) = closed {
            assert!(std::thread::panicking(), "left behind:\n{left}");
            eprintln!("left behind:\n{left}");
        }
    }
}

/// The tar of a base image.
pub fn base_tar(base: Base) -> PathBuf {
    images::ensure(&xtask::shell::workspace_root(), base).expect("make the base image")
}

/// The binary under test: built by `cargo xtask test` beside the test binaries.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("WHERRY_TEST_BINARY") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    let binary = profile.join("wherry");
    assert!(binary.exists(), "{} is missing: cargo build -p cli", binary.display());
    binary
}

fn shown<S: AsRef<str>>(args: &[S]) -> String {
    let mut line = "wherry".to_owned();
    for arg in args {
        line.push(' ');
        line.push_str(&xtask::shell::quote(arg.as_ref()));
    }
    line
}

/// Waits for the end of a command, within the deadline; reads its outputs meanwhile.
#[track_caller]
pub fn finish(mut child: Child, line: String) -> Run {
    let out = read_all(child.stdout.take().expect("piped"));
    let err = read_all(child.stderr.take().expect("piped"));
    let status = wait_within(&mut child, DEADLINE);
    let timed_out = status.is_none();
    let status = status.unwrap_or_else(|| {
        child.kill().expect("kill what hangs");
        child.wait().expect("wait for what was killed")
    });
    // A detached child that keeps the pipe open would keep the reader: it gets a moment, not forever.
    let [stdout, stderr] =
        [(out, "standard output"), (err, "standard error")].map(|(all, what)| {
            all.recv_timeout(Duration::from_secs(10)).unwrap_or_else(|_| {
                panic!("{line}: something that was left behind holds its {what} open")
            })
        });
    let run = Run::new(line, &std::process::Output { status, stdout, stderr });
    assert!(!timed_out, "did not end within {DEADLINE:?}: {run}");
    run
}

/// Reads an output to its end on a thread of its own, which sends it.
fn read_all(mut from: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, all) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("read the output");
        // Nobody listens any more where the deadline has passed.
        let _ = sender.send(bytes);
    });
    all
}

/// Waits for a process, at most this long.
pub fn wait_within(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let handle = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("open a child");
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let patience = Timespec::try_from(left).expect("a limit of some minutes");
        let mut ended = [PollFd::new(&handle, PollFlags::IN)];
        match poll(&mut ended, Some(&patience)) {
            Ok(0) => return None,
            Ok(_) => return Some(child.wait().expect("wait for a child")),
            Err(Errno::INTR) => {}
            Err(error) => panic!("wait for a child: {error}"),
        }
    }
}

/// Polls an observable condition until it holds; false when it does not within the limit.
pub fn eventually(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

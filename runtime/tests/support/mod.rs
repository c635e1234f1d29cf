//! A machine for one test: folders, a busybox root file system, and a check at its end that nothing is left behind.
#![allow(dead_code, unreachable_pub, reason = "every test file uses another part of it")]

use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci::ContainerConfig;
use runtime::{
    AttachEnd, AttachOptions, ContainerId, CreateRequest, DetachKeys, Error, ExecConnection,
    ExecRequest, RootFs, RunOptions, Runtime, RuntimeConfig, SignalProxy, Streams,
};

/// Where Debian's busybox-static puts it.
const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 36] = [
    "sh", "true", "false", "cat", "echo", "sleep", "id", "env", "ls", "pwd", "hostname", "mount",
    "ps", "kill", "touch", "rm", "mkdir", "mknod", "head", "dd", "stty", "tty", "test", "ip", "wc",
    "seq", "yes", "grep", "chmod", "chown", "unshare", "readlink", "trap", "printf", "tr", "stat",
];

/// Whether this machine can run the containers of the tests; if not, the skip is counted.
pub fn can_run_containers() -> bool {
    if !rustix::process::geteuid().is_root() {
        return skip("needs root");
    }
    if !is_static(Path::new(BUSYBOX)) {
        return skip("needs busybox-static");
    }
    true
}

/// Whether the program needs no files beside it: Debian's other busybox is linked to the machine's libraries.
fn is_static(program: &Path) -> bool {
    let interpreter = b"/ld-linux";
    let head = fs::read(program).unwrap_or_default();
    let head = head.get(..4096).unwrap_or_default();
    !head.is_empty() && !head.windows(interpreter.len()).any(|window| window == interpreter)
}

/// Records that the running test is skipped, where `cargo xtask test` counts; gives false.
pub fn skip(reason: &str) -> bool {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("skipped: {test} {reason}");
    if let Some(log) = std::env::var_os("WHERRY_TEST_SKIPS") {
        let mut log = fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        log.write_all(format!("{test}\t{reason}\n").as_bytes()).unwrap();
    }
    false
}

/// Whether a peer is installed; if not, the skip is counted.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
        || skip(&format!("needs {program}"))
}

/// Whether a control-group controller is there; a test that needs it is skipped, and says so.
pub fn has_controller(name: &str) -> bool {
    let v1 = Path::new("/sys/fs/cgroup").join(name).is_dir();
    let v2 = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
        .is_ok_and(|list| list.split_whitespace().any(|c| c == name));
    v1 || v2 || skip(&format!("needs the control group controller {name}"))
}

pub struct Machine {
    pub dir: tempfile::TempDir,
    pub runtime: Runtime,
    mounts_before: usize,
}

impl Machine {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("wherry-runtime-").tempdir().unwrap();
        build_rootfs(&dir.path().join("image"));
        let runtime = Runtime::open(config(dir.path())).unwrap();
        Self { dir, runtime, mounts_before: mounts_below(Path::new("/tmp")) }
    }

    /// Another runtime over the same folders, as another command would open it.
    pub fn reopen(&self) -> Runtime {
        Runtime::open(config(self.dir.path())).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn host_program(&self) -> std::process::Command {
        std::process::Command::new(env!("CARGO_BIN_EXE_wherry-runtime-test-host"))
    }

    pub fn state_args(&self) -> [PathBuf; 2] {
        [self.path("state"), self.path("run")]
    }

    pub fn image(&self) -> PathBuf {
        self.path("image")
    }

    pub fn create(
        &self,
        name: &str,
        script: &str,
        change: impl FnOnce(&mut RunOptions),
    ) -> ContainerId {
        self.try_create(name, &["sh", "-c", script], change).unwrap()
    }

    pub fn try_create(
        &self,
        name: &str,
        args: &[&str],
        change: impl FnOnce(&mut RunOptions),
    ) -> Result<ContainerId, Error> {
        let id = ContainerId::generate()?;
        let mut options = RunOptions {
            command: args.iter().map(|arg| (*arg).to_owned()).collect(),
            ..RunOptions::default()
        };
        change(&mut options);
        let layers = self.path(&format!("layers/{id}"));
        let request = CreateRequest {
            id: id.clone(),
            name: Some(name.to_owned()),
            image: "busybox".into(),
            image_id: "sha256:test".into(),
            image_config: ContainerConfig::default(),
            options,
            rootfs: RootFs::Overlay {
                lowers: vec![self.image()],
                upper: layers.join("upper"),
                work: layers.join("work"),
            },
            cleanup: vec![layers],
        };
        self.runtime.create(request)
    }

    /// Runs a script to its end; exit code, stdout and stderr.
    pub fn run(&self, script: &str, change: impl FnOnce(&mut RunOptions)) -> (i32, String, String) {
        let id = self.create(&format!("c{}", fast_random()), script, change);
        let outcome = self.run_attached(&id).unwrap();
        match self.runtime.remove(id.as_str(), runtime::Removal::OnlyStopped) {
            Ok(_) | Err(Error::NoSuchContainer { .. }) => outcome,
            Err(error) => panic!("{error}"),
        }
    }

    pub fn run_attached(&self, id: &ContainerId) -> Result<(i32, String, String), Error> {
        let (streams, collected) = Collected::start(None);
        let attach = AttachOptions {
            streams,
            detach_keys: DetachKeys::default(),
            signals: SignalProxy::Keep,
        };
        let end = self.runtime.start_attached(id, attach);
        let (stdout, stderr) = collected.finish();
        match end? {
            AttachEnd::Exited(code) => Ok((code, stdout, stderr)),
            AttachEnd::Detached => panic!("detached"),
        }
    }

    pub fn exec(&self, id: &ContainerId, args: &[&str]) -> Result<(i32, String, String), Error> {
        self.exec_with(id, args, |_| {})
    }

    pub fn exec_with(
        &self,
        id: &ContainerId,
        args: &[&str],
        change: impl FnOnce(&mut ExecRequest),
    ) -> Result<(i32, String, String), Error> {
        let (streams, collected) = Collected::start(None);
        let mut request = ExecRequest {
            command: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: Vec::new(),
            workdir: None,
            user: None,
            privileged: false,
            tty: false,
            connection: ExecConnection::Attached { streams, detach_keys: DetachKeys::default() },
        };
        change(&mut request);
        let end = self.runtime.exec(id, request);
        let (stdout, stderr) = collected.finish();
        Ok((end?.unwrap_or(-1), stdout, stderr))
    }

    /// What a container has said so far.
    pub fn log(&self, id: &ContainerId) -> String {
        let mut text = String::new();
        self.runtime
            .logs(id, &runtime::LogQuery::default(), &mut |entry| {
                text.push_str(&String::from_utf8_lossy(&entry.line));
                Ok(())
            })
            .unwrap();
        text
    }

    pub fn wait_for_log(&self, id: &ContainerId, text: &str) {
        let mut seen = String::new();
        let end = Instant::now() + Duration::from_secs(30);
        while !seen.contains(text) {
            assert!(
                Instant::now() < end,
                "waited in vain for {text:?} in the log, which is {seen:?}"
            );
            seen = self.log(id);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for container in self.runtime.list().unwrap_or_default() {
            let _ = self.runtime.remove(container.id().as_str(), runtime::Removal::Force);
        }
        if !std::thread::panicking() {
            self.assert_nothing_left();
        }
    }
}

impl Machine {
    /// No record, name, run file, control group, process or mount of this machine's containers is left.
    pub fn assert_nothing_left(&self) {
        let names = |path: &str| -> Vec<String> {
            let entries = fs::read_dir(self.path(path)).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        for folder in ["state/containers", "state/names", "run/containers", "run/steps"] {
            assert_eq!(names(folder), [""; 0], "left in {folder}");
        }
        let layers: Vec<String> = names("layers");
        assert_eq!(layers, [""; 0], "layers of removed containers");
        let root = self.dir.path().to_str().unwrap().to_owned();
        until("all monitors and helpers to be gone", || processes_naming(&root).is_empty());
        assert_eq!(mounts_below(self.dir.path()), 0, "mounts of the host below the test's folder");
    }
}

fn config(dir: &Path) -> RuntimeConfig {
    RuntimeConfig {
        state_dir: dir.join("state"),
        run_dir: dir.join("run"),
        self_exe: env!("CARGO_BIN_EXE_wherry-runtime-test-host").into(),
        networks: None,
    }
}

/// The folder of a control group of a container in the pids hierarchy.
pub fn cgroup_dirs(id: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let mut dirs = vec![root.join("wherry").join(id)];
    dirs.extend(
        fs::read_dir(root)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path().join("wherry").join(id)),
    );
    dirs.retain(|dir| dir.is_dir());
    dirs
}

pub fn processes_naming(text: &str) -> Vec<String> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            if name == std::process::id().to_string() {
                return None;
            }
            let line =
                fs::read_to_string(format!("/proc/{}/cmdline", name.parse::<u32>().ok()?)).ok()?;
            line.contains(text).then(|| format!("{name} {}", line.replace('\0', " ")))
        })
        .collect()
}

fn mounts_below(path: &Path) -> usize {
    let path = path.to_str().unwrap();
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines()
        .filter(|line| {
            line.split(' ').nth(4).is_some_and(|target| target.starts_with(path) && target != path)
        })
        .count()
}

fn build_rootfs(dir: &Path) {
    for name in ["bin", "etc", "tmp", "root", "home/web"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    fs::copy(BUSYBOX, dir.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", dir.join("bin").join(applet)).unwrap();
    }
    fs::write(
        dir.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/home/web:/bin/sh\n",
    )
    .unwrap();
    fs::write(dir.join("etc/group"), "root:x:0:\nweb:x:1000:\naudio:x:29:web\n").unwrap();
    fs::write(dir.join("etc/plain"), "no program\n").unwrap();
    fs::set_permissions(dir.join("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777))
        .unwrap();
}

/// Waits for something that must come true, with a deadline only for the case that it never does.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

pub fn fast_random() -> String {
    let id = ContainerId::generate().unwrap();
    id.short().to_owned()
}

/// Two pipes read to their end by threads.
pub struct Collected {
    stdout: std::thread::JoinHandle<String>,
    stderr: std::thread::JoinHandle<String>,
}

impl Collected {
    pub fn start(stdin: Option<OwnedFd>) -> (Streams, Self) {
        let (out_reader, out_writer) = std::io::pipe().unwrap();
        let (err_reader, err_writer) = std::io::pipe().unwrap();
        let collect = |reader: std::io::PipeReader| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut { reader }, &mut bytes).unwrap();
                String::from_utf8_lossy(&bytes).into_owned()
            })
        };
        let streams = Streams::new(stdin, out_writer.into(), err_writer.into());
        (streams, Self { stdout: collect(out_reader), stderr: collect(err_reader) })
    }

    pub fn finish(self) -> (String, String) {
        (self.stdout.join().unwrap(), self.stderr.join().unwrap())
    }
}

//! The registries that are measured, and what the kernel says of their processes.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::shell::{Context, Failure, Result};

/// Clock ticks of `/proc/PID/stat` in a second: fixed by the kernel's interface for processes.
const TICKS: f64 = 100.0;

/// A registry that lives as long as the value.
pub(super) struct Server {
    child: Child,
    address: String,
    program: PathBuf,
    args: Vec<String>,
    home: PathBuf,
}

impl Server {
    /// `wherry registry serve` over an empty folder.
    pub(super) fn wherry(binary: &Path, home: &Path) -> Result<Self> {
        let address = free_address()?;
        let root = home.join("root").display().to_string();
        let args = ["registry", "serve", "--addr", &address, "--root", &root];
        Self::start(binary, args.iter().map(ToString::to_string).collect(), address.clone(), home)
    }

    /// Debian's docker-registry over an empty folder.
    pub(super) fn docker(home: &Path) -> Result<Self> {
        let address = free_address()?;
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: {}\n  cache:\n    blobdescriptor: inmemory\nhttp:\n  addr: {address}\n",
            home.join("data").display()
        );
        let path = home.join("config.yml");
        fs::write(&path, config).context("write the registry's configuration")?;
        let args = vec!["serve".to_owned(), path.display().to_string()];
        Self::start(Path::new("docker-registry"), args, address, home)
    }

    fn start(program: &Path, args: Vec<String>, address: String, home: &Path) -> Result<Self> {
        let child = spawn(program, &args, home)?;
        let (program, home) = (program.to_path_buf(), home.to_path_buf());
        let server = Server { child, address, program, args, home };
        server.wait()?;
        Ok(server)
    }

    /// Ends it and starts it again over the same folder.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.stop();
        self.child = spawn(&self.program, &self.args, &self.home)?;
        self.wait()
    }

    fn wait(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&self.address).is_err() {
            if Instant::now() > deadline {
                return Err(Failure::new(format!("{} does not answer", self.program.display())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// A repository in it.
    pub(super) fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.address)
    }

    /// Processor time of the process so far, its own and the kernel's for it.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = fs::read_to_string(&path).context(format_args!("read {path}"))?;
        // The name of the program may hold spaces; what follows it does not.
        let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let field = |n: usize| rest.split_whitespace().nth(n).and_then(|t| t.parse::<f64>().ok());
        match (field(11), field(12)) {
            (Some(user), Some(system)) => Ok((user + system) / TICKS),
            _ => Err(Failure::new(format!("{path} has another form"))),
        }
    }

    /// A line of `/proc/PID/status` in KiB.
    pub(super) fn memory_kib(&self, name: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).context(format_args!("read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|n| n.parse().ok());
        kib.ok_or_else(|| Failure::new(format!("{path} has no {name}")))
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(program: &Path, args: &[String], home: &Path) -> Result<Child> {
    let mut command = Command::new(program);
    command
        .args(args)
        .env("OTEL_TRACES_EXPORTER", "none")
        .env("WHERRY_ROOT", home.join("lib"))
        .env("WHERRY_RUN_ROOT", home.join("run"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().context(format_args!("start {}", program.display()))
}

fn free_address() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.to_string())
}

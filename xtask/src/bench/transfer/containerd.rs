//! A containerd of our own, for `ctr`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::fresh;
use crate::shell::{self, Context, Failure, Result};

pub(super) struct Containerd {
    child: Child,
    run: PathBuf,
}

impl Containerd {
    pub(super) fn start(disk: &Path) -> Result<Self> {
        let home = fresh(disk, "containerd")?;
        // A socket's path is limited to 107 bytes: it must be short.
        let run = PathBuf::from(format!("/run/wherry-bench-ctr-{}", std::process::id()));
        fs::create_dir_all(&run).context("make the run folder of containerd")?;
        let config = home.join("config.toml");
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n  address = {:?}\n",
            home.join("lib"),
            run.join("state"),
            run.join("containerd.sock")
        );
        fs::write(&config, text).context("write the configuration of containerd")?;
        let log = File::create(home.join("log")).context("make the log of containerd")?;
        let child = Command::new("containerd")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log of containerd")?)
            .stderr(log)
            .spawn()
            .context("start containerd")?;
        let containerd = Containerd { child, run };
        let deadline = Instant::now() + Duration::from_secs(60);
        while shell::read(&mut containerd.ctr(&["version"])).is_err() {
            if Instant::now() > deadline {
                let said = fs::read_to_string(home.join("log")).unwrap_or_default();
                return Err(Failure::new(format!("containerd does not answer:\n{said}")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(containerd)
    }

    /// The client of this daemon.
    pub(super) fn ctr(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.run.join("containerd.sock")).args(args);
        command
    }

    /// Removes an image that may not be there, and waits until its content and snapshots are gone.
    pub(super) fn forget(&self, image: &str) -> Result<()> {
        super::forget(&mut self.ctr(&["images", "rm", "--sync", image]))
    }

    pub(super) fn version(&self) -> Result<String> {
        let said = shell::read(Command::new("containerd").arg("--version"))?;
        let word = said.split_whitespace().nth(2).unwrap_or("?");
        Ok(word.split('~').next().unwrap_or(word).to_owned())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").arg(&pid).status().is_ok_and(|status| status.success());
        if !asked {
            eprintln!("cannot ask containerd ({pid}) to stop");
        }
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.run);
    }
}

//! Debian's registry on a port of its own.

use std::fs::{self, File};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::fresh;
use crate::shell::{Context, Failure, Result};

pub(super) struct Registry {
    child: Child,
    address: String,
    home: PathBuf,
}

impl Registry {
    pub(super) fn start(disk: &Path) -> Result<Self> {
        let home = fresh(disk, "registry")?;
        let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
        let address = listener.local_addr().context("find a free port")?.to_string();
        drop(listener);
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            home.join("data").display()
        );
        let path = home.join("config.yml");
        fs::write(&path, config).context("write the registry's configuration")?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start docker-registry")?;
        let registry = Registry { child, address, home };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&registry.address).is_err() {
            if Instant::now() > deadline {
                return Err(Failure::new("docker-registry does not answer"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(registry)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The files of all layers that it has.
    pub(super) fn layers(&self) -> Result<Vec<PathBuf>> {
        let mut layers = Vec::new();
        let blobs = self.home.join("data/docker/registry/v2/blobs/sha256");
        for shelf in entries(&blobs)? {
            for blob in entries(&shelf)? {
                let data = blob.join("data");
                let mut first = [0; 2];
                let mut file =
                    File::open(&data).context(format_args!("open {}", data.display()))?;
                let count = file.read(&mut first).context("read a blob of the registry")?;
                if count == 2 && first == [0x1f, 0x8b] {
                    layers.push(data);
                }
            }
        }
        Ok(layers)
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing = fs::read_dir(folder).context(format_args!("list {}", folder.display()))?;
    listing.map(|entry| Ok(entry.context("list the registry")?.path())).collect()
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.home);
    }
}

//! The base images of `testdata/images`: root file systems made from Debian packages, without a hub.
//!
//! Each is a tar that `wherry import` and `docker import` take. The same package versions give the same bytes: times are
//! fixed, entries are sorted, owners are numbers. They are made once and kept in the cargo target folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::shell::{self, Context, Failure, Result};

/// The time of every file in the images: some second of the past, always the same.
pub const SOURCE_DATE_EPOCH: &str = "1700000000";

const MIRROR: &str = "http://deb.debian.org/debian";
const SUITE: &str = "bookworm";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Changes whenever the recipes below change, so that an old cache is not taken for a new image.
const RECIPE: &str = "3";

/// A base image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// `busybox` for this machine's processor, from Debian's busybox-static.
    Busybox,
    /// `busybox` for linux/arm64.
    BusyboxArm64,
    /// `debian:bookworm`: apt and the essential packages, without documentation and translations.
    Debian,
}

impl Base {
    /// All of them.
    pub const ALL: [Base; 3] = [Base::Busybox, Base::BusyboxArm64, Base::Debian];

    /// The name that tests and the quickstart import it under.
    pub fn name(self) -> &'static str {
        match self {
            Base::Busybox => "busybox",
            Base::BusyboxArm64 => "busybox-arm64",
            Base::Debian => "debian:bookworm",
        }
    }

    /// The instructions that `import --change` adds.
    pub fn changes(self) -> &'static [&'static str] {
        match self {
            Base::Busybox | Base::BusyboxArm64 => &[r#"CMD ["sh"]"#],
            Base::Debian => &[r#"CMD ["bash"]"#],
        }
    }

    fn file(self) -> String {
        format!("{}-{RECIPE}.tar", self.name().replace(':', "-"))
    }
}

/// The tar of a base image, made if it is not there yet. Several processes may ask at once: one makes it.
pub fn ensure(root: &Path, base: Base) -> Result<PathBuf> {
    let cache = shell::target_dir(root).join("base-images");
    fs::create_dir_all(&cache).context(format_args!("make {}", cache.display()))?;
    let done = cache.join(base.file());
    if done.exists() {
        return Ok(done);
    }
    let lock = File::create(cache.join("lock")).context("open the lock of the base images")?;
    if lock.try_lock().is_err() {
        eprintln!("waiting for another process that makes base images");
        lock.lock().context("lock the base images")?;
    }
    if done.exists() {
        return Ok(done);
    }
    eprintln!("making {} from Debian packages; it is made once", base.name());
    let work = cache.join(format!("work-{}", std::process::id()));
    fs::create_dir_all(&work).context(format_args!("make {}", work.display()))?;
    let made = match base {
        Base::Busybox => busybox(&work, host_architecture()?),
        Base::BusyboxArm64 => busybox(&work, "arm64"),
        Base::Debian => debian(&work),
    };
    let result = made.and_then(|tar| fs::rename(&tar, &done).context("keep the base image"));
    fs::remove_dir_all(&work).context(format_args!("clear {}", work.display()))?;
    result.map(|()| done)
}

/// Debian's name for this machine's processor.
fn host_architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => Err(Failure::new(format!("no base images for the processor '{other}'"))),
    }
}

fn debian(work: &Path) -> Result<PathBuf> {
    if !shell::has_program("mmdebstrap") {
        return Err(Failure::new("debian:bookworm needs mmdebstrap: apt-get install mmdebstrap"));
    }
    let tar = work.join("rootfs.tar");
    let mut command = shell::command(work, "mmdebstrap", &["--variant=minbase", "--format=tar"]);
    for folder in ["man", "doc", "info", "locale"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{folder}/*"));
    }
    command.arg("--dpkgopt=path-include=/usr/share/doc/*/copyright");
    // As in the images of a hub: the runtime makes /dev, an image holds none.
    command.arg("--skip=output/dev");
    command.arg(SUITE).arg(&tar).arg(MIRROR).env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH);
    shell::read(&mut command)?;
    Ok(tar)
}

fn busybox(work: &Path, architecture: &str) -> Result<PathBuf> {
    let rootfs = work.join("rootfs");
    let binary = fetch_busybox(work, architecture)?;
    let applets = applets(work, &binary, architecture)?;
    for folder in ["bin", "etc", "home", "root", "tmp", "usr/bin", "var/spool", "var/www"] {
        let path = rootfs.join(folder);
        fs::create_dir_all(&path).context(format_args!("make {}", path.display()))?;
    }
    fs::copy(&binary, rootfs.join("bin/busybox")).context("copy busybox")?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        link("busybox", &rootfs.join("bin").join(applet))?;
    }
    link("../../bin/env", &rootfs.join("usr/bin/env"))?;
    write(&rootfs, "etc/passwd", PASSWD)?;
    write(&rootfs, "etc/group", GROUP)?;
    write(&rootfs, "etc/shells", "/bin/sh\n")?;
    // The umask of whoever makes the image is not part of it.
    let at = rootfs.to_string_lossy();
    shell::read(&mut shell::command(work, "chmod", &["-R", "u+rwX,go+rX,go-w", at.as_ref()]))?;
    shell::read(&mut shell::command(&rootfs, "chmod", &["1777", "tmp"]))?;
    pack(work, &rootfs)
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
daemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
www-data:x:33:33:www-data:/var/www:/bin/false\n\
nobody:x:65534:65534:nobody:/home:/bin/false\n";

const GROUP: &str =
    "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nusers:x:100:nobody\nnogroup:x:65534:\n";

fn link(target: &str, at: &Path) -> Result<()> {
    std::os::unix::fs::symlink(target, at).context(format_args!("link {}", at.display()))
}

fn write(rootfs: &Path, name: &str, text: &str) -> Result<()> {
    fs::write(rootfs.join(name), text).context(format_args!("write {name}"))
}

/// Downloads and opens the package with an apt of its own, so that the machine's packages and lists stay as they are.
fn fetch_busybox(work: &Path, architecture: &str) -> Result<PathBuf> {
    let apt = work.join("apt");
    for folder in ["state/lists/partial", "cache/archives/partial", "parts"] {
        fs::create_dir_all(apt.join(folder)).context("make apt's folders")?;
    }
    let at = apt.display();
    let config = format!(
        "APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n\
         APT::Sandbox::User \"root\";\nDir::State \"{at}/state\";\nDir::State::status \"{at}/status\";\n\
         Dir::Cache \"{at}/cache\";\nDir::Etc::sourcelist \"{at}/sources.list\";\n\
         Dir::Etc::sourceparts \"{at}/parts\";\nDir::Etc::parts \"{at}/parts\";\n"
    );
    let sources = format!("deb [signed-by={KEYRING}] {MIRROR} {SUITE} main\n");
    write(&apt, "apt.conf", &config)?;
    write(&apt, "sources.list", &sources)?;
    write(&apt, "status", "")?;
    for args in [&["update"][..], &["download", "busybox-static"][..]] {
        let mut command = shell::command(work, "apt-get", args);
        shell::read(command.env("APT_CONFIG", apt.join("apt.conf")))?;
    }
    let package = fs::read_dir(work)
        .context("look for the package")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .ok_or_else(|| Failure::new("apt-get downloaded no busybox-static"))?;
    let package = package.to_string_lossy();
    shell::read(&mut shell::command(work, "dpkg-deb", &["-x", package.as_ref(), "package"]))?;
    Ok(work.join("package/bin/busybox"))
}

/// The names that busybox answers to. A foreign binary cannot be asked; it is the same version as ours.
fn applets(work: &Path, binary: &Path, architecture: &str) -> Result<String> {
    let own = host_architecture()?;
    if architecture == own {
        let binary = binary.to_string_lossy();
        return shell::read(&mut shell::command(work, binary.as_ref(), &["--list"]));
    }
    let beside = work.join("own");
    fs::create_dir_all(&beside).context("make a folder for our own busybox")?;
    let ours = fetch_busybox(&beside, own)?;
    applets(&beside, &ours, own)
}

fn pack(work: &Path, rootfs: &Path) -> Result<PathBuf> {
    let tar = work.join("rootfs.tar");
    let (rootfs, out) = (rootfs.to_string_lossy(), tar.to_string_lossy());
    let mtime = format!("--mtime=@{SOURCE_DATE_EPOCH}");
    let args = [
        "-C",
        rootfs.as_ref(),
        "--sort=name",
        "--format=gnu",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        mtime.as_str(),
        "-cf",
        out.as_ref(),
        ".",
    ];
    shell::read(&mut shell::command(work, "tar", &args))?;
    Ok(tar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_has_its_own_file_and_a_command() {
        let mut files: Vec<String> = Base::ALL.iter().map(|base| base.file()).collect();
        files.dedup();
        assert_eq!(files.len(), Base::ALL.len());
        assert!(Base::ALL.iter().all(|base| base.changes().iter().any(|c| c.starts_with("CMD"))));
    }

    #[test]
    fn a_tree_packed_twice_gives_the_same_bytes() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let rootfs = dir.path().join("rootfs");
        fs::create_dir_all(rootfs.join("b")).expect("folder");
        fs::write(rootfs.join("a"), "one").expect("file");
        let first = fs::read(pack(dir.path(), &rootfs).expect("packs")).expect("tar");
        fs::write(rootfs.join("a"), "one").expect("the same file at a later time");
        let second = fs::read(pack(dir.path(), &rootfs).expect("packs")).expect("tar");
        assert_eq!(first, second);
    }
}

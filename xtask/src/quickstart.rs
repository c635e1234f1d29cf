//! `cargo xtask quickstart`: the main job on real input, as a user would type it.
//!
//! Two people take part, each with an installation of their own in a temporary folder: a publisher, who builds, pushes
//! and signs, and a consumer, whose policy accepts nothing but what the publisher signed.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::images::{self, Base};
use crate::shell::{self, Context, Failure, Result};
use crate::{apt, bench};

/// Passphrase of the keys of the walk: they sign nothing else.
const PASSPHRASE: &str = "only for the quickstart";

/// What was asked for on the command line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// Leave the folder for a look around.
    keep: bool,
    /// Walk with this binary instead of building one.
    binary: Option<PathBuf>,
}

/// Walks through the main job: `quickstart [--keep] [--binary PATH]`.
pub fn main(root: &Path, args: &[String]) -> Result<()> {
    let options = parse(args)?;
    apt::ensure(root, &[apt::NEEDED])?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => {
            println!("==> The release binary\n$ cargo build --release --package cli");
            bench::release_binary(root)?
        }
    };
    let tour = Tour::new(root, &binary)?;
    let result = walk(&tour);
    tour.end(options.keep);
    result?;
    println!("\nquickstart: everything came out as it should");
    Ok(())
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match (word.as_str(), words.as_slice().first()) {
            ("--keep", _) => options.keep = true,
            ("--binary", Some(path)) => {
                options.binary = Some(std::path::absolute(path).context("find the binary")?);
                words.next();
            }
            _ => {
                return Err(Failure::new("usage: cargo xtask quickstart [--keep] [--binary PATH]"));
            }
        }
    }
    Ok(options)
}

fn walk(tour: &Tour) -> Result<()> {
    let (publisher, consumer) = (tour.person("publisher")?, tour.person("consumer")?);
    let registry = Server::start(tour, "registry")?;
    let mirror = Server::start(tour, "mirror")?;
    let name = format!("{}/team/harbour", registry.address);
    base_images(tour, &publisher)?;
    let first = build_and_push(&publisher, &name)?;
    sign(&publisher, &name)?;
    trust(tour, &publisher, &consumer, &name)?;
    tampering(&publisher, &consumer, &name)?;
    mirroring(tour, &publisher, &name, &mirror)?;
    run(&publisher, &consumer, &name)?;
    again(&publisher, &name, &first)?;
    two_roots(tour, &publisher)
}

fn base_images(tour: &Tour, publisher: &Person<'_>) -> Result<()> {
    heading("Base images from Debian packages, without a hub");
    for base in [Base::Busybox, Base::Debian] {
        let tar = images::ensure(&tour.root, base)?;
        let change = base
            .changes()
            .iter()
            .map(|c| format!("--change {} ", shell::quote(c)))
            .collect::<String>();
        publisher.types(&format!("wherry import {change}{} {}", tar.display(), base.name()))?;
    }
    publisher.types("wherry images").map(drop)
}

const APP: &str = "testdata/apps/web";

fn build_and_push(publisher: &Person<'_>, name: &str) -> Result<Duration> {
    heading(
        "Build a web application for two platforms: a toolchain from Debian packages, a scratch image",
    );
    let start = Instant::now();
    publisher.types(&build_line(name))?;
    let took = start.elapsed();
    heading("Push it");
    publisher.types(&format!("wherry push {name}:1.0"))?;
    publisher.types(&format!("wherry manifest inspect {name}:1.0"))?;
    Ok(took)
}

fn build_line(name: &str) -> String {
    format!(
        "wherry build --platform linux/amd64,linux/arm64 --build-arg VERSION=1.0 -t {name}:1.0 {APP}"
    )
}

fn sign(publisher: &Person<'_>, name: &str) -> Result<()> {
    heading("Sign it: keys encrypted at rest, TUF metadata in the same registry");
    publisher.types(&format!(
        "wherry trust key generate alice --dir {}",
        shell::quote(&publisher.home.to_string_lossy())
    ))?;
    publisher.types(&format!("wherry trust init {name}"))?;
    publisher.types(&format!("wherry trust sign {name}:1.0"))?;
    publisher.types(&format!("wherry trust inspect --pretty {name}")).map(drop)
}

/// The consumer pins the publisher's root, and accepts nothing else from that repository.
fn trust(tour: &Tour, publisher: &Person<'_>, consumer: &Person<'_>, name: &str) -> Result<()> {
    heading("A consumer who accepts only what the publisher signed");
    let pinned = publisher.home.join("config/trust/roots");
    let root_file = fs::read_dir(&pinned)
        .context(format_args!("look for the pinned root in {}", pinned.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().contains("harbour"))
        .ok_or_else(|| Failure::new("trust init pinned no root"))?;
    let config = consumer.home.join("config");
    fs::create_dir_all(&config).context("make the consumer's configuration folder")?;
    fs::copy(&root_file, config.join("harbour-root.json"))
        .context("hand over the publisher's root")?;
    let policy = format!(
        "version = 1\ndefault = \"reject\"\n\n[[scope]]\nprefix = \"{name}\"\n\n[[scope.tuf]]\nroot-file = \"harbour-root.json\"\n"
    );
    fs::write(config.join("policy.toml"), &policy).context("write the policy")?;
    println!("the publisher's root and this policy.toml are the consumer's:");
    tour.show(&policy);
    consumer.types(&format!("wherry verify {name}:1.0")).map(drop)
}

fn tampering(publisher: &Person<'_>, consumer: &Person<'_>, name: &str) -> Result<()> {
    heading("An unsigned tag, and a tag whose content was replaced after signing, are refused");
    publisher.types(&format!("wherry tag busybox {name}:unsigned"))?;
    publisher.types(&format!("wherry push {name}:unsigned"))?;
    for verb in ["verify", "pull", "run --rm --network none"] {
        consumer.is_refused(&format!("wherry {verb} {name}:unsigned"))?;
    }
    // The attacker has the registry's rights but none of the keys.
    publisher.types(&format!("wherry tag {name}:1.0 {name}:kept"))?;
    publisher.types(&format!("wherry tag busybox {name}:1.0"))?;
    publisher.types(&format!("wherry push {name}:1.0"))?;
    for verb in ["verify", "pull", "run --rm --network none"] {
        consumer.is_refused(&format!("wherry {verb} {name}:1.0"))?;
    }
    let names = consumer.types("wherry images -q")?;
    if !names.trim().is_empty() {
        return Err(Failure::new(format!("a refused image got a name: {names}")));
    }
    publisher.types(&format!("wherry tag {name}:kept {name}:1.0"))?;
    publisher.types(&format!("wherry push {name}:1.0"))?;
    consumer.types(&format!("wherry verify {name}:1.0")).map(drop)
}

fn mirroring(tour: &Tour, publisher: &Person<'_>, name: &str, mirror: &Server) -> Result<()> {
    heading("Mirror it, with its signature, to a second registry");
    let there = format!("{}/mirrored/harbour", mirror.address);
    publisher.types(&format!("wherry copy {name}:1.0 {there}:1.0"))?;
    let reader = tour.person("reader of the mirror")?;
    let config = reader.home.join("config");
    fs::create_dir_all(&config).context("make the reader's configuration folder")?;
    let root = tour.dir.join("consumer/config/harbour-root.json");
    fs::copy(root, config.join("harbour-root.json")).context("hand over the publisher's root")?;
    let policy = format!(
        "version = 1\ndefault = \"reject\"\n\n[[scope]]\nprefix = \"{there}\"\n\n[[scope.tuf]]\n\
         root-file = \"harbour-root.json\"\nsigned-as = \"team/harbour\"\n"
    );
    fs::write(config.join("policy.toml"), &policy).context("write the policy")?;
    tour.show(&policy);
    reader.types(&format!("wherry verify {there}:1.0"))?;
    reader.types(&format!("wherry pull {there}:1.0")).map(drop)
}

fn run(publisher: &Person<'_>, consumer: &Person<'_>, name: &str) -> Result<()> {
    heading("Pull into an empty root, run, fetch the page, read the logs, stop");
    consumer.types("wherry images")?;
    consumer.types(&format!("wherry pull {name}:1.0"))?;
    let port = free_port()?;
    consumer.types(&format!("wherry run -d --name harbour -p {port}:8080 {name}:1.0"))?;
    let page = fetch(port)?;
    println!("GET http://127.0.0.1:{port}/");
    publisher.tour.show(&page);
    if !page.contains("Harbour log") {
        return Err(Failure::new("the page is not the application's"));
    }
    consumer.types("wherry ps")?;
    consumer.types("wherry logs harbour")?;
    consumer.types("wherry stop harbour")?;
    let left = consumer.types("wherry ps -a")?;
    if !left.contains("Exited (0)") {
        return Err(Failure::new("the application did not end on SIGTERM"));
    }
    consumer.types("wherry rm harbour").map(drop)
}

fn again(publisher: &Person<'_>, name: &str, first: &Duration) -> Result<()> {
    heading("Build again with nothing changed");
    let start = Instant::now();
    publisher.types(&build_line(name))?;
    println!("first {:.1} s, again {:.3} s", first.as_secs_f64(), start.elapsed().as_secs_f64());
    Ok(())
}

fn two_roots(tour: &Tour, publisher: &Person<'_>) -> Result<()> {
    heading("The same digest from two roots");
    let other = tour.person("second builder")?;
    let tar = images::ensure(&tour.root, Base::Debian)?;
    other.types(&format!("wherry import {} debian:bookworm", tar.display()))?;
    let mut digests = Vec::new();
    for person in [publisher, &other] {
        person.types(&format!(
            "SOURCE_DATE_EPOCH={} wherry build --build-arg VERSION=1.0 -q -t harbour {APP}",
            images::SOURCE_DATE_EPOCH
        ))?;
        digests.push(person.types("wherry images --no-trunc -q harbour")?);
    }
    if digests[0] != digests[1] {
        return Err(Failure::new(format!(
            "two roots, two digests: {} and {}",
            digests[0], digests[1]
        )));
    }
    Ok(())
}

fn heading(text: &str) {
    println!("\n==> {text}");
}

/// Everything that a walk makes.
struct Tour {
    root: PathBuf,
    dir: PathBuf,
    path: String,
}

impl Tour {
    fn new(root: &Path, binary: &Path) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("wherry-quickstart-{}", std::process::id()));
        fs::create_dir_all(&dir).context(format_args!("make {}", dir.display()))?;
        let folder = binary.parent().unwrap_or(Path::new("/")).display();
        let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
        Ok(Tour { root: root.to_path_buf(), dir, path })
    }

    fn person(&self, name: &str) -> Result<Person<'_>> {
        let home = self.dir.join(name.replace(' ', "-"));
        fs::create_dir_all(&home).context(format_args!("make {}", home.display()))?;
        Ok(Person { tour: self, name: name.to_owned(), home })
    }

    fn show(&self, text: &str) {
        for line in text.lines() {
            println!("    {line}");
        }
    }

    fn end(&self, keep: bool) {
        if keep {
            println!("kept: {}", self.dir.display());
        } else if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {error}", self.dir.display());
        }
    }
}

/// Somebody with an installation of their own.
struct Person<'a> {
    tour: &'a Tour,
    name: String,
    home: PathBuf,
}

impl Person<'_> {
    /// Types a line; gives its standard output. A status other than 0 ends the walk.
    fn types(&self, line: &str) -> Result<String> {
        let (output, seconds) = self.shell(line)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        self.tour.show(&said);
        if output.status.success() {
            println!("    ({seconds:.2} s)");
            return Ok(said);
        }
        self.tour.show(&String::from_utf8_lossy(&output.stderr));
        Err(Failure::new(format!("{line}: {}", output.status)))
    }

    /// Types a line that must be refused; shows the reason.
    fn is_refused(&self, line: &str) -> Result<()> {
        let (output, _) = self.shell(line)?;
        self.tour.show(&String::from_utf8_lossy(&output.stdout));
        self.tour.show(&String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            return Err(Failure::new(format!("{line}: should have been refused")));
        }
        println!("    ({})", output.status);
        Ok(())
    }

    fn shell(&self, line: &str) -> Result<(std::process::Output, f64)> {
        println!("{}$ {line}", self.name);
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(&self.tour.root)
            .env("PATH", &self.tour.path)
            .env("HOME", &self.home)
            .env("WHERRY_ROOT", self.home.join("lib"))
            .env("WHERRY_RUN_ROOT", self.home.join("run"))
            .env("WHERRY_CONFIG_DIR", self.home.join("config"))
            .env("WHERRY_TRUST_PASSPHRASE", PASSPHRASE);
        let start = Instant::now();
        let output = shell::output(&mut command)?;
        Ok((output, start.elapsed().as_secs_f64()))
    }
}

/// An embedded registry, until the walk ends.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(tour: &Tour, name: &str) -> Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let root = tour.dir.join(name);
        println!("{name}$ wherry registry serve --addr {address} --root {} &", root.display());
        let log = fs::File::create(tour.dir.join(format!("{name}.log")))
            .context("make the registry's log")?;
        let child = Command::new("wherry")
            .args(["registry", "serve", "--addr", &address, "--root"])
            .arg(&root)
            .env("PATH", &tour.path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the registry's log")?)
            .stderr(log)
            .spawn()
            .context("start the registry")?;
        let server = Server { child, address };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(&server.address).is_err() {
            if Instant::now() > deadline {
                return Err(Failure::new(format!(
                    "the {name} does not listen on {}",
                    server.address
                )));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}

/// The answer to GET /, once the application listens.
fn fetch(port: u16) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(mut stream) => {
                stream
                    .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    .context("ask for the page")?;
                let mut page = String::new();
                stream.read_to_string(&mut page).context("read the page")?;
                return Ok(page);
            }
            Err(error) if Instant::now() > deadline => {
                return Err(Failure::new(format!("nobody listens on port {port}: {error}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Options> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_and_mistakes_refused() {
        assert_eq!(words("").expect("nothing"), Options::default());
        let both = words("--binary /bin/wherry --keep").expect("both");
        assert_eq!(both, Options { keep: true, binary: Some(PathBuf::from("/bin/wherry")) });
        assert!(words("--binary").is_err());
        assert!(words("--fast").is_err());
    }
}

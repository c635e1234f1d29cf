//! A host for one test: a network namespace and two folders, and a look at what is left in it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use network::{
    Attached, Attachment, Container, Door, Endpoint, Netns, NetworkId, NetworkSpec, Networks,
    Owner, Places, Publish, Subnet,
};

pub(crate) const NOW: &str = "2026-11-21T12:00:00Z";
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a packet that must not arrive is waited for.
const SILENCE: Duration = Duration::from_millis(250);

pub(crate) struct World {
    pub(crate) host: Netns,
    pub(crate) folders: tempfile::TempDir,
}

/// Runs a test on a host of its own, or counts the skip.
pub(crate) fn on_host(test: impl FnOnce(&World) + Send) {
    if !may_make_networks() {
        return;
    }
    let world = World { host: Netns::create().unwrap(), folders: tempfile::tempdir().unwrap() };
    world.host.run(|| test(&world)).unwrap();
}

fn may_make_networks() -> bool {
    if Netns::create().is_ok() {
        return true;
    }
    skip("needs root");
    false
}

/// Counts a skip of the running test.
pub(crate) fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("skipped: {test} {reason}");
    if let Some(log) = std::env::var_os("WHERRY_TEST_SKIPS") {
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        writeln!(log, "{test}\t{reason}").unwrap();
    }
}

/// Whether a program is there; if not, the skip is counted.
pub(crate) fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        skip(&format!("needs {program}"));
    }
    found
}

impl World {
    pub(crate) fn places(&self) -> Places {
        Places { root: self.folders.path().join("root"), run_root: self.folders.path().join("run") }
    }

    pub(crate) fn networks(&self) -> Networks {
        Networks::open(self.places(), NOW).unwrap()
    }

    pub(crate) fn networks_through(&self, door: Door) -> network::Result<Networks> {
        Networks::open_through(door, self.places(), NOW)
    }

    /// The interfaces of the host but loopback, by name.
    pub(crate) fn links(&self) -> Vec<String> {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let mut names: Vec<String> = text
            .lines()
            .skip(2)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim().to_owned())
            .filter(|name| name != "lo")
            .collect();
        names.sort();
        names
    }

    /// The ruleset of the host, as `nft` prints it, with the elements of sets in order.
    pub(crate) fn ruleset(&self) -> String {
        sorted(&output("nft", &["list", "ruleset"]))
    }

    /// The files of the endpoints.
    pub(crate) fn endpoint_files(&self) -> Vec<String> {
        files(&self.places().run_root.join("networks"))
    }

    /// The files of the definitions.
    pub(crate) fn definition_files(&self) -> usize {
        files(&self.places().root.join("networks")).len()
    }
}

/// Sorts the elements of sets, which the kernel gives in no order.
fn sorted(ruleset: &str) -> String {
    let mut text = String::new();
    let mut rest = ruleset;
    while let Some((before, after)) = rest.split_once("elements = { ") {
        let (inside, behind) = after.split_once(" }").unwrap();
        let mut elements: Vec<&str> = inside.split(',').map(str::trim).collect();
        elements.sort_unstable();
        text += &format!("{before}elements = {{ {} }}", elements.join(", "));
        rest = behind;
    }
    text + rest
}

fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    names
}

/// Runs a program in the namespace of the calling thread.
pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8(done.stdout).unwrap()
}

/// A container of a test.
pub(crate) struct Box {
    pub(crate) container: Container,
    pub(crate) netns: Netns,
}

impl Box {
    pub(crate) fn new(name: &str, publish: &[&str]) -> Self {
        let digits: String = name.bytes().map(|b| format!("{b:02x}")).collect();
        let container = Container {
            id: format!("{digits:0<64}"),
            name: name.to_owned(),
            hostname: None,
            owner: Owner { pid: std::process::id(), start_time: 1 },
            publish: Publish::parse_all(publish).unwrap(),
        };
        Self { container, netns: Netns::create().unwrap() }
    }

    pub(crate) fn join(&self, networks: &Networks, network: &NetworkId) -> Attached {
        self.try_join(networks, &Attachment::to(network)).unwrap()
    }

    pub(crate) fn try_join(
        &self,
        networks: &Networks,
        attachment: &Attachment,
    ) -> network::Result<Attached> {
        networks.attach(&self.container, attachment, &self.netns)
    }

    /// Listens inside and answers every connection with a word.
    pub(crate) fn serve(&self, port: u16, word: &'static str) {
        let listener = self.netns.run(|| TcpListener::bind(("::", port))).unwrap().unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, from)) = listener.accept() {
                let _ = write!(stream, "{word} {}", canonical(from.ip()));
            }
        });
    }

    /// Answers every datagram with a word.
    pub(crate) fn serve_datagrams(&self, port: u16, word: &'static str) {
        let socket = self.netns.run(|| UdpSocket::bind(("0.0.0.0", port))).unwrap().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 100];
            while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(word.as_bytes(), from);
            }
        });
    }

    pub(crate) fn reads(&self, to: &str) -> Option<String> {
        self.netns.run(|| reads(to)).unwrap()
    }

    pub(crate) fn is_silent(&self, to: &str) -> bool {
        self.netns.run(|| is_silent(to)).unwrap()
    }

    pub(crate) fn links(&self) -> Vec<String> {
        let text = self.netns.run(|| output("ip", &["-o", "link"])).unwrap();
        text.lines()
            .filter_map(|line| line.split(": ").nth(1))
            .map(|name| name.split('@').next().unwrap().to_owned())
            .filter(|name| name != "lo")
            .collect()
    }
}

fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Connects from the namespace of the calling thread and reads what is said; `None` when refused.
pub(crate) fn reads(to: &str) -> Option<String> {
    let address: SocketAddr = to.parse().unwrap();
    let mut stream = match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(stream) => stream,
        Err(_) => return None,
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Whether a connection gets no answer at all: packets are dropped.
pub(crate) fn is_silent(to: &str) -> bool {
    let address: SocketAddr = to.parse().unwrap();
    match TcpStream::connect_timeout(&address, SILENCE) {
        Ok(_) => false,
        Err(error) => {
            matches!(error.kind(), std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock)
        }
    }
}

/// Sends a datagram from the namespace of the calling thread and gives the answer.
pub(crate) fn asks(to: &str) -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket.send_to(b"?", to).ok()?;
    let mut buffer = [0; 100];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

pub(crate) fn subnet(text: &str) -> Subnet {
    text.parse().unwrap()
}

pub(crate) fn spec(name: &str) -> NetworkSpec {
    NetworkSpec::new(name, NOW)
}

pub(crate) fn ip(endpoint: &Endpoint) -> String {
    endpoint.ipv4.unwrap().ip().to_string()
}

/// Another machine on a wire with this one: its address is 10.99.0.2, this host's 10.99.0.1.
pub(crate) fn neighbour() -> Netns {
    let other = Netns::create().unwrap();
    let path = other.path();
    output("ip", &["link", "add", "wire0", "type", "veth", "peer", "name", "wire1"]);
    output("ip", &["addr", "add", "10.99.0.1/24", "dev", "wire0"]);
    output("ip", &["link", "set", "wire0", "up"]);
    let path = path.to_str().unwrap();
    output("ip", &["link", "set", "wire1", "netns", path]);
    other
        .run(|| {
            output("ip", &["addr", "add", "10.99.0.2/24", "dev", "wire1"]);
            output("ip", &["link", "set", "wire1", "up"]);
            output("ip", &["route", "add", "default", "via", "10.99.0.1"]);
        })
        .unwrap();
    other
}

//! kill -9 of the server in the middle of uploads: nothing half-done is readable, nothing that
//! was acknowledged is lost, and the next server goes on. Run with `serve ROOT`, this program is
//! the server that is killed; without arguments it is the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use oci::Digest;
use registry::{Config, Server};

const ROUNDS: u64 = 25;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("serve") => serve(&arguments[2]),
        // What a test runner asks when it lists tests: all of them, then those to be left out, which are none.
        // A test that is named in both lists is never run.
        Some("--list") if arguments.iter().any(|argument| argument == "--ignored") => {}
        Some("--list") => println!("kill_9_in_mid_upload_leaves_nothing_readable: test"),
        _ => {
            kill_9_in_mid_upload_leaves_nothing_readable();
            println!("test kill_9_in_mid_upload_leaves_nothing_readable ... ok");
        }
    }
    ExitCode::SUCCESS
}

fn serve(root: &str) {
    let server = Server::bind(Config::loopback(root)).expect("bound");
    println!("{}", server.local_addr());
    let running = server.spawn().expect("spawned");
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).expect("read");
    running.stop().expect("stopped");
}

struct Process {
    child: Child,
    addr: String,
}

impl Process {
    fn start(root: &Path) -> Self {
        let program = std::env::current_exe().expect("a program");
        let mut child = Command::new(program)
            .args(["serve".as_ref(), root.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut addr = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut addr)
            .expect("an address");
        Self { child, addr: addr.trim().to_owned() }
    }

    fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Option<(u16, String, Vec<u8>)> {
        let mut stream = TcpStream::connect(&self.addr).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8(answer[..end].to_vec()).ok()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, head, answer[end + 4..].to_vec()))
    }

    fn must(
        &self,
        status: u16,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> (String, Vec<u8>) {
        let (found, head, body) = self.send(method, path, headers, body).expect("an answer");
        assert_eq!(found, status, "{method} {path}: {head} {}", String::from_utf8_lossy(&body));
        (head, body)
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
    line.and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value)
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(next).collect()
}

/// Covers: DST-12
fn kill_9_in_mid_upload_leaves_nothing_readable() {
    let root = tempfile::tempdir().expect("a folder");
    let mut kept: Vec<(String, Digest)> = Vec::new();
    for round in 0..ROUNDS {
        let server = Process::start(root.path());
        check(&server, &kept);
        let content = noise(2_000_000, round);
        let digest = Digest::sha256(&content);
        let (head, _) = server.must(202, "POST", "/v2/a/blobs/uploads/", "", b"");
        let location = header(&head, "location").to_owned();
        server.must(202, "PATCH", &location, "content-range: 0-999999\r\n", &content[..1_000_000]);
        // The connection that dies with the server: more of it arrives each round.
        let cut = 1_000_000 + (round as usize * 40_009) % 1_000_000;
        let mut dying = TcpStream::connect(&server.addr).expect("connected");
        let rest = format!(
            "PUT {location}?digest={digest} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n"
        );
        dying.write_all(rest.as_bytes()).expect("written");
        dying.write_all(&content[1_000_000..cut]).expect("written");
        server.kill();
        let server = Process::start(root.path());
        let path = format!("/v2/a/blobs/{digest}");
        server.must(404, "GET", &path, "", b"");
        assert!(!root.path().join("blobs/sha256").join(digest.hex()).exists(), "round {round}");
        let (head, _) = server.must(204, "GET", &location, "", b"");
        let last: usize =
            header(&head, "range").trim_start_matches("0-").parse().expect("a number");
        assert!((999_999..cut.max(1_000_000)).contains(&last), "round {round}: {last} of {cut}");
        let range = format!("content-range: {}-1999999\r\n", last + 1);
        server.must(
            201,
            "PUT",
            &format!("{location}?digest={digest}"),
            &range,
            &content[last + 1..],
        );
        kept.push(push_tagged(&server, round, &digest, content.len()));
        server.kill();
    }
    let server = Process::start(root.path());
    check(&server, &kept);
    let staging = root.path().join("registry/staging");
    assert_eq!(std::fs::read_dir(staging).expect("a folder").count(), 0);
    let uploads = root.path().join("registry/repositories/a/_uploads");
    assert_eq!(std::fs::read_dir(uploads).expect("a folder").count(), 0);
    server.kill();
}

/// Pushes a manifest over the blob; acknowledged, it must be there after any kill.
fn push_tagged(server: &Process, round: u64, layer: &Digest, size: usize) -> (String, Digest) {
    let config = Digest::sha256(b"{}");
    server.must(201, "POST", &format!("/v2/a/blobs/uploads/?digest={config}"), "", b"{}");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": size }],
    })
    .to_string();
    let content_type = format!("content-type: {media_type}\r\n");
    server.must(
        201,
        "PUT",
        &format!("/v2/a/manifests/r{round}"),
        &content_type,
        manifest.as_bytes(),
    );
    (format!("r{round}"), Digest::sha256(manifest.as_bytes()))
}

/// Everything acknowledged is there, whole.
fn check(server: &Process, kept: &[(String, Digest)]) {
    for (tag, digest) in kept {
        let (_, manifest) = server.must(200, "GET", &format!("/v2/a/manifests/{tag}"), "", b"");
        assert_eq!(Digest::sha256(&manifest), *digest, "{tag}");
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("a manifest");
        let layer = manifest["layers"][0]["digest"].as_str().expect("a digest");
        let (_, content) = server.must(200, "GET", &format!("/v2/a/blobs/{layer}"), "", b"");
        assert_eq!(Digest::sha256(&content).to_string(), layer, "{tag}");
    }
}

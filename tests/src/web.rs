//! A small web server: files with validators, redirects, and git repositories through `git http-backend`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// What is served under a path.
#[derive(Debug, Clone)]
enum Page {
    File { bytes: Vec<u8>, last_modified: Option<&'static str> },
    Redirect(String),
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The status that was answered.
    pub status: u16,
}

#[derive(Default)]
struct State {
    pages: BTreeMap<String, Page>,
    repositories: Option<PathBuf>,
    password: Option<String>,
    asked: Vec<Asked>,
}

/// A server on a port of its own; it ends with the test process.
pub struct Web {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Web {
    /// Starts serving nothing.
    pub fn start() -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("an address").to_string();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                // A client that goes away in the middle is no news.
                std::thread::spawn(move || drop(answer(stream, &shared)));
            }
        });
        Web { address, state }
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Serves a file, with an `ETag` of its content.
    pub fn file(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        let page = Page::File { bytes: bytes.into(), last_modified: None };
        self.lock().pages.insert(path.to_owned(), page);
    }

    /// Serves a file that says when it last changed.
    pub fn dated(&self, path: &str, bytes: impl Into<Vec<u8>>, last_modified: &'static str) {
        let page = Page::File { bytes: bytes.into(), last_modified: Some(last_modified) };
        self.lock().pages.insert(path.to_owned(), page);
    }

    /// Sends who asks for a path somewhere else.
    pub fn redirect(&self, path: &str, to: &str) {
        self.lock().pages.insert(path.to_owned(), Page::Redirect(to.to_owned()));
    }

    /// Serves the bare repositories of a folder below `/git/`.
    pub fn repositories(&self, folder: &Path) {
        self.lock().repositories = Some(folder.to_owned());
    }

    /// Answers 401 to everybody without this `Authorization` header.
    pub fn require(&self, authorization: &str) {
        self.lock().password = Some(authorization.to_owned());
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// How often a path was answered with its content.
    pub fn sent(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.path == path && asked.status == 200).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no test thread panicked in here")
    }
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Request { method, path, headers, body })
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let request = read(&stream)?;
    let (status, headers, body) = respond(&request, state);
    let asked = Asked {
        method: request.method,
        path: request.path,
        authorization: request.headers.get("authorization").cloned(),
        status,
    };
    state.lock().expect("no test thread panicked in here").asked.push(asked);
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    )?;
    stream.write_all(&body)
}

fn respond(request: &Request, state: &Mutex<State>) -> (u16, String, Vec<u8>) {
    let (page, repositories, password) = {
        let state = state.lock().expect("no test thread panicked in here");
        let page = state.pages.get(&request.path).cloned();
        (page, state.repositories.clone(), state.password.clone())
    };
    if password.is_some() && request.headers.get("authorization") != password.as_ref() {
        return (401, "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned(), Vec::new());
    }
    match (page, repositories) {
        (Some(Page::Redirect(to)), _) => (302, format!("Location: {to}\r\n"), Vec::new()),
        (Some(Page::File { bytes, last_modified }), _) => {
            let (name, value) = match last_modified {
                Some(time) => ("Last-Modified", time.to_owned()),
                None => ("ETag", format!("\"{}\"", oci::Digest::sha256(&bytes).hex())),
            };
            let known =
                ["if-none-match", "if-modified-since"].iter().find_map(|h| request.headers.get(*h));
            let header = format!("{name}: {value}\r\n");
            match known == Some(&value) {
                true => (304, header, Vec::new()),
                false => (200, header, bytes),
            }
        }
        (None, Some(folder)) if request.path.starts_with("/git/") => backend(request, &folder),
        (None, _) => (404, String::new(), Vec::new()),
    }
}

/// The smart protocol of git, by git's own program.
fn backend(request: &Request, folder: &Path) -> (u16, String, Vec<u8>) {
    let path = request.path.trim_start_matches("/git");
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start git http-backend");
    let mut stdin = child.stdin.take().expect("a pipe was asked for");
    let body = request.body.clone();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&body)));
    let output = child.wait_with_output().expect("wait for git").stdout;
    writer.join().expect("the writer does not panic");
    let end = output.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(output.len());
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head
        .lines()
        .find_map(|line| line.strip_prefix("Status: "))
        .and_then(|line| line.split(' ').next()?.parse().ok())
        .unwrap_or(200);
    let headers: String = head
        .lines()
        .filter(|line| !line.starts_with("Status:"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    (status, headers, output.get(end + 4..).unwrap_or_default().to_vec())
}

//! Area `network`: the bridge beside docker's. Two hosts, which are network namespaces on one wire each with a third, the
//! client: wherry has one, dockerd the other.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::peers::Dockerd;
use super::{Tool, report, take_turns, wherry_command, wherry_import};
use crate::images::Base;
use crate::shell::{self, Context, Failure, Result};

const PORT: &str = "8080";
const CONNECTIONS: &str = "2000";
const MEGABYTES: &str = "2000";
const CHUNK: usize = 1024 * 1024;

pub(super) fn measure(root: &Path, wherry: &Path, disk: &Path, rounds: usize) -> Result<String> {
    let client = Host::new("client")?;
    let (ours_host, their_host) = (Host::new("ours")?, Host::new("docker")?);
    ours_host.connect(&client, "10.98.1")?;
    their_host.connect(&client, "10.98.2")?;

    let ours = super::fresh(disk, "wherry")?;
    wherry_import(root, wherry, &ours, Base::Busybox, "busybox")?;
    let dockerd = Dockerd::start_on(disk, &their_host.wrapper())?;
    dockerd.import(root, Base::Busybox, "busybox")?;
    let on_ours = |args: &[&str]| {
        let command = wherry_command(wherry, &ours, args);
        ours_host.wrap(&command)
    };
    let daemon = ["run", "-d", "--name", "server", "-p", "8080:8080", "busybox", "sleep", "1d"];
    let inspect = ["inspect", "--format", "{{.State.Pid}}", "server"];
    shell::read(&mut on_ours(&daemon))?;
    shell::read(&mut dockerd.docker(&daemon))?;
    let _ours_server = Server::start(shell::read(&mut on_ours(&inspect))?.trim())?;
    let _their_server = Server::start(shell::read(&mut dockerd.docker(&inspect))?.trim())?;
    let docker = format!("docker {}", dockerd.version()?);

    let once = ["run", "--rm", "busybox", "true"];
    let runs = take_turns(
        &[tool("wherry", || on_ours(&once)), tool(&docker, || dockerd.docker(&once))],
        rounds,
    );
    let of_client = |errand: &str, address: &str, amount: &str| {
        client.wrap(&errand_command(&["bench", errand, address, amount]))
    };
    let pair = |errand: &'static str, amount: &'static str| {
        let tools = [
            tool("wherry", || of_client(errand, "10.98.1.1:8080", amount)),
            tool(&docker, || of_client(errand, "10.98.2.1:8080", amount)),
        ];
        take_turns(&tools, rounds)
    };
    let connections = pair("connect", CONNECTIONS);
    let stream = pair("stream", MEGABYTES);
    shell::read(&mut on_ours(&["rm", "-f", "server"]))?;
    let package = ["bench", "--quiet", "--package", "network", "--bench", "network"];
    let package = shell::read(&mut shell::command(root, "cargo", &package))?;
    Ok(format!(
        "`cargo xtask bench network {rounds}`, {rounds} rounds; a client on a wire with two hosts.\n{}.\n\n\
         `run --rm busybox true` on the default bridge:\n\n{}\n\
         {CONNECTIONS} connections, one after the other, through a published port:\n\n{}\n\
         {MEGABYTES} MB through a published port:\n\n{}\n\
         Joining, and the embedded DNS server asked by one client (`cargo bench -p network`):\n\n```text\n{}\n```",
        report::machine(),
        report::table(&runs),
        report::table(&connections),
        report::table(&stream),
        package.trim()
    ))
}

fn tool<'a>(name: &str, command: impl Fn() -> Command + 'a) -> Tool<'a> {
    Tool { name: name.to_owned(), prepare: Box::new(|| Ok(())), command: Box::new(command) }
}

/// A network namespace that stands for a host.
struct Host {
    name: String,
}

impl Host {
    fn new(what: &str) -> Result<Self> {
        let name = format!("wherry-bench-{what}");
        // What an interrupted run left.
        let _ = ip(&["netns", "del", &name]);
        ip(&["netns", "add", &name])?;
        let host = Self { name };
        shell::read(&mut host.wrap(&command("ip", &["link", "set", "lo", "up"])))?;
        Ok(host)
    }

    /// Lays a wire to another host: this one is `.1`, the other `.2`.
    fn connect(&self, other: &Self, net: &str) -> Result<()> {
        let (here, there) = (format!("w{}", &net[3..]), format!("v{}", &net[3..]));
        let (here, there) = (here.replace('.', "x"), there.replace('.', "x"));
        let peer = ["type", "veth", "peer", "name", &there, "netns", &other.name];
        ip(&[&["link", "add", &here, "netns", &self.name][..], &peer].concat())?;
        for (host, device, last) in [(self, &here, 1), (other, &there, 2)] {
            let address = format!("{net}.{last}/24");
            let add = ["addr", "add", &address, "dev", device];
            shell::read(&mut host.wrap(&command("ip", &add)))?;
            shell::read(&mut host.wrap(&command("ip", &["link", "set", device, "up"])))?;
        }
        Ok(())
    }

    /// The words before a command that runs it here.
    fn wrapper(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/run/netns/{}", self.name)]
    }

    /// The same command, here.
    fn wrap(&self, inner: &Command) -> Command {
        let words = self.wrapper();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(inner.get_program()).args(inner.get_args());
        for (key, value) in inner.get_envs() {
            if let Some(value) = value {
                command.env(key, value);
            }
        }
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(failure) = ip(&["netns", "del", &self.name]) {
            eprintln!("cannot remove {}: {failure}", self.name);
        }
    }
}

fn ip(args: &[&str]) -> Result<()> {
    shell::read(&mut command("ip", args)).map(drop)
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// This program, for an errand.
fn errand_command(args: &[&str]) -> Command {
    command(&program(), args)
}

/// Where this program is.
fn program() -> String {
    std::env::current_exe().map_or_else(|_| "xtask".to_owned(), |path| path.display().to_string())
}

/// A server inside a container.
struct Server {
    child: Child,
}

impl Server {
    fn start(pid: &str) -> Result<Self> {
        let mut child = Command::new("nsenter")
            .arg(format!("--net=/proc/{pid}/ns/net"))
            .arg(program())
            .args(["bench", "serve", PORT])
            .stdout(Stdio::piped())
            .spawn()
            .context("start the server")?;
        // It says one byte when it listens.
        let said = child.stdout.take().map(|mut out| out.read(&mut [0; 1]));
        match said {
            Some(Ok(1)) => Ok(Self { child }),
            _ => Err(Failure::new("the server in the container does not listen")),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The errand `serve PORT`: every connection sends one byte to be answered by one, or an `s` and then a stream.
pub(super) fn serve(args: &[String]) -> Result<()> {
    let port: u16 = number(args, 0)?;
    let listener = TcpListener::bind(("0.0.0.0", port)).context("listen")?;
    println!(".");
    for stream in listener.incoming() {
        let mut stream = stream.context("accept")?;
        std::thread::spawn(move || {
            let mut first = [0; 1];
            if stream.read_exact(&mut first).is_err() {
                return;
            }
            if first == *b"s" {
                let mut buffer = vec![0; CHUNK];
                while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
            }
            let _ = stream.write_all(b".");
        });
    }
    Ok(())
}

/// The errand `connect ADDRESS COUNT`: so many connections, one after the other.
pub(super) fn connect(args: &[String]) -> Result<()> {
    for _ in 0..number::<usize>(args, 1)? {
        let mut stream = dial(args)?;
        stream.write_all(b"c").context("ask")?;
        stream.read_exact(&mut [0; 1]).context("hear")?;
    }
    Ok(())
}

/// The errand `stream ADDRESS MEGABYTES`: so much over one connection.
pub(super) fn stream(args: &[String]) -> Result<()> {
    let mut stream = dial(args)?;
    stream.write_all(b"s").context("ask")?;
    let chunk = vec![0; CHUNK];
    for _ in 0..number::<usize>(args, 1)? {
        stream.write_all(&chunk).context("send")?;
    }
    stream.shutdown(std::net::Shutdown::Write).context("end")?;
    stream.read_exact(&mut [0; 1]).context("hear")
}

fn dial(args: &[String]) -> Result<TcpStream> {
    let address = args.first().map_or("", String::as_str);
    TcpStream::connect(address).context(format_args!("connect to {address}"))
}

fn number<T: std::str::FromStr>(args: &[String], at: usize) -> Result<T> {
    let text = args.get(at).map_or("", String::as_str);
    text.parse().map_err(|_| Failure::new(format!("{text:?} is no number")))
}

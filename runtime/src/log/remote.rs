//! `syslog` and `journald`: each line goes to a service of the host, and into a bounded cache in the form of `local`, so that `logs`
//! can show it, as in Docker.
//!
//! The service never stops the container: what it does not take at once is kept in the cache only.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::LogDriver;
use super::local::Local;
use crate::error::{Error, Result};
use crate::options::LogOptions;
use crate::request::OutputStream;

/// Where systemd's journal takes messages.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Where a syslog service takes them where nothing is said.
const DEV_LOG: &str = "unixgram:///dev/log";
/// How long a service at the other end of a stream may take for one line.
const STREAM_PATIENCE: Duration = Duration::from_millis(200);

/// What the messages say of the container.
#[derive(Debug, Clone)]
pub(crate) struct Origin<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) image: &'a str,
}

impl Origin<'_> {
    /// Docker's `tag`, with the short id where none is asked for.
    fn tag(&self, options: &LogOptions) -> String {
        let short = self.id.get(..12).unwrap_or(self.id);
        options
            .setting("tag")
            .unwrap_or("{{.ID}}")
            .replace("{{.ID}}", short)
            .replace("{{.FullID}}", self.id)
            .replace("{{.Name}}", self.name)
            .replace("{{.ImageName}}", self.image)
            .replace("{{.DaemonName}}", "wherry")
    }
}

/// A service of the host that takes lines.
trait Service: std::fmt::Debug {
    /// Hands one line over, without its line end; what cannot be handed over at once is not.
    fn send(&mut self, stream: OutputStream, time: Timestamp, line: &[u8], whole: bool);
}

/// A cache and the service.
#[derive(Debug)]
pub(super) struct Remote {
    cache: Local,
    service: Box<dyn Service>,
}

impl Remote {
    pub(super) fn syslog(file: &Path, options: &LogOptions, origin: &Origin<'_>) -> Result<Self> {
        let address = options.setting("syslog-address").unwrap_or(DEV_LOG);
        let wire = Wire::open(address).map_err(|error| cannot_reach(address, &error))?;
        let format = match options.setting("syslog-format") {
            Some("rfc5424" | "rfc5424micro") => Format::Rfc5424,
            Some("rfc3164") => Format::Rfc3164,
            _ if wire.is_local() => Format::Local,
            _ => Format::Rfc3164,
        };
        let service = Syslog {
            wire,
            format,
            facility: facility(options.setting("syslog-facility").unwrap_or("daemon"))?,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            tag: origin.tag(options),
        };
        Ok(Self { cache: Local::open(file, options)?, service: Box::new(service) })
    }

    pub(super) fn journald(file: &Path, options: &LogOptions, origin: &Origin<'_>) -> Result<Self> {
        let service = Journal::open(Path::new(JOURNAL), options, origin)?;
        Ok(Self { cache: Local::open(file, options)?, service: Box::new(service) })
    }
}

impl LogDriver for Remote {
    fn append(&mut self, stream: OutputStream, time: Timestamp, line: &[u8]) -> io::Result<()> {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        self.service.send(stream, time, text, text.len() < line.len());
        self.cache.append(stream, time, line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.cache.flush()
    }
}

fn cannot_reach(address: &str, error: &io::Error) -> Error {
    Error::Start {
        exit_code: 125,
        message: format!("failed to initialize logging driver: dial {address}: {error}"),
    }
}

/// The settings of both drivers, checked when the container is made.
pub(crate) fn check(driver: &str, settings: &BTreeMap<String, String>) -> Result<()> {
    let bad = |key: &str, reason: &str| {
        let value = settings.get(key).map(String::as_str).unwrap_or_default();
        Err(Error::invalid("--log-opt", format!("{key}={value}"), reason))
    };
    for (key, value) in settings {
        match (driver, key.as_str()) {
            (_, "tag") if unknown_field(value) => {
                return bad(
                    key,
                    "a tag has {{.ID}}, {{.FullID}}, {{.Name}}, {{.ImageName}} and {{.DaemonName}}",
                );
            }
            (_, "tag") => {}
            ("syslog", "syslog-address") if parse_address(value).is_none() => {
                return bad(
                    key,
                    "write udp://HOST:PORT, tcp://HOST:PORT, unix://PATH or unixgram://PATH",
                );
            }
            ("syslog", "syslog-facility") => drop(facility(value)?),
            ("syslog", "syslog-format")
                if !["rfc3164", "rfc5424", "rfc5424micro", ""].contains(&value.as_str()) =>
            {
                return bad(key, "Invalid syslog format: use rfc3164, rfc5424 or rfc5424micro");
            }
            ("syslog", "syslog-address" | "syslog-format") => {}
            _ => return bad(key, "unknown log opt for this log driver"),
        }
    }
    Ok(())
}

fn unknown_field(tag: &str) -> bool {
    const FIELDS: [&str; 5] = ["ID", "FullID", "Name", "ImageName", "DaemonName"];
    tag.split("{{").skip(1).any(|rest| {
        let field = rest.split("}}").next().and_then(|inner| inner.strip_prefix('.'));
        !rest.contains("}}") || !field.is_some_and(|field| FIELDS.contains(&field))
    })
}

const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];

fn facility(text: &str) -> Result<u8> {
    let by_name = FACILITIES.iter().position(|name| *name == text);
    let number = by_name.or_else(|| text.parse::<usize>().ok().filter(|n| *n < FACILITIES.len()));
    number.and_then(|number| u8::try_from(number).ok()).ok_or_else(|| {
        Error::invalid("--log-opt", format!("syslog-facility={text}"), "invalid syslog facility")
    })
}

/// RFC 3164's and RFC 5424's numbers for the severity of a stream.
fn severity(stream: OutputStream) -> u8 {
    match stream {
        OutputStream::Stdout => 6,
        OutputStream::Stderr => 3,
    }
}

fn parse_address(text: &str) -> Option<(&str, &str)> {
    let (kind, rest) = text.split_once("://")?;
    let good = match kind {
        "unix" | "unixgram" => rest.starts_with('/'),
        "udp" | "tcp" => rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()),
        _ => false,
    };
    good.then_some((kind, rest))
}

/// The way to a syslog service.
#[derive(Debug)]
enum Wire {
    Datagrams(UnixDatagram),
    Udp(UdpSocket),
    Stream(UnixStream),
    Tcp(TcpStream),
}

impl Wire {
    fn open(address: &str) -> io::Result<Self> {
        let (kind, rest) =
            parse_address(address).ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
        match kind {
            "unixgram" => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(rest)?;
                socket.set_nonblocking(true)?;
                Ok(Self::Datagrams(socket))
            }
            "udp" => {
                let target = rest.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
                let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(target)?;
                socket.set_nonblocking(true)?;
                Ok(Self::Udp(socket))
            }
            "unix" => {
                let stream = UnixStream::connect(rest)?;
                stream.set_write_timeout(Some(STREAM_PATIENCE))?;
                Ok(Self::Stream(stream))
            }
            _ => {
                let stream = TcpStream::connect(rest)?;
                stream.set_write_timeout(Some(STREAM_PATIENCE))?;
                Ok(Self::Tcp(stream))
            }
        }
    }

    fn is_local(&self) -> bool {
        matches!(self, Self::Datagrams(_) | Self::Stream(_))
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let line = || [message, b"\n"].concat();
        match self {
            Self::Datagrams(socket) => socket.send(message).map(drop),
            Self::Udp(socket) => socket.send(message).map(drop),
            Self::Stream(stream) => stream.write_all(&line()),
            Self::Tcp(stream) => stream.write_all(&line()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// What the C library sends to `/dev/log`.
    Local,
    Rfc3164,
    Rfc5424,
}

#[derive(Debug)]
struct Syslog {
    wire: Wire,
    format: Format,
    facility: u8,
    host: String,
    tag: String,
}

impl Syslog {
    fn message(&self, stream: OutputStream, time: Timestamp, line: &[u8]) -> Vec<u8> {
        let priority = u32::from(self.facility) * 8 + u32::from(severity(stream));
        let (tag, pid) = (&self.tag, std::process::id());
        let mut head = String::new();
        // Writing into a string cannot fail.
        let _ = match self.format {
            Format::Local => {
                let stamp = time.strftime("%b %e %H:%M:%S");
                write!(head, "<{priority}>{stamp} {tag}[{pid}]: ")
            }
            Format::Rfc3164 => {
                let stamp = time.strftime("%b %e %H:%M:%S");
                write!(head, "<{priority}>{stamp} {} {tag}[{pid}]: ", self.host)
            }
            Format::Rfc5424 => {
                write!(head, "<{priority}>1 {time:.6} {} {tag} {pid} {tag} - ", self.host)
            }
        };
        let mut message = head.into_bytes();
        message.extend_from_slice(line);
        message
    }
}

impl Service for Syslog {
    fn send(&mut self, stream: OutputStream, time: Timestamp, line: &[u8], _: bool) {
        let message = self.message(stream, time, line);
        let _ = self.wire.send(&message);
    }
}

/// systemd's journal, in its own protocol: fields, each `NAME=value` or, where the value has line ends, with its length.
#[derive(Debug)]
struct Journal {
    socket: UnixDatagram,
    fields: Vec<u8>,
}

impl Journal {
    fn open(path: &Path, options: &LogOptions, origin: &Origin<'_>) -> Result<Self> {
        let connected = UnixDatagram::unbound().and_then(|socket| {
            socket.connect(path)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        let socket = connected
            .map_err(|error| cannot_reach(&PathBuf::from(path).display().to_string(), &error))?;
        let tag = origin.tag(options);
        let mut fields = Vec::new();
        for (name, value) in [
            ("CONTAINER_ID", origin.id.get(..12).unwrap_or(origin.id)),
            ("CONTAINER_ID_FULL", origin.id),
            ("CONTAINER_NAME", origin.name),
            ("CONTAINER_TAG", &tag),
            ("IMAGE_NAME", origin.image),
            ("SYSLOG_IDENTIFIER", &tag),
        ] {
            field(&mut fields, name, value.as_bytes());
        }
        Ok(Self { socket, fields })
    }
}

impl Service for Journal {
    fn send(&mut self, stream: OutputStream, time: Timestamp, line: &[u8], whole: bool) {
        let mut message = self.fields.clone();
        field(&mut message, "MESSAGE", line);
        field(&mut message, "PRIORITY", severity(stream).to_string().as_bytes());
        let micros = time.as_microsecond().to_string();
        field(&mut message, "SYSLOG_TIMESTAMP", format!("{time:.9}").as_bytes());
        field(&mut message, "CONTAINER_LOG_EPOCH_USEC", micros.as_bytes());
        if !whole {
            field(&mut message, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        let _ = self.socket.send(&message);
    }
}

fn field(message: &mut Vec<u8>, name: &str, value: &[u8]) {
    message.extend_from_slice(name.as_bytes());
    match value.contains(&b'\n') {
        true => {
            message.push(b'\n');
            message.extend_from_slice(&(value.len() as u64).to_le_bytes());
        }
        false => message.push(b'='),
    }
    message.extend_from_slice(value);
    message.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(driver: &str, settings: &[(&str, &str)]) -> Result<LogOptions> {
        let pairs: Vec<(String, String)> =
            settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        LogOptions::parse(Some(driver), &pairs)
    }

    const ORIGIN: Origin<'_> = Origin { id: "0123456789abcdef", name: "web", image: "busybox" };

    fn moment() -> Timestamp {
        "2026-11-21T12:00:00.5Z".parse().unwrap()
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    /// Covers: RUN-33, N3-060
    #[test]
    fn syslog_gets_every_line_with_its_severity_and_the_cache_keeps_them() {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("log")).unwrap();
        let address = format!("unixgram://{}", dir.path().join("log").display());
        let options = options(
            "syslog",
            &[
                ("syslog-address", &address),
                ("syslog-facility", "local3"),
                ("tag", "{{.Name}}/{{.ID}}"),
            ],
        )
        .unwrap();
        let mut log = Remote::syslog(&dir.path().join("cache"), &options, &ORIGIN).unwrap();
        log.append(OutputStream::Stdout, moment(), b"hello\n").unwrap();
        log.append(OutputStream::Stderr, moment(), b"oh no\n").unwrap();
        log.flush().unwrap();
        let pid = std::process::id();
        assert_eq!(
            received(&socket),
            format!("<158>Nov 21 12:00:00 web/0123456789ab[{pid}]: hello")
        );
        assert!(received(&socket).starts_with("<155>"), "19 * 8 + 3");
        assert!(dir.path().join("cache").metadata().unwrap().len() > 0);
        // A service that goes away takes nothing with it.
        drop(socket);
        log.append(OutputStream::Stdout, moment(), b"alone\n").unwrap();
        log.flush().unwrap();
    }

    #[test]
    fn network_formats_name_the_host() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = format!("udp://{}", server.local_addr().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let said = |format: &str| {
            let options =
                options("syslog", &[("syslog-address", &address), ("syslog-format", format)])
                    .unwrap();
            let mut log = Remote::syslog(&dir.path().join(format), &options, &ORIGIN).unwrap();
            log.append(OutputStream::Stdout, moment(), b"x\n").unwrap();
            let mut buffer = [0; 1024];
            let count = server.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        };
        assert!(said("rfc5424").starts_with("<30>1 2026-11-21T12:00:00.500000Z "));
        assert!(said("rfc3164").starts_with("<30>Nov 21 12:00:00 "));
    }

    #[test]
    fn the_journal_gets_fields_and_knows_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let socket = UnixDatagram::bind(&path).unwrap();
        let options = options("journald", &[]).unwrap();
        let mut journal = Journal::open(&path, &options, &ORIGIN).unwrap();
        journal.send(OutputStream::Stderr, moment(), b"a piece", false);
        let said = received(&socket);
        for field in [
            "CONTAINER_ID=0123456789ab\n",
            "CONTAINER_NAME=web\n",
            "IMAGE_NAME=busybox\n",
            "MESSAGE=a piece\n",
            "PRIORITY=3\n",
            "CONTAINER_PARTIAL_MESSAGE=true\n",
        ] {
            assert!(said.contains(field), "{field}: {said}");
        }
        let mut message = Vec::new();
        field(&mut message, "MESSAGE", b"a\nb");
        assert_eq!(message, b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n");
        assert!(Journal::open(Path::new("/no/such/socket"), &options, &ORIGIN).is_err());
    }

    #[test]
    fn settings_that_cannot_be_meant_are_refused_when_the_container_is_made() {
        for (driver, key, value) in [
            ("syslog", "syslog-address", "tls://host:1"),
            ("syslog", "syslog-address", "udp://host"),
            ("syslog", "syslog-facility", "loud"),
            ("syslog", "syslog-format", "json"),
            ("syslog", "tag", "{{.Colour}}"),
            ("syslog", "tag", "{{.ID"),
            ("syslog", "colour", "red"),
            ("journald", "syslog-address", DEV_LOG),
        ] {
            assert!(options(driver, &[(key, value)]).is_err(), "{driver} {key}={value}");
        }
    }
}

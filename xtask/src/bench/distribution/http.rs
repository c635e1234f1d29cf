//! One connection of HTTP/1.1 that is kept open: as little client as possible between the clock and the registry.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::shell::{Context, Failure, Result};

/// A connection to a registry.
pub(super) struct Connection {
    address: String,
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

/// An answer whose body was read and thrown away.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    pub(super) body_length: u64,
}

impl Connection {
    pub(super) fn open(address: &str) -> Result<Self> {
        let writer = TcpStream::connect(address).context(format_args!("connect to {address}"))?;
        writer.set_nodelay(true).context("set up the connection")?;
        let reader = writer.try_clone().context("share the connection")?;
        let reader = BufReader::with_capacity(256 * 1024, reader);
        Ok(Self { address: address.to_owned(), reader, writer })
    }

    pub(super) fn get(&mut self, path: &str) -> Result<Answer> {
        let accept = "application/vnd.oci.image.manifest.v1+json, */*";
        self.send("GET", path, &format!("Accept: {accept}\r\n"), &[])
    }

    /// Sends a body of this type, in one request.
    pub(super) fn send_body(
        &mut self,
        method: &str,
        path: &str,
        media_type: &str,
        body: &[u8],
    ) -> Result<Answer> {
        self.send(method, path, &format!("Content-Type: {media_type}\r\n"), body)
    }

    fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<Answer> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        let asked =
            self.writer.write_all(head.as_bytes()).and_then(|()| self.writer.write_all(body));
        asked.context(format_args!("{method} {path}"))?;
        self.answer().map_err(|failure| Failure::new(format!("{method} {path}: {failure}")))
    }

    fn answer(&mut self) -> Result<Answer> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| Failure::new("no HTTP answer"))?;
        let (mut length, mut chunked, mut location) = (0, false, None);
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap_or(0),
                "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
                "location" => location = Some(value.to_owned()),
                _ => {}
            }
        }
        let body_length = match chunked {
            true => self.chunks()?,
            false => self.skip(length)?,
        };
        Ok(Answer { status, location, body_length })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).context("read a line")?;
        Ok(line.trim_end().to_owned())
    }

    fn skip(&mut self, length: u64) -> Result<u64> {
        let mut body = (&mut self.reader).take(length);
        std::io::copy(&mut body, &mut std::io::sink()).context("read a body")
    }

    fn chunks(&mut self) -> Result<u64> {
        let mut whole = 0;
        loop {
            let size = self.line()?;
            let size = u64::from_str_radix(&size, 16).map_err(|_| Failure::new("a bad chunk"))?;
            whole += self.skip(size)?;
            self.line()?;
            if size == 0 {
                return Ok(whole);
            }
        }
    }
}

//! Signer helpers: programs that sign with keys which live elsewhere (`docs/format/signer-helper.md`).

use std::error::Error as StdError;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use trust::key::{Helper, HelperSigner, Signer};

use super::keys::PASSPHRASE_VARIABLES;
use crate::error::{Error, Result};

/// How long a helper may take for one request: a person may have to touch a token.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How often it is looked whether a helper has ended.
const POLL: Duration = Duration::from_millis(5);
/// Most bytes taken from a helper; the trust crate reads no longer answer either.
const ANSWER_BYTES_MAX: u64 = 128 * 1024;
/// Most bytes of a helper's complaint that are shown.
const COMPLAINT_CHARACTERS_MAX: usize = 500;

/// A program and the name that it knows a key by: `exec:PROGRAM` or `exec:PROGRAM#KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperAddress {
    program: PathBuf,
    key: String,
}

impl std::str::FromStr for HelperAddress {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let rest = text.strip_prefix("exec:").ok_or_else(|| {
            format!("{text:?} is no signer: write exec:PROGRAM or exec:PROGRAM#KEY")
        })?;
        let (program, key) = rest.split_once('#').unwrap_or((rest, ""));
        if program.is_empty() {
            return Err(format!("{text:?} names no program"));
        }
        Ok(Self { program: program.into(), key: key.to_owned() })
    }
}

impl HelperAddress {
    /// Asks the helper for its public key; from now on it signs when it is asked to.
    pub fn connect(&self) -> Result<Arc<dyn Signer>> {
        let name = self.program.display().to_string();
        let program = Program { name, path: self.program.clone() };
        Ok(Arc::new(HelperSigner::connect(Box::new(program), &self.key).map_err(Error::from)?))
    }

    /// The program's own name, for lists.
    pub fn label(&self) -> String {
        let file = self.program.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        file.unwrap_or_else(|| "signer".to_owned())
    }
}

/// A helper program, started anew for every request.
struct Program {
    name: String,
    path: PathBuf,
}

impl Helper for Program {
    fn name(&self) -> &str {
        &self.name
    }

    fn exchange(
        &self,
        request: &[u8],
    ) -> std::result::Result<Vec<u8>, Box<dyn StdError + Send + Sync>> {
        let mut command = Command::new(&self.path);
        // A helper has its own ways to its keys; ours are not its business.
        for variable in PASSPHRASE_VARIABLES {
            command.env_remove(variable);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let request = request.to_vec();
        // A helper may answer before it has read everything, so a closed pipe is no failure.
        let writer = thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&request)));
        let answer = read_all(child.stdout.take());
        let complaint = read_all(child.stderr.take());
        let ended = wait(&mut child);
        let _ = writer.join();
        let (answer, complaint) = (answer.join(), complaint.join().unwrap_or_default());
        match ended? {
            Some(status) if status.success() => Ok(answer.unwrap_or_default()),
            Some(status) => Err(format!("it ended with {status}: {}", shown(&complaint)).into()),
            None => Err(format!("it did not answer within {} seconds", TIMEOUT.as_secs()).into()),
        }
    }
}

fn read_all(from: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            // What was read before a failure is judged by its reader.
            let _ = from.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
        }
        bytes
    })
}

/// The helper's status; none where it took too long and was ended.
fn wait(child: &mut Child) -> std::io::Result<Option<std::process::ExitStatus>> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

fn shown(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let text: String = text.trim().chars().take(COMPLAINT_CHARACTERS_MAX).collect();
    if text.is_empty() { "it said nothing".to_owned() } else { text.replace('\n', " ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signer_is_named_by_its_program_and_key() {
        let address: HelperAddress = "exec:/usr/bin/kms#projects/a/b#1".parse().unwrap();
        assert_eq!(address.program, PathBuf::from("/usr/bin/kms"));
        assert_eq!(address.key, "projects/a/b#1");
        assert_eq!(address.label(), "kms");
        assert_eq!("exec:kms".parse::<HelperAddress>().unwrap().key, "");
        for wrong in ["kms", "exec:", "exec:#k", "pkcs11:x"] {
            assert!(wrong.parse::<HelperAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_failed_helper_complained_of_is_told() {
        let program = Program { name: "false".to_owned(), path: "false".into() };
        let error = program.exchange(b"{}\n").unwrap_err().to_string();
        assert!(error.contains("ended with"), "{error}");
        let missing = Program { name: "x".to_owned(), path: "/no/such/helper".into() };
        assert!(missing.exchange(b"{}\n").is_err());
        let echo = Program { name: "cat".to_owned(), path: "cat".into() };
        assert_eq!(echo.exchange(b"{}\n").unwrap(), b"{}\n");
    }
}

//! Signers besides the key files here: a recovery phrase, programs that hold keys.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::trust::sign::Signing;
use engine::trust::{HelperAddress, phrase_signer};
use engine::trust_types::Secret;
use engine::trust_types::key::{KeyName, Signer};

use crate::command::{Session, login};
use crate::error::{Error, Result};

/// Longest file with a recovery phrase.
const PHRASE_BYTES_MAX: u64 = 4096;

/// Signers besides the key files here.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct WithArgs {
    /// Sign also with a key that a program holds: exec:PROGRAM or exec:PROGRAM#KEY
    #[arg(long = "signer", value_name = "list")]
    pub(super) signers: Vec<HelperAddress>,
    /// Sign also with the recovery phrase in this file; - asks for it
    #[arg(long, value_name = "file")]
    phrase: Option<PathBuf>,
}

/// One key to sign with.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct KeyArgs {
    /// Sign with the key of this name; the first by id where none is named
    #[arg(long, value_name = "string", conflicts_with = "signer")]
    key: Option<KeyName>,
    /// Sign with a key that a program holds: exec:PROGRAM or exec:PROGRAM#KEY
    #[arg(long, value_name = "string")]
    signer: Option<HelperAddress>,
}

impl WithArgs {
    /// The engine's signing verbs with these signers at hand.
    pub(crate) fn signing<'a>(&self, session: &'a Session) -> Result<Signing<'a>> {
        let mut signers: Vec<Arc<dyn Signer>> = Vec::new();
        for address in &self.signers {
            signers.push(address.connect()?);
        }
        if let Some(file) = &self.phrase {
            signers.push(phrase_signer(&read_phrase(session, file)?)?);
        }
        Ok(session.engine()?.signing().with_signers(signers))
    }
}

impl WithArgs {
    /// With this program, if there is one.
    pub(crate) fn of(signer: Option<HelperAddress>) -> Self {
        Self { signers: signer.into_iter().collect(), phrase: None }
    }
}

impl KeyArgs {
    /// Whether no key file was named.
    pub(crate) fn key_is_free(&self) -> bool {
        self.key.is_none()
    }

    /// The program that holds the key, if one was named.
    pub(crate) fn helper(&self) -> Option<&HelperAddress> {
        self.signer.as_ref()
    }

    /// The signer.
    pub(crate) fn signer(&self, session: &Session) -> Result<Arc<dyn Signer>> {
        match &self.signer {
            Some(address) => Ok(address.connect()?),
            None => Ok(session.engine()?.trust_keys().unlock_signer(self.key.as_ref())?),
        }
    }
}

fn read_phrase(session: &Session, file: &Path) -> Result<Secret> {
    if file == Path::new("-") {
        return login::hidden(session.ui, "Recovery phrase: ").map(Secret::from);
    }
    let fail = |source| Error::File { act: "read", path: file.display().to_string(), source };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(fail)?;
    opened.take(PHRASE_BYTES_MAX).read_to_end(&mut bytes).map_err(fail)?;
    Ok(Secret::new(bytes))
}

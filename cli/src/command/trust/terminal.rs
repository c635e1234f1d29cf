//! Questions about passphrases and phrases.

use engine::trust::{PassphraseRequest, PassphraseSource};
use engine::trust_types::Secret;
use engine::trust_types::key::KeyRole;

use crate::command::login;
use crate::ui::Ui;

/// Asks for passphrases on the terminal.
pub(crate) struct Terminal;

/// Docker's least length of a new passphrase.
const PASSPHRASE_CHARACTERS_MIN: usize = 8;

impl PassphraseSource for Terminal {
    fn passphrase(&self, request: &PassphraseRequest) -> std::result::Result<Secret, String> {
        let ui = Ui::detect();
        if !ui.stdin_terminal {
            return Err("there is no terminal to ask on".to_owned());
        }
        let role = match request.role {
            KeyRole::Signer => "signer",
            KeyRole::Root => "root",
            KeyRole::Targets => "repository",
            KeyRole::Snapshot => "snapshot",
            KeyRole::Timestamp => "timestamp",
        };
        let new = if request.choose { "new " } else { "" };
        let key = format!(
            "{new}{} key with ID {}",
            if role == "signer" { &request.name } else { role },
            request.short_id
        );
        let ask = |prompt: String| login::hidden(ui, &prompt).map_err(|error| error.to_string());
        let first = ask(format!("Enter passphrase for {key}: "))?;
        if !request.choose {
            return Ok(Secret::from(first));
        }
        if first.chars().count() < PASSPHRASE_CHARACTERS_MIN {
            return Err(format!(
                "passphrase is too short: {PASSPHRASE_CHARACTERS_MIN} characters at least"
            ));
        }
        if ask(format!("Repeat passphrase for {key}: "))? != first {
            return Err("the two passphrases differ".to_owned());
        }
        Ok(Secret::from(first))
    }
}

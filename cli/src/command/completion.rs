use clap_complete::Shell;

use super::Session;
use crate::args;
use crate::error::Result;

/// Generate the autocompletion script for the specified shell
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "SHELL", required = true)]
    shell: Shell,
}

impl Args {
    /// Prints the script.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        session.ui.print(&script(self.shell))
    }
}

fn script(shell: Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut args::grammar(), "wherry", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_names_the_verbs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = script(shell);
            assert!(
                script.contains("images") && script.contains("run") && script.len() > 2000,
                "{shell}"
            );
        }
    }
}

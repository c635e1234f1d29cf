use engine::oci::Reference;

use super::Session;
use super::trust::SignArgs;
use super::trust::with::{KeyArgs, WithArgs};
use crate::error::{Error, Result};

/// Sign an image, in one of the forms that others verify
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Form of the signature: tuf (a signed tag, as `trust sign`) or cosign (a signature of the digest)
    #[arg(long, value_name = "string", default_value = "tuf")]
    format: Format,
    #[command(flatten)]
    key: KeyArgs,
    #[arg(value_name = "IMAGE[:TAG]", required = true)]
    image: Reference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Cosign,
    Tuf,
}

impl Args {
    /// Signs what the registry has under the name.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        if self.format == Format::Tuf {
            let Some(with) = self.key.as_signers() else {
                return Err(Error::refused(
                    "sign: --key does not choose who signs a tag: every signer key here that the repository knows does",
                    "leave --key out, or sign with --format cosign",
                ));
            };
            return SignArgs::of(self.image, with).run(session);
        }
        let image = self.image.or_latest();
        let signer = self.key.signer(session)?;
        let done = session.engine()?.signing().cosign(&image, &*signer)?;
        session.ui.line(format_args!(
            "Successfully signed {}@{} with key {}",
            image.familiar_repository(),
            done.subject.digest(),
            signer.public().id().short(12)
        ))?;
        let tag = done.tag.unwrap_or_default();
        session.ui.line(format_args!("Signature: {}:{tag}", image.familiar_repository()))
    }
}

impl KeyArgs {
    /// The same choice for verbs that sign with every key here; none where one was named.
    fn as_signers(&self) -> Option<WithArgs> {
        self.key_is_free().then(|| WithArgs::of(self.helper().cloned()))
    }
}

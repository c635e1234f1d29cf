//! Signatures and statements beside an image: cosign's, and in-toto statements in DSSE envelopes.
//!
//! A cosign signature stands under the tag that cosign looks at (`sha256-<hex>.sig`), beside those
//! that stand there already. A statement is a referrer of the image (distribution-spec 1.1).

use bytes::Bytes;
use oci::{Descriptor, Digest, Manifest, MediaType, Raw, Reference, Repository};
use registry_client::Selector;
use serde_json::Value;
use trust::dialect::{cosign, dsse, vsa};
use trust::key::Signer;

use super::sign::Signing;
use crate::error::{Error, Result};

/// How often a signature is added anew because somebody else added one in the meantime.
const ROUNDS_MAX: u32 = 12;
/// Most signatures under one tag: a manifest has a size limit, and each costs its readers a check.
const SIGNATURES_MAX: usize = 128;
/// The annotation with a referrer's predicate type, as other tools write it.
const PREDICATE_ANNOTATION: &str = "in-toto.io/predicate-type";

/// What was attached to an image.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The image.
    pub subject: Descriptor,
    /// The manifest that carries the signature or statement.
    pub manifest: Digest,
    /// The tag it stands under, if it does.
    pub tag: Option<String>,
}

impl Signing<'_> {
    /// What the registry has under a name now: resolved once, signed as that.
    pub fn resolve(&self, reference: &Reference) -> Result<Descriptor> {
        let client = self.engine.transport().client()?.repository(reference.repository());
        let selector = Selector::of(reference)
            .ok_or_else(|| Error::Invalid(format!("sign {reference}: name a tag or a digest")))?;
        Ok(self.engine.transport().block_on(client.resolve(&selector))??)
    }

    /// Adds a cosign signature (version 2, by key, without a log) to those of an image.
    pub fn cosign(&self, reference: &Reference, signer: &dyn Signer) -> Result<Attachment> {
        let repository = reference.repository();
        let subject = self.resolve(reference)?;
        let (payload, signature) = cosign::sign(repository, subject.digest(), signer)?;
        let kind = MediaType::Other(cosign::PAYLOAD_MEDIA_TYPE.into());
        let layer = Descriptor::of(kind, &payload)
            .with_annotation(cosign::SIGNATURE_ANNOTATION, &signature);
        self.push_blob(repository, &layer, &payload)?;
        let tag = cosign::signature_tag(subject.digest());
        for _ in 0..ROUNDS_MAX {
            let (before, mut layers) = self.signatures(repository, &tag)?;
            if layers.len() >= SIGNATURES_MAX {
                return Err(Error::Conflict(format!(
                    "sign {reference}: {tag} carries {SIGNATURES_MAX} signatures already"
                )));
            }
            layers.push(layer.clone());
            let digests: Vec<Digest> = layers.iter().map(|layer| layer.digest().clone()).collect();
            let config = cosign::config(&digests);
            let described = Descriptor::of(MediaType::OciConfig, &config);
            self.push_blob(repository, &described, &config)?;
            let manifest = Raw::encode(&Manifest::new(described, layers))
                .map_err(|error| Error::Invalid(error.to_string()))?;
            if self.swap(repository, &tag, before.as_ref(), &manifest)? {
                return Ok(Attachment { subject, manifest: manifest.digest(), tag: Some(tag) });
            }
        }
        Err(Error::Conflict(format!(
            "sign {reference}: others signed {ROUNDS_MAX} times in the meantime; try again later"
        )))
    }

    /// Signs the statement that `predicate` of `predicate_type` holds for an image, and attaches it.
    pub fn attest(
        &self,
        reference: &Reference,
        predicate_type: &str,
        predicate: Value,
        signer: &dyn Signer,
    ) -> Result<Attachment> {
        let subject = self.resolve(reference)?;
        let name = reference.repository().to_string();
        let envelope = dsse::sign(&name, subject.digest(), predicate_type, predicate, signer)?;
        self.attach_envelope(reference.repository(), &subject, predicate_type, &envelope)
    }

    /// Attaches a signed summary of a verdict to the image that was judged.
    pub fn attach_summary(
        &self,
        reference: &Reference,
        subject: &Descriptor,
        summary: &[u8],
    ) -> Result<Attachment> {
        self.attach_envelope(reference.repository(), subject, vsa::PREDICATE_TYPE, summary)
    }

    /// Attaches a signed envelope to an image as a referrer.
    fn attach_envelope(
        &self,
        repository: &Repository,
        subject: &Descriptor,
        predicate_type: &str,
        envelope: &[u8],
    ) -> Result<Attachment> {
        let kind = MediaType::Other(dsse::ENVELOPE_MEDIA_TYPE.into());
        let layer =
            Descriptor::of(kind, envelope).with_annotation(PREDICATE_ANNOTATION, predicate_type);
        self.push_blob(repository, &layer, envelope)?;
        self.push_blob(repository, &Descriptor::empty(), b"{}")?;
        let annotations = [(PREDICATE_ANNOTATION.to_owned(), predicate_type.to_owned())];
        let manifest = Manifest::artifact(dsse::STATEMENT_PAYLOAD_TYPE, vec![layer])
            .with_subject(subject.clone())
            .with_annotations(annotations.into());
        let manifest = Raw::encode(&manifest).map_err(|error| Error::Invalid(error.to_string()))?;
        let client = self.engine.transport().client()?.repository(repository);
        let selector = Selector::Digest(manifest.digest());
        let bytes = Bytes::copy_from_slice(manifest.bytes());
        let put = client.put_manifest(&selector, &MediaType::OciManifest, bytes);
        self.engine.transport().block_on(put)??;
        Ok(Attachment { subject: subject.clone(), manifest: manifest.digest(), tag: None })
    }

    /// The signatures that stand under a tag, and the manifest that lists them.
    fn signatures(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> Result<(Option<Digest>, Vec<Descriptor>)> {
        let client = self.engine.transport().client()?.repository(repository);
        let selector = Selector::Tag(tag.to_owned());
        let fetched = match self.engine.transport().block_on(client.manifest(&selector))? {
            Ok(fetched) => fetched,
            Err(error) if error.is_not_found() => return Ok((None, Vec::new())),
            Err(error) => return Err(error.into()),
        };
        let manifest = Raw::<Manifest>::parse(&fetched.bytes[..]).map_err(|error| {
            Error::Invalid(format!(
                "sign {repository}: what stands under {tag} is no signature: {error}"
            ))
        })?;
        Ok((Some(manifest.digest()), manifest.layers().to_vec()))
    }

    /// Writes a tag that must still be what it was. A registry that knows no conditions is read
    /// before and after.
    fn swap(
        &self,
        repository: &Repository,
        tag: &str,
        before: Option<&Digest>,
        manifest: &Raw<Manifest>,
    ) -> Result<bool> {
        let client = self.engine.transport().client()?.repository(repository);
        let bytes = Bytes::copy_from_slice(manifest.bytes());
        let kind = MediaType::OciManifest;
        let swap = client.replace_tag(tag, before, &kind, bytes.clone());
        if self.engine.transport().block_on(swap)??.is_none() {
            if self.signatures(repository, tag)?.0.as_ref() != before {
                return Ok(false);
            }
            let selector = Selector::Tag(tag.to_owned());
            self.engine.transport().block_on(client.put_manifest(&selector, &kind, bytes))??;
        }
        Ok(self.signatures(repository, tag)?.0 == Some(manifest.digest()))
    }

    fn push_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<()> {
        let client = self.engine.transport().client()?.repository(repository);
        let content = Box::new(Bytes::copy_from_slice(bytes));
        self.engine.transport().block_on(client.push_blob(&descriptor.bare(), content, &[]))??;
        Ok(())
    }
}

//! A source whose images stand in one list: an OCI layout, in a folder or in a tar.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read;

use oci::limits::MANIFEST_BYTES_MAX;
use oci::{Descriptor, Digest, Index, ManifestOrIndex, Raw, Source, TransferError, annotation};
use registry_client::copy::{Attached, ClosureSource, attached_tags, is_attachment_tag};

use crate::error::{Error, Result};

/// Content with the list of what stands for an image, or for something that is attached to one.
pub(super) struct Listed {
    content: Box<dyn Source>,
    entries: Vec<Descriptor>,
    referrers: BTreeMap<Digest, Vec<Descriptor>>,
}

impl Listed {
    /// The images of `index`. Documents of unknown kinds and those that are not there refer to
    /// nothing.
    pub(super) fn new(content: Box<dyn Source>, index: &Index) -> Result<Self> {
        let entries = index.manifests().to_vec();
        let mut referrers = BTreeMap::<Digest, Vec<Descriptor>>::new();
        for entry in &entries {
            if let Some(subject) = subject_of(&*content, entry)? {
                referrers.entry(subject).or_default().push(entry.bare());
            }
        }
        Ok(Self { content, entries, referrers })
    }

    /// The image of this name, or the only one.
    pub(super) fn find(&self, place: &str, name: Option<&str>) -> Result<Descriptor> {
        let found = match name {
            Some(name) => self.named(name),
            None => self.only_image(place)?.map(Descriptor::bare),
        };
        found.ok_or_else(|| Error::NoSuchImage { name: place.to_owned() })
    }

    /// What has a name.
    pub(super) fn named(&self, name: &str) -> Option<Descriptor> {
        self.entries.iter().find(|entry| name_of(entry) == Some(name)).map(Descriptor::bare)
    }

    /// The one entry that is neither attached to another nor trust data.
    fn only_image(&self, place: &str) -> Result<Option<&Descriptor>> {
        let attached: BTreeSet<&Digest> =
            self.referrers.values().flatten().map(Descriptor::digest).collect();
        let is_image = |entry: &&Descriptor| {
            let name = name_of(entry).unwrap_or_default();
            !attached.contains(entry.digest()) && !name.starts_with('_') && !is_attachment_tag(name)
        };
        let images: Vec<&Descriptor> = self.entries.iter().filter(is_image).collect();
        let mut digests: Vec<&Digest> = images.iter().map(|image| image.digest()).collect();
        digests.sort();
        digests.dedup();
        if digests.len() > 1 {
            let names: Vec<&str> = images.iter().filter_map(|image| name_of(image)).collect();
            return Err(Error::Invalid(format!(
                "{place}: it has {} images; name one behind a colon: {}",
                digests.len(),
                names.join(", ")
            )));
        }
        Ok(images.first().copied())
    }
}

/// What an entry is called.
pub(super) fn name_of(entry: &Descriptor) -> Option<&str> {
    entry
        .annotation(annotation::REF_NAME)
        .or_else(|| entry.annotation(annotation::CONTAINERD_IMAGE_NAME))
}

fn subject_of(content: &dyn Source, entry: &Descriptor) -> Result<Option<Digest>> {
    if !entry.media_type().is_manifest() && !entry.media_type().is_index() {
        return Ok(None);
    }
    let bytes = match content.fetch(entry, MANIFEST_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == oci::TransferErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let document = Raw::<ManifestOrIndex>::parse(bytes).ok();
    Ok(document.and_then(|document| document.subject().map(|subject| subject.digest().clone())))
}

impl Source for Listed {
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, TransferError> {
        self.content.open(descriptor)
    }
}

impl ClosureSource for Listed {
    fn closure(&self, manifests: &[Digest]) -> Result<Vec<Attached>, TransferError> {
        let mut waiting: VecDeque<Digest> = manifests.iter().cloned().collect();
        let mut followed: BTreeSet<Digest> = manifests.iter().cloned().collect();
        let mut found: Vec<Attached> = Vec::new();
        while let Some(subject) = waiting.pop_front() {
            for one in self.attached_to(&subject) {
                if followed.insert(one.descriptor.digest().clone()) {
                    waiting.push_back(one.descriptor.digest().clone());
                }
                if !found.contains(&one) {
                    found.push(one);
                }
            }
        }
        Ok(found)
    }
}

impl Listed {
    fn attached_to(&self, subject: &Digest) -> Vec<Attached> {
        let attached = |descriptor: &Descriptor, tag| Attached {
            descriptor: descriptor.bare(),
            subject: subject.clone(),
            tag,
        };
        let by_subject = self.referrers.get(subject).into_iter().flatten();
        let mut all: Vec<Attached> = by_subject.map(|one| attached(one, None)).collect();
        for tag in attached_tags(subject) {
            let named = self.entries.iter().filter(|entry| name_of(entry) == Some(tag.as_str()));
            all.extend(named.map(|entry| attached(entry, Some(tag.clone()))));
        }
        all
    }
}

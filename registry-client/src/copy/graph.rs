//! The graph behind a descriptor, children before parents.

use std::collections::HashMap;
use std::sync::Arc;

use oci::{
    Descriptor, Digest, ManifestOrIndex, Platform, Raw, Source, TransferError, TransferErrorKind,
};

use crate::limits::{GRAPH_DEPTH_MAX, GRAPH_NODES_MAX, MANIFEST_BYTES_MAX};

/// Content and all that it names, each digest once, children before parents.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    places: HashMap<Digest, usize>,
}

/// One piece of content in a graph.
#[derive(Clone, Debug)]
pub struct Node {
    descriptor: Descriptor,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Blob,
    Document(Arc<[u8]>),
    /// A document that the other side has with all its children; it was not read.
    KnownPresent,
}

impl Node {
    /// Its descriptor.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The exact bytes of a manifest or index.
    pub fn bytes(&self) -> Option<&Arc<[u8]>> {
        match &self.content {
            Content::Document(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether the other side was found to have it whole while the graph was read.
    pub fn is_known_present(&self) -> bool {
        matches!(self.content, Content::KnownPresent)
    }
}

struct Reading<'a> {
    source: &'a dyn Source,
    platforms: &'a [Platform],
    whole: &'a dyn Fn(&Descriptor) -> Result<bool, TransferError>,
}

impl Reading<'_> {
    fn wants(&self, child: &Descriptor) -> bool {
        let Some(platform) = child.platform() else { return true };
        let wanted = |want: &Platform| platform.rank_for(want).is_some();
        self.platforms.is_empty() || self.platforms.iter().any(wanted)
    }
}

impl Graph {
    /// Reads the documents behind `root`, of indexes only the entries for `platforms` (all, where
    /// none is named) and those that name no platform. What `whole` says the other side has is not read.
    pub fn read(
        source: &dyn Source,
        root: &Descriptor,
        platforms: &[Platform],
        whole: &dyn Fn(&Descriptor) -> Result<bool, TransferError>,
    ) -> Result<Self, TransferError> {
        let mut graph = Self::default();
        let reading = Reading { source, platforms, whole };
        graph.add(&reading, root, 0)?;
        Ok(graph)
    }

    /// All nodes, children before parents; the root is the last.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    fn add(
        &mut self,
        reading: &Reading<'_>,
        descriptor: &Descriptor,
        depth: usize,
    ) -> Result<(), TransferError> {
        if self.places.contains_key(descriptor.digest()) {
            return Ok(());
        }
        let is_document =
            descriptor.media_type().is_manifest() || descriptor.media_type().is_index();
        let content = match is_document {
            false => Content::Blob,
            true if (reading.whole)(descriptor)? => Content::KnownPresent,
            true => {
                if depth >= GRAPH_DEPTH_MAX {
                    let text = format!("an index nested deeper than {GRAPH_DEPTH_MAX}");
                    return Err(too_large(descriptor, &text));
                }
                let document = read_document(reading.source, descriptor)?;
                for child in document.children().into_iter().filter(|c| reading.wants(c)) {
                    self.add(reading, child, depth + 1)?;
                }
                Content::Document(document.bytes().clone())
            }
        };
        if self.nodes.len() >= GRAPH_NODES_MAX {
            return Err(too_large(descriptor, &format!("more than {GRAPH_NODES_MAX} parts")));
        }
        self.places.insert(descriptor.digest().clone(), self.nodes.len());
        self.nodes.push(Node { descriptor: descriptor.clone(), content });
        Ok(())
    }
}

/// The manifest for a platform behind a manifest or index: itself where it is a manifest, else
/// the best match, through nested indexes (DST-43).
pub fn select_platform(
    source: &dyn Source,
    root: &Descriptor,
    platform: &Platform,
) -> Result<Descriptor, TransferError> {
    let mut current = root.clone();
    for _ in 0..GRAPH_DEPTH_MAX {
        if !current.media_type().is_index() {
            return Ok(current);
        }
        let document = read_document(source, &current)?;
        let ManifestOrIndex::Index(index) = document.into_parsed() else { return Ok(current) };
        current = match index.choose(platform) {
            Some(chosen) => chosen.clone(),
            None => return Err(no_match(root, platform, &index)),
        };
    }
    Err(too_large(root, &format!("an index nested deeper than {GRAPH_DEPTH_MAX}")))
}

fn no_match(root: &Descriptor, platform: &Platform, index: &oci::Index) -> TransferError {
    let offered = index.platforms().iter().map(ToString::to_string).collect::<Vec<_>>();
    TransferError::new(
        TransferErrorKind::NotFound,
        format!(
            "no matching manifest for {platform} in {}: it has {}",
            root.digest(),
            if offered.is_empty() { "no platforms".to_owned() } else { offered.join(", ") }
        ),
    )
}

fn read_document(
    source: &dyn Source,
    descriptor: &Descriptor,
) -> Result<Raw<ManifestOrIndex>, TransferError> {
    let bytes = source.fetch(descriptor, MANIFEST_BYTES_MAX)?;
    Raw::parse(bytes).map_err(|error| {
        TransferError::because(
            TransferErrorKind::Corrupt,
            format!("read {}", descriptor.digest()),
            error,
        )
    })
}

fn too_large(descriptor: &Descriptor, what: &str) -> TransferError {
    TransferError::new(
        TransferErrorKind::Corrupt,
        format!("{} is refused: it is {what}", descriptor.digest()),
    )
}

//! From solved graphs to manifests: config, history, times, index.

use std::io;

use oci::{
    Compression, Descriptor, Digest, ImageConfig, Index, Manifest, MediaType, Platform, Raw,
};
use store::{Dialect, Diff, DiffOptions, LayerId};

use super::leaks::Leaks;
use super::worker::{Node, Solver};
use crate::error::{Error, Result};
use crate::graph::{Graph, HistoryOrigin, Op, VertexId};
use crate::request::{BuiltImage, Material, StepLayer};

/// A layer of the result.
struct ResultLayer {
    descriptor: Descriptor,
    diff_id: Digest,
    /// When it was made, for new layers.
    created: Option<String>,
    /// The unpacked layer, for new layers.
    layer: Option<LayerId>,
}

impl Solver<'_> {
    /// Writes config, manifest and, for several platforms, the index.
    pub(super) fn assemble(&self) -> Result<(Descriptor, Vec<BuiltImage>)> {
        let images =
            (0..self.graphs.len()).map(|graph| self.image(graph)).collect::<Result<Vec<_>>>()?;
        let root = match images.as_slice() {
            [only]
                if self.request.platforms.len() <= 1
                    && self.request.index_annotations.is_empty() =>
            {
                only.manifest.clone()
            }
            several => {
                let manifests = several
                    .iter()
                    .map(|i| i.manifest.clone().with_platform(i.platform.clone()))
                    .collect();
                let index = match self.request.dialect {
                    Dialect::Oci => Index::new(manifests)
                        .with_annotations(self.request.index_annotations.clone()),
                    Dialect::Docker => Index::docker(manifests),
                };
                self.put(&Raw::encode(&index)?)?
            }
        };
        Ok((root, images))
    }

    fn image(&self, number: usize) -> Result<BuiltImage> {
        let graph = &self.graphs[number];
        let layers =
            if self.request.squash { self.squashed(number)? } else { self.layers(number)? };
        let config = self.config(graph, number, &layers)?;
        let steps = self.step_layers(number)?;
        let chain = graph.result_chain();
        let own = steps.iter().filter(|step| chain.contains(&step.vertex));
        let own: Vec<(LayerId, String)> =
            own.map(|step| (step.layer.clone(), graph.vertex(step.vertex).name.clone())).collect();
        self.refuse_leaks(&Leaks::of(&self.request.credentials), &config, &own)?;
        let raw = Raw::encode(&config)?;
        let mut config_descriptor = raw.descriptor();
        if self.request.dialect == Dialect::Docker {
            config_descriptor =
                Descriptor::new(MediaType::DockerConfig, raw.digest(), raw.bytes().len() as u64);
        }
        self.lease.hold(config_descriptor.digest())?;
        self.store.content().put(&config_descriptor, raw.bytes())?;
        let descriptors = layers.iter().map(|l| l.descriptor.clone()).collect();
        let manifest = match self.request.dialect {
            Dialect::Oci => Manifest::new(config_descriptor.clone(), descriptors)
                .with_annotations(self.request.annotations.clone()),
            Dialect::Docker => Manifest::docker(config_descriptor.clone(), descriptors),
        };
        let manifest = self.put(&Raw::encode(&manifest)?)?;
        let top = if graph.epoch.is_none() && !self.request.squash {
            self.name_layers(&layers)?
        } else {
            None
        };
        Ok(BuiltImage {
            platform: graph.platform.clone(),
            manifest,
            config_descriptor,
            config,
            top,
            graph: graph.clone(),
            layers: steps,
            steps: self.counts(number),
            materials: materials(graph),
        })
    }

    /// What each step of a graph made.
    fn step_layers(&self, number: usize) -> Result<Vec<StepLayer>> {
        let mut layers = Vec::new();
        for vertex in &self.graphs[number].vertices {
            let output = self.output(Node { graph: number, vertex: vertex.id })?;
            layers.extend(
                output
                    .step
                    .map(|(_, record)| StepLayer { vertex: vertex.id, layer: record.layer_id() }),
            );
        }
        Ok(layers)
    }

    fn put<T: oci::Document>(&self, raw: &Raw<T>) -> Result<Descriptor> {
        self.lease.hold(&raw.digest())?;
        Ok(self.store.content().put_raw(raw)?)
    }

    /// The layers of a result, base first.
    fn layers(&self, number: usize) -> Result<Vec<ResultLayer>> {
        let graph = &self.graphs[number];
        let mut layers = Vec::new();
        for id in graph.result_chain() {
            let node = Node { graph: number, vertex: id };
            match &graph.vertex(id).op {
                Op::Image(image) => {
                    self.fetch(graph, id)?;
                    for (blob, diff_id) in image.layers.iter().zip(image.config.diff_ids()) {
                        let compression =
                            blob.media_type().layer_compression().unwrap_or(Compression::Gzip);
                        let media_type = if blob.media_type().is_non_distributable() {
                            blob.media_type().clone()
                        } else {
                            self.request.dialect.layer(compression)
                        };
                        let descriptor =
                            Descriptor::new(media_type, blob.digest().clone(), blob.size());
                        layers.push(ResultLayer {
                            descriptor,
                            diff_id: diff_id.clone(),
                            created: None,
                            layer: None,
                        });
                    }
                }
                _ => {
                    let Some((_, record)) = self.output(node)?.step else { continue };
                    let Diff { descriptor, diff_id, .. } = self.diff_of(node)?;
                    let media_type = self.request.dialect.layer(self.request.compression);
                    let mut descriptor =
                        Descriptor::new(media_type, descriptor.digest().clone(), descriptor.size());
                    if self.request.inline_cache
                        && let Some(step) = self.travelling(number, id)?
                    {
                        descriptor = step.annotate(descriptor);
                    }
                    layers.push(ResultLayer {
                        descriptor,
                        diff_id,
                        created: Some(record.created.clone()),
                        layer: Some(record.layer_id()),
                    });
                }
            }
        }
        Ok(layers)
    }

    /// Makes sure that the blobs of a base image are in the store.
    fn fetch(&self, graph: &Graph, id: VertexId) -> Result<()> {
        let Op::Image(image) = &graph.vertex(id).op else { return Ok(()) };
        let mut all_there = true;
        for layer in &image.layers {
            self.lease.hold(layer.digest())?;
            all_there &= self.store.content().rely(layer.digest())? == Some(layer.size());
        }
        if all_there {
            return Ok(());
        }
        let fetched = self.ports.images.fetch(image, self.lease);
        fetched.map_err(|source| Error::Unpack { reference: image.reference.to_string(), source })
    }

    /// Everything in one layer, the base included.
    fn squashed(&self, number: usize) -> Result<Vec<ResultLayer>> {
        let graph = &self.graphs[number];
        let Some(top) = graph.result else { return Ok(Vec::new()) };
        let Some(top) = self.ready_layer(Node { graph: number, vertex: top })? else {
            return Ok(Vec::new());
        };
        let options = DiffOptions {
            compression: self.request.compression,
            dialect: self.request.dialect,
            epoch: graph.epoch,
            threads: None,
        };
        let layers = self.store.layers();
        let (reader, mut writer) = io::pipe().map_err(|source| Error::Cache {
            act: "make a pipe for",
            path: self.cache.root().to_owned(),
            source,
        })?;
        let diff = std::thread::scope(|scope| {
            let exporter = scope.spawn(|| {
                let done = layers.export(Some(&top), graph.epoch, &mut writer);
                drop(writer);
                done
            });
            let added = layers.add_tar(reader, &options);
            // A failed export ends the stream early: its error comes first.
            match exporter.join() {
                Ok(Err(error)) => Err(Error::from(error)),
                _ => added.map_err(Error::from),
            }
        })?;
        self.lease.hold(diff.descriptor.digest())?;
        let created = Some(self.lines.now().to_string());
        Ok(vec![ResultLayer {
            descriptor: diff.descriptor,
            diff_id: diff.diff_id,
            created,
            layer: None,
        }])
    }

    /// The config of a result with its layers, history and times.
    fn config(&self, graph: &Graph, number: usize, layers: &[ResultLayer]) -> Result<ImageConfig> {
        let mut config = graph.config.clone();
        config.rootfs.diff_ids = layers.iter().map(|l| l.diff_id.clone()).collect();
        let epoch = graph.epoch.map(epoch_text).transpose()?;
        let mut time = epoch.clone().or_else(|| layers.iter().find_map(|l| l.created.clone()));
        for entry in &graph.history {
            let mut line = entry.entry.clone();
            match entry.origin {
                HistoryOrigin::Base => {
                    if layers.iter().all(|l| l.created.is_none()) && epoch.is_none() {
                        time = line.created.clone().or(time);
                    }
                }
                HistoryOrigin::Metadata => line.created = epoch.clone().or_else(|| time.clone()),
                HistoryOrigin::Step(id) => {
                    let step = self.output(Node { graph: number, vertex: id })?.step;
                    time =
                        epoch.clone().or_else(|| step.map(|(_, record)| record.created)).or(time);
                    line.created.clone_from(&time);
                }
            }
            if self.request.squash {
                line.empty_layer = true;
            }
            config.history.push(line);
        }
        if self.request.squash && !layers.is_empty() {
            let created = epoch.clone().or_else(|| layers[0].created.clone());
            let comment = format!(
                "merge {} layers",
                graph.history.iter().filter(|h| !h.entry.empty_layer).count()
            );
            config.history.push(oci::History {
                created,
                comment: Some(comment),
                ..oci::History::default()
            });
        }
        config.created = epoch.or(time).or_else(|| Some(self.lines.now().to_string()));
        Ok(config)
    }

    /// Makes the unpacked layers known under their chain ids, so that a container needs no unpacking.
    fn name_layers(&self, layers: &[ResultLayer]) -> Result<Option<LayerId>> {
        let diff_ids: Vec<Digest> = layers.iter().map(|l| l.diff_id.clone()).collect();
        let chain = oci::chain_ids(&diff_ids);
        let mut below: Option<LayerId> = None;
        for (layer, id) in layers.iter().zip(&chain) {
            let id = LayerId::from(id);
            self.lease.hold_layer(&id)?;
            match &layer.layer {
                Some(own) => self.store.layers().alias(&id, own, below.as_ref(), &layer.diff_id)?,
                // A base that is not unpacked: nothing can be put on top of it under this name.
                None if self.store.layers().get(&id)?.is_none() => return Ok(None),
                None => {}
            }
            below = Some(id);
        }
        Ok(below)
    }
}

fn epoch_text(seconds: i64) -> Result<String> {
    jiff::Timestamp::from_second(seconds).map(|t| t.to_string()).map_err(|e| Error::Request {
        what: "SOURCE_DATE_EPOCH",
        value: seconds.to_string(),
        reason: e.to_string(),
    })
}

/// The images that went in.
fn materials(graph: &Graph) -> Vec<Material> {
    graph
        .vertices
        .iter()
        .filter_map(|v| match &v.op {
            Op::Image(image) => Some(Material {
                uri: image.reference.to_string(),
                digest: image.manifest.digest().clone(),
            }),
            _ => None,
        })
        .collect()
}

/// The platforms of a request, the machine's own when nothing was said.
pub(super) fn platforms(request: &crate::request::BuildRequest) -> Vec<Platform> {
    if request.platforms.is_empty() {
        vec![request.build_platform.clone()]
    } else {
        request.platforms.clone()
    }
}

//! SLSA provenance: who built an image from what, and how (SLSA v1.0, "Provenance").
//!
//! The fields follow BuildKit's definition of its build type, so that what reads BuildKit's provenance reads this.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Predicate, purl};
use crate::frontend::Network;
use crate::graph::{CopyItem, Graph, Op, RunMount};
use crate::lower::{NoCache, without_credentials};
use crate::request::{BuildRequest, BuiltImage};

/// The type of the predicate.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// The definition that parameters and metadata follow.
const BUILD_TYPE: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
/// Who built, where nobody said it.
const BUILDER: &str = "urn:wherry:builder";

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What can be shown to everybody: no values of arguments and labels, no names of secrets, no Dockerfile.
    Min,
    /// Everything but secrets.
    Max,
}

/// What provenance is made of, beside the build itself.
#[derive(Debug, Clone)]
pub struct Provenance {
    /// How much is told.
    pub mode: Mode,
    /// `builder-id`: who built.
    pub builder: Option<String>,
    /// The version of the program.
    pub version: String,
    /// When the build began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

impl Provenance {
    /// The predicate about the image of one platform.
    pub fn of(&self, request: &BuildRequest, image: &BuiltImage) -> Predicate {
        let graph = &image.graph;
        let is_max = self.mode == Mode::Max;
        let mut internal = Map::new();
        internal.insert("builderPlatform".to_owned(), json!(request.build_platform.to_string()));
        if is_max {
            internal.insert("buildConfig".to_owned(), json!({ "steps": steps(graph) }));
        }
        let hermetic = is_hermetic(graph);
        let mut metadata = Map::new();
        metadata.insert("startedOn".to_owned(), json!(self.started.to_string()));
        metadata.insert("finishedOn".to_owned(), json!(self.finished.to_string()));
        metadata.insert("buildkit_hermetic".to_owned(), json!(hermetic));
        metadata.insert(
            "buildkit_completeness".to_owned(),
            json!({ "request": is_max, "resolvedDependencies": hermetic }),
        );
        if is_max {
            metadata.insert("buildkit_metadata".to_owned(), sources(request, graph));
        }
        let body = json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "configSource": { "path": request.dockerfile_name },
                    "request": self.request(request, graph),
                },
                "internalParameters": internal,
                "resolvedDependencies": dependencies(graph),
            },
            "runDetails": {
                "builder": {
                    "id": self.builder.as_deref().unwrap_or(BUILDER),
                    "version": { "wherry": self.version },
                },
                "metadata": metadata,
            },
        });
        Predicate { kind: PREDICATE_TYPE, body }
    }

    fn request(&self, request: &BuildRequest, graph: &Graph) -> Value {
        let mut args = Map::new();
        let mut put = |key: String, value: &str| {
            args.insert(key, Value::from(value));
        };
        if let Some(target) = &request.target {
            put("target".to_owned(), target);
        }
        if request.no_cache != NoCache::Use {
            let stages = match &request.no_cache {
                NoCache::Stages(stages) => stages.join(","),
                _ => String::new(),
            };
            put("no-cache".to_owned(), &stages);
        }
        if request.network != Network::Default {
            put("force-network-mode".to_owned(), request.network.as_str());
        }
        let mut told = json!({ "frontend": "dockerfile.v0" });
        if self.mode == Mode::Max {
            for (name, value) in &request.build_args {
                put(format!("build-arg:{name}"), &scrubbed(value));
            }
            for (name, value) in &request.labels {
                put(format!("label:{name}"), value);
            }
            let (secrets, ssh) = credentials(graph);
            told["secrets"] = json!(secrets);
            told["ssh"] = json!(ssh);
        }
        told["args"] = Value::Object(args);
        told["locals"] = json!(locals(request));
        told
    }
}

/// The local folders that were given.
fn locals(request: &BuildRequest) -> Vec<Value> {
    let mut names = vec!["dockerfile".to_owned()];
    names.extend(request.context.is_some().then(|| "context".to_owned()));
    names.extend(request.contexts.keys().cloned());
    names.into_iter().map(|name| json!({ "name": name })).collect()
}

/// The names of the secrets and agents that steps ask for; never what they hold.
fn credentials(graph: &Graph) -> (Vec<Value>, Vec<Value>) {
    let (mut secrets, mut ssh) = (Vec::new(), Vec::new());
    for vertex in &graph.vertices {
        let Op::Run(run) = &vertex.op else { continue };
        for mount in &run.mounts {
            let (list, id, required) = match mount {
                RunMount::Secret { id, required, .. } => (&mut secrets, id, required),
                RunMount::Ssh { id, required, .. } => (&mut ssh, id, required),
                _ => continue,
            };
            let mut entry = json!({ "id": id });
            if !required {
                entry["optional"] = Value::Bool(true);
            }
            if !list.contains(&entry) {
                list.push(entry);
            }
        }
    }
    (secrets, ssh)
}

/// True when no step could have asked the network for anything.
fn is_hermetic(graph: &Graph) -> bool {
    graph.vertices.iter().all(|vertex| match &vertex.op {
        Op::Run(run) => run.network == Network::None,
        _ => true,
    })
}

/// Images and addresses that went in, each once.
fn dependencies(graph: &Graph) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    let mut add = |uri: String, digest: Option<(&str, &str)>| {
        let mut entry = json!({ "uri": uri });
        if let Some((algorithm, hex)) = digest {
            entry["digest"] = json!({ algorithm: hex });
        }
        if !found.contains(&entry) {
            found.push(entry);
        }
    };
    for vertex in &graph.vertices {
        match &vertex.op {
            Op::Image(image) => {
                let digest = image.manifest.digest();
                let algorithm = digest.algorithm().to_string();
                let uri = purl::image(&image.reference, &graph.platform);
                add(uri, Some((&algorithm, digest.hex())));
            }
            Op::Copy(copy) => {
                for item in &copy.items {
                    match item {
                        CopyItem::Url { url, checksum, .. } => {
                            let algorithm = checksum.as_ref().map(|d| d.algorithm().to_string());
                            let digest =
                                algorithm.as_deref().zip(checksum.as_ref().map(|d| d.hex()));
                            add(without_credentials(url), digest);
                        }
                        CopyItem::Git { remote, reference, checksum, .. } => {
                            let mut uri = without_credentials(remote);
                            if let Some(reference) = reference {
                                uri.push('#');
                                uri.push_str(reference);
                            }
                            // A prefix of a commit names it, but is no digest.
                            let whole = checksum.as_deref().filter(|text| text.len() == 40);
                            add(uri, whole.map(|hex| ("sha1", hex)));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// The same text without the passwords of addresses in it.
fn scrubbed(text: &str) -> String {
    text.split_inclusive(char::is_whitespace)
        .map(|word| {
            let bare = word.trim_end();
            without_credentials(bare) + &word[bare.len()..]
        })
        .collect()
}

/// The graph, step by step.
fn steps(graph: &Graph) -> Vec<Value> {
    let id = |number: usize| format!("step{number}");
    graph
        .vertices
        .iter()
        .map(|vertex| {
            let inputs: Vec<String> = vertex.inputs().iter().map(|input| id(input.0)).collect();
            let mut step =
                json!({ "id": id(vertex.id.0), "name": scrubbed(&vertex.name), "inputs": inputs });
            if let Op::Run(run) = &vertex.op {
                let args: Vec<String> = run.args.iter().map(|arg| scrubbed(arg)).collect();
                step["args"] = json!(args);
                step["network"] = json!(run.network.as_str());
            }
            step
        })
        .collect()
}

/// The Dockerfile, and which lines of it are which step.
fn sources(request: &BuildRequest, graph: &Graph) -> Value {
    let text = &request.dockerfile.text;
    let mut locations = Map::new();
    for vertex in &graph.vertices {
        let Some(span) = vertex.span else { continue };
        let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let range =
            json!({ "start": { "line": line(span.start) }, "end": { "line": line(span.end) } });
        let place = json!({ "locations": [{ "ranges": [range] }] });
        locations.insert(format!("step{}", vertex.id.0), place);
    }
    json!({
        "source": {
            "infos": [{
                "filename": request.dockerfile_name,
                "language": "Dockerfile",
                "data": STANDARD.encode(scrubbed(text)),
            }],
            "locations": locations,
        },
    })
}

#[cfg(test)]
mod tests;

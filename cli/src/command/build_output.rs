//! `--output`, `--cache-from` and `--cache-to`: where the result of a build goes, and where its steps come from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine::builder::lower::NoCache;
use engine::builder::{BuildRequest, BuildResult, CacheLayers};
use engine::builds::{BuildImage, CacheFailure, CacheFrom, CachePlace, CacheTo, Naming};
use engine::oci::{Compression, Reference};
use engine::store::{Dialect, Lease, SaveFormat};

use super::Session;
use super::file::whole_file;
use crate::error::{Error, Result};

/// Flags about what comes out.
#[derive(Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// External cache sources (e.g., "user/app:cache", "type=local,src=path/to/dir")
    #[arg(long, value_name = "list")]
    cache_from: Vec<String>,
    /// Cache export destinations (e.g., "type=registry,ref=user/app:cache,mode=max", "type=local,dest=path/to/dir", "type=inline")
    #[arg(long, value_name = "list")]
    cache_to: Vec<String>,
    /// Shorthand for "--output=type=docker": keep the image in the store
    #[arg(long)]
    load: bool,
    /// Write build result metadata to the file
    #[arg(long, value_name = "string")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Output destination (format: "type=local,dest=path"; types are image, registry, docker, oci, tar and local)
    #[arg(short, long, value_name = "list")]
    output: Vec<String>,
}

/// What is made of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image,
    Docker,
    Oci,
    Layout,
    Tar,
    Local,
}

/// Where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Destination {
    Store,
    Stdout,
    Path(PathBuf),
}

/// The form of layers and documents: outputs of one form come from one build.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Form {
    compression: Compression,
    dialect: Dialect,
    annotations: Annotations,
}

/// Annotations by what they belong to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Annotations {
    pub(crate) manifest: BTreeMap<String, String>,
    pub(crate) index: BTreeMap<String, String>,
}

impl Annotations {
    /// `[manifest:|index:|manifest,index:]key=value`.
    pub(crate) fn add(&mut self, text: &str) -> Result<()> {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Error::refused(format!("invalid annotation {text:?}, expected key=value"), "")
        })?;
        let (levels, key) = key.split_once(':').unwrap_or(("manifest", key));
        self.set(levels, key, value)
    }

    fn set(&mut self, levels: &str, key: &str, value: &str) -> Result<()> {
        if key.is_empty() {
            return Err(Error::refused(format!("invalid annotation: {value:?} has no key"), ""));
        }
        for level in levels.split(',') {
            let list = match level {
                "manifest" => &mut self.manifest,
                "index" => &mut self.index,
                _ => {
                    return Err(Error::refused(
                        format!("annotations of {level:?} are not supported"),
                        "annotations belong to manifest or index, of all platforms",
                    ));
                }
            };
            list.insert(key.to_owned(), value.to_owned());
        }
        Ok(())
    }
}

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Output {
    kind: Kind,
    destination: Destination,
    names: Vec<Reference>,
    push: bool,
    form: Form,
}

/// Outputs of one form.
struct Group {
    form: Form,
    outputs: Vec<Output>,
}

/// Everything that is to be done with a build.
pub(crate) struct Outputs {
    groups: Vec<Group>,
    cache_from: Vec<CacheFrom>,
    cache_to: Vec<CacheTo>,
    cache_layers: CacheLayers,
    inline_cache: bool,
}

impl OutputArgs {
    /// Reads the flags; without `--output` the image stays in the store.
    pub(crate) fn read(&self, tags: &[Reference], annotations: &[String]) -> Result<Outputs> {
        let mut common = Annotations::default();
        annotations.iter().try_for_each(|text| common.add(text))?;
        let mut texts: Vec<&str> = self.output.iter().map(String::as_str).collect();
        if texts.is_empty() || self.load {
            texts.push("type=image");
        }
        let mut groups: Vec<Group> = Vec::new();
        for text in texts {
            let output = Output::read(text, &common)?;
            if output.push && tags.is_empty() && output.names.is_empty() {
                return Err(Error::refused(
                    "tag is needed when pushing to registry",
                    "name the image: -t NAME:TAG",
                ));
            }
            match groups.iter_mut().find(|group| group.form == output.form) {
                Some(group) => group.outputs.push(output),
                None => groups.push(Group { form: output.form.clone(), outputs: vec![output] }),
            }
        }
        let stdout = groups.iter().flat_map(|g| &g.outputs);
        if stdout.filter(|o| o.destination == Destination::Stdout).count() > 1 {
            return Err(Error::refused("only one output can go to standard output", ""));
        }
        let mut outputs = Outputs {
            groups,
            cache_from: self.cache_from.iter().map(|t| cache_from(t)).collect::<Result<_>>()?,
            cache_to: Vec::new(),
            cache_layers: CacheLayers::None,
            inline_cache: false,
        };
        self.cache_to.iter().try_for_each(|text| outputs.add_cache_to(text))?;
        Ok(outputs)
    }
}

impl Outputs {
    fn add_cache_to(&mut self, text: &str) -> Result<()> {
        let fields = Fields::read("cache-to", text, "registry", "ref")?;
        let layers = match fields.get("mode") {
            None | Some("min") => CacheLayers::Result,
            Some("max") => CacheLayers::All,
            Some(other) => return Err(fields.wrong(&format!("unknown mode {other:?}"))),
        };
        let failure = match fields.switch("ignore-error")? {
            Some(true) => CacheFailure::Mentioned,
            _ => CacheFailure::Fails,
        };
        let place = match fields.get("type") {
            Some("inline") => {
                fields.only(&["type", "mode"])?;
                if layers == CacheLayers::All {
                    return Err(
                        fields.wrong("an image holds the layers of its result only (mode=min)")
                    );
                }
                self.inline_cache = true;
                self.want(layers);
                return Ok(());
            }
            Some("registry") => {
                fields.only(&[
                    "type",
                    "ref",
                    "mode",
                    "ignore-error",
                    "image-manifest",
                    "oci-mediatypes",
                    "compression",
                ])?;
                CachePlace::Registry(fields.required("ref")?.parse::<Reference>()?.or_latest())
            }
            Some("local") => {
                fields.only(&[
                    "type",
                    "dest",
                    "mode",
                    "ignore-error",
                    "image-manifest",
                    "oci-mediatypes",
                    "compression",
                ])?;
                CachePlace::Local(PathBuf::from(fields.required("dest")?))
            }
            _ => return Err(fields.wrong("types are registry, local and inline")),
        };
        for always in ["image-manifest", "oci-mediatypes"] {
            if fields.switch(always)? == Some(false) {
                return Err(fields.wrong(&format!("{always} is always true here")));
            }
        }
        // The layers of the cache are those of the image: compressing them once more would make others.
        if !matches!(fields.get("compression"), None | Some("gzip" | "zstd" | "uncompressed")) {
            return Err(fields.wrong("compression is gzip, zstd or uncompressed"));
        }
        if let Some(name) = fields.get("compression")
            && compression(name) != Some(self.compression())
        {
            return Err(fields.wrong(
                "the layers of the cache are those of the image: say compression of --output",
            ));
        }
        self.cache_to.push(CacheTo { place, failure });
        self.want(layers);
        Ok(())
    }

    fn compression(&self) -> Compression {
        self.groups.first().map_or(Compression::Gzip, |group| group.form.compression)
    }

    fn want(&mut self, layers: CacheLayers) {
        if self.cache_layers != CacheLayers::All {
            self.cache_layers = layers;
        }
    }

    /// The caches that are read.
    pub(crate) fn cache_from(&self) -> Vec<CacheFrom> {
        self.cache_from.clone()
    }

    /// The caches that are written.
    pub(crate) fn cache_to(&self) -> &[CacheTo] {
        &self.cache_to
    }

    /// Whether standard output is taken by a result.
    pub(crate) fn takes_stdout(&self) -> bool {
        let mut all = self.groups.iter().flat_map(|group| &group.outputs);
        all.any(|output| output.destination == Destination::Stdout)
    }

    /// The build of each form, the first of which is the one that is shown; the others find its steps in the cache.
    pub(crate) fn builds(&self, build: &BuildImage) -> Vec<BuildImage> {
        let forms = self.groups.iter().enumerate();
        forms
            .map(|(number, group)| {
                let mut build = build.clone();
                group.form.apply(&mut build.request);
                if number == 0 {
                    build.request.cache_layers = self.cache_layers;
                    build.request.inline_cache = self.inline_cache;
                } else {
                    build.request.no_cache = NoCache::Use;
                }
                let stored = group.outputs.iter().filter(|o| o.destination == Destination::Store);
                let names: Vec<Reference> = stored.clone().flat_map(|o| o.names.clone()).collect();
                build.naming = if stored.count() > 0 { Naming::Store } else { Naming::None };
                for name in names {
                    if !build.tags.contains(&name) {
                        build.tags.push(name);
                    }
                }
                build
            })
            .collect()
    }

    /// Writes what the outputs of one form ask for; gives the names that are to be pushed.
    pub(crate) fn write(
        &self,
        session: &Session,
        number: usize,
        build: &BuildImage,
        (result, lease): (&BuildResult, &Lease),
    ) -> Result<Vec<Reference>> {
        let mut pushed = Vec::new();
        for output in self.groups.get(number).iter().flat_map(|group| &group.outputs) {
            output.write(session, build, result, lease)?;
            if output.push {
                pushed.extend(
                    build.tags.iter().filter(|t| !pushed.contains(*t)).cloned().collect::<Vec<_>>(),
                );
            }
        }
        Ok(pushed)
    }
}

impl Form {
    fn apply(&self, request: &mut BuildRequest) {
        request.compression = self.compression;
        request.dialect = self.dialect;
        request.annotations.clone_from(&self.annotations.manifest);
        request.index_annotations.clone_from(&self.annotations.index);
    }
}

impl Output {
    fn read(text: &str, common: &Annotations) -> Result<Self> {
        let text = match text {
            "-" => "type=tar,dest=-".to_owned(),
            path if !path.contains('=') => format!("type=local,dest={path}"),
            text => text.to_owned(),
        };
        let fields = Fields::read("output", &text, "", "")?;
        let mut annotations = common.clone();
        for (key, value) in &fields.pairs {
            if let Some(rest) = key.strip_prefix("annotation.") {
                annotations.set("manifest", rest, value)?;
            } else if let Some((level, rest)) =
                key.strip_prefix("annotation-").and_then(|k| k.split_once('.'))
            {
                annotations.set(level, rest, value)?;
            }
        }
        let dest = fields.get("dest");
        let is_layout = fields.switch("tar")? == Some(false);
        let (kind, push) = match fields.get("type") {
            Some("image") => (Kind::Image, fields.switch("push")? == Some(true)),
            Some("registry") => (Kind::Image, fields.switch("push")? != Some(false)),
            Some("docker") => (Kind::Docker, false),
            Some("oci") if is_layout => (Kind::Layout, false),
            Some("oci") => (Kind::Oci, false),
            Some("tar") => (Kind::Tar, false),
            Some("local") => (Kind::Local, false),
            _ => return Err(fields.wrong("types are image, registry, docker, oci, tar and local")),
        };
        fields.check(kind)?;
        let destination = match (kind, dest) {
            (Kind::Image, _) | (Kind::Docker, None) => Destination::Store,
            (Kind::Layout | Kind::Local, None | Some("-")) => {
                return Err(fields.wrong("dest is needed: the folder to write"));
            }
            (_, None | Some("-")) => Destination::Stdout,
            (_, Some(path)) => Destination::Path(PathBuf::from(path)),
        };
        let names = fields.get("name").unwrap_or_default().split(',').filter(|n| !n.is_empty());
        let names: Vec<Reference> =
            names.map(|name| Ok(name.parse::<Reference>()?.or_latest())).collect::<Result<_>>()?;
        Ok(Self { kind, destination, names, push, form: fields.form(kind, annotations)? })
    }

    fn write(
        &self,
        session: &Session,
        build: &BuildImage,
        result: &BuildResult,
        lease: &Lease,
    ) -> Result<()> {
        let builds = session.engine()?.builds();
        let mut names = self.names.clone();
        names.extend(build.tags.iter().filter(|tag| !self.names.contains(tag)).cloned());
        match (&self.destination, self.kind) {
            (Destination::Store, _) => Ok(()),
            (Destination::Path(folder), Kind::Local) => {
                Ok(builds.write_folder(result, lease, folder)?)
            }
            (Destination::Path(folder), Kind::Layout) => {
                Ok(builds.save_layout(result, &names, folder)?)
            }
            (destination, kind) => {
                let write = |out: &mut dyn std::io::Write| -> Result<()> {
                    match kind {
                        Kind::Tar => builds.write_tar(result, lease, out)?,
                        Kind::Docker => builds.save(result, &names, SaveFormat::Docker, out)?,
                        _ => builds.save(result, &names, SaveFormat::Oci, out)?,
                    }
                    Ok(())
                };
                to_destination(session, destination, write)
            }
        }
    }
}

fn to_destination(
    session: &Session,
    destination: &Destination,
    write: impl Fn(&mut dyn std::io::Write) -> Result<()>,
) -> Result<()> {
    let Destination::Path(path) = destination else {
        session.ui.refuse_terminal()?;
        return write(&mut std::io::stdout());
    };
    if path.is_dir() {
        return Err(Error::refused(
            format!(
                "destination file is required for this output, and {} is a folder",
                path.display()
            ),
            "write dest=FILE",
        ));
    }
    whole_file(path, |file| write(file))
}

fn compression(name: &str) -> Option<Compression> {
    match name {
        "gzip" => Some(Compression::Gzip),
        "zstd" => Some(Compression::Zstd),
        "uncompressed" => Some(Compression::None),
        _ => None,
    }
}

/// The record of one flag.
struct Fields {
    flag: &'static str,
    text: String,
    pairs: Vec<(String, String)>,
}

impl Fields {
    /// `key=value,…`; a text without any is the value of `short` of the type `kind`.
    fn read(flag: &'static str, text: &str, kind: &str, short: &str) -> Result<Self> {
        let mut fields = Self { flag, text: text.to_owned(), pairs: Vec::new() };
        if !text.contains('=') && !short.is_empty() {
            fields.pairs.push(("type".to_owned(), kind.to_owned()));
            fields.pairs.push((short.to_owned(), text.to_owned()));
            return Ok(fields);
        }
        for field in csv(text) {
            let Some((key, value)) = field.split_once('=') else {
                return Err(fields.wrong(&format!("{field:?} is no key=value")));
            };
            fields.pairs.push((key.trim().to_owned(), value.to_owned()));
        }
        Ok(fields)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    fn required(&self, key: &str) -> Result<&str> {
        let missing = || self.wrong(&format!("{key} is needed"));
        self.get(key).filter(|v| !v.is_empty()).ok_or_else(missing)
    }

    fn switch(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some("true" | "1" | "") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(self.wrong(&format!("{key} is true or false, not {other:?}"))),
        }
    }

    fn only(&self, known: &[&str]) -> Result<()> {
        match self.pairs.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            Some((key, _)) => {
                Err(self
                    .wrong(&format!("{key} is not supported; known here: {}", known.join(", "))))
            }
            None => Ok(()),
        }
    }

    /// Refuses what this kind of output does not know.
    fn check(&self, kind: Kind) -> Result<()> {
        let of_images: &[&str] = &["name", "compression", "oci-mediatypes", "rewrite-timestamp"];
        let known: &[&[&str]] = match kind {
            Kind::Image => &[of_images, &["push"]],
            Kind::Docker => &[of_images, &["dest"]],
            Kind::Oci | Kind::Layout => &[of_images, &["dest", "tar"]],
            Kind::Tar | Kind::Local => &[&["dest"]],
        };
        let known: Vec<&str> =
            known.iter().flat_map(|part| part.iter().copied()).chain(["type"]).collect();
        let annotation =
            |key: &str| key.starts_with("annotation.") || key.starts_with("annotation-");
        let is_image = !matches!(kind, Kind::Tar | Kind::Local);
        let unknown = |key: &str| !(known.contains(&key) || (annotation(key) && is_image));
        match self.pairs.iter().find(|(key, _)| unknown(key)) {
            Some((key, _)) => {
                Err(self
                    .wrong(&format!("{key} is not supported; known here: {}", known.join(", "))))
            }
            None => Ok(()),
        }
    }

    fn form(&self, kind: Kind, annotations: Annotations) -> Result<Form> {
        let compression = match self.get("compression") {
            None => Compression::Gzip,
            Some(name) => compression(name)
                .ok_or_else(|| self.wrong("compression is gzip, zstd or uncompressed"))?,
        };
        let oci = self.switch("oci-mediatypes")?.unwrap_or(true);
        if !oci && matches!(kind, Kind::Oci | Kind::Layout) {
            return Err(self.wrong("an OCI layout has OCI media types"));
        }
        if !oci && annotations != Annotations::default() {
            return Err(self.wrong("Docker's media types have no annotations"));
        }
        if self.switch("rewrite-timestamp")? == Some(false) {
            return Err(
                self.wrong("times are always clamped to SOURCE_DATE_EPOCH where that is given")
            );
        }
        let dialect = if oci { Dialect::Oci } else { Dialect::Docker };
        Ok(Form { compression, dialect, annotations })
    }

    fn wrong(&self, reason: &str) -> Error {
        Error::refused(format!("invalid --{} {:?}: {reason}", self.flag, self.text), "")
    }
}

/// Fields between commas; a field in double quotes may hold commas.
fn csv(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => {
                if let Some(last) = fields.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    fields
}

fn cache_from(text: &str) -> Result<CacheFrom> {
    let fields = Fields::read("cache-from", text, "registry", "ref")?;
    match fields.get("type") {
        Some("registry") => {
            fields.only(&["type", "ref"])?;
            Ok(CacheFrom::Registry(fields.required("ref")?.parse::<Reference>()?.or_latest()))
        }
        Some("local") => {
            fields.only(&["type", "src"])?;
            Ok(CacheFrom::Local(PathBuf::from(fields.required("src")?)))
        }
        _ => Err(fields.wrong("types are registry (which reads inline caches too) and local")),
    }
}

/// `--metadata-file`: what BuildKit writes into it.
pub(crate) fn write_metadata(path: &Path, build: &BuildImage, built: &BuildResult) -> Result<()> {
    let mut metadata = serde_json::json!({
        "containerimage.descriptor": {
            "mediaType": built.root.media_type().to_string(),
            "digest": built.root.digest().to_string(),
            "size": built.root.size(),
        },
        "containerimage.digest": built.root.digest().to_string(),
    });
    if let [one] = &built.images[..] {
        metadata["containerimage.config.digest"] =
            one.config_descriptor.digest().to_string().into();
        metadata["containerimage.descriptor"]["platform"] = serde_json::json!({
            "architecture": one.platform.architecture(),
            "os": one.platform.os(),
        });
    }
    let names: Vec<String> = build.tags.iter().map(ToString::to_string).collect();
    if !names.is_empty() {
        metadata["image.name"] = names.join(",").into();
    }
    whole_file(path, |file| {
        writeln!(file, "{metadata:#}").map_err(|source| Error::File {
            act: "write build metadata to",
            path: path.display().to_string(),
            source,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str) -> Result<Output> {
        Output::read(text, &Annotations::default())
    }

    /// Covers: BLD-84
    #[test]
    fn outputs_have_a_kind_a_place_and_a_form() {
        let path = |text: &str| Destination::Path(text.into());
        for (text, kind, destination) in [
            ("out", Kind::Local, path("out")),
            ("-", Kind::Tar, Destination::Stdout),
            ("type=local,dest=a/b", Kind::Local, path("a/b")),
            ("type=tar,dest=x.tar", Kind::Tar, path("x.tar")),
            ("type=docker", Kind::Docker, Destination::Store),
            ("type=docker,dest=-", Kind::Docker, Destination::Stdout),
            ("type=oci,dest=x,tar=false", Kind::Layout, path("x")),
            ("type=oci", Kind::Oci, Destination::Stdout),
            ("type=image,\"name=a,b\",push=true", Kind::Image, Destination::Store),
        ] {
            let output = output(text).unwrap();
            assert_eq!((output.kind, output.destination), (kind, destination), "{text}");
        }
        let both = output("type=registry,\"name=a,b:2\"").unwrap();
        assert!(both.push && both.names.len() == 2);
        let form =
            output("type=image,compression=zstd,annotation.a=b,annotation-index.c=d").unwrap().form;
        assert_eq!((form.compression, form.dialect), (Compression::Zstd, Dialect::Oci));
        assert_eq!(
            (form.annotations.manifest["a"].as_str(), form.annotations.index["c"].as_str()),
            ("b", "d")
        );
        for bad in [
            "type=cloud",
            "type=local",
            "type=image,compression=rar",
            "type=tar,compression=gzip",
            "type=image,push=perhaps",
            "type=oci,dest=x,oci-mediatypes=false",
            "type=image,force-compression=true",
            "type=image,oci-mediatypes=false,annotation.a=b",
            "dest=x",
            "type=image,annotation-manifest-descriptor.a=b",
        ] {
            assert!(output(bad).is_err(), "{bad}");
        }
    }

    /// Covers: BLD-93
    #[test]
    fn annotations_say_what_they_belong_to() {
        let mut found = Annotations::default();
        for text in ["a=1", "index:b=2", "manifest,index:c=x=y"] {
            found.add(text).unwrap();
        }
        assert_eq!(found.manifest.keys().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(found.index.keys().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(found.index["c"], "x=y");
        for bad in ["a", "=1", "manifest[linux/amd64]:a=1", "descriptor:a=1"] {
            assert!(found.add(bad).is_err(), "{bad}");
        }
    }

    /// Covers: BLD-77, BLD-78, BLD-79
    #[test]
    fn caches_have_a_type_a_place_and_a_mode() {
        let read = |to: &[&str]| {
            let args = OutputArgs {
                cache_from: vec!["reg/app:cache".to_owned(), "type=local,src=dir".to_owned()],
                cache_to: to.iter().map(|text| (*text).to_owned()).collect(),
                load: false,
                metadata_file: None,
                output: Vec::new(),
            };
            args.read(&[], &[])
        };
        let found =
            read(&["type=registry,ref=reg:5000/app:cache,mode=max,ignore-error=true"]).unwrap();
        assert_eq!(found.cache_from[1], CacheFrom::Local("dir".into()));
        assert_eq!(found.cache_layers, CacheLayers::All);
        assert_eq!(found.cache_to[0].failure, CacheFailure::Mentioned);
        let found = read(&["type=inline"]).unwrap();
        assert_eq!((found.inline_cache, found.cache_layers), (true, CacheLayers::Result));
        for bad in [
            "type=gha",
            "type=s3,bucket=x",
            "type=registry",
            "type=local",
            "type=inline,mode=max",
            "type=registry,ref=a,mode=most",
            "type=registry,ref=a,image-manifest=false",
            "type=registry,ref=a,compression=zstd",
        ] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
    }
}

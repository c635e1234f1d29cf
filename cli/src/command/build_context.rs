//! What `build` builds from: the Dockerfile and the contexts, wherever they come from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use engine::ErrorKind;
use engine::builder::frontend::{self, Dockerfile};
use engine::builder::lower::NamedContext;
use engine::builds::context::{ContextOptions, ContextSource, OpenContext, is_remote};
use engine::oci::{Descriptor, Digest, Reference};

use super::Session;
use crate::error::{Error, Result};

/// The longest Dockerfile read from standard input.
const DOCKERFILE_BYTES_MAX: u64 = 16 << 20;
/// The Dockerfile where `-f` says nothing.
const DOCKERFILE: &str = "Dockerfile";

/// What to build from.
pub(crate) struct Source {
    pub(crate) dockerfile: Dockerfile,
    /// The name of the Dockerfile, for messages.
    pub(crate) name: String,
    pub(crate) context: Option<PathBuf>,
    pub(crate) context_name: Option<String>,
    pub(crate) ignore_file: Option<PathBuf>,
    /// What was fetched, which goes away with this.
    pub(crate) opened: Option<OpenContext>,
}

impl Source {
    /// Finds the Dockerfile of `-f FILE CONTEXT`, and fetches the context where it is not a folder.
    pub(crate) fn open(
        session: &Session,
        context: &str,
        file: Option<&Path>,
        options: ContextOptions<'_>,
    ) -> Result<Self> {
        let file_from_stdin = file == Some(Path::new("-"));
        if context == "-" {
            if file_from_stdin {
                return Err(Error::refused(
                    "invalid argument: can't use stdin for both build context and dockerfile",
                    "give the folder, or put the Dockerfile into the archive",
                ));
            }
            let content = Box::new(std::io::stdin());
            let source = ContextSource::Stream { name: "-".to_owned(), content };
            return Self::fetched(session, source, file, options);
        }
        if is_remote(context) {
            let source = ContextSource::Remote(context.to_owned());
            return Self::fetched(session, source, file, options);
        }
        let folder = PathBuf::from(context);
        if folder.is_file() {
            return Self::archive(session, &folder, file, options);
        }
        if !folder.is_dir() {
            return Err(Error::Refused {
                message: format!("unable to prepare context: path {context:?} not found"),
                hint: "the last argument is the folder with the files to build from, often a dot"
                    .to_owned(),
                kind: ErrorKind::NotFound,
            });
        }
        if file_from_stdin {
            return Self::new(DOCKERFILE.to_owned(), &read_stdin()?, Some(folder), None);
        }
        Self::folder(folder, file)
    }

    /// A folder of the user's, with a Dockerfile in it or elsewhere.
    fn folder(folder: PathBuf, file: Option<&Path>) -> Result<Self> {
        let file = file.map_or_else(|| folder.join(DOCKERFILE), Path::to_owned);
        let text = engine::files::read_text(&file).map_err(|source| unread(&file, source))?;
        let name = file
            .file_name()
            .map_or_else(|| DOCKERFILE.into(), |name| name.to_string_lossy().into_owned());
        let ignore = file.with_file_name(format!("{name}.dockerignore"));
        Self::new(name, &text, Some(folder), ignore.is_file().then_some(ignore))
    }

    fn archive(
        session: &Session,
        path: &Path,
        file: Option<&Path>,
        options: ContextOptions<'_>,
    ) -> Result<Self> {
        let name = path.display().to_string();
        let content = File::open(path).map_err(|source| unread(path, source))?;
        let source = ContextSource::Stream { name: name.clone(), content: Box::new(content) };
        let source = Self::fetched(session, source, file, options)?;
        if source.context.is_none() {
            return Err(Error::refused(
                format!(
                    "unable to prepare context: context must be a directory or an archive: {name}"
                ),
                "a Dockerfile is named by -f; the last argument is the folder to build from",
            ));
        }
        Ok(source)
    }

    /// A context that came from somewhere else: its Dockerfile is in it, or it is all that came.
    fn fetched(
        session: &Session,
        source: ContextSource,
        file: Option<&Path>,
        options: ContextOptions<'_>,
    ) -> Result<Self> {
        let opened = session.engine()?.builds().open_context(source, options)?;
        let mut found = match (opened.dockerfile(), file) {
            (Some(_), Some(file)) => {
                return Err(Error::refused(
                    format!(
                        "{}: a Dockerfile came in place of a context, so there is no {}",
                        opened.name().unwrap_or("-"),
                        file.display()
                    ),
                    "leave -f away, or give a context",
                ));
            }
            (Some(text), None) => Self::new(DOCKERFILE.to_owned(), text, None, None)?,
            (None, Some(path)) if path == Path::new("-") => {
                let folder = opened.folder().map(Path::to_owned);
                Self::new(DOCKERFILE.to_owned(), &read_stdin()?, folder, None)?
            }
            (None, file) => Self::inside(&opened, file.unwrap_or(Path::new(DOCKERFILE)))?,
        };
        found.context_name = opened.name().map(str::to_owned);
        found.opened = Some(opened);
        Ok(found)
    }

    fn inside(opened: &OpenContext, path: &Path) -> Result<Self> {
        let missing = || unread(path, std::io::ErrorKind::NotFound.into());
        let text = opened.read(path)?.ok_or_else(missing)?;
        let name = path.display().to_string();
        let ignore = path.with_file_name(format!(
            "{}.dockerignore",
            path.file_name().unwrap_or_default().to_string_lossy()
        ));
        // A link could name any file of this machine.
        let ignore = opened.folder().map(|folder| folder.join(ignore));
        let plain = |path: &PathBuf| path.symlink_metadata().is_ok_and(|meta| meta.is_file());
        Self::new(name, &text, opened.folder().map(Path::to_owned), ignore.filter(plain))
    }

    fn new(
        name: String,
        text: &str,
        context: Option<PathBuf>,
        ignore_file: Option<PathBuf>,
    ) -> Result<Self> {
        let dockerfile = frontend::parse(text)
            .map_err(|diagnostic| Error::Engine(engine::Error::Build(diagnostic.into())))?;
        Ok(Self { dockerfile, name, context, context_name: None, ignore_file, opened: None })
    }
}

fn unread(path: &Path, source: std::io::Error) -> Error {
    Error::File { act: "failed to read dockerfile: open", path: path.display().to_string(), source }
}

fn read_stdin() -> Result<String> {
    let failed = |source| Error::File { act: "read", path: "standard input".to_owned(), source };
    let mut bytes = Vec::new();
    std::io::stdin().take(DOCKERFILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    String::from_utf8(bytes)
        .map_err(|_| Error::refused("the Dockerfile on standard input is not UTF-8 text", ""))
}

/// The value of a `--build-context`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Folder(PathBuf),
    Image(Reference),
    Layout { folder: PathBuf, tag: Option<String>, digest: Option<Digest> },
    Remote(String),
}

/// `--build-context`, all of them, ready.
#[derive(Default)]
pub(crate) struct NamedContexts {
    pub(crate) contexts: BTreeMap<String, NamedContext>,
    pub(crate) layouts: Vec<(Reference, Descriptor)>,
    /// What was fetched, which goes away with this.
    pub(crate) opened: Vec<OpenContext>,
}

impl NamedContexts {
    /// Reads the flags and fetches what is not on this disk.
    pub(crate) fn open(
        session: &Session,
        texts: &[String],
        options: ContextOptions<'_>,
    ) -> Result<Self> {
        let mut all = Self::default();
        for text in texts {
            let (name, named) = parse(text)?;
            let opened = match named {
                Named::Folder(folder) => {
                    all.contexts.insert(name, NamedContext::Folder(folder));
                    continue;
                }
                Named::Image(reference) => {
                    all.contexts.insert(name, NamedContext::Image(reference));
                    continue;
                }
                Named::Layout { folder, tag, digest } => session.engine()?.builds().open_layout(
                    &folder,
                    tag.as_deref(),
                    digest.as_ref(),
                )?,
                Named::Remote(text) => {
                    session.engine()?.builds().open_context(ContextSource::Remote(text), options)?
                }
            };
            let context = opened.named().ok_or_else(|| {
                Error::refused(
                    format!("build context {text}: neither an archive nor a repository"),
                    "a file of a web server is fetched by ADD",
                )
            })?;
            all.layouts.extend(opened.image().cloned());
            all.contexts.insert(name, context);
            all.opened.push(opened);
        }
        Ok(all)
    }
}

/// `name=folder`, `name=docker-image://reference`, `name=oci-layout://folder[:tag][@digest]`, `name=address`.
fn parse(text: &str) -> Result<(String, Named)> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .ok_or_else(|| {
            Error::refused(format!("invalid build context {text:?}, expected key=value"), "")
        })?;
    let named = if let Some(image) = value.strip_prefix("docker-image://") {
        Named::Image(image.parse::<Reference>()?.or_latest())
    } else if let Some(layout) = value.strip_prefix("oci-layout://") {
        layout_of(layout)?
    } else if is_remote(value) {
        Named::Remote(value.to_owned())
    } else if value.contains("://") {
        return Err(Error::refused(
            format!("build context {name}={value} is of no known kind"),
            "write a folder, docker-image://NAME, oci-layout://FOLDER:TAG, or the address of a repository or an archive",
        ));
    } else {
        Named::Folder(PathBuf::from(value))
    };
    Ok((name.to_owned(), named))
}

fn layout_of(text: &str) -> Result<Named> {
    let (rest, digest) = match text.rsplit_once('@') {
        Some((rest, digest)) => {
            let digest = digest.parse::<Digest>().map_err(|e| {
                Error::refused(
                    format!("oci-layout://{text}: {e}"),
                    "a digest is sha256: and 64 digits",
                )
            })?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    let (folder, tag) = match rest.rsplit_once(':') {
        Some((folder, tag)) if !tag.contains('/') => (folder, Some(tag.to_owned())),
        _ => (rest, None),
    };
    Ok(Named::Layout { folder: PathBuf::from(folder), tag, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: BLD-73
    #[test]
    fn named_contexts_are_folders_images_layouts_and_addresses() {
        let read = |text: &str| parse(text).unwrap().1;
        assert_eq!(
            read("base=docker-image://busybox"),
            Named::Image("busybox:latest".parse().unwrap())
        );
        assert_eq!(read("src=../src"), Named::Folder("../src".into()));
        assert_eq!(read("a=https://h/x.git#v1"), Named::Remote("https://h/x.git#v1".to_owned()));
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(
            read(&format!("a=oci-layout:///srv/oci:v1@{digest}")),
            Named::Layout {
                folder: "/srv/oci".into(),
                tag: Some("v1".to_owned()),
                digest: Some(digest.parse().unwrap()),
            }
        );
        assert_eq!(
            read("a=oci-layout://./oci"),
            Named::Layout { folder: "./oci".into(), tag: None, digest: None }
        );
        for bad in ["base", "=x", "a=", "a=s3://bucket/x", "a=oci-layout://x@sha256:1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

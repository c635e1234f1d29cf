//! `system df -v`: a table for each kind of thing.

use engine::builder::cache::Entry;
use engine::images::ImageUsage;
use engine::runtime::{Container, MountKind};
use jiff::Timestamp;

use super::{Session, ps};
use crate::error::Result;
use crate::format::{Format, Listing, Row, age, decimal_size, short_id};

const IMAGES: Listing = Listing {
    type_name: "*formatter.imageContext",
    titles: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
};
const IMAGE_COLUMNS: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";

const CONTAINERS: Listing = Listing {
    type_name: "*formatter.ContainerContext",
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ],
};
const CONTAINER_COLUMNS: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";

const VOLUMES: Listing = Listing {
    type_name: "*formatter.volumeContext",
    titles: &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")],
};
const VOLUME_COLUMNS: &str = "{{.Name}}\t{{.Links}}\t{{.Size}}";

const CACHE: Listing = Listing {
    type_name: "*formatter.buildCacheContext",
    titles: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
    ],
};
const CACHE_COLUMNS: &str =
    "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}";

/// Prints the four tables.
pub(super) fn verbose(session: &Session) -> Result<()> {
    let (engine, now) = (session.engine()?, Timestamp::now());
    let images = engine.images().usage()?.iter().map(|image| image_row(image, now)).collect();
    let mut containers = Vec::new();
    for container in session.runtime()?.list()? {
        let bytes = engine.container_bytes(container.id().as_str())?;
        containers.push(container_row(&container, bytes, now));
    }
    let mut volumes = Vec::new();
    for volume in engine.volumes().list()? {
        let links = engine.volumes().users(&volume.record.name)?.len();
        let bytes = engine.volumes().bytes(&volume)?;
        let row = Row::default().with("Name", volume.record.name.as_str());
        volumes.push(row.with("Links", links.to_string()).with("Size", decimal_size(bytes)));
    }
    let cache = engine.build_cache()?;
    let cached = cache.iter().map(|entry| entry.record.bytes).sum();
    let cache = cache.iter().map(|entry| cache_row(entry, now)).collect();
    let ui = &session.ui;
    ui.line("Images space usage:\n")?;
    ui.print(&IMAGES.render(&Format::parse(None, IMAGE_COLUMNS), images)?)?;
    ui.line("\nContainers space usage:\n")?;
    ui.print(&CONTAINERS.render(&Format::parse(None, CONTAINER_COLUMNS), containers)?)?;
    ui.line("\nLocal Volumes space usage:\n")?;
    ui.print(&VOLUMES.render(&Format::parse(None, VOLUME_COLUMNS), volumes)?)?;
    ui.line(format_args!("\nBuild cache usage: {}\n", decimal_size(cached)))?;
    ui.print(&CACHE.render(&Format::parse(None, CACHE_COLUMNS), cache)?)
}

fn image_row(image: &ImageUsage, now: Timestamp) -> Row {
    let none = || "<none>".to_owned();
    let summary = &image.summary;
    Row::default()
        .with("Repository", summary.repository.clone().unwrap_or_else(none))
        .with("Tag", summary.tag.clone().unwrap_or_else(none))
        .with("ID", short_id(&summary.id.to_string()))
        .with("CreatedSince", age(summary.created, now))
        .with("Size", decimal_size(summary.size_bytes))
        .with("SharedSize", decimal_size(image.shared_bytes))
        .with("UniqueSize", decimal_size(image.unique_bytes()))
        .with("Containers", image.containers.to_string())
}

fn container_row(container: &Container, bytes: u64, now: Timestamp) -> Row {
    let mounts = container.record.options.mounts.iter();
    let volumes = mounts.filter(|mount| matches!(mount.kind, MountKind::Volume { .. })).count();
    Row::default()
        .with("ID", short_id(&container.record.id.to_string()))
        .with("Image", container.record.image.as_str())
        .with("Command", ps::command_cell(container))
        .with("LocalVolumes", volumes.to_string())
        .with("Size", decimal_size(bytes))
        .with("RunningFor", age(Some(container.record.created), now))
        .with("Status", ps::status(container, now))
        .with("Names", container.record.name.as_str())
}

fn cache_row(entry: &Entry, now: Timestamp) -> Row {
    let used = Timestamp::try_from(entry.used).ok();
    Row::default()
        .with("ID", short_id(&entry.key.to_string()))
        .with("CacheType", "regular")
        .with("Size", decimal_size(entry.record.bytes))
        .with("CreatedSince", age(entry.record.created.parse().ok(), now))
        .with("LastUsedSince", age(used, now))
}

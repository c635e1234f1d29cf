//! The embedded registry as a cache of another one.

use tests::fixture::Layer;
use tests::{Registry, Site};

/// Covers: DST-65
#[test]
fn what_was_pulled_once_through_a_cache_is_there_without_the_upstream() {
    let publisher = Site::new();
    let upstream = Registry::embedded();
    publisher.write("context/layer.tar", Layer::new().file("hello", "from upstream").tar());
    publisher.dockerfile("FROM scratch\nADD layer.tar /\n");
    let name = upstream.name("team/app:v1");
    publisher.build(&name, "");
    publisher.run(&["push", &name]).ok();

    let cache = Registry::caching(upstream.address());
    let through = cache.name("team/app:v1");
    Site::new().run(&["pull", "-q", &through]).ok();
    assert_eq!(cache.digest("team/app", "v1"), upstream.digest("team/app", "v1"));
    drop(upstream);
    let site = Site::new();
    site.run(&["pull", "-q", &through]).ok();
    site.check_store();
    Site::new().run(&["pull", "-q", &cache.name("team/app:other")]).fails_with(&["team/app:other"]);
}

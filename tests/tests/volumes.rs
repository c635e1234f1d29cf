//! Volumes: what stays of a container and what goes with it.

use tests::{Need, Site, have};

/// The volumes that are there.
fn volumes(site: &Site) -> Vec<String> {
    site.wherry("volume ls -q").ok().lines().into_iter().map(str::to_owned).collect()
}

#[test]
fn a_container_takes_its_own_volumes_along_where_it_was_told_to() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    site.dockerfile("FROM busybox\nVOLUME /data\n");
    site.build("keeper", "");
    let run = "run --network none";
    for (line, status, left) in [
        (format!("{run} --rm keeper true"), 0, 0),
        (format!("{run} --rm -v /more keeper touch /more/x /data/y"), 0, 0),
        (format!("{run} --rm keeper nosuch"), 127, 0),
        (format!("{run} --rm -v named:/named keeper touch /named/x"), 0, 1),
        (format!("{run} --name c1 keeper touch /data/x"), 0, 2),
        (format!("{run} --name c1 keeper true"), 125, 2),
        ("rm c1".to_owned(), 0, 2),
        ("volume prune -f".to_owned(), 0, 1),
        (format!("{run} -d --name c2 -v named:/named keeper sleep 1000"), 0, 2),
        ("rm -fv c2".to_owned(), 0, 1),
    ] {
        site.wherry(&line).exits(status);
        assert_eq!(volumes(&site).len(), left, "{line}: {:?}", volumes(&site));
    }
    assert_eq!(volumes(&site), ["named"], "what the user named is the user's");
}

#[test]
fn a_volume_that_somebody_else_uses_stays() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    site.wherry("run -d --rm --name first --network none -v /data busybox sh -c 'echo kept > /data/x; sleep 1000'").ok();
    let shared = volumes(&site).remove(0);
    site.wherry(&format!(
        "run -d --name second --network none -v {shared}:/mine busybox sleep 1000"
    ))
    .ok();
    site.wherry("rm -f first").ok();
    assert_eq!(volumes(&site), [shared], "the other container uses it");
    assert_eq!(site.wherry("exec second cat /mine/x").ok().out(), "kept");
    site.wherry("rm -fv second").ok();
    assert_eq!(volumes(&site).len(), 1, "it was not made for the second one");
    site.wherry("volume prune -f").ok();
    assert_eq!(volumes(&site).len(), 0);
}

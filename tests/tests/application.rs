//! A real application on one machine: a web page in Flask and its counter in Redis, from Debian's packages, on a network of their
//! own, with volumes that outlive the containers.

use std::fs;
use std::time::Duration;

use tests::site::eventually;
use tests::{Need, Site, have};
use xtask::images::Base;

const DOCKERFILE: &str = "FROM debian:bookworm
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-flask python3-redis redis-server >/dev/null
COPY app/ /app/
WORKDIR /app
CMD [\"python3\", \"app.py\"]
";

const APP: &str = "import redis
from flask import Flask, render_template

app = Flask(__name__)
cache = redis.Redis(host='redis', port=6379)

@app.route('/')
def page():
    return render_template('index.html', count=cache.incr('hits'))

app.run(host='0.0.0.0', port=8080)
";

const TEMPLATE: &str = "Visited {{ count }} times";

fn page(site: &Site) -> String {
    let mut text = String::new();
    let answered = eventually(Duration::from_secs(60), || {
        let run = site.host().shell("curl -sS -f -m 5 http://127.0.0.1:5001/");
        text = run.stdout.trim().to_owned();
        run.code == Some(0)
    });
    assert!(answered, "{}", site.wherry("logs web-fe"));
    text
}

fn start_redis(site: &Site) {
    site.wherry("run -d --name redis --network counter-net --mount source=redis-data,target=/data app:latest redis-server --dir /data --appendonly yes --appendfsync always --protected-mode no").ok();
}

fn start_web(site: &Site) {
    site.wherry("run -d --name web-fe --network counter-net -p 5001:8080 --mount source=counter-vol,target=/app app:latest").ok();
}

/// Covers: N3-107, N3-119, N3-121, RUN-43
#[test]
fn flask_finds_redis_by_its_name_and_both_are_replaced_without_losing_anything() {
    if !have(&[Need::Root, Need::Mmdebstrap, Need::Mirror]) {
        return;
    }
    let mut site = Site::new();
    site.import(Base::Debian, "debian:bookworm");
    site.dockerfile(DOCKERFILE);
    site.write("context/app/app.py", APP);
    site.write("context/app/templates/index.html", TEMPLATE);
    // The packages come over the machine's own network.
    site.build("app:latest", "--network host");
    site.move_to_own_host();
    site.wherry("network create counter-net").ok();
    start_redis(&site);
    start_web(&site);
    assert_eq!(page(&site), "Visited 1 times");
    assert_eq!(page(&site), "Visited 2 times");
    // Each is replaced by a new container; the other finds it under its name.
    site.wherry("rm -f redis").ok();
    start_redis(&site);
    let counted = page(&site);
    assert_eq!(counted, "Visited 3 times", "the counter is in the volume");
    site.wherry("rm -f web-fe").ok();
    start_web(&site);
    assert_eq!(page(&site), "Visited 4 times");
    // The page is changed through the volume.
    let mountpoint = site.wherry("volume inspect -f '{{.Mountpoint}}' counter-vol").ok();
    let template = format!("{}/templates/index.html", mountpoint.out());
    fs::write(template, "Seen {{ count }} times").expect("write into the volume");
    site.wherry("restart -t 1 web-fe").ok();
    assert_eq!(page(&site), "Seen 5 times");
    site.wherry("rm -f web-fe redis").ok();
    site.wherry("network rm counter-net").ok();
    let volumes = site.wherry("volume ls -q").ok();
    assert_eq!(volumes.stdout, "counter-vol\nredis-data\n");
}

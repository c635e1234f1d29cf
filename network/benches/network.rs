//! `cargo bench -p network`: how long joining takes, and how many answers the embedded DNS server gives. On a host of its
//! own (a network namespace); needs root.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use network::dns::Server;
use network::{Attachment, Container, Netns, NetworkSpec, Networks, Owner, Places, Publish};

fn main() {
    let Ok(host) = Netns::create() else {
        println!("skipped: needs root");
        return;
    };
    let folders = tempfile::tempdir().unwrap();
    let places = Places { root: folders.path().join("root"), run_root: folders.path().join("run") };
    host.run(|| {
        let networks = Networks::open(places, "2026-01-01T00:00:00Z").unwrap();
        let network = networks.create(NetworkSpec::new("n", "2026-01-01T00:00:00Z")).unwrap();
        let first = container(0, &[]);
        let netns = Netns::create().unwrap();
        networks.attach(&first, &Attachment::to(&network.id), &netns).unwrap();
        joining(&networks, &network.id, "joining, no ports", &[]);
        joining(&networks, &network.id, "joining, one published port", &["80"]);
        answering(&networks, &first, &netns);
        let crowd = crowd(&networks, &network.id, 500);
        joining(&networks, &network.id, "joining beside 500 others", &["80"]);
        answering(&networks, &first, &netns);
        let started = Instant::now();
        for (inside, _) in &crowd {
            networks.release(&inside.id).unwrap();
        }
        println!("{:<34} {:>9.2?}", "release, beside up to 500 others", started.elapsed() / 500);
    })
    .unwrap();
}

fn container(number: usize, publish: &[&str]) -> Container {
    Container {
        id: format!("{number:064x}"),
        name: format!("c{number}"),
        hostname: None,
        owner: Owner { pid: 1, start_time: 1 },
        publish: Publish::parse_all(publish).unwrap(),
    }
}

fn crowd(
    networks: &Networks,
    network: &network::NetworkId,
    count: usize,
) -> Vec<(Container, Netns)> {
    let make = |number| {
        let inside = container(1000 + number, &[]);
        let netns = Netns::create().unwrap();
        networks.attach(&inside, &Attachment::to(network), &netns).unwrap();
        (inside, netns)
    };
    (0..count).map(make).collect()
}

fn joining(networks: &Networks, network: &network::NetworkId, what: &str, publish: &[&str]) {
    let (mut join, mut leave, mut namespace) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..50 {
        let inside = container(7, publish);
        let started = Instant::now();
        let netns = Netns::create().unwrap();
        namespace.push(started.elapsed());
        let started = Instant::now();
        let attached = networks.attach(&inside, &Attachment::to(network), &netns).unwrap();
        join.push(started.elapsed());
        let started = Instant::now();
        networks.release(&inside.id).unwrap();
        leave.push(started.elapsed());
        drop(attached);
    }
    let (namespace, join, leave) = (median(namespace), median(join), median(leave));
    println!("{what:<34} namespace {namespace:>9.2?}, attach {join:>9.2?}, release {leave:>9.2?}");
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

fn answering(networks: &Networks, inside: &Container, netns: &Netns) {
    let server = Server::bind(networks, &inside.id, netns, Vec::new(), false).unwrap();
    let (stop, stopper) = rustix::pipe::pipe().unwrap();
    let serving = std::thread::spawn(move || server.run(stop));
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x02c0\0\0\x01\0\x01";
    let (rate, mut latencies) = netns
        .run(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect("127.0.0.11:53").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            let mut buffer = [0; 512];
            let mut latencies = Vec::new();
            for _ in 0..20_000 {
                let started = Instant::now();
                socket.send(query).unwrap();
                assert!(socket.recv(&mut buffer).unwrap() > query.len());
                latencies.push(started.elapsed());
            }
            // Thirty-two at a time keep the server busy.
            let started = Instant::now();
            for _ in 0..32 {
                socket.send(query).unwrap();
            }
            let count = 200_000;
            for _ in 0..count {
                socket.recv(&mut buffer).unwrap();
                socket.send(query).unwrap();
            }
            (f64::from(count) / started.elapsed().as_secs_f64(), latencies)
        })
        .unwrap();
    latencies.sort();
    let (half, most) = (latencies[latencies.len() / 2], latencies[latencies.len() * 99 / 100]);
    println!("{:<34} {rate:>9.0} answers/s, p50 {half:.1?}, p99 {most:.1?}", "DNS, one server");
    drop(stopper);
    serving.join().unwrap().unwrap();
}

//! Networks: the tutorials of the bridge, published ports, names, live changes, what fails and what is left. Every test has a host
//! of its own, a network namespace, so that none sees another's bridges, ports and rules.

use std::time::Duration;

use serde_json::Value;
use tests::lan::Host;
use tests::site::eventually;
use tests::text::is_hex;
use tests::{Need, Run, Site, have};

const SECONDS: Duration = Duration::from_secs(20);

/// A site with busybox on a host of its own, or none where containers cannot run.
fn site() -> Option<Site> {
    have(&[Need::Root]).then(Site::on_own_host)
}

/// What `network inspect` says.
fn network(site: &Site, name: &str) -> Value {
    let run = site.wherry(&format!("network inspect {name}")).ok();
    let mut all: Value = serde_json::from_str(&run.stdout).expect("JSON");
    all[0].take()
}

/// A web server of busybox that answers with a text, in the background.
fn serve(site: &Site, name: &str, flags: &str, text: &str) -> Run {
    let script = format!(
        "mkdir -p /www; echo {text} > /www/index.html; exec busybox httpd -f -p 80 -h /www"
    );
    let mut args = vec!["run".to_owned(), "-d".to_owned(), "--name".to_owned(), name.to_owned()];
    args.extend(flags.split_whitespace().map(str::to_owned));
    args.extend(["busybox", "sh", "-c", &script].map(str::to_owned));
    site.run(&args)
}

/// What a web page says, asked for on a host, as soon as it answers.
#[track_caller]
fn page(host: &Host, url: &str) -> String {
    let mut text = String::new();
    let answered = eventually(SECONDS, || {
        let run = host.shell(&format!("curl -sS -m 3 {url}"));
        text = run.stdout.trim().to_owned();
        run.code == Some(0)
    });
    assert!(answered, "{url} does not answer");
    text
}

/// Covers: B11-10, B11-11, B11-12, N3-026, N3-027, N3-028, N4-03
#[test]
fn three_networks_are_always_there_and_containers_are_on_the_bridge() {
    let Some(site) = site() else { return };
    let list = site.wherry("network ls").ok();
    let rows: Vec<Vec<&str>> =
        list.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"]);
    let words: Vec<&[&str]> = rows[1..].iter().map(|row| &row[1..]).collect();
    assert_eq!(
        words,
        [
            ["bridge", "bridge", "local"].as_slice(),
            ["host", "host", "local"].as_slice(),
            ["none", "null", "local"].as_slice()
        ]
    );
    assert!(rows[1..].iter().all(|row| is_hex(row[0], 12)), "{list}");
    site.wherry("run -d --name c1 busybox sleep 1000").ok();
    let bridge = network(&site, "bridge");
    for (key, value) in [
        ("/Name", Value::from("bridge")),
        ("/Scope", "local".into()),
        ("/Driver", "bridge".into()),
        ("/EnableIPv6", false.into()),
        ("/IPAM/Driver", "default".into()),
        ("/IPAM/Options", Value::Null),
        ("/IPAM/Config/0/Subnet", "172.17.0.0/16".into()),
        ("/Internal", false.into()),
        ("/Attachable", false.into()),
        ("/Ingress", false.into()),
        ("/ConfigFrom/Network", "".into()),
    ] {
        assert_eq!(bridge.pointer(key), Some(&value), "{key}: {bridge:#}");
    }
    let members = bridge["Containers"].as_object().expect("members");
    let (id, member) = members.iter().next().expect("one is on it");
    assert_eq!(site.inspect("c1")["Id"].as_str(), Some(id.as_str()));
    assert_eq!(member["Name"], "c1");
    assert_eq!(member["IPv4Address"], "172.17.0.2/16");
    assert_eq!(member["MacAddress"], "02:42:ac:11:00:02");
    site.wherry("network rm bridge").fails_with(&["bridge is a pre-defined network"]);
    let device = bridge["Options"]["com.docker.network.bridge.name"].as_str().expect("a device");
    let shown = site.host().shell(&format!("ip link show {device}")).ok();
    assert!(shown.stdout.contains("mtu 1500"), "{shown}");
}

/// Covers: B11-14, B11-15, B11-16, B11-17, B11-18, B11-19, B11-32, B11-39, N3-031, N3-032, N3-033, N3-034, N3-036, N3-037, N3-038, N3-039, N3-040
#[test]
fn the_tutorial_of_a_user_defined_bridge_runs_as_printed() {
    let Some(site) = site() else { return };
    let id = site.wherry("network create -d bridge localnet").ok();
    assert!(is_hex(id.out(), 64), "{id}");
    site.wherry("network ls --filter name=localnet --format '{{.Name}} {{.Driver}}'")
        .ok()
        .says("localnet bridge");
    site.wherry("run -d --name c1 --network localnet busybox sleep 1d").ok();
    let device = format!("br-{}", &id.out()[..12]);
    assert!(site.host().devices().contains(&device), "{:?}", site.host().devices());
    let stp = site.host().shell(&format!("ip -d -o link show {device}")).ok();
    assert!(stp.stdout.contains("stp_state 0"), "{stp}");
    let members = site.wherry("network inspect localnet --format '{{json .Containers}}'").ok();
    let members: Value = serde_json::from_str(members.out()).expect("JSON");
    let member = members.as_object().expect("a map").values().next().expect("c1 is on it").clone();
    assert_eq!(member["Name"], "c1");
    assert_eq!(member["IPv6Address"], "");
    let address = member["IPv4Address"].as_str().expect("an address");
    let octets: Vec<u8> = address
        .split('/')
        .next()
        .expect("an address")
        .split('.')
        .map(|octet| octet.parse().expect("a number"))
        .collect();
    let mac: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(member["MacAddress"], format!("02:42:{}", mac.join(":")));
    assert!(address.ends_with(".0.2/16"), "{address}");
    let ports = site.host().shell(&format!("ls /sys/class/net/{device}/brif 2>/dev/null || bridge link show | grep 'master {device}'")).ok();
    assert!(ports.stdout.contains("veth"), "{ports}");
    let ping = site.wherry("run --name c2 --network localnet busybox ping -c 1 -W 5 c1").ok();
    assert!(ping.stdout.contains("1 packets received"), "{ping}");
    site.wherry("run -d --name b1 busybox sleep 1d").ok();
    site.wherry("run --rm busybox ping -c 1 -W 2 b1").exits(1);
    let by_address = site.wherry("run --rm busybox ping -c 1 -W 5 172.17.0.2").ok();
    assert!(by_address.stdout.contains("1 packets received"), "{by_address}");
}

/// Covers: B11-20, B11-21, B11-22, N3-042, N3-043, N3-044, N3-045, N3-046, B07-33, RUN-53
#[test]
fn a_published_port_leads_from_everywhere_to_the_container() {
    let Some(site) = site() else { return };
    let outside = Host::new();
    site.host().cable("lan0", "10.9.0.1/24", &outside, "10.9.0.2/24");
    site.wherry("network create --ipv6 localnet").ok();
    serve(&site, "web", "--network localnet --publish 5001:80", "harbour").ok();
    assert_eq!(
        site.wherry("port web").ok().stdout,
        "80/tcp -> 0.0.0.0:5001\n80/tcp -> [::]:5001\n"
    );
    assert_eq!(site.wherry("port web 80/tcp").ok().stdout, "0.0.0.0:5001\n[::]:5001\n");
    site.wherry("port web 81").fails_with(&["No public port '81/tcp' published for web"]);
    let ps = site.wherry("ps --format '{{.Ports}}'").ok();
    assert_eq!(ps.out(), "0.0.0.0:5001->80/tcp, [::]:5001->80/tcp");
    assert_eq!(page(&outside, "http://10.9.0.1:5001/"), "harbour");
    assert_eq!(page(site.host(), "http://10.9.0.1:5001/"), "harbour");
    assert_eq!(page(site.host(), "http://127.0.0.1:5001/"), "harbour");
    serve(&site, "four", "--publish 5002:80", "IPv4").ok();
    assert_eq!(site.wherry("port four").ok().stdout, "80/tcp -> 0.0.0.0:5002\n");
    serve(&site, "second", "--publish 5001:80", "other")
        .exits(125)
        .fails_with(&["Bind for 0.0.0.0:5001 failed: port is already allocated"]);
    site.wherry("rm -f second").ok();
    let settings = &site.inspect("web")["NetworkSettings"]["Ports"]["80/tcp"];
    assert_eq!(settings[0]["HostIp"], "0.0.0.0");
    assert_eq!(settings[0]["HostPort"], "5001");
    assert_eq!(site.inspect("web")["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"], "5001");
    site.wherry("rm -f web").ok();
    let gone = outside.shell("curl -sS -m 3 http://10.9.0.1:5001/");
    assert_ne!(gone.code, Some(0), "the port goes with the container: {gone}");
    serve(&site, "second", "--publish 5001:80", "again").ok();
    assert_eq!(page(&outside, "http://10.9.0.1:5001/"), "again");
}

/// Covers: N4-32, N4-34, N4-40, RUN-53
#[test]
fn ports_come_as_ranges_at_random_of_one_address_and_of_udp() {
    let Some(site) = site() else { return };
    site.host().shell("ip address add 10.8.0.1/32 dev lo").ok();
    serve(&site, "one", "-p 10.8.0.1:5001:80 -p 9000-9001:90-91 -p 53/udp -p 53/tcp", "one").ok();
    let ports = site.wherry("port one").ok();
    assert!(ports.stdout.contains("80/tcp -> 10.8.0.1:5001\n"), "{ports}");
    assert!(ports.stdout.contains("90/tcp -> 0.0.0.0:9000\n"), "{ports}");
    assert!(ports.stdout.contains("91/tcp -> 0.0.0.0:9001\n"), "{ports}");
    assert!(ports.stdout.contains("53/udp -> 0.0.0.0:"), "{ports}");
    assert!(ports.stdout.contains("53/tcp -> 0.0.0.0:"), "{ports}");
    assert_eq!(page(site.host(), "http://10.8.0.1:5001/"), "one");
    let elsewhere = site.host().shell("curl -sS -m 3 http://127.0.0.1:5001/");
    assert_ne!(elsewhere.code, Some(0), "only that address: {elsewhere}");
    serve(&site, "all", "-P --expose 80 --expose 70-71/udp", "all").ok();
    let ports = site.wherry("port all").ok();
    for exposed in ["80/tcp", "70/udp", "71/udp"] {
        assert!(ports.stdout.contains(&format!("{exposed} -> 0.0.0.0:")), "{ports}");
    }
    let random = site.wherry("port all 80").ok();
    let random = random.stdout.lines().next().expect("a line").rsplit(':').next().expect("port");
    assert_eq!(page(site.host(), &format!("http://127.0.0.1:{random}/")), "all");
    for (flags, words) in [
        ("-p x:80", "Invalid hostPort"),
        ("-p 80-70:1", "Invalid"),
        ("-p 1.2.3:80:80", "Invalid ip"),
        ("-p 80/icmp", "Invalid proto"),
        ("--expose 80:80", "invalid port format"),
    ] {
        site.wherry(&format!("run --rm {flags} busybox true")).exits(125).fails_with(&[words]);
    }
}

/// Covers: B11-41, B11-04, N3-009, N3-010, N3-094, RUN-52
#[test]
fn networks_are_apart_and_a_container_on_two_reaches_both() {
    let Some(site) = site() else { return };
    for name in ["front", "back"] {
        site.wherry(&format!("network create {name}")).ok();
        site.wherry(&format!("run -d --name in-{name} --network {name} busybox sleep 1000")).ok();
    }
    site.wherry("run -d --name both --network front --network back busybox sleep 1000").ok();
    for (from, to, reached) in [
        ("in-front", "both", true),
        ("in-back", "both", true),
        ("both", "in-front", true),
        ("both", "in-back", true),
        ("in-front", "in-back", false),
    ] {
        let ping = site.wherry(&format!("exec {from} ping -c 1 -W 3 {to}"));
        assert_eq!(ping.code == Some(0), reached, "{ping}");
    }
    let address =
        site.inspect("in-back")["NetworkSettings"]["Networks"]["back"]["IPAddress"].clone();
    let address = address.as_str().expect("an address").to_owned();
    let ping = site.wherry(&format!("exec in-front ping -c 1 -W 2 {address}"));
    assert_ne!(ping.code, Some(0), "not by address either: {ping}");
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let shown = site.run(&["container", "inspect", &format!("--format={format}"), "in-back"]).ok();
    assert_eq!(shown.out(), address);
    let devices = site.wherry("exec both ls /sys/class/net").ok();
    assert_eq!(devices.out().split_whitespace().collect::<Vec<_>>(), ["eth0", "eth1", "lo"]);
    let networks = site.inspect("both")["NetworkSettings"]["Networks"].clone();
    assert_eq!(networks.as_object().expect("a map").len(), 2);
}

/// Covers: N3-017, N3-016, RUN-51
#[test]
fn a_running_container_is_connected_and_disconnected() {
    let Some(site) = site() else { return };
    site.wherry("network create front").ok();
    site.wherry("run -d --name db --network front busybox sleep 1000").ok();
    site.wherry("run -d --name app busybox sleep 1000").ok();
    assert_ne!(site.wherry("exec app ping -c 1 -W 2 db").code, Some(0));
    site.wherry("network connect --alias web front app").ok();
    let pinged = eventually(SECONDS, || site.wherry("exec app ping -c 1 -W 3 db").code == Some(0));
    assert!(pinged, "{}", site.wherry("exec app cat /etc/resolv.conf"));
    assert_eq!(site.wherry("exec db ping -c 1 -W 3 web").code, Some(0));
    site.wherry("network connect front app").fails_with(&["already exists in network front"]);
    site.wherry("network rm front").fails_with(&["has active endpoints"]);
    site.wherry("network disconnect front app").ok();
    assert_ne!(site.wherry("exec db ping -c 1 -W 2 web").code, Some(0));
    site.wherry("network disconnect front app").fails_with(&["not connected"]);
    site.wherry("network connect front nobody").fails_with(&["nobody"]);
    site.wherry("network connect nowhere app").fails_with(&["network nowhere not found"]);
    site.wherry("run -d --name alone --network none busybox sleep 1000").ok();
    site.wherry("network connect front alone").fails_with(&["none"]);
    // What is said of a stopped one holds at its next start.
    site.wherry("stop -t 0 app").ok();
    site.wherry("network connect front app").ok();
    site.wherry("start app").ok();
    assert_eq!(site.wherry("exec app ping -c 1 -W 3 db").code, Some(0));
}

/// Covers: RUN-56, N3-069, N3-070, N3-071, N3-072, N3-073, B11-34
#[test]
fn names_are_answered_forward_and_backward_and_others_are_passed_on() {
    let Some(site) = site() else { return };
    site.wherry("network create --subnet 10.77.0.0/24 net").ok();
    site.wherry("run -d --name db --network net --network-alias sql --hostname store --ip 10.77.0.9 busybox sleep 1000").ok();
    let ask = |line: &str| site.wherry(&format!("run --rm --network net busybox {line}"));
    for name in ["db", "sql", "store", "DB"] {
        let answer = ask(&format!("nslookup -type=a {name}")).ok();
        assert!(answer.stdout.contains("Address: 10.77.0.9"), "{answer}");
    }
    let back = ask("nslookup 10.77.0.9").ok();
    assert!(back.stdout.contains("db.net"), "{back}");
    let none = ask("nslookup -type=aaaa db").ok();
    assert!(!none.all().contains("NXDOMAIN"), "an IPv4 name has no AAAA and exists: {none}");
    let resolv = ask("cat /etc/resolv.conf").ok();
    assert!(resolv.stdout.contains("nameserver 127.0.0.11\n"), "{resolv}");
    let own = site
        .wherry("run --rm --dns 8.8.8.8 --dns-search dom.example --dns-option ndots:2 busybox cat /etc/resolv.conf")
        .ok();
    assert_eq!(own.stdout, "search dom.example\nnameserver 8.8.8.8\noptions ndots:2\n");
    let hosts = site
        .wherry("run --rm --network net --hostname box --domainname example.com --add-host peer:10.1.2.3 --ip 10.77.0.20 busybox cat /etc/hosts")
        .ok();
    assert!(hosts.stdout.contains("10.1.2.3\tpeer\n"), "{hosts}");
    assert!(hosts.stdout.contains("10.77.0.20\tbox.example.com box\n"), "{hosts}");
    // The name goes with the container.
    site.wherry("rm -f db").ok();
    assert_ne!(ask("nslookup -type=a db").code, Some(0));
}

/// Covers: RUN-57
#[test]
fn pools_are_checked_and_an_exhausted_one_is_said() {
    let Some(site) = site() else { return };
    site.wherry("network create --subnet 10.66.0.0/30 small").ok();
    site.wherry("run -d --name only --network small busybox sleep 1000").ok();
    let full = site.wherry("run --rm --network small busybox true").exits(125);
    assert!(full.stderr.contains("no available IPv4 addresses"), "{full}");
    site.wherry("rm -f only").ok();
    site.wherry("run --rm --network small busybox true").ok();
    for (flags, words) in [
        ("--subnet 10.66.0.0/24 overlapping", "overlaps"),
        ("--subnet 10.66.0.0 bad", "invalid CIDR"),
        ("--subnet 10.65.0.0/24 --gateway 10.64.0.1 bad", "no matching subnet for gateway"),
        ("--subnet 10.65.0.0/24 --ip-range 10.64.0.0/25 bad", "no matching subnet for range"),
        ("small", "already exists"),
        ("-d overlay ov", "swarm"),
        ("-d nonsense x", "nonsense"),
        ("bad/name", "invalid network name"),
    ] {
        site.wherry(&format!("network create {flags}")).fails_with(&[words]);
    }
    site.wherry("network create --subnet 10.50.0.0/24 --ip-range 10.50.0.128/25 --gateway 10.50.0.254 ranged").ok();
    site.wherry("run -d --name rr --network ranged busybox sleep 1000").ok();
    let shown = &site.inspect("rr")["NetworkSettings"]["Networks"]["ranged"];
    let last: u8 = shown["IPAddress"]
        .as_str()
        .and_then(|ip| ip.rsplit('.').next())
        .and_then(|octet| octet.parse().ok())
        .expect("an address");
    assert!(last >= 128, "{shown}");
    assert_eq!(shown["Gateway"], "10.50.0.254");
    site.wherry("run --rm --network ranged --ip 10.50.0.254 busybox true")
        .fails_with(&["Address already in use"]);
    site.wherry("run --rm --network ranged --ip 10.51.0.1 busybox true")
        .fails_with(&["does not belong"]);
    site.wherry("run --rm --network nowhere busybox true")
        .fails_with(&["network nowhere not found"]);
    assert_eq!(site.wherry("ps -aq --filter status=created").ok().stdout, "");
}

/// Covers: N3-065, B11-42, RUN-52
#[test]
fn an_internal_network_leads_nowhere_and_others_lead_out() {
    let Some(site) = site() else { return };
    let outside = Host::new();
    site.host().cable("lan0", "10.9.0.1/24", &outside, "10.9.0.2/24");
    site.wherry("network create --internal inner").ok();
    site.wherry("network create outer").ok();
    site.wherry("run --rm --network outer busybox ping -c 1 -W 5 10.9.0.2").ok();
    let inner = site.wherry("run --rm --network inner busybox ping -c 1 -W 2 10.9.0.2");
    assert_ne!(inner.code, Some(0), "{inner}");
    site.wherry("run -d --name peer --network inner busybox sleep 1000").ok();
    site.wherry("run --rm --network inner busybox ping -c 1 -W 5 peer").ok();
    assert_eq!(network(&site, "inner")["Internal"], true);
}

/// Covers: B11-23, B11-24, B11-25, N3-048, N3-049, N3-050, N3-051
#[test]
fn a_macvlan_container_is_a_machine_on_the_vlan() {
    let Some(site) = site() else { return };
    let outside = Host::new();
    site.host().cable("eth0", "192.168.99.1/24", &outside, "192.168.99.2/24");
    let vlan = "ip link add link eth0 name eth0.100 type vlan id 100; ip address add 10.0.0.200/24 dev eth0.100; ip link set eth0.100 up";
    let create = |parent: &str| {
        site.wherry(&format!("network create -d macvlan --subnet=10.0.0.0/24 --ip-range=10.0.0.0/25 --gateway=10.0.0.1 -o parent={parent} macvlan100"))
    };
    let has_vlans = outside.shell(vlan).code == Some(0);
    if has_vlans {
        create("eth0.100").ok();
        let tag = site.host().shell("ip -d -o link show eth0.100").ok();
        assert!(tag.stdout.contains("vlan protocol 802.1Q id 100"), "{tag}");
    } else {
        // This kernel has no 802.1Q: what cannot be had is said, and the parent itself serves.
        create("eth0.100").fails_with(&["eth0.100"]);
        outside.shell("ip address add 10.0.0.200/24 dev eth0").ok();
        create("eth0").ok();
    }
    site.wherry("run -d --name mactainer1 --network macvlan100 busybox sleep 1d").ok();
    let settings = &site.inspect("mactainer1")["NetworkSettings"]["Networks"]["macvlan100"];
    let ip = settings["IPAddress"].as_str().expect("an address").to_owned();
    let last: u8 = ip.rsplit('.').next().and_then(|octet| octet.parse().ok()).expect("an octet");
    assert!(last < 128, "{ip}");
    site.wherry("exec mactainer1 ping -c 1 -W 5 10.0.0.200").ok();
    let seen = outside.shell(&format!("ip neighbour show {ip}")).ok();
    let mac = settings["MacAddress"].as_str().expect("its own");
    assert!(seen.stdout.contains(mac), "the underlay sees its own MAC: {seen}");
    site.wherry("rm -f mactainer1").ok();
    site.wherry("network rm macvlan100").ok();
    assert!(!site.host().devices().contains(&"eth0.100".to_owned()), "made here, removed here");
    assert!(site.host().devices().contains(&"eth0".to_owned()), "the parent is the host's");
}

/// Covers: B11-40, RUN-64
#[test]
fn rm_and_prune_take_networks_that_nobody_uses() {
    let Some(site) = site() else { return };
    for name in ["used", "unused", "kept"] {
        let label = if name == "kept" { "--label keep=yes" } else { "" };
        site.wherry(&format!("network create {label} {name}")).ok();
    }
    site.wherry("create --name stopped --network used busybox true").ok();
    let pruned = site.wherry("network prune -f --filter label!=keep").ok();
    assert_eq!(pruned.stdout, "Deleted Networks:\nunused\n\n");
    site.wherry("rm stopped").ok();
    assert_eq!(site.wherry("network rm used kept").ok().stdout, "used\nkept\n");
    site.wherry("network rm used").fails_with(&["network used not found"]);
    site.wherry("network rm -f used").ok();
    assert_eq!(site.wherry("network ls -q --filter type=custom").ok().stdout, "");
}

/// Covers: RUN-59, N3-018, N3-021
#[test]
fn the_other_modes_share_or_have_nothing() {
    let Some(site) = site() else { return };
    site.wherry("network create net").ok();
    serve(&site, "web", "--network net --hostname harbour --add-host peer:10.1.2.3", "shared").ok();
    let shared = site
        .wherry("run --rm --network container:web busybox sh -c 'cat /etc/hosts; ls /sys/class/net; wget -qO- http://127.0.0.1/'")
        .ok();
    assert!(shared.stdout.contains("10.1.2.3\tpeer"), "{shared}");
    assert!(shared.stdout.contains("eth0"), "{shared}");
    assert!(shared.stdout.ends_with("shared\n"), "{shared}");
    let none = site.wherry("run --rm --network none busybox ls /sys/class/net").ok();
    assert_eq!(none.out(), "lo");
    let host = site.wherry("run --rm --network host busybox ip -o link").ok();
    assert!(host.stdout.contains("br-"), "{host}");
    site.wherry("run --rm --network container:nobody busybox true").fails_with(&["nobody"]);
    site.wherry("run --rm --network host --network net busybox true")
        .fails_with(&["cannot attach both user-defined and non-user-defined"]);
}

/// Covers: RUN-65, RUN-55, N3-002
#[test]
fn a_killed_monitor_and_a_flushed_table_leave_nothing_in_the_way() {
    let Some(site) = site() else { return };
    serve(&site, "web", "-p 5001:80", "first").ok();
    assert_eq!(page(site.host(), "http://127.0.0.1:5001/"), "first");
    let id = site.inspect("web")["Id"].as_str().expect("an id").to_owned();
    let killed = site.host().shell(&format!("pkill -KILL -f '[m]onitor.*{id}'"));
    assert_eq!(killed.code, Some(0), "{killed}");
    assert!(eventually(SECONDS, || site.status("web").starts_with("Exited (137)")));
    assert_eq!(network(&site, "bridge")["Containers"], serde_json::json!({}));
    serve(&site, "next", "-p 5001:80", "second").ok();
    assert_eq!(page(site.host(), "http://127.0.0.1:5001/"), "second");
    site.wherry("rm -f next").ok();
    site.wherry("start web").ok();
    assert_eq!(page(site.host(), "http://127.0.0.1:5001/"), "first");
    // Somebody empties the packet filter: the next act puts ours back.
    if site.host().shell("nft flush ruleset").code == Some(0) {
        site.wherry("network inspect bridge").ok();
        assert_eq!(page(site.host(), "http://127.0.0.1:5001/"), "first");
    }
}

/// Covers: RUN-30
#[test]
fn a_restarted_container_keeps_its_networks_and_its_name() {
    let Some(site) = site() else { return };
    site.wherry("network create net").ok();
    site.wherry("run -d --name again --network net --restart always busybox sh -c 'sleep 1'").ok();
    assert!(eventually(SECONDS, || site.inspect("again")["RestartCount"].as_i64() > Some(1)));
    site.wherry("run --rm --network net busybox ping -c 1 -W 5 again").ok();
    site.wherry("restart -t 0 again").ok();
    site.wherry("run --rm --network net busybox ping -c 1 -W 5 again").ok();
    site.wherry("update --restart no again").ok();
}

/// Covers: N4-71, N4-76, N4-77, N4-78, N4-80, N4-81, N4-83, N4-84, N4-86
#[test]
fn the_tutorial_of_the_default_bridge_runs_as_printed() {
    let Some(site) = site() else { return };
    if !have(&[Need::Script]) {
        return;
    }
    for name in ["alpine1", "alpine2"] {
        let id = site.wherry(&format!("run -dit --name {name} busybox sh")).ok();
        assert!(is_hex(id.out(), 64), "{id}");
    }
    let list = site.wherry("container ls").ok();
    let mut lines = list.stdout.lines();
    let titles = lines.next().expect("titles");
    for title in ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"] {
        assert!(titles.contains(title), "{titles}");
    }
    let newest = lines.next().expect("a row");
    assert!(newest.ends_with("alpine2") && newest.contains("\"sh\""), "{list}");
    let bridge = network(&site, "bridge");
    let id = bridge["Id"].as_str().expect("an id");
    assert!(is_hex(id, 64));
    assert_eq!(bridge["IPAM"]["Config"][0]["Gateway"], "172.17.0.1");
    let members = bridge["Containers"].as_object().expect("a map");
    let mut addresses: Vec<&str> =
        members.values().filter_map(|member| member["IPv4Address"].as_str()).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, ["172.17.0.2/16", "172.17.0.3/16"]);
    let other = site.inspect("alpine2")["NetworkSettings"]["IPAddress"].clone();
    let other = other.as_str().expect("an address");
    let typed =
        format!("ip addr show; ping -c 2 {other}; ping -c 1 -W 2 alpine2; echo done-$((1+1))\n");
    site.terminal("attach --detach-keys=~,~ alpine1", &format!("{typed}~~"));
    let seen = eventually(SECONDS, || site.wherry("logs alpine1").stdout.contains("done-2"));
    let log = site.wherry("logs alpine1").stdout;
    assert!(log.contains("eth0@if") && log.contains("mtu 1500"), "{log}");
    assert!(log.contains("inet 127.0.0.1/8") && log.contains("/ # "), "{log}");
    assert!(seen && log.contains("0% packet loss"), "{log}");
    assert!(log.contains("bad address 'alpine2'"), "{log}");
    assert!(site.status("alpine1").starts_with("Up"), "the keys leave it running");
    site.terminal("attach alpine2", "exit\n");
    assert!(eventually(SECONDS, || site.status("alpine2").starts_with("Exited (0)")));
    let stopped = site.wherry("container stop -t 0 alpine1 alpine2").ok();
    assert_eq!(stopped.stdout, "alpine1\nalpine2\n");
    assert_eq!(site.wherry("container rm alpine1 alpine2").ok().stdout, "alpine1\nalpine2\n");
}

/// Calls of the kernel that a connection depends on, and how often each is made to fail, one after the other.
const FAILING_CALLS: [(&str, usize); 10] = [
    ("sendto", 3),
    ("sendmsg", 2),
    ("setns", 2),
    ("unshare", 2),
    ("socket", 2),
    ("bind", 2),
    ("rename", 2),
    ("flock", 1),
    ("epoll_create1", 1),
    ("timerfd_create", 1),
];

/// Covers: RUN-57, RUN-55, N3-002
#[test]
fn whichever_call_fails_nothing_of_a_connection_is_left() {
    let Some(site) = site() else { return };
    if !xtask::shell::has_program("strace") {
        return;
    }
    site.wherry("network create --subnet 10.40.0.0/24 net").ok();
    let binary = tests::site::binary();
    let mut failures = 0;
    for (call, times) in FAILING_CALLS {
        for nth in 1..=times {
            let injected = format!("inject={call}:error=EIO:when={nth}");
            let script = format!(
                "strace -f -qq -o /dev/null -e trace={call} -e {injected} {} run --name victim --network net -p 5001:80 busybox true",
                binary.display()
            );
            let run = site.shell(&script);
            let clean = matches!(run.code, Some(0 | 1 | 4..=7 | 125..=127));
            assert!(clean && !run.stderr.contains("panicked"), "{call} {nth}: {run}");
            failures += usize::from(run.code != Some(0));
            site.wherry("rm -f victim");
            let members = network(&site, "net")["Containers"].clone();
            assert_eq!(members, serde_json::json!({}), "{call} {nth}: {run}");
            let gone = eventually(SECONDS, || {
                !site.host().devices().iter().any(|name| name.starts_with("veth"))
            });
            assert!(gone, "{call} {nth} left {:?}: {run}", site.host().devices());
            let free = site.wherry("run --rm --network net -p 5001:80 --ip 10.40.0.2 busybox true");
            assert_eq!(free.code, Some(0), "{call} {nth}: {free}");
        }
    }
    assert!(failures >= 6, "only {failures} failed: the injection does not work");
}

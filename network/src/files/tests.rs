use proptest::prelude::*;

use super::*;

const HOST: &str = "# made by hand\ndomain old.example\nsearch corp.example lab.example\nnameserver 127.0.0.53\n\
    nameserver 10.0.0.2 ; the router\nnameserver fe80::1%eth0\noptions edns0 trust-ad\n";

fn user(servers: &[&str], search: &[&str], options: &[&str]) -> NameServers {
    NameServers {
        servers: servers.iter().map(|text| text.parse().unwrap()).collect(),
        search: search.iter().map(|&text| text.to_owned()).collect(),
        options: options.iter().map(|&text| text.to_owned()).collect(),
    }
}

#[test]
fn a_container_on_the_default_bridge_asks_the_servers_that_it_can_reach() {
    let conf = resolv_conf(HOST, &NameServers::default(), Resolver::Direct);
    assert_eq!(
        conf.text,
        "search corp.example lab.example\nnameserver 10.0.0.2\nnameserver fe80::1\noptions edns0 trust-ad\n"
    );
    assert!(conf.upstreams.is_empty());
    let conf = resolv_conf("nameserver 127.0.0.1\n", &NameServers::default(), Resolver::Direct);
    assert_eq!(conf.text, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
}

#[test]
fn the_embedded_server_stands_alone_and_asks_the_others_in_turn() {
    let conf = resolv_conf(HOST, &NameServers::default(), Resolver::Embedded);
    assert_eq!(
        conf.text,
        "search corp.example lab.example\nnameserver 127.0.0.11\noptions edns0 trust-ad ndots:0\n"
    );
    let asked: Vec<(String, bool)> =
        conf.upstreams.iter().map(|up| (up.address.to_string(), up.on_host)).collect();
    assert_eq!(
        asked,
        [("127.0.0.53".into(), true), ("10.0.0.2".into(), false), ("fe80::1".into(), false)]
    );
    assert!(!conf.search_first);
}

/// Covers: B11-34
#[test]
fn name_servers_and_search_lists_of_the_user_replace_those_of_the_host() {
    let flags = user(&["8.8.8.8"], &["dom.example"], &[]);
    let direct = resolv_conf(HOST, &flags, Resolver::Direct);
    assert_eq!(direct.text, "search dom.example\nnameserver 8.8.8.8\noptions edns0 trust-ad\n");
    let embedded = resolv_conf(HOST, &flags, Resolver::Embedded);
    assert_eq!(
        embedded.text,
        "search dom.example\nnameserver 127.0.0.11\noptions edns0 trust-ad ndots:0\n"
    );
    assert_eq!(
        embedded.upstreams,
        [Upstream { address: "8.8.8.8".parse().unwrap(), on_host: false }]
    );
}

#[test]
fn a_dot_as_search_list_means_none_and_ndots_of_the_user_is_kept() {
    let conf = resolv_conf(HOST, &user(&[], &["."], &["ndots:2"]), Resolver::Embedded);
    assert_eq!(conf.text, "nameserver 127.0.0.11\noptions ndots:2\n");
    assert!(conf.search_first);
}

#[test]
fn the_network_of_the_host_uses_its_file_unless_the_user_says_more() {
    assert_eq!(resolv_conf(HOST, &NameServers::default(), Resolver::Host).text, HOST);
    let conf = resolv_conf(HOST, &user(&["9.9.9.9"], &[], &[]), Resolver::Host);
    assert_eq!(
        conf.text,
        "search corp.example lab.example\nnameserver 9.9.9.9\noptions edns0 trust-ad\n"
    );
}

#[test]
fn the_hosts_file_has_dockers_lines() {
    let added = [HostEntry::parse("db:10.0.0.9", None).unwrap()];
    let own = [host_line("172.17.0.2".parse().unwrap(), "web", "")];
    assert_eq!(
        hosts(&added, &own),
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
         ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n10.0.0.9\tdb\n172.17.0.2\tweb\n"
    );
    assert_eq!(hosts_of_host("127.0.0.1 h", &added), "127.0.0.1 h\n10.0.0.9\tdb\n");
}

#[test]
fn a_full_name_is_followed_by_its_first_part() {
    let ip: IpAddr = "10.0.0.2".parse().unwrap();
    assert_eq!(host_line(ip, "web", "corp.example"), "10.0.0.2\tweb.corp.example web");
    assert_eq!(host_line(ip, "web.corp", ""), "10.0.0.2\tweb.corp web");
}

#[test]
fn added_hosts_know_addresses_and_the_gateway() {
    let gateway = Some("172.17.0.1".parse().unwrap());
    for (text, expected) in [
        ("a:1.2.3.4", "a 1.2.3.4"),
        ("a=1.2.3.4", "a 1.2.3.4"),
        ("a:::1", "a ::1"),
        ("a:[::1]", "a ::1"),
        ("host.docker.internal:host-gateway", "host.docker.internal 172.17.0.1"),
        ("a", "add-host \"a\" is invalid: bad format: write NAME:ADDRESS"),
        ("a:b", "add-host \"a:b\" is invalid: invalid IP address"),
        (":1.2.3.4", "add-host \":1.2.3.4\" is invalid: a name has no spaces and is not empty"),
        (
            "a\n127.0.0.1 b:1.2.3.4",
            "add-host \"a\\n127.0.0.1 b:1.2.3.4\" is invalid: a name has no spaces and is not empty",
        ),
    ] {
        let shown = match HostEntry::parse(text, gateway) {
            Ok(entry) => format!("{} {}", entry.name, entry.address),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected);
    }
}

proptest! {
    #[test]
    fn whatever_the_host_has_the_container_gets_a_name_server(text in "(nameserver|search|options|#|;|[a-z0-9.: \n]){0,40}") {
        for resolver in [Resolver::Direct, Resolver::Embedded] {
            let conf = resolv_conf(&text, &NameServers::default(), resolver);
            prop_assert!(conf.text.contains("nameserver "));
            prop_assert_eq!(conf.upstreams.is_empty(), resolver == Resolver::Direct);
        }
    }
}

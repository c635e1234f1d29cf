//! The rules, which are the same on every host: what differs is in the sets.

use super::expr::Expression::{self, *};
use super::expr::Meta::*;
use super::expr::Verdict;
use super::nft::{Batch, Hook, Set, Type};

/// The interfaces of our bridges.
pub(super) const BRIDGES: &str = "bridges";
/// Those of networks that nothing leaves and nothing enters.
pub(super) const INTERNAL: &str = "internal";
/// Those whose containers may not talk to each other.
pub(super) const SEPARATED: &str = "separated";
/// Each bridge twice: the packets that come back where they came from.
pub(super) const SAME: &str = "same";
/// Those whose packets leave the host under the host's address.
pub(super) const MASQUERADED: &str = "masqueraded";
/// Published ports by address of the host.
pub(super) const BOUND4: &str = "bound4";
/// The same in IPv6.
pub(super) const BOUND6: &str = "bound6";
/// Published ports of all addresses of the host.
pub(super) const ANY4: &str = "any4";
/// The same in IPv6.
pub(super) const ANY6: &str = "any6";
/// Ports of containers that may be entered when a published port led there.
pub(super) const OPEN4: &str = "open4";
/// The same in IPv6.
pub(super) const OPEN6: &str = "open6";
/// Containers with published ports, twice: their own packets that come back to them.
pub(super) const SELF4: &str = "self4";
/// The same in IPv6.
pub(super) const SELF6: &str = "self6";

const NAMES: &[Type] = &[Type::INTERFACE];
const PAIR: &[Type] = &[Type::INTERFACE, Type::INTERFACE];
const PORT: &[Type] = &[Type::PROTOCOL, Type::PORT];
const SOCKET4: &[Type] = &[Type::IPV4, Type::PROTOCOL, Type::PORT];
const SOCKET6: &[Type] = &[Type::IPV6, Type::PROTOCOL, Type::PORT];
const TARGET4: &[Type] = &[Type::IPV4, Type::PORT];
const TARGET6: &[Type] = &[Type::IPV6, Type::PORT];

const fn set(name: &'static str, key: &'static [Type]) -> Set {
    Set { name, key, data: &[] }
}

const fn map(name: &'static str, key: &'static [Type], data: &'static [Type]) -> Set {
    Set { name, key, data }
}

const SETS: [Set; 13] = [
    set(BRIDGES, NAMES),
    set(INTERNAL, NAMES),
    set(SEPARATED, NAMES),
    set(SAME, PAIR),
    set(MASQUERADED, NAMES),
    map(BOUND4, SOCKET4, TARGET4),
    map(BOUND6, SOCKET6, TARGET6),
    map(ANY4, PORT, TARGET4),
    map(ANY6, PORT, TARGET6),
    set(OPEN4, SOCKET4),
    set(OPEN6, SOCKET6),
    set(SELF4, &[Type::IPV4, Type::IPV4]),
    set(SELF6, &[Type::IPV6, Type::IPV6]),
];

const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;

const BEFORE_TRACKING: Hook = Hook { kind: "filter", number: PREROUTING, priority: -300 };
const ARRIVING: Hook = Hook { kind: "nat", number: PREROUTING, priority: -100 };
const LOCAL: Hook = Hook { kind: "nat", number: OUTPUT, priority: -100 };
const LEAVING: Hook = Hook { kind: "nat", number: POSTROUTING, priority: 100 };
const PASSING: Hook = Hook { kind: "filter", number: FORWARD, priority: 0 };

const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const DESTINATION_CHANGED: u32 = 0x20;
const LOCAL_ADDRESS: u32 = 2;

/// Writes sets, chains and rules into a new table.
pub(super) fn write(batch: &mut Batch) {
    for (set, id) in SETS.iter().zip(1..) {
        batch.add_set(set, id);
    }
    for chain in ["publish", "to_container", "within"] {
        batch.add_chain(chain, None);
    }
    guard(batch);
    publish(batch);
    leaving(batch);
    passing(batch);
}

/// The loopback addresses of the host are reachable through published ports (`route_localnet`), so containers are
/// kept from them here, before anything else happens to the packet.
fn guard(batch: &mut Batch) {
    batch.add_chain("guard", Some(BEFORE_TRACKING));
    let mut rule = vec![Meta(InName, 0), In { set: BRIDGES, register: 0 }];
    rule.extend(to_loopback4());
    rule.push(Expression::Verdict(Verdict::Drop));
    batch.add_rule("guard", &rule);
}

/// Published ports: of one address first, then of all addresses of the host.
fn publish(batch: &mut Batch) {
    batch.add_chain("arriving", Some(ARRIVING));
    batch.add_chain("local", Some(LOCAL));
    // From outside, the loopback addresses of the host are nobody's.
    let mut rule = to_loopback4();
    rule.push(Expression::Verdict(Verdict::Return));
    batch.add_rule("arriving", &rule);
    // A packet from ::1 cannot be routed anywhere else.
    let mut rule = ipv6();
    rule.push(Network { offset: 24, length: 16, register: 0 });
    rule.push(Equal(0, [[0; 15].as_slice(), &[1]].concat()));
    rule.push(Expression::Verdict(Verdict::Return));
    batch.add_rule("local", &rule);
    for chain in ["arriving", "local"] {
        batch.add_rule(chain, &[Expression::Verdict(Verdict::Jump("publish"))]);
    }
    for (protocol, offset, length, bound, any, family) in
        [(ipv4(), 16, 4, BOUND4, ANY4, 2), (ipv6(), 24, 16, BOUND6, ANY6, 10)]
    {
        let words = length / 4;
        let mut rule = protocol.clone();
        rule.extend(socket(offset, length));
        rule.push(Map { set: bound, register: 0, into: 0 });
        rule.push(DestinationNat { family, address: 0, port: words });
        batch.add_rule("publish", &rule);

        let mut rule = protocol;
        rule.push(DestinationKind(0));
        rule.push(Equal(0, LOCAL_ADDRESS.to_ne_bytes().to_vec()));
        rule.push(Meta(TransportProtocol, 0));
        rule.push(Transport { offset: 2, length: 2, register: 1 });
        rule.push(Map { set: any, register: 0, into: 0 });
        rule.push(DestinationNat { family, address: 0, port: words });
        batch.add_rule("publish", &rule);
    }
}

/// Packets that leave under the host's address.
fn leaving(batch: &mut Batch) {
    batch.add_chain("leaving", Some(LEAVING));
    let rule = [
        Meta(InName, 0),
        In { set: MASQUERADED, register: 0 },
        Meta(OutName, 0),
        NotIn { set: BRIDGES, register: 0 },
        Masquerade,
    ];
    batch.add_rule("leaving", &rule);
    // From the host's loopback address into a container: the answer must find back.
    let mut rule = ipv4();
    rule.push(Network { offset: 12, length: 4, register: 0 });
    rule.push(And { register: 0, mask: vec![255, 0, 0, 0] });
    rule.push(Equal(0, vec![127, 0, 0, 0]));
    rule.push(Meta(OutName, 0));
    rule.push(In { set: BRIDGES, register: 0 });
    rule.push(Masquerade);
    batch.add_rule("leaving", &rule);
    // From a container through a published port back into the same network: the answer must pass here.
    let mut rule = same_bridge();
    rule.extend(came_through_published_port());
    rule.push(Masquerade);
    batch.add_rule("leaving", &rule);
    // The same of a container that reaches itself, also where the bridge calls the packet filter and the interface
    // of arrival is not known any more.
    for (protocol, offset, length, set) in [(ipv4(), 12, 4, SELF4), (ipv6(), 8, 16, SELF6)] {
        let mut rule = protocol;
        rule.push(Network { offset, length, register: 0 });
        rule.push(Network { offset: offset + length, length, register: length / 4 });
        rule.push(In { set, register: 0 });
        rule.push(Masquerade);
        batch.add_rule("leaving", &rule);
    }
}

/// Packets between interfaces, as far as one of them is ours.
fn passing(batch: &mut Batch) {
    batch.add_chain("passing", Some(PASSING));
    let to = [
        Meta(OutName, 0),
        In { set: BRIDGES, register: 0 },
        Expression::Verdict(Verdict::Goto("to_container")),
    ];
    batch.add_rule("passing", &to);
    batch.add_rule("passing", &from_internal());

    let mut rule = same_bridge();
    rule.push(Expression::Verdict(Verdict::Goto("within")));
    batch.add_rule("to_container", &rule);
    batch.add_rule("to_container", &from_internal());
    let mut rule = vec![Meta(OutName, 0), In { set: INTERNAL, register: 0 }];
    rule.push(Expression::Verdict(Verdict::Drop));
    batch.add_rule("to_container", &rule);
    let mut rule = vec![
        ConnectionState(0),
        And { register: 0, mask: ESTABLISHED_OR_RELATED.to_ne_bytes().to_vec() },
        NotEqual(0, vec![0; 4]),
    ];
    rule.push(Expression::Verdict(Verdict::Accept));
    batch.add_rule("to_container", &rule);
    for (protocol, offset, length, set) in [(ipv4(), 16, 4, OPEN4), (ipv6(), 24, 16, OPEN6)] {
        let mut rule = came_through_published_port();
        rule.extend(protocol);
        rule.extend(socket(offset, length));
        rule.push(In { set, register: 0 });
        rule.push(Expression::Verdict(Verdict::Accept));
        batch.add_rule("to_container", &rule);
    }
    batch.add_rule("to_container", &[Expression::Verdict(Verdict::Drop)]);

    let mut rule = came_through_published_port();
    rule.push(Expression::Verdict(Verdict::Accept));
    batch.add_rule("within", &rule);
    let rule =
        [Meta(InName, 0), In { set: SEPARATED, register: 0 }, Expression::Verdict(Verdict::Drop)];
    batch.add_rule("within", &rule);
}

fn from_internal() -> [Expression; 3] {
    [Meta(InName, 0), In { set: INTERNAL, register: 0 }, Expression::Verdict(Verdict::Drop)]
}

fn ipv4() -> Vec<Expression> {
    vec![Meta(NetworkProtocol, 0), Equal(0, vec![2])]
}

fn ipv6() -> Vec<Expression> {
    vec![Meta(NetworkProtocol, 0), Equal(0, vec![10])]
}

fn to_loopback4() -> Vec<Expression> {
    let mut expressions = ipv4();
    expressions.push(Network { offset: 16, length: 4, register: 0 });
    expressions.push(And { register: 0, mask: vec![255, 0, 0, 0] });
    expressions.push(Equal(0, vec![127, 0, 0, 0]));
    expressions
}

/// Loads the destination: address, protocol, port.
fn socket(offset: u32, length: u32) -> Vec<Expression> {
    let words = length / 4;
    vec![
        Network { offset, length, register: 0 },
        Meta(TransportProtocol, words),
        Transport { offset: 2, length: 2, register: words + 1 },
    ]
}

fn same_bridge() -> Vec<Expression> {
    vec![Meta(InName, 0), Meta(OutName, 4), In { set: SAME, register: 0 }]
}

fn came_through_published_port() -> Vec<Expression> {
    vec![
        ConnectionStatus(0),
        And { register: 0, mask: DESTINATION_CHANGED.to_ne_bytes().to_vec() },
        NotEqual(0, vec![0; 4]),
    ]
}

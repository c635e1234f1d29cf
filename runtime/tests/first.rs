mod support;
use support::*;
#[test]
fn smoke() {
    let m = Machine::new();
    let t = std::time::Instant::now();
    let r = m.run("echo hi; echo err >&2; id; cat /proc/self/status | grep -i -E 'cap|seccomp|nonew'; ls /dev; hostname; env; mount; exit 3", |_| {});
    println!("{r:?} {:?}", t.elapsed());
    println!("{}\n{}", r.1, r.2);
    assert_eq!(r.0, 3);
}

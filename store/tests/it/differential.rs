//! The own tar reader beside two others on archives that were damaged on purpose: what it accepts, the `tar` crate and GNU
//! tar must read as the same entries, or refuse. Two readers that see two things in one archive are how files are smuggled
//! past a scanner (CVE-2025-62518 and its kin).
//!
//! `WHERRY_TAR_FUZZ=1000000 cargo test -p store differential` runs longer; `WHERRY_TAR_FUZZ_SEED` starts elsewhere.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use store::tar::{Entry, Kind, Reader, TarError, Time, Writer};

/// Archives that every run looks at; every so manieth also with GNU tar, which is a process each time.
const ROUNDS: u64 = 3_000;
const GNU_EVERY: u64 = 60;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

/// An entry as far as readers must agree on it: name, link, and content of a file.
type Seen = (Vec<u8>, Vec<u8>, Vec<u8>);

fn entry(rng: &mut Rng) -> (Entry, Vec<u8>) {
    const KINDS: [Kind; 4] = [Kind::File, Kind::Directory, Kind::Symlink, Kind::HardLink];
    let kind = KINDS[rng.below(6).saturating_sub(2)];
    let length = [1, 8, 99, 100, 101, 155, 240][rng.below(7)];
    let mut path = vec![b'a' + rng.below(26) as u8; length];
    if length > 20 {
        path[length / 2] = b'/';
    }
    let mut entry = Entry::new(kind, path);
    if kind == Kind::Directory {
        entry.path.push(b'/');
    }
    if matches!(kind, Kind::Symlink | Kind::HardLink) {
        entry.link = vec![b'l'; [1, 99, 100, 101, 180][rng.below(5)]];
    }
    let data = match kind {
        Kind::File => vec![b'0' + rng.below(10) as u8; rng.below(1_300)],
        _ => Vec::new(),
    };
    entry.mode = 0o644;
    entry.size = data.len() as u64;
    entry.mtime = Time { seconds: rng.below(1 << 31) as i64, nanos: 0 };
    (entry, data)
}

/// Ours, the `tar` crate's old GNU headers, or one after the other.
fn archive(rng: &mut Rng) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for _ in 0..1 + rng.below(4) {
        let (entry, data) = entry(rng);
        writer.entry(&entry).expect("writes");
        writer.data(&data).expect("writes");
    }
    let ours = writer.finish().expect("writes");
    if rng.below(3) > 0 {
        return ours;
    }
    let mut builder = tar::Builder::new(Vec::new());
    let name = "n".repeat([10, 99, 100, 101, 220][rng.below(5)]);
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append_data(&mut header, name, &b"12345"[..]).expect("appends");
    let mut all = builder.into_inner().expect("finishes");
    all.truncate(all.len() - 1024);
    all.extend(ours);
    all
}

/// Changes bytes of headers and of extension records, and makes the checksums right again, so that the damage
/// reaches what is behind them.
fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let fields: [(usize, usize); 8] =
        [(0, 100), (124, 12), (124, 12), (156, 1), (157, 100), (257, 6), (345, 155), (482, 4)];
    for _ in 0..rng.below(4) {
        let block = rng.below(bytes.len() / 512) * 512;
        let (at, length) = fields[rng.below(fields.len())];
        let at = block + at + rng.below(length);
        bytes[at] = match rng.below(6) {
            0 => 0,
            1 => b'/',
            2 => b'0' + rng.below(8) as u8,
            3 => b"0125678LKxgSD\x80\xff"[rng.below(15)],
            4 => b' ',
            _ => bytes[at] ^ (1 << rng.below(8)),
        };
    }
    if rng.below(12) == 0 {
        bytes.truncate(rng.below(bytes.len()));
    }
    for block in bytes.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

fn ours(bytes: &[u8]) -> Result<Vec<Seen>, TarError> {
    let mut reader = Reader::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = Vec::new();
        if entry.kind == Kind::File {
            reader.copy_data(&entry, |_, piece| {
                data.extend_from_slice(piece);
                Ok::<(), TarError>(())
            })?;
        }
        let linked = matches!(entry.kind, Kind::Symlink | Kind::HardLink);
        found.push((entry.path, if linked { entry.link } else { Vec::new() }, data));
    }
    Ok(found)
}

fn crates(bytes: &[u8]) -> std::io::Result<Vec<Seen>> {
    let mut found = Vec::new();
    for entry in tar::Archive::new(bytes).entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        // Data behind a link or a directory: nobody but the crate believes in it (GNU tar and Go do not).
        if !kind.is_file() && entry.header().entry_size()? > 0 {
            return Err(std::io::Error::other("a known difference"));
        }
        let mut data = Vec::new();
        if kind.is_file() {
            entry.read_to_end(&mut data)?;
        }
        let link = match kind.is_symlink() || kind.is_hard_link() {
            true => entry.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default(),
            false => Vec::new(),
        };
        let path = entry.path_bytes().into_owned();
        // A long name ends at its first NUL for everybody else; a file whose name ends in a slash is a directory of
        // the v7 kind for GNU tar and for us.
        if path.contains(&0) || link.contains(&0) || (kind.is_file() && path.ends_with(b"/")) {
            return Err(std::io::Error::other("a known difference"));
        }
        found.push((path, link, data));
    }
    Ok(found)
}

/// The names that GNU tar lists, or nothing where it complains.
fn gnu(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut child = Command::new("tar")
        .args(["--list", "--file=-", "--absolute-names", "--quoting-style=literal"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("GNU tar runs");
    let mut stdin = child.stdin.take().expect("a pipe was asked for");
    // A reader that refuses the beginning does not wait for the end.
    let _ = stdin.write_all(bytes);
    drop(stdin);
    let output = child.wait_with_output().expect("GNU tar ends");
    let quiet = output.status.success() && output.stderr.is_empty();
    quiet.then(|| {
        let lines = output.stdout.split(|byte| *byte == b'\n');
        lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
    })
}

/// A directory may be called with or without the slash.
fn bare(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    &path[..end]
}

fn same(one: &Seen, other: &Seen) -> bool {
    bare(&one.0) == bare(&other.0) && one.1 == other.1 && one.2 == other.2
}

fn show(entry: Option<&Seen>) -> String {
    let Some((path, link, data)) = entry else { return "no entry".to_owned() };
    let text = String::from_utf8_lossy;
    format!("{:?} -> {:?} ({} bytes)", text(path), text(link), data.len())
}

/// Covers: DST-76
#[test]
fn what_we_accept_no_other_reader_sees_differently() {
    let seed = setting("WHERRY_TAR_FUZZ_SEED", 0x7a2);
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut accepted, mut compared, mut listed) = (0, 0, 0);
    for round in 0..setting("WHERRY_TAR_FUZZ", ROUNDS) {
        let mut bytes = archive(&mut rng);
        damage(&mut rng, &mut bytes);
        let Ok(found) = ours(&bytes) else { continue };
        accepted += 1;
        let differ = |who: &str, theirs: &[Seen]| {
            let path = std::env::temp_dir().join("wherry-differential.tar");
            std::fs::write(&path, &bytes).expect("keeps the archive");
            let pairs = theirs.iter().map(Some).chain(std::iter::repeat(None));
            let ours = found.iter().map(Some).chain(std::iter::repeat(None));
            let first = pairs.zip(ours).find(|(a, b)| match (a, b) {
                (Some(a), Some(b)) => !same(a, b),
                _ => true,
            });
            let (theirs, ours) = first.unwrap_or_default();
            panic!(
                "seed {seed:#x}, round {round}: {who} sees {}, we see {}; kept in {}",
                show(theirs),
                show(ours),
                path.display()
            );
        };
        let agree = |theirs: &[Seen]| {
            theirs.len() == found.len() && theirs.iter().zip(&found).all(|(a, b)| same(a, b))
        };
        if let Ok(theirs) = crates(&bytes) {
            compared += 1;
            if !agree(&theirs) {
                differ("the tar crate", &theirs);
            }
        }
        // A list of names cannot tell a name with a line's end.
        let listable = !found.iter().any(|(path, ..)| path.contains(&b'\n'));
        if round % GNU_EVERY == 0
            && listable
            && let Some(names) = gnu(&bytes)
        {
            listed += 1;
            // It lists names alone: the rest is taken from us.
            let mut theirs = found.clone();
            theirs.resize(names.len(), Seen::default());
            theirs.iter_mut().zip(names).for_each(|(entry, name)| entry.0 = name);
            if !agree(&theirs) {
                differ("GNU tar", &theirs);
            }
        }
    }
    println!("{accepted} accepted, {compared} compared with the crate, {listed} with GNU tar");
    assert!(accepted > 0 && compared > 0 && listed > 0, "nothing was compared");
}

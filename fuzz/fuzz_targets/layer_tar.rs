#![no_main]
//! Layers come from strangers: no bytes may panic the tar reader, give more data than there is, or
//! pass without being read to the end. What it accepts it must write and read back the same.

use libfuzzer_sys::fuzz_target;
use store::tar::{Entry, Kind, Reader, TarError, Writer};

fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = Vec::new();
        // A directory of the v7 kind may carry data, which nobody reads.
        if entry.kind == Kind::File {
            reader.copy_data(&entry, |_, piece| {
                data.extend_from_slice(piece);
                Ok::<(), TarError>(())
            })?;
        }
        entries.push((entry, data));
    }
    Ok(entries)
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut entries) = read(bytes) else { return };
    let stored: usize = entries.iter().map(|(_, data)| data.len()).sum();
    assert!(stored <= bytes.len());
    // The writer has no sparse files, no fractions of seconds and no other way to write a directory.
    entries.retain(|(entry, _)| entry.sparse.is_none());
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in &mut entries {
        entry.mtime.nanos = 0;
        if entry.kind == Kind::Directory && !entry.path.ends_with(b"/") {
            entry.path.push(b'/');
        } else if entry.kind == Kind::File && entry.path.ends_with(b"/") {
            entry.path.push(b'x');
        }
        if !matches!(entry.kind, Kind::HardLink | Kind::Symlink) {
            entry.link.clear();
        }
        if writer.entry(entry).is_err() {
            // A device number or an attribute's name that the format cannot say.
            return;
        }
        writer.data(data).expect("as long as it says");
    }
    let again = read(&writer.finish().expect("memory takes it")).expect("what we write is valid");
    assert_eq!(again, entries);
});

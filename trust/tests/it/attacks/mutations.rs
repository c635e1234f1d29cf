//! Any change of any file: refused, or without effect.

use std::sync::LazyLock;

use proptest::prelude::*;

use crate::fixtures::published_files;
use crate::world::*;

static FILES: LazyLock<std::collections::BTreeMap<String, Vec<u8>>> =
    LazyLock::new(published_files);

fn find(world: &mut World) -> trust::Result<Option<(String, String)>> {
    let mut client = Client::of(world);
    client.anchor = FILES["1.root.json"].clone();
    client.find(world, "shop/web:1.0")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Covers: TRU-11
    #[test]
    fn a_flipped_byte_anywhere_changes_nothing_that_is_believed(
        file in 0_usize..6, at in any::<prop::sample::Index>(), by in 1_u8..
    ) {
        let mut world = World::new();
        world.files = FILES.clone();
        let genuine = find(&mut world).unwrap();
        prop_assert!(genuine.is_some());
        let name = FILES.keys().filter(|name| *name != "1.root.json").nth(file % (FILES.len() - 1)).unwrap();
        let bytes = world.files.get_mut(name).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        if let Ok(found) = find(&mut world) {
            prop_assert_eq!(found, genuine, "{} at {}", name, at);
        }
    }

    #[test]
    fn a_cut_or_doubled_file_changes_nothing_that_is_believed(
        file in 0_usize..6, at in any::<prop::sample::Index>(), double in any::<bool>()
    ) {
        let mut world = World::new();
        world.files = FILES.clone();
        let genuine = find(&mut world).unwrap();
        let name = FILES.keys().filter(|name| *name != "1.root.json").nth(file % (FILES.len() - 1)).unwrap();
        let bytes = world.files.get_mut(name).unwrap();
        let at = at.index(bytes.len());
        if double {
            let copy = bytes[at..].to_vec();
            bytes.extend_from_slice(&copy);
        } else {
            bytes.truncate(at);
        }
        if let Ok(found) = find(&mut world) {
            prop_assert_eq!(found, genuine, "{} at {}", name, at);
        }
    }
}

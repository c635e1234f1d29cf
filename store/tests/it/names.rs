//! Names.

use oci::Reference;
use store::{Displaced, Error, Name};

use crate::support::store;

fn name(text: &str) -> Name {
    Name::from(&text.parse::<Reference>().expect("a reference").or_latest())
}

/// Covers: B06-14, B06-12
#[test]
fn several_names_may_point_at_one_image_and_none_moves_by_itself() {
    let store = store();
    let (old, new) = (store.image(&[b"1".to_vec()]), store.image(&[b"2".to_vec()]));
    let names = store.names();
    names.set(&name("app:latest"), &old, Displaced::KeepDangling).expect("sets");
    names.set(&name("app:v1"), &old, Displaced::KeepDangling).expect("sets");
    names.set(&name("app:v2"), &new, Displaced::KeepDangling).expect("sets");
    assert_eq!(names.get(&name("app")).expect("reads"), Some(old));
    assert_eq!(names.get(&name("app:v2")).expect("reads"), Some(new));
    assert_eq!(names.list().expect("lists").len(), 3);
}

/// Covers: B06-15
#[test]
fn an_image_that_loses_its_last_name_stays_without_one() {
    let store = store();
    let (old, new) = (store.image(&[b"1".to_vec()]), store.image(&[b"2".to_vec()]));
    let names = store.names();
    names.set(&name("app"), &old, Displaced::KeepDangling).expect("sets");
    let before = names.set(&name("app"), &new, Displaced::KeepDangling).expect("sets");
    assert_eq!(before, Some(old.clone()));
    let list = names.list().expect("lists");
    let dangling: Vec<_> = list.iter().filter(|entry| entry.name.is_none()).collect();
    assert_eq!(dangling.len(), 1);
    assert_eq!(dangling[0].descriptor, old);
    names.set(&name("app:old"), &old, Displaced::KeepDangling).expect("sets");
    assert!(names.list().expect("lists").iter().all(|entry| entry.name.is_some()));
}

#[test]
fn a_name_never_points_at_something_incomplete() {
    let store = store();
    let image = store.image(&[b"1".to_vec()]);
    std::fs::remove_file(store.content().path(&oci::Digest::sha256(b"1"))).expect("removes");
    let error = store.names().set(&name("app"), &image, Displaced::Forget).expect_err("refused");
    assert!(matches!(error, Error::Incomplete { .. }), "{error}");
    assert_eq!(store.names().get(&name("app")).expect("reads"), None);
}

#[test]
fn names_are_the_ref_names_of_the_layouts_index() {
    let store = store();
    let image = store.image(&[b"1".to_vec()]);
    store.names().set(&name("app:v1"), &image, Displaced::Forget).expect("sets");
    let index = std::fs::read(store.root().join("index.json")).expect("reads");
    let index = oci::Raw::<oci::Index>::parse(index).expect("an index");
    let entry = &index.manifests()[0];
    assert_eq!(entry.digest(), image.digest());
    assert_eq!(
        entry.annotation("org.opencontainers.image.ref.name"),
        Some("docker.io/library/app:v1")
    );
}

#[test]
fn fields_of_other_tools_in_the_index_survive() {
    let store = store();
    let path = store.root().join("index.json");
    let text = r#"{"schemaVersion":2,"manifests":[],"annotations":{"a":"b"},"x-other":[1]}"#;
    std::fs::write(&path, text).expect("writes");
    let image = store.image(&[b"1".to_vec()]);
    store.names().set(&name("app"), &image, Displaced::Forget).expect("sets");
    let text = std::fs::read_to_string(&path).expect("reads");
    assert!(text.contains(r#""annotations":{"a":"b"}"#) && text.contains(r#""x-other":[1]"#));
}

/// Covers: DST-81
#[test]
fn a_damaged_index_is_named_and_left_alone() {
    let store = store();
    let image = store.image(&[b"1".to_vec()]);
    let path = store.root().join("index.json");
    std::fs::write(&path, "{").expect("damages");
    let error = store.names().set(&name("app"), &image, Displaced::Forget).expect_err("damaged");
    assert!(error.to_string().contains("index.json"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), "{");
}

/// Covers: DST-83
#[test]
fn names_set_by_many_at_once_are_all_there() {
    let store = store();
    let image = store.image(&[b"1".to_vec()]);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (store, image) = (&store, &image);
            scope.spawn(move || {
                let names = store.again().names();
                for n in 0..10 {
                    let name = name(&format!("app{worker}:{n}"));
                    names.set(&name, image, Displaced::Forget).expect("sets");
                }
            });
        }
    });
    assert_eq!(store.names().list().expect("lists").len(), 40);
}

#[test]
fn a_change_that_fails_changes_nothing() {
    let store = store();
    let image = store.image(&[b"1".to_vec()]);
    store.names().set(&name("app"), &image, Displaced::Forget).expect("sets");
    let before = store.names().list().expect("lists");
    let failed: store::Result<()> = store.names().update(|entries| {
        entries.clear();
        Err(Error::NoSuchName { name: "x".to_owned() })
    });
    assert!(failed.is_err());
    assert_eq!(store.names().list().expect("lists"), before);
}

#[test]
fn odd_texts_are_no_names() {
    for text in ["", "a b", "a\nb", &"x".repeat(1000)] {
        assert!(text.parse::<Name>().is_err(), "{text:?}");
    }
}

//! `trust inspect`.

use trust::inspect;

use crate::publisher::*;
use crate::world::id;

fn signed() -> Publisher {
    let mut publisher = Publisher::new();
    publisher.add_signer("nigel", 11);
    publisher.add_signer("maria", 12);
    publisher.sign("signed", "one", &[11]);
    publisher.sign("both", "two", &[11, 12]);
    publisher
}

/// Covers: TRU-46, B15-39, N3-240
#[test]
fn pretty_shows_signatures_signers_and_administrative_keys() {
    let publisher = signed();
    let text = inspect("shop/web", &publisher.repository, None).pretty();
    let (one, two) = (manifest("one"), manifest("two"));
    let expected = format!(
        "\nSignatures for shop/web\n\n\
         SIGNED TAG   DIGEST                                                             SIGNERS\n\
         both         {}   nigel, maria\n\
         signed       {}   nigel\n\n\
         List of signers and their keys for shop/web\n\n\
         SIGNER   KEYS\n\
         maria    {}\n\
         nigel    {}\n\n\
         Administrative keys for shop/web\n\n  \
         Repository Key:\t{}\n  \
         Root Key:\t{}\n",
        two.digest().hex(),
        one.digest().hex(),
        &id(12)[..12],
        &id(11)[..12],
        id(2),
        id(1),
    );
    assert_eq!(text, expected);
}

/// Covers: TRU-46
#[test]
fn json_has_dockers_field_names_and_a_tag_narrows_it() {
    let publisher = signed();
    let found = inspect("shop/web:signed", &publisher.repository, Some("signed"));
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["Name"], "shop/web:signed");
    assert_eq!(json["SignedTags"].as_array().unwrap().len(), 1);
    assert_eq!(json["SignedTags"][0]["SignedTag"], "signed");
    assert_eq!(json["SignedTags"][0]["Digest"], manifest("one").digest().hex());
    assert_eq!(json["SignedTags"][0]["Signers"], serde_json::json!(["nigel"]));
    assert_eq!(json["Signers"][1]["Name"], "nigel");
    assert_eq!(json["AdministrativeKeys"][0]["Name"], "Root");
    assert_eq!(json["AdministrativeKeys"][0]["Keys"][0]["ID"], id(1));
    assert_eq!(json["AdministrativeKeys"][1]["Name"], "Repository");
}

#[test]
fn tags_of_the_repository_key_and_empty_repositories_are_shown_as_such() {
    let mut publisher = Publisher::new();
    let text = inspect("shop/web", &publisher.repository, None).pretty();
    assert!(text.starts_with("\nNo signatures for shop/web\n"), "{text}");
    publisher.sign("1.0", "one", &[2]);
    let text = inspect("shop/web", &publisher.repository, None).pretty();
    assert!(text.contains("(Repo Admin)"), "{text}");
    assert!(!text.contains("List of signers"), "{text}");
}

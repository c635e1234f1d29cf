use proptest::prelude::*;

use super::*;

/// Covers: DST-2
#[test]
fn names_follow_the_grammar_of_the_specification() {
    for good in ["a", "library/ubuntu", "a.b", "a_b", "a__b", "a-b", "a---b/c0.d", "0/1/2"] {
        assert_eq!(good.parse::<RepositoryName>().map(|n| n.to_string()), Ok(good.to_owned()));
    }
    let bad = [
        "", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a._b", "-a", "a-", ".", "..", "a/../b",
        "a/./b", "_uploads", "a/_tags", "a b", "a\0b", "ä", "a:b", "a@b", "a%2fb", "a\\b", "~a",
    ];
    for text in bad {
        assert!(text.parse::<RepositoryName>().is_err(), "accepted {text:?}");
    }
}

/// Covers: DST-2
#[test]
fn a_name_of_255_bytes_is_accepted_and_one_of_256_refused() {
    assert!("a".repeat(255).parse::<RepositoryName>().is_ok());
    assert_eq!("a".repeat(256).parse::<RepositoryName>(), Err(NameError::TooLong { length: 256 }));
}

/// Covers: DST-2
#[test]
fn tags_follow_the_grammar_of_the_specification() {
    let longest = "t".repeat(128);
    for good in ["latest", "v1.0", "_x", "A-b.C", "0", longest.as_str()] {
        assert_eq!(good.parse::<Tag>().map(|t| t.to_string()), Ok(good.to_owned()));
    }
    let too_long = "t".repeat(129);
    for bad in ["", ".x", "-x", "a/b", "a:b", "a b", "..", "ü", "a\n", too_long.as_str()] {
        assert!(bad.parse::<Tag>().is_err(), "accepted {bad:?}");
    }
}

#[test]
fn a_reference_with_a_colon_is_a_digest_or_nothing() {
    let digest = Digest::sha256(b"x");
    assert_eq!(
        digest.to_string().parse::<ManifestReference>(),
        Ok(ManifestReference::Digest(digest))
    );
    assert!(matches!("sha256:12".parse::<ManifestReference>(), Err(ReferenceError::Digest(_))));
    assert!(matches!("a/b".parse::<ManifestReference>(), Err(ReferenceError::Tag(_))));
}

proptest! {
    /// Covers: DST-2
    #[test]
    fn every_text_of_the_grammar_is_a_name(
        text in "[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,3}(/[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,3}){0,4}"
    ) {
        prop_assert!(text.parse::<RepositoryName>().is_ok());
    }

    #[test]
    fn no_accepted_name_leaves_its_folder(text in "[a-z0-9._/%\\\\-]{0,40}") {
        if let Ok(name) = text.parse::<RepositoryName>() {
            let parts: Vec<_> = name.as_str().split('/').collect();
            prop_assert!(parts.iter().all(|p| !p.is_empty() && !p.starts_with('.') && !p.starts_with('_')));
        }
    }

    #[test]
    fn every_text_of_the_tag_grammar_is_a_tag(text in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}") {
        prop_assert!(text.parse::<Tag>().is_ok());
    }

    #[test]
    fn no_text_panics_the_parsers(text: String) {
        let _ = text.parse::<RepositoryName>();
        let _ = text.parse::<Tag>();
        let _ = text.parse::<ManifestReference>();
    }
}

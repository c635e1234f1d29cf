use super::*;

fn check(patterns: &[&str], path: &str, expect: bool) {
    let compiled = Patterns::new(patterns).unwrap();
    assert_eq!(compiled.excludes(path), expect, "{patterns:?} {path}");
}

/// Covers: BLD-69
#[test]
fn single_patterns_match_from_the_root_and_hold_for_what_is_below() {
    for (pattern, path, expect) in [
        ("**", "file", true),
        ("**", "dir/file", true),
        ("**/", "file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir/dir2/file", true),
        ("dir/**", "dir", false),
        ("**/dir", "dir", true),
        ("**/dir", "dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/*", "dir/dir2", false),
        ("**/dir2/**", "dir/dir2/dir3/file", true),
        ("**file", "file", true),
        ("**file", "dir/file", true),
        ("**/file", "dir/dir/file", true),
        ("**/file*", "dir/dir/file.txt", true),
        ("**/file*txt", "dir/dir/file.txt", true),
        ("**/file*.txt", "dir/dir/file.txt", true),
        ("**/**/*.txt", "dir/dir/file.txt", true),
        ("**/**/*.txt2", "dir/dir/file.txt", false),
        ("**/*.txt", "file.txt", true),
        ("**/*.txt", "prefile.txt2", false),
        ("a**/*.txt", "a/file.txt", true),
        ("a**/*.txt", "a/dir/dir/file.txt", true),
        ("a[b-d]e", "ae", false),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "aae", false),
        ("a[^b-d]e", "aze", true),
        (".*", ".foo", true),
        (".*", "foo", false),
        ("abc.def", "abcdef", false),
        ("abc.def", "abc.def", true),
        ("abc.def", "abcZdef", false),
        ("abc?def", "abcZdef", true),
        ("abc?def", "abcdef", false),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("a\\", "a\\", false),
        ("**/foo/bar", "foo/bar", true),
        ("**/foo/bar", "dir/foo/bar", true),
        ("abc/**", "abc", false),
        ("abc/**", "abc/def/ghi", true),
        ("**/.foo", ".foo", true),
        ("**/.foo", "bar.foo", false),
        ("a(b)c/def", "a(b)c/def", true),
        ("a(b)c/def", "a(b)c/xyz", false),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
        (
            "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
            "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
            true,
        ),
        ("foo", "foo", true),
        ("foo", "a/foo", false),
        ("foo", "foo/a/b", true),
        ("*/foo", "a/foo", true),
        ("*", "a/b", true),
        ("é?", "éa", true),
    ] {
        match Patterns::new(&[pattern]) {
            Ok(compiled) => assert_eq!(compiled.excludes(path), expect, "{pattern} {path}"),
            Err(e) => assert!(!expect, "{pattern}: {e}"),
        }
    }
}

/// Covers: BLD-69, B08-20
#[test]
fn the_last_pattern_that_matches_wins() {
    for (patterns, path, expect) in [
        (&["**", "!util/docker/web"][..], "util/docker/web/foo", false),
        (&["**", "!util/docker/web", "util/docker/web/foo"], "util/docker/web/foo", true),
        (
            &["**", "!dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl"],
            "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
            false,
        ),
        (&["*.md", "!README*.md", "README-secret.md"], "README-secret.md", true),
        (&["*.md", "!README*.md", "README-secret.md"], "README.md", false),
        (&["*.md", "!README*.md", "README-secret.md"], "docs.md", true),
        (&["*.md", "README-secret.md", "!README*.md"], "README-secret.md", false),
        (&["docs", "!docs/README.md"], "docs/README.md", false),
        (&["docs", "!docs/README.md"], "docs/other.md", true),
        (&["!docs/README.md", "docs"], "docs/README.md", true),
        (&["**/*.go", "!**/*_test.go"], "a/b_test.go", false),
        (&["**/*.go", "!**/*_test.go"], "a/b.go", true),
    ] {
        check(patterns, path, expect);
    }
}

/// Covers: BLD-69
#[test]
fn an_ignore_file_is_trimmed_cleaned_and_stripped_of_comments() {
    let text = "\u{feff}test1\n/test2\n/a/file/here\n\nlastfile\n# this is a comment\n! /inverted/abs/path\n!\t relative\n  # not a comment\na/../b/\n!";
    let patterns: Vec<String> = file_patterns(text).into_iter().map(|(_, p)| p).collect();
    assert_eq!(
        patterns,
        [
            "test1",
            "test2",
            "a/file/here",
            "lastfile",
            "!inverted/abs/path",
            "!relative",
            "# not a comment",
            "b",
            "!"
        ]
    );
    let e = Patterns::from_file("a\n!\n").unwrap_err();
    assert_eq!(e.to_string(), "line 2: \"!\" is not a pattern: there is nothing behind the !");
    let e = Patterns::from_file("a\n[\n").unwrap_err();
    assert_eq!(
        e.to_string(),
        "line 2: \"[\" is not a pattern: a bracket or a backslash is not closed"
    );
}

/// Covers: BLD-69
#[test]
fn an_excluded_folder_is_walked_only_when_an_exception_reaches_into_it() {
    for (patterns, folder, expect) in [
        (&["node_modules", "!README.md"][..], "node_modules", false),
        (&["docs", "!docs/a/README.md"], "docs", true),
        (&["docs", "!docs/a/README.md"], "docs/a", true),
        (&["docs", "!docs/a/README.md"], "docs/b", false),
        (&["**", "!**/*.go"], "any/where", true),
        (&["*", "!src/*.c"], "lib", false),
        (&["*", "!src/*.c"], "src", true),
        (&["*"], "src", false),
    ] {
        assert_eq!(
            Patterns::new(patterns).unwrap().may_bring_back_inside(folder),
            expect,
            "{patterns:?} {folder}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn any_pattern_compiles_or_fails_without_a_panic(pattern in "\\PC{0,30}", path in "[a-z/.]{0,20}") {
        if let Ok(compiled) = Patterns::new(&[pattern]) {
            compiled.excludes(&path);
        }
    }

    #[test]
    fn a_plain_path_excludes_itself(path in "[a-z][a-z0-9._-]{0,8}(/[a-z][a-z0-9._-]{0,8}){0,3}") {
        proptest::prop_assert!(Patterns::new(&[&path]).unwrap().excludes(&path));
    }

    #[test]
    fn stepping_down_equals_asking_for_the_whole_path(
        patterns in proptest::collection::vec("!?[ab*]{1,3}(/[ab*]{1,3}){0,2}", 0..5), path in "[ab]{1,2}(/[ab]{1,2}){0,3}"
    ) {
        let compiled = Patterns::new(&patterns).unwrap();
        let mut by_rule = false;
        let prefixes: Vec<&str> = path.match_indices('/').map(|(i, _)| &path[..i]).chain([path.as_str()]).collect();
        for rule in &compiled.rules {
            let alone = Patterns::new(&[&rule.text]).unwrap();
            if prefixes.iter().any(|p| alone.set.is_match(p)) {
                by_rule = !rule.exception;
            }
        }
        proptest::prop_assert_eq!(compiled.excludes(&path), by_rule);
    }
}

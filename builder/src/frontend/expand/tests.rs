use super::*;

fn env() -> Vec<(String, String)> {
    [
        ("PWD", "/home"),
        ("SHELL", "bash"),
        ("NAME", "a b"),
        ("EMPTY", ""),
        ("F", "foo.tar.gz"),
        ("P", "/a/b/c"),
        ("É", "acute"),
        ("G", "a*b?c"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .to_vec()
}

fn check(table: &[(&str, &str)]) {
    for (word, expect) in table {
        match Lexer::new('\\').word(word, &env()) {
            Ok(text) => assert_eq!(text, *expect, "{word}"),
            Err(e) => assert_eq!(format!("error: {}", e.message()), *expect, "{word}"),
        }
    }
}

/// Covers: BLD-8
#[test]
fn variables_quotes_and_escapes_expand_like_the_reference() {
    check(&[
        ("hello", "hello"),
        ("he'll'o", "hello"),
        ("he\"ll\"o", "hello"),
        ("'a\\b'", "a\\b"),
        ("\"a\\b\"", "a\\b"),
        ("\"a\\\"b\"", "a\"b"),
        ("\"a\\$PWD\"", "a$PWD"),
        ("a\\$PWD", "a$PWD"),
        ("'$PWD'", "$PWD"),
        ("\"$PWD\"", "/home"),
        ("$PWD/x", "/home/x"),
        ("$PWDx", ""),
        ("${PWD}x", "/homex"),
        ("$", "$"),
        ("a$", "a$"),
        ("$1a", "a"),
        ("$É", "acute"),
        ("he$", "he$"),
        ("\\'x", "'x"),
        ("x\\", "x"),
        ("'x", "error: unexpected end of statement while looking for matching single-quote"),
        ("\"x", "error: unexpected end of statement while looking for matching double-quote"),
        ("${PWD", "error: syntax error: missing '}'"),
        ("${", "error: syntax error: missing '}'"),
        ("${}", "error: syntax error: bad substitution"),
        ("${:x}", "error: syntax error: bad substitution"),
        ("${{x}}", "error: syntax error: bad substitution"),
        ("${PWD!x}", "error: unsupported modifier (!) in substitution"),
        ("${PWD:xx}", "error: unsupported modifier (:x) in substitution"),
    ]);
}

/// Covers: BLD-8
#[test]
fn default_alternative_and_required_forms_tell_empty_from_unset() {
    check(&[
        ("${X-def}", "def"),
        ("${X:-def}", "def"),
        ("${EMPTY-def}", ""),
        ("${EMPTY:-def}", "def"),
        ("${PWD:-def}", "/home"),
        ("${X:-$PWD}", "/home"),
        ("${X:-\"a}b\"}", "a}b"),
        ("${X:-a\\}b}", "a}b"),
        ("${X:-${Y:-${SHELL}}}", "bash"),
        ("${X+alt}", ""),
        ("${EMPTY+alt}", "alt"),
        ("${EMPTY:+alt}", ""),
        ("${PWD:+alt}", "alt"),
        ("${PWD?}", "/home"),
        ("${X?}", "error: X: is not allowed to be unset"),
        ("${X:?must be set}", "error: X: must be set"),
        ("${EMPTY?}", ""),
        ("${EMPTY:?}", "error: EMPTY: is not allowed to be empty"),
        ("${EMPTY:?say it}", "error: EMPTY: say it"),
        ("${X:-def", "error: syntax error: missing '}'"),
    ]);
}

/// Covers: BLD-9
#[test]
fn patterns_trim_and_replace_shortest_and_longest() {
    check(&[
        ("${F#*.}", "tar.gz"),
        ("${F##*.}", "gz"),
        ("${F%.*}", "foo.tar"),
        ("${F%%.*}", "foo"),
        ("${F#nope}", "foo.tar.gz"),
        ("${P##*/}", "c"),
        ("${P%/*}", "/a/b"),
        ("${P#/?/}", "b/c"),
        ("${F/o/0}", "f0o.tar.gz"),
        ("${F//o/0}", "f00.tar.gz"),
        ("${F//./}", "footargz"),
        ("${P//\\//-}", "-a-b-c"),
        ("${F/*./x}", "xgz"),
        ("${G#a\\*}", "b?c"),
        ("${G%\\?c}", "a*b"),
        ("${G/\\*/S}", "aSb?c"),
        ("${X#a}", ""),
        ("${X/a/b}", ""),
        ("${F:#f}", "error: unsupported modifier (:#) in substitution"),
        ("${F:%f}", "error: unsupported modifier (:%) in substitution"),
        ("${F/o", "error: syntax error: missing '/' in ${}"),
        ("${F/o/x", "error: syntax error: missing '}'"),
        ("${F#a\\b}", "error: invalid pattern (a\\b) in substitution: invalid escape '\\b'"),
    ]);
}

#[test]
fn words_are_split_after_substitution_unless_quoted() {
    for (word, expect) in [
        ("hello world", vec!["hello", "world"]),
        ("hello\\ world", vec!["hello world"]),
        ("'a b' c", vec!["a b", "c"]),
        ("$NAME c", vec!["a", "b", "c"]),
        ("\"$NAME\" c", vec!["a b", "c"]),
        ("$EMPTY c", vec!["c"]),
        ("  x  ", vec!["x"]),
    ] {
        assert_eq!(Lexer::new('\\').words(word, &env()).unwrap(), expect, "{word}");
    }
}

#[test]
fn unset_variables_stay_where_asked_and_are_reported() {
    let lexer = Lexer::new('\\').skip_unset();
    for word in ["$X", "${X}", "${X:-a}", "${X+a}", "${X#a}", "${X/a/b}"] {
        assert_eq!(lexer.word(word, &env()).unwrap(), word);
    }
    let seen = Lexer::new('\\').expand("$PWD $X ${Y:-z}", &env()).unwrap();
    assert_eq!(seen.matched.into_iter().collect::<Vec<_>>(), ["PWD"]);
    assert_eq!(seen.unmatched.into_iter().collect::<Vec<_>>(), ["X"]);
}

/// Covers: BLD-3
#[test]
fn a_backtick_can_be_the_escape() {
    assert_eq!(Lexer::new('`').word("c:\\x`$PWD", &env()).unwrap(), "c:\\x$PWD");
}

#[test]
fn quotes_are_plain_text_in_a_heredoc() {
    assert_eq!(
        Lexer::new('\\').ignore_quotes().word("it's \"$SHELL\"", &env()).unwrap(),
        "it's \"bash\""
    );
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    let word = "${X:-".repeat(5000) + &"}".repeat(5000);
    assert!(Lexer::new('\\').word(&word, &[]).unwrap_err().message().contains("too many nested"));
}

proptest::proptest! {
    #[test]
    fn any_word_expands_or_fails_without_a_panic(word in "[\\PC$ {}\\\\'\":/#%?*+-]{0,60}") {
        for lexer in [Lexer::new('\\'), Lexer::new('`').skip_unset(), Lexer::new('\\').raw_quotes().raw_escapes(), Lexer::new('\\').ignore_quotes()] {
            let _ = lexer.expand(&word, &env());
        }
    }

    #[test]
    fn a_word_without_special_characters_is_left_alone(word in "[a-zA-Z0-9_./=@,]{0,40}") {
        proptest::prop_assert_eq!(Lexer::new('\\').word(&word, &env()).unwrap(), word);
    }
}

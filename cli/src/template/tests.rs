use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{Error, ExecOptions, Functions, MissingKey, Template};

/// Templates with the answers of Docker's own client, recorded against an engine that served the data beside.
const RECORDED: &str = include_str!("testdata/docker-28.json");

/// Templates whose answer differs from Docker's on purpose: it prints a whole Go struct (fields unknown to JSON)
/// or uses `define` and `template`, which a format here refuses.
const DIFFERENT: [&str; 4] =
    ["{{json .Config}}", "{{$}} x", "{{template \"x\"}}", "{{define \"x\"}}{{end}}"];

fn options() -> ExecOptions {
    ExecOptions { functions: Functions::Values, missing_key: MissingKey::Entry, type_name: "" }
}

fn render(template: &str, data: &Json) -> Result<String, Error> {
    Template::parse(template)?.execute(data, &options())
}

/// Covers: B06-20
#[test]
fn every_recorded_template_gives_the_text_that_docker_gives() {
    let recorded: Json = serde_json::from_str(RECORDED).unwrap();
    let mut wrong = Vec::new();
    for case in recorded["cases"].as_array().unwrap() {
        let template = case["template"].as_str().unwrap();
        if DIFFERENT.contains(&template) {
            continue;
        }
        let (out, error) = match render(template, &recorded["data"]) {
            Ok(text) => (text, String::new()),
            Err(e) => (String::new(), format!("template parsing error: {e}")),
        };
        let want = (
            case["stdout"].as_str().unwrap().trim_end_matches('\n'),
            case["stderr"].as_str().unwrap().trim(),
        );
        if (out.trim_end_matches('\n'), error.as_str()) != want {
            wrong.push(format!("{template}\n  want {want:?}\n  got  {out:?} {error:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_field_that_a_row_lacks_is_an_error_that_names_the_row() {
    let options =
        ExecOptions { type_name: "*formatter.ContainerContext", ..ExecOptions::default() };
    let error =
        Template::parse("{{.Foo}}").unwrap().execute(&json!({"ID": "a"}), &options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext"
    );
}

#[test]
fn errors_after_a_newline_name_line_and_column() {
    let error = render("a\nbc{{.Foo}}", &json!({})).unwrap_err();
    assert!(error.to_string().starts_with("template: :2:4: executing"), "{error}");
}

#[test]
fn text_functions_leave_headers_alone() {
    let options = ExecOptions { functions: Functions::Header, ..ExecOptions::default() };
    let header = json!({"Names": "NAMES"});
    for template in
        ["{{lower .Names}}", "{{.Names | json}}", "{{truncate .Names 2}}", "{{join .Names \",\"}}"]
    {
        assert_eq!(
            Template::parse(template).unwrap().execute(&header, &options).unwrap(),
            "NAMES",
            "{template}"
        );
    }
}

#[test]
fn a_label_that_is_not_there_is_an_empty_text() {
    for data in [json!({"Labels": {}}), json!({"Labels": null}), json!({"Labels": {"b": "c"}})] {
        assert_eq!(render("{{index .Labels \"a\"}}", &data).unwrap(), "", "{data}");
        assert_eq!(render("{{.Labels.a}}", &data).unwrap(), "<no value>", "{data}");
    }
}

#[test]
fn sets_are_printed_as_maps_of_nothing() {
    let data = json!({"ExposedPorts": {"80/tcp": {}}, "Volumes": {}, "Labels": {}});
    let text = render("{{.ExposedPorts}} {{.Volumes}} {{.Labels}}", &data).unwrap();
    assert_eq!(text, "map[80/tcp:{}] map[] map[]");
}

#[test]
fn unsupported_actions_are_refused_by_name() {
    for word in ["define", "template", "block"] {
        let error = Template::parse(&format!("{{{{{word} \"x\"}}}}")).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("template: :1: {{{{{word}}}}} is not supported in a format")
        );
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = "(".repeat(50_000) + "1" + &")".repeat(50_000);
    let error = Template::parse(&format!("{{{{{deep}}}}}")).unwrap_err();
    assert!(error.to_string().contains("nested deeper"), "{error}");
    let ifs = "{{if true}}".repeat(50_000);
    assert!(Template::parse(&ifs).is_err());
}

#[test]
fn a_width_cannot_fill_the_memory() {
    let out = render("{{printf \"%999999999d\" 1}}", &json!({})).unwrap();
    assert!(out.len() < 100, "{}", out.len());
}

#[test]
fn nested_ranges_stop_at_the_limit_of_output() {
    let error = render("{{range 1000000}}{{range 1000000}}0123456789{{end}}{{end}}", &json!({}))
        .unwrap_err();
    assert!(error.to_string().contains("output is too long"), "{error}");
}

#[test]
fn variables_end_with_their_block() {
    let out = render("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", &json!({})).unwrap();
    assert_eq!(out, "21");
    let out = render("{{$x := 1}}{{range $i, $x := .L}}{{$x}}{{end}}{{$x}}", &json!({"L": [7, 8]}))
        .unwrap();
    assert_eq!(out, "781");
    assert!(render("{{if true}}{{$y := 2}}{{end}}{{$y}}", &json!({})).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}") {
        let _unimportant = render(&text, &json!({"A": 1}));
    }

    #[test]
    fn no_sequence_of_tokens_makes_it_panic(parts in proptest::collection::vec(proptest::sample::select(vec![
        "{{", "}}", "{{- ", " -}}", " ", ".", ".A", ".B.C", "$", "$x", ":=", "=", "|", "(", ")", ",", "if", "else", "end",
        "range", "with", "break", "continue", "\"s\"", "`r`", "'c'", "1", "-2.5", "0x1F", "1e400", "nil", "true", "printf",
        "\"%*.*f %v\"", "index", "slice", "len", "eq", "lt", "and", "or", "not", "json", "join", "split", "pad", "/*", "*/",
        "truncate", "title", "é", "\n", "9223372036854775807", "-9223372036854775808",
    ]), 0..24)) {
        let data = json!({"A": [1, "x", null], "B": {"C": "é"}});
        let _unimportant = render(&parts.concat(), &data);
        let spaced = format!("{{{{{}}}}}", parts.join(" "));
        let _unimportant = render(&spaced, &data);
    }

    #[test]
    fn text_without_actions_is_copied(text in "[^{]{0,60}") {
        prop_assert_eq!(render(&text, &json!({})).unwrap(), text);
    }

    #[test]
    fn strings_come_out_as_they_went_in(text in "\\PC{0,40}") {
        prop_assert_eq!(render("{{.S}}", &json!({"S": text})).unwrap(), text);
    }
}

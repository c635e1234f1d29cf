//! `--format` of a listing: `table`, `table TEMPLATE`, `json` or a template, over rows.

use serde_json::{Map, Value as Json};

use super::table::{CELL_MIN, align};
use crate::template::{ExecOptions, Functions, LABELS, MissingKey, Template};

/// Why a listing could not be shown; the texts are Docker's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The format is not a template.
    #[error("failed to parse template: {0}")]
    Parse(#[source] crate::template::Error),
    /// The template asks for something that a row does not have.
    #[error("failed to execute template: {0}")]
    Execute(#[source] crate::template::Error),
}

/// What `--format` asked for.
#[derive(Debug, Clone)]
pub(crate) enum Format {
    /// Aligned columns under titles.
    Table(String),
    /// A line (or more) per row.
    Lines(String),
}

impl Format {
    /// Reads `--format`; no text, or `table` alone, is `default` (a template of columns).
    pub(crate) fn parse(text: Option<&str>, default: &str) -> Self {
        let unescaped =
            |text: &str| text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        match text.unwrap_or("table") {
            "json" => Self::Lines("{{json .}}".to_owned()),
            text => match text.strip_prefix("table") {
                Some(rest) if rest.trim().is_empty() => Self::Table(unescaped(default)),
                Some(rest) => Self::Table(unescaped(rest)),
                None => Self::Lines(unescaped(text)),
            },
        }
    }

    /// A line per row with one field of it, as `--quiet` has it.
    pub(crate) fn field(name: &str) -> Self {
        Self::Lines(format!("{{{{.{name}}}}}"))
    }
}

/// The fields of one row, by Docker's names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row(Map<String, Json>);

impl Row {
    /// Adds a field.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Adds labels: the `Labels` field in Docker's form, and what `{{.Label "key"}}` looks into.
    pub(crate) fn with_labels<'l>(
        self,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
    ) -> Self {
        let mut pairs: Vec<(&str, &str)> = labels.into_iter().collect();
        pairs.sort_unstable();
        let joined: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let map: Map<String, Json> =
            pairs.iter().map(|(k, v)| ((*k).to_owned(), Json::from(*v))).collect();
        self.with("Labels", joined.join(",")).with(LABELS, map)
    }
}

/// A kind of listing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listing {
    /// The Go type that Docker's messages name.
    pub(crate) type_name: &'static str,
    /// Titles of the columns, by field.
    pub(crate) titles: &'static [(&'static str, &'static str)],
}

impl Listing {
    /// Renders `rows`.
    pub(crate) fn render(&self, format: &Format, rows: Vec<Row>) -> Result<String, Error> {
        let (text, table) = match format {
            Format::Table(text) => (text, true),
            Format::Lines(text) => (text, false),
        };
        let template = Template::parse(text).map_err(Error::Parse)?;
        let mut out = String::new();
        if table {
            out.push_str(&self.header(&template)?);
            out.push('\n');
        }
        let options = ExecOptions {
            functions: Functions::Values,
            missing_key: MissingKey::Field,
            type_name: self.type_name,
        };
        for mut row in rows {
            // What marks a row for the template: it is printed as JSON with sorted keys.
            row.0.entry(LABELS).or_insert_with(|| Json::Object(Map::new()));
            let row = Json::Object(row.0);
            out.push_str(&template.execute(&row, &options).map_err(Error::Execute)?);
            out.push('\n');
        }
        Ok(if table { align(&out, CELL_MIN) } else { out })
    }

    fn header(&self, template: &Template) -> Result<String, Error> {
        let titles: Map<String, Json> = self
            .titles
            .iter()
            .map(|(field, title)| ((*field).to_owned(), Json::from(*title)))
            .collect();
        let options = ExecOptions {
            functions: Functions::Header,
            missing_key: MissingKey::Absent,
            type_name: self.type_name,
        };
        template.execute(&Json::Object(titles), &options).map_err(Error::Execute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: Listing = Listing {
        type_name: "*formatter.ContainerContext",
        titles: &[("ID", "CONTAINER ID"), ("Names", "NAMES")],
    };
    const DEFAULT: &str = "table {{.ID}}\\t{{.Names}}";

    fn rows() -> Vec<Row> {
        let row = |id: &str, name: &str, x: &str| {
            Row::default()
                .with("Names", name)
                .with("ID", id)
                .with_labels([("x", x), ("a.b-c", "<2>")])
        };
        vec![row("aaaaaaaaaaaa", "web", "1"), row("bbbbbbbbbbbb", "percy", "")]
    }

    fn render(format: Option<&str>) -> String {
        match LISTING.render(&Format::parse(format, DEFAULT.trim_start_matches("table ")), rows()) {
            Ok(text) => text,
            Err(e) => e.to_string(),
        }
    }

    /// Covers: B06-20
    #[test]
    fn formats_read_as_dockers() {
        let table = "CONTAINER ID   NAMES\naaaaaaaaaaaa   web\nbbbbbbbbbbbb   percy\n";
        assert_eq!(render(None), table);
        assert_eq!(render(Some("table")), table);
        assert_eq!(
            render(Some("table {{.ID}}\\t{{.Names | upper}}\\t{{.Label \"x\"}}")),
            "CONTAINER ID   NAMES     x\naaaaaaaaaaaa   WEB       1\nbbbbbbbbbbbb   PERCY     \n"
        );
        assert_eq!(render(Some("{{.Names}}: {{.Label \"a.b-c\"}}")), "web: <2>\npercy: <2>\n");
        assert_eq!(render(Some("table {{.Label \"a.b-c\"}}")), "b c\n<2>\n<2>\n");
        assert_eq!(render(Some("x\\ty")), "x\ty\nx\ty\n");
    }

    #[test]
    fn json_rows_have_sorted_keys_and_gos_escapes() {
        assert_eq!(
            render(Some("json")).lines().next(),
            Some(
                "{\"ID\":\"aaaaaaaaaaaa\",\"Labels\":\"a.b-c=\\u003c2\\u003e,x=1\",\"Names\":\"web\"}"
            )
        );
    }

    #[test]
    fn rows_without_labels_have_sorted_keys_too() {
        let row = Row::default().with("Tag", "v1").with("ID", "a").with("Size", "1B");
        let text = LISTING.render(&Format::parse(Some("json"), ""), vec![row]);
        assert_eq!(text.ok().as_deref(), Some("{\"ID\":\"a\",\"Size\":\"1B\",\"Tag\":\"v1\"}\n"));
    }

    #[test]
    fn mistakes_in_the_format_are_told_as_docker_tells_them() {
        assert_eq!(
            render(Some("{{.Foo}}")),
            "failed to execute template: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext"
        );
        assert_eq!(
            render(Some("{{.ID")),
            "failed to parse template: template: :1: unclosed action"
        );
    }
}

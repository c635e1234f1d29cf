//! Ids, commands and cut texts.

/// The first twelve digits of an id, its algorithm left off.
pub(crate) fn short_id(id: &str) -> &str {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

/// `text` in at most `width` characters, the last one `…` where it was cut.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// Go's quoted form of a text, as the COMMAND column has it.
pub(crate) fn quoted(text: &str) -> String {
    crate::template::quoted(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_cut_to_twelve_digits() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("<missing>"), "<missing>");
    }

    /// Covers: B07-34
    #[test]
    fn commands_are_cut_then_quoted() {
        let shown = |text: &str| quoted(&ellipsis(text, 20));
        assert_eq!(shown("node ./app.js"), "\"node ./app.js\"");
        assert_eq!(
            shown("/bin/sh -c 'while true; do echo a b c; done'"),
            "\"/bin/sh -c 'while t…\""
        );
        assert_eq!(shown("echo \"a\""), "\"echo \\\"a\\\"\"");
    }
}

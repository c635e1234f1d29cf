//! The reference of the configuration file, as data and as Markdown.

/// One key of the TOML file.
struct Key {
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    text: &'static str,
}

const fn key(
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    text: &'static str,
) -> Key {
    Key { name, kind, default, text }
}

const KEYS: &[Key] = &[
    key("addr", "address", "\"127.0.0.1:5000\"", "Where to listen. Port 0 takes a free one."),
    key(
        "root",
        "path",
        "\"/var/lib/wherry/registry\"",
        "The folder that holds the content store and the repositories. One server per folder.",
    ),
    key(
        "mode",
        "`read-write`, `read-only`",
        "\"read-write\"",
        "`read-only` refuses every change with `UNSUPPORTED`.",
    ),
    key(
        "delete",
        "`on`, `off`",
        "\"on\"",
        "`off` refuses `DELETE` of manifests, tags and blobs with 405; uploads can still be cancelled.",
    ),
    key(
        "missing-references",
        "`reject`, `accept-sparse-indexes`",
        "\"reject\"",
        "What happens to an index that names manifests the repository does not have. Missing blobs are always refused with `MANIFEST_BLOB_UNKNOWN`.",
    ),
    key(
        "metrics",
        "`on`, `off`",
        "\"on\"",
        "Whether `/metrics` answers in the Prometheus text format. Like `/healthz` it asks for no credentials.",
    ),
    key(
        "access-log",
        "`tracing`, `stderr`, `{ file = path }`",
        "\"tracing\"",
        "Where a line per request goes. `tracing` is always fed.",
    ),
    key(
        "tls.certificate",
        "path",
        "-",
        "PEM file with the certificate and its intermediates. With `tls` absent the server speaks plain HTTP. Changed files are taken up without a restart.",
    ),
    key("tls.key", "path", "-", "PEM file with the private key."),
    key(
        "limits.manifest-bytes",
        "bytes",
        "4194304",
        "Largest manifest; a larger one is answered 413. Not below the default.",
    ),
    key("limits.blob-bytes", "bytes", "0", "Largest blob; 0 means no limit."),
    key(
        "limits.connections",
        "count",
        "1024",
        "Connections served at once; more wait to be accepted.",
    ),
    key(
        "limits.uploads",
        "count",
        "256",
        "Upload and manifest bodies read at once; one more is answered 429 with `Retry-After`.",
    ),
    key(
        "limits.head-seconds",
        "seconds",
        "30",
        "How long a client may take to send a request head.",
    ),
    key(
        "limits.idle-seconds",
        "seconds",
        "120",
        "How long a transfer may make no progress before it is cut. The bytes of an upload that arrived are kept.",
    ),
    key(
        "limits.upload-expiry-seconds",
        "seconds",
        "604800",
        "When an unfinished upload is removed, counted from its last write.",
    ),
    key(
        "limits.shutdown-seconds",
        "seconds",
        "30",
        "How long running requests may go on after the server was told to stop.",
    ),
    key(
        "collect.interval-seconds",
        "seconds",
        "0",
        "How often garbage is collected while the server runs; 0 means never by itself.",
    ),
    key(
        "collect.grace-seconds",
        "seconds",
        "86400",
        "How long a blob that no manifest needs stays after it was last pushed, mounted or asked about. At least 60.",
    ),
    key(
        "auth",
        "`off` or one of the tables below",
        "\"off\"",
        "Who is asked to prove who they are.",
    ),
    key(
        "auth.basic.htpasswd",
        "path",
        "-",
        "File of `user:hash` lines as `htpasswd -B` writes them. Read again when it changes.",
    ),
    key("auth.basic.realm", "text", "\"wherry registry\"", "The realm shown to users."),
    key("auth.token.htpasswd", "path", "-", "As above; the users get bearer tokens from `/token`."),
    key(
        "auth.token.service",
        "text",
        "\"wherry-registry\"",
        "The name of this registry inside tokens.",
    ),
    key(
        "auth.token.realm",
        "URL",
        "`/token` of the host asked",
        "The token endpoint as clients reach it, for a server behind a proxy.",
    ),
    key("auth.token.token-seconds", "seconds", "300", "How long a token is good for."),
    key(
        "auth.token.signing-key",
        "path",
        "a new key at every start",
        "Ed25519 private key, PKCS#8 PEM.",
    ),
    key("auth.external-token.realm", "URL", "-", "The token endpoint of another issuer."),
    key("auth.external-token.service", "text", "-", "The audience that tokens must name."),
    key("auth.external-token.issuer", "text", "-", "The issuer that tokens must name."),
    key(
        "auth.external-token.public-key",
        "path",
        "-",
        "Public key of the issuer, PEM: Ed25519 (EdDSA), ECDSA P-256 (ES256) or RSA (RS256).",
    ),
    key(
        "access[].users",
        "list",
        "-",
        "User names; `*` is every authenticated user, `anonymous` is a client without credentials.",
    ),
    key(
        "access[].repositories",
        "list",
        "-",
        "Repository names; `*` stands for one path component or a part of it, `**` for any number of components.",
    ),
    key(
        "access[].actions",
        "list of `pull`, `push`, `delete`",
        "-",
        "What the users may do there.",
    ),
    key(
        "proxy.upstream",
        "host or URL",
        "-",
        "The registry that is cached. A registry with an upstream takes no pushes.",
    ),
    key(
        "proxy.tag-seconds",
        "seconds",
        "60",
        "How long a tag is answered from the cache before the upstream is asked again. When the upstream is down, the cached tag is served.",
    ),
];

/// The reference page of the configuration file.
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Registry configuration\n\n\
         `wherry registry serve --config FILE` reads one TOML file. Unknown keys are refused. Every key has a\n\
         default except those of an optional table that is given. A variable lays its value over the file: its\n\
         name is `WHERRY_REGISTRY_` and the key in upper case, with `_` for `.` and `-`\n\
         (`WHERRY_REGISTRY_LIMITS_IDLE_SECONDS=30`); `WHERRY_REGISTRY_ACCESS` takes all grants as a TOML array. A flag\n\
         wins over both. This page is written by a test of the `registry` crate.\n\n\
         | key | value | default | meaning |\n|---|---|---|---|\n",
    );
    for key in KEYS {
        page.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            key.name,
            key.kind,
            code(key.default),
            key.text
        ));
    }
    page.push_str(EXAMPLE_INTRODUCTION);
    page.push_str("```toml\n");
    page.push_str(EXAMPLE);
    page.push_str("```\n");
    page
}

/// The key that a variable sets.
pub(super) fn key_of_variable(name: &str) -> Option<&'static str> {
    let wanted = name.strip_prefix(super::VARIABLE_PREFIX)?;
    // A part of a grant has no name of its own: all of them are one value.
    let keys = KEYS.iter().map(|key| key.name).filter(|key| !key.contains("[]"));
    keys.chain(["access"]).find(|key| key.replace(['.', '-'], "_").to_uppercase() == wanted)
}

fn code(default: &str) -> String {
    match default.chars().next() {
        Some('"' | '0'..='9') => format!("`{default}`"),
        _ => default.to_owned(),
    }
}

const EXAMPLE_INTRODUCTION: &str = "\n## Example\n\nA team's registry: tokens, anyone may pull `public/`, \
the builders may push.\n\n";

/// A whole file that a test parses.
pub(super) const EXAMPLE: &str = r#"addr = "0.0.0.0:5000"
root = "/srv/registry"
access-log = { file = "/var/log/registry/access.log" }

[tls]
certificate = "/etc/registry/fullchain.pem"
key = "/etc/registry/key.pem"

[auth.token]
htpasswd = "/etc/registry/htpasswd"

[[access]]
users = ["anonymous", "*"]
repositories = ["public/**"]
actions = ["pull"]

[[access]]
users = ["builder"]
repositories = ["**"]
actions = ["pull", "push"]
"#;

#[cfg(test)]
pub(super) fn names_and_defaults() -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYS.iter().map(|key| (key.name, key.default))
}

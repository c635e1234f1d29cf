//! `RUN --mount=type=…`: one comma-separated record.

use super::span::{Span, nearest};

/// A `--mount` as it is written: it is read once at parse time to find mistakes, and again when its variables are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFlag {
    /// The value of the flag.
    pub value: String,
    /// Where the flag stands.
    pub span: Span,
}

/// How concurrent builds share a cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Concurrent writers.
    Shared,
    /// A new one while the old one is busy.
    Private,
    /// Wait until it is free.
    Locked,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// A folder of the context, a stage or an image.
    Bind,
    /// A folder that outlives the build.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret file or variable.
    Secret,
    /// A socket of the ssh agent.
    Ssh,
}

/// A `--mount`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `type`.
    pub kind: MountKind,
    /// `target`, `dst` or `destination`.
    pub target: Option<String>,
    /// `source` or `src`.
    pub source: Option<String>,
    /// `from`.
    pub from: Option<String>,
    /// `id`.
    pub id: Option<String>,
    /// `env` of a secret.
    pub env: Option<String>,
    /// `ro`/`readonly` (true) or `rw`/`readwrite` (false).
    pub read_only: Option<bool>,
    /// `required`.
    pub required: bool,
    /// `sharing`.
    pub sharing: Sharing,
    /// `size` of a tmpfs in bytes.
    pub size: Option<u64>,
    /// `mode`.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "required",
    "size",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
    "env",
];

/// Why a mount cannot be read, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountError {
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
}

impl MountError {
    fn new(message: impl Into<String>) -> Self {
        MountError { message: message.into(), hint: None }
    }

    fn with_hint(self, hint: &str) -> Self {
        MountError { hint: Some(hint.to_owned()), ..self }
    }
}

impl Mount {
    /// Reads a record; `expand` replaces the variables in every value.
    pub fn parse(
        value: &str,
        expand: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<Mount, MountError> {
        let mut fields = Vec::new();
        for field in csv_fields(value)? {
            let (key, value) =
                field.split_once('=').map_or((field.as_str(), None), |(k, v)| (k, Some(v)));
            let value = value.map(expand).transpose().map_err(MountError::new)?;
            fields.push((key.to_ascii_lowercase(), value));
        }
        let mut mount = Mount::empty(kind(&fields)?);
        for (key, value) in &fields {
            mount.set(key, value.as_deref())?;
        }
        mount.check()?;
        Ok(mount)
    }

    fn empty(kind: MountKind) -> Mount {
        Mount {
            kind,
            target: None,
            source: None,
            from: None,
            id: None,
            env: None,
            read_only: None,
            required: false,
            sharing: Sharing::Shared,
            size: None,
            mode: None,
            uid: None,
            gid: None,
        }
    }

    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), MountError> {
        match key {
            "readonly" | "ro" => self.read_only = Some(flag(key, value)?),
            "readwrite" | "rw" => self.read_only = Some(!flag(key, value)?),
            "required" if matches!(self.kind, MountKind::Secret | MountKind::Ssh) => {
                self.required = flag(key, value)?
            }
            _ => {
                if !KEYS.contains(&key) {
                    let hint = nearest(key, KEYS).map(|near| format!("did you mean {near}=?"));
                    return Err(MountError {
                        message: format!("unexpected key '{key}' in a mount"),
                        hint,
                    });
                }
                let value = value.ok_or_else(|| {
                    MountError::new(format!("invalid field '{key}' must be a key=value pair"))
                })?;
                self.set_value(key, value)?;
            }
        }
        Ok(())
    }

    fn set_value(&mut self, key: &str, value: &str) -> Result<(), MountError> {
        let number = |radix| {
            u32::from_str_radix(value, radix)
                .map_err(|_| MountError::new(format!("invalid value {value} for {key}")))
        };
        let owner = matches!(self.kind, MountKind::Cache | MountKind::Secret | MountKind::Ssh);
        match (key, self.kind) {
            ("type", _) => {}
            ("from", MountKind::Bind | MountKind::Cache) => self.from = Some(value.to_owned()),
            ("source" | "src", MountKind::Secret | MountKind::Ssh) => {
                self.id = Some(value.to_owned())
            }
            ("source" | "src", _) => self.source = Some(value.to_owned()),
            ("target" | "dst" | "destination", _) => self.target = Some(value.to_owned()),
            ("id", MountKind::Cache | MountKind::Secret | MountKind::Ssh) => {
                self.id = Some(value.to_owned())
            }
            ("env", MountKind::Secret) => self.env = Some(value.to_owned()),
            ("size", MountKind::Tmpfs) => self.size = Some(size(value)?),
            ("sharing", MountKind::Cache) => self.sharing = sharing(value)?,
            ("mode", _) if owner => self.mode = Some(number(8)?),
            ("uid", _) if owner => self.uid = Some(number(10)?),
            ("gid", _) if owner => self.gid = Some(number(10)?),
            _ => {
                return Err(MountError::new(format!(
                    "unexpected key '{key}' for mount type '{}'",
                    name(self.kind)
                )));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), MountError> {
        let needs_target =
            matches!(self.kind, MountKind::Bind | MountKind::Cache | MountKind::Tmpfs);
        if needs_target && self.target.as_deref().is_none_or(str::is_empty) {
            return Err(MountError::new(format!(
                "invalid mount config for type {:?}: target is required",
                name(self.kind)
            ))
            .with_hint("add target=/path"));
        }
        if self.kind == MountKind::Secret
            && self.id.is_none()
            && self.target.is_none()
            && self.env.is_none()
        {
            return Err(MountError::new(
                "invalid mount config for type \"secret\": id or target is required",
            )
            .with_hint("add id=NAME"));
        }
        Ok(())
    }
}

fn name(kind: MountKind) -> &'static str {
    match kind {
        MountKind::Bind => "bind",
        MountKind::Cache => "cache",
        MountKind::Tmpfs => "tmpfs",
        MountKind::Secret => "secret",
        MountKind::Ssh => "ssh",
    }
}

fn kind(fields: &[(String, Option<String>)]) -> Result<MountKind, MountError> {
    let value =
        fields.iter().rev().find(|(key, _)| key == "type").and_then(|(_, value)| value.as_deref());
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("bind") => Ok(MountKind::Bind),
        Some("cache") => Ok(MountKind::Cache),
        Some("tmpfs") => Ok(MountKind::Tmpfs),
        Some("secret") => Ok(MountKind::Secret),
        Some("ssh") => Ok(MountKind::Ssh),
        Some(other) => Err(MountError {
            message: format!("unsupported mount type {other:?}"),
            hint: Some("the types are bind, cache, tmpfs, secret and ssh".to_owned()),
        }),
    }
}

fn flag(key: &str, value: Option<&str>) -> Result<bool, MountError> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(MountError::new(format!("invalid value for {key}: {other}"))),
    }
}

fn sharing(value: &str) -> Result<Sharing, MountError> {
    match value.to_ascii_lowercase().as_str() {
        "shared" => Ok(Sharing::Shared),
        "private" => Ok(Sharing::Private),
        "locked" => Ok(Sharing::Locked),
        other => Err(MountError {
            message: format!("unsupported sharing value {other:?}"),
            hint: Some("the values are shared, private and locked".to_owned()),
        }),
    }
}

/// Bytes with Docker's binary suffixes: `64m`, `1.5g`, `1024`.
fn size(value: &str) -> Result<u64, MountError> {
    let bad = || MountError::new(format!("invalid value {value} for size"));
    let lower = value.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: f64 = match lower[digits.len()..].trim_end_matches("ib").trim_end_matches('b') {
        "" => 1.0,
        "k" => 1024.0,
        "m" => 1024.0 * 1024.0,
        "g" => 1024.0 * 1024.0 * 1024.0,
        "t" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(bad()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| bad())?;
    if !number.is_finite() || number < 0.0 {
        return Err(bad());
    }
    Ok((number * factor) as u64)
}

/// One line of CSV: fields may stand in double quotes, a quote inside is doubled.
fn csv_fields(text: &str) -> Result<Vec<String>, MountError> {
    let mut fields = vec![String::new()];
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        let Some(field) = fields.last_mut() else { break };
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    if quoted {
        return Err(MountError::new("a quoted field of a mount is not closed"));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<Mount, String> {
        Mount::parse(value, &|v| Ok(v.to_owned())).map_err(|e| e.message)
    }

    /// Covers: BLD-28, BLD-29, BLD-32, BLD-33, BLD-34
    #[test]
    fn every_mount_type_reads_its_own_keys() {
        let m = parse("target=/x").unwrap();
        assert_eq!((m.kind, m.read_only), (MountKind::Bind, None));
        let m = parse("type=cache,target=/c,id=apt,sharing=locked,mode=0700,uid=1,gid=2").unwrap();
        assert_eq!(
            (m.sharing, m.mode, m.uid, m.gid),
            (Sharing::Locked, Some(0o700), Some(1), Some(2))
        );
        assert_eq!(parse("type=tmpfs,dst=/t,size=64m").unwrap().size, Some(64 << 20));
        let m = parse("type=secret,id=tok,env=TOKEN,required").unwrap();
        assert_eq!(
            (m.id.as_deref(), m.env.as_deref(), m.required),
            (Some("tok"), Some("TOKEN"), true)
        );
        assert_eq!(parse("type=ssh").unwrap().kind, MountKind::Ssh);
        assert_eq!(parse("type=bind,source=a,dst=/x,rw").unwrap().read_only, Some(false));
        assert_eq!(parse("\"source=a,b\",target=/x").unwrap().source.as_deref(), Some("a,b"));
    }

    #[test]
    fn mistakes_are_named() {
        for (value, message) in [
            ("type=volume,target=/x", "unsupported mount type \"volume\""),
            ("type=cache", "invalid mount config for type \"cache\": target is required"),
            ("type=secret", "invalid mount config for type \"secret\": id or target is required"),
            ("target=/x,colour=red", "unexpected key 'colour' in a mount"),
            ("target=/x,size=1", "unexpected key 'size' for mount type 'bind'"),
            ("type=cache,target=/x,sharing=maybe", "unsupported sharing value \"maybe\""),
            ("type=tmpfs,target=/x,size=much", "invalid value much for size"),
            ("target", "invalid field 'target' must be a key=value pair"),
            ("\"target=/x", "a quoted field of a mount is not closed"),
        ] {
            assert_eq!(parse(value).unwrap_err(), message, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_record_reads_or_fails_without_a_panic(value in "\\PC{0,60}") {
            let _ = parse(&value);
        }
    }
}

//! Strict JSON in, canonical JSON out.
//!
//! A signature covers the canonical form of the document *as parsed with every unknown field kept*
//! (TUF 4.2.1), so signed documents are read into [`Value`] and never through a typed round trip.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a text is not JSON that may be signed.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// A number that canonical JSON cannot carry.
    #[error("the number {0} is not an integer, which canonical JSON requires")]
    NotAnInteger(String),
    /// Not JSON, or JSON with a duplicate key or nested too deep.
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
}

/// Parses one document; a duplicate object key, too deep nesting or trailing bytes are errors.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let strict: Strict = serde_json::from_slice(bytes)?;
    Ok(strict.0)
}

/// The canonical form (OLPC canonical JSON): keys sorted, no white space, only `"` and `\` escaped.
pub(crate) fn canonical(value: &Value) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::with_capacity(512);
    write(value, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), JsonError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, out)?,
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(map) => write_object(map, out)?,
    }
    Ok(())
}

fn write_object(map: &Map<String, Value>, out: &mut Vec<u8>) -> Result<(), JsonError> {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    out.push(b'{');
    for (index, (key, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(key, out);
        out.push(b':');
        write(value, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_number(number: &Number, out: &mut Vec<u8>) -> Result<(), JsonError> {
    if !(number.is_i64() || number.is_u64()) {
        return Err(JsonError::NotAnInteger(number.to_string()));
    }
    out.extend_from_slice(number.to_string().as_bytes());
    Ok(())
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' || byte == b'\\' {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// A [`Value`] whose objects had no duplicate keys.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, Strict(value))) = access.next_entry::<String, Strict>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format!("the key {key:?} appears twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_form_sorts_keys_and_escapes_only_quote_and_backslash() {
        let value = parse(b"{ \"b\": [1, -2, true, null], \"a\": \"x\\n\\\"\\\\\" }").unwrap();
        assert_eq!(canonical(&value).unwrap(), b"{\"a\":\"x\n\\\"\\\\\",\"b\":[1,-2,true,null]}");
    }

    /// Covers: TRU-11
    #[test]
    fn a_duplicate_key_is_refused_at_any_depth() {
        let error = parse(br#"{"a":{"b":1,"b":2}}"#).unwrap_err();
        assert!(error.to_string().contains("\"b\" appears twice"), "{error}");
    }

    #[test]
    fn a_fraction_cannot_be_signed() {
        assert!(matches!(
            canonical(&parse(b"{\"a\":1.5}").unwrap()),
            Err(JsonError::NotAnInteger(_))
        ));
    }

    #[test]
    fn deep_nesting_is_refused_without_exhausting_the_stack() {
        let deep = "[".repeat(100_000);
        assert!(parse(deep.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn parsing_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn the_canonical_form_does_not_depend_on_the_order_of_keys(
            entries in proptest::collection::btree_map("[a-z]{1,6}", any::<i64>(), 0..8)
        ) {
            let forward: Map<String, Value> =
                entries.iter().map(|(k, v)| (k.clone(), Value::from(*v))).collect();
            let backward: Map<String, Value> =
                entries.iter().rev().map(|(k, v)| (k.clone(), Value::from(*v))).collect();
            prop_assert_eq!(
                canonical(&Value::Object(forward)).unwrap(),
                canonical(&Value::Object(backward)).unwrap()
            );
        }
    }
}

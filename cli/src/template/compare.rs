//! `eq ne lt le gt ge`: Go's comparison of basic kinds.

use std::cmp::Ordering;

use super::value::{Number, Val};

/// Whether two values are equal, by Go's `eq`.
pub(super) fn equal(a: &Val<'_>, b: &Val<'_>) -> Result<bool, String> {
    match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => Ok(a == b),
        (Val::Str(a), Val::Str(b)) => Ok(a == b),
        (Val::Num(a), Val::Num(b)) => numbers(*a, *b).map(|o| o == Some(Ordering::Equal)),
        (a, b) if is_nil(a) || is_nil(b) => Ok(is_nil(a) && is_nil(b)),
        (a, b) => {
            for v in [a, b] {
                if let Val::Array(_) | Val::Object(..) | Val::Strings(_) = v {
                    return Err(format!(
                        "non-comparable type {}: {}",
                        v.formatted(),
                        v.type_name()
                    ));
                }
            }
            Err("incompatible types for comparison".to_owned())
        }
    }
}

/// How two values stand to each other, by Go's `lt`; nothing for NaN.
pub(super) fn order(a: &Val<'_>, b: &Val<'_>) -> Result<Option<Ordering>, String> {
    match (a, b) {
        (Val::Str(a), Val::Str(b)) => Ok(Some(a.cmp(b))),
        (Val::Num(a), Val::Num(b)) => numbers(*a, *b),
        (Val::Bool(_), Val::Bool(_)) => Err("invalid type for comparison".to_owned()),
        (Val::Bool(_) | Val::Str(_) | Val::Num(_), Val::Bool(_) | Val::Str(_) | Val::Num(_)) => {
            Err("incompatible types for comparison".to_owned())
        }
        _ => Err("invalid type for comparison".to_owned()),
    }
}

fn numbers(a: Number, b: Number) -> Result<Option<Ordering>, String> {
    let wide = |n: Number| match n {
        Number::Int(n) => Some(i128::from(n)),
        Number::Uint(n) => Some(i128::from(n)),
        Number::Float(_) => None,
    };
    match (wide(a), wide(b)) {
        (Some(a), Some(b)) => Ok(Some(a.cmp(&b))),
        (None, None) => Ok(a.as_f64().partial_cmp(&b.as_f64())),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

fn is_nil(value: &Val<'_>) -> bool {
    matches!(value, Val::Missing | Val::Nil | Val::Null(_))
}

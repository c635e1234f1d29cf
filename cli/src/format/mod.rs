//! What Docker's listings look like: `--format`, tables, sizes, ages, ids, commands and ports.

mod list;
mod ports;
mod size;
mod table;
mod text;
mod time;

pub(crate) use list::{Error, Format, Listing, Row};
pub(crate) use ports::{Port, displayable};
pub(crate) use size::{binary_size, decimal_size, decimal_size_precise, parse_bytes};
pub(crate) use table::{CELL_MIN, align};
pub(crate) use text::{ellipsis, quoted, short_id};
pub(crate) use time::{age, duration_words, stamp};

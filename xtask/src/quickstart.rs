//! x
pub fn main(_: &std::path::Path, _: &[String]) -> crate::shell::Result<()> {
    Ok(())
}

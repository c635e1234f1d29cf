use super::Session;
use crate::error::Result;
use crate::format::align;

/// Display the running processes of a container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
    #[arg(value_name = "[ps OPTIONS]", trailing_var_arg = true, allow_hyphen_values = true)]
    ps_options: Vec<String>,
}

/// Docker's least width of a column here.
const COLUMN_MIN: usize = 20;

impl Args {
    /// Prints the table.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let runtime = session.runtime()?;
        let table = runtime.top(&runtime.resolve(&self.container)?, &self.ps_options)?;
        let mut text = table.titles.join("\t") + "\n";
        for row in &table.rows {
            text.push_str(&row.join("\t"));
            text.push('\n');
        }
        session.ui.print(&align(&text, COLUMN_MIN))
    }
}

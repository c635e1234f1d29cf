use engine::builder::Cancel;
use engine::builder::plan::Verdict;
use engine::builder::solve::Explanation;

use super::{Session, build};
use crate::error::{Error, Result};

/// Explain why a step of a build ran, or would run now
///
/// STEP is a piece of the step's name as the build shows it: "3/5", a stage, a word of the command.
/// The other arguments are those of the build.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    #[arg(value_name = "STEP")]
    step: String,
    #[command(flatten)]
    build: build::Args,
}

impl Args {
    /// Explains every step that fits.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let prepared = self.build.prepare(session, &Cancel::default())?;
        let build = &prepared.build;
        let builds = session.engine()?.builds();
        let found = builds.why(build, &self.step)?;
        if found.is_empty() {
            let plans = builds.plan(build)?;
            let steps = plans.iter().flat_map(|plan| &plan.steps);
            let names: Vec<&str> = steps.map(|step| step.name.as_str()).collect();
            return Err(Error::Refused {
                message: format!("no step of this build has {:?} in its name", self.step),
                hint: format!("its steps: {}", names.join(", ")),
                kind: engine::ErrorKind::NotFound,
            });
        }
        found.iter().try_for_each(|one| session.ui.print(&told(one)))
    }
}

/// What would become of the step now, and why it ran when it last ran.
fn told(one: &Explanation) -> String {
    let mut text = format!("{}\n", one.step.name);
    let mut list = |title: &str, reasons: &[String]| {
        text.push_str(&format!("  {title}\n"));
        reasons.iter().for_each(|reason| text.push_str(&format!("    {reason}\n")));
    };
    match &one.step.verdict {
        Verdict::Cached { took_ms } => {
            let seconds = *took_ms as f64 / 1e3;
            list(&format!("now: from the cache (running it took {seconds:.1}s)"), &[]);
        }
        Verdict::Runs { reasons } => list("now: it would run, because", reasons),
        Verdict::Waits { .. } => list("now: known when the steps it depends on are done", &[]),
        Verdict::Image => list("now: a base image", &[]),
    }
    if !one.ran_because.is_empty() {
        list("it last ran because", &one.ran_because);
    }
    text
}

#[cfg(test)]
mod tests {
    use engine::builder::graph::VertexId;
    use engine::builder::plan::PlannedStep;

    use super::*;

    #[test]
    fn both_halves_are_told() {
        let step = PlannedStep {
            vertex: VertexId(1),
            name: "[2/2] RUN make".to_owned(),
            verdict: Verdict::Runs { reasons: vec!["environment V changed".to_owned()] },
        };
        let one = Explanation { step, ran_because: vec!["it was never run before".to_owned()] };
        assert_eq!(
            told(&one),
            "[2/2] RUN make\n  now: it would run, because\n    environment V changed\n  it last ran because\n    it was never run before\n"
        );
    }
}

//! kill -9 at moments drawn from a seed.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::site::{DEADLINE, wait_within};

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The process alone: what it started lives on.
    Process,
    /// The process and everything in its group.
    Group,
}

/// A sequence of moments from a seed, printed with a failure so that it can be repeated.
#[derive(Debug)]
pub struct Moments {
    state: u64,
}

impl Moments {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Moments { state: seed }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// A moment within the duration.
    pub fn within(&mut self, duration: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// How long the command takes when nobody disturbs it.
#[track_caller]
pub fn time(command: &mut Command) -> Duration {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("start the command");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    start.elapsed()
}

/// Starts the command in a group of its own and kills it after `moment`. Gives whether it was killed before its end.
pub fn kill_after(command: &mut Command, moment: Duration, victim: Victim) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().expect("start the command");
    if let Some(status) = wait_within(&mut child, moment) {
        return !status.success();
    }
    let pid = Pid::from_child(&child);
    let killed = match victim {
        Victim::Process => kill_process(pid, Signal::KILL),
        Victim::Group => kill_process_group(pid, Signal::KILL),
    };
    killed.expect("kill a process that was not waited for");
    let status = wait_within(&mut child, DEADLINE).expect("a killed process ends");
    !status.success()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_moments() {
        let draw = |seed| {
            let mut moments = Moments::new(seed);
            (0..5).map(|_| moments.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn a_command_that_is_killed_is_told_from_one_that_ended() {
        let sleep = |seconds: &str| {
            let mut command = Command::new("sleep");
            command.arg(seconds);
            command
        };
        assert!(kill_after(&mut sleep("1000"), Duration::from_millis(20), Victim::Group));
        assert!(!kill_after(&mut sleep("0"), Duration::from_secs(20), Victim::Process));
    }
}

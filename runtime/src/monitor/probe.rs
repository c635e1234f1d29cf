//! Runs the probes of a health check, one at a time, each by a helper of its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use rustix::pipe::PipeFlags;

use super::open_null;
use crate::clock::{self, Deadline, Stopwatch};
use crate::error::{Error, Result};
use crate::exec;
use crate::health::{HealthPlan, HealthState, OUTPUT_BYTES, ProbeResult};
use crate::helper;
use crate::id::ContainerId;
use crate::protocol::{self, Frame};
use crate::state::StateDir;

/// The health of one run.
#[derive(Debug)]
pub(super) struct Prober<'a> {
    dirs: &'a StateDir,
    id: &'a ContainerId,
    plan: HealthPlan,
    state: HealthState,
    age: Stopwatch,
    next: Deadline,
    running: Option<Probe>,
    paused: bool,
}

#[derive(Debug)]
struct Probe {
    helper: Child,
    stream: UnixStream,
    output: OwnedFd,
    output_open: bool,
    text: Vec<u8>,
    start: Timestamp,
    deadline: Deadline,
}

impl<'a> Prober<'a> {
    pub(super) fn new(dirs: &'a StateDir, id: &'a ContainerId, plan: HealthPlan) -> Self {
        let state = HealthState::starting();
        let first = plan.pause(&state, Duration::ZERO);
        Self {
            dirs,
            id,
            plan,
            state,
            age: Stopwatch::start(),
            next: Deadline::after(Some(first)),
            running: None,
            paused: false,
        }
    }

    /// A frozen container is not probed; when it is thawed the next probe is a whole pause away.
    pub(super) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
        self.next = Deadline::after(Some(self.plan.pause(&self.state, self.age.elapsed())));
    }

    /// What to wait for: the helper's last word, and its output.
    pub(super) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.running
            .iter()
            .flat_map(|probe| {
                [Some(probe.stream.as_fd()), probe.output_open.then(|| probe.output.as_fd())]
            })
            .flatten()
            .collect()
    }

    /// How long nothing needs to be done.
    pub(super) fn patience(&self) -> Option<Duration> {
        if self.paused && self.running.is_none() {
            return None;
        }
        self.running.as_ref().map_or(&self.next, |probe| &probe.deadline).remaining()
    }

    /// Does what is due; the new state when a probe has ended.
    pub(super) fn work(&mut self, helper_spoke: bool) -> Option<&HealthState> {
        let ended = match &mut self.running {
            None if !self.paused && self.next.has_come() => {
                match Probe::start(self.dirs, self.id, &self.plan) {
                    Ok(probe) => {
                        self.running = Some(probe);
                        None
                    }
                    Err(error) => Some((clock::now(), -1, error.to_string())),
                }
            }
            None => None,
            Some(probe) => {
                probe.read_output();
                if helper_spoke {
                    Some(probe.finish())
                } else if probe.deadline.has_come() {
                    Some(probe.give_up(self.plan.timeout))
                } else {
                    None
                }
            }
        };
        let (start, exit_code, output) = ended?;
        self.running = None;
        let result = ProbeResult { start, end: clock::now(), exit_code, output };
        let before = std::mem::replace(&mut self.state, HealthState::starting());
        self.state = before.step(&self.plan, result, self.age.elapsed());
        self.next = Deadline::after(Some(self.plan.pause(&self.state, self.age.elapsed())));
        Some(&self.state)
    }
}

impl Drop for Prober<'_> {
    fn drop(&mut self) {
        if let Some(probe) = &mut self.running {
            let _ = probe.helper.kill();
            let _ = probe.helper.wait();
        }
    }
}

impl Probe {
    fn start(dirs: &StateDir, id: &ContainerId, plan: &HealthPlan) -> Result<Self> {
        let act = "start a probe of the container's health";
        let (stream, theirs) = UnixStream::pair().map_err(Error::system(act))?;
        let (output, output_end) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
                .map_err(|error| Error::system(act)(error.into()))?;
        let null = open_null()?;
        // This process's own executable is the sealed view it was started from.
        let helper = Command::new("/proc/self/exe")
            .arg0("wherry")
            .arg(crate::HELPER_COMMAND)
            .args([dirs.state_root(), dirs.run_root()])
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::system(act))?;
        let start = clock::now();
        let order = exec::probe_order(id, &plan.command);
        helper::send_order(
            &stream,
            &order,
            &[null.as_fd(), output_end.as_fd(), output_end.as_fd()],
        )?;
        Ok(Self {
            helper,
            stream,
            output,
            output_open: true,
            text: Vec::new(),
            start,
            deadline: Deadline::after(Some(plan.timeout)),
        })
    }

    fn read_output(&mut self) {
        let mut chunk = [0; OUTPUT_BYTES];
        while let Ok(count) = rustix::io::read(&self.output, &mut chunk) {
            if count == 0 {
                self.output_open = false;
                return;
            }
            let room = OUTPUT_BYTES - self.text.len();
            self.text.extend_from_slice(&chunk[..count.min(room)]);
        }
    }

    fn finish(&mut self) -> (Timestamp, i32, String) {
        let last = protocol::receive(&self.stream);
        self.read_output();
        let _ = self.helper.wait();
        match last {
            Ok(Some(Frame::Exited(code))) => (self.start, code, self.text()),
            Ok(Some(Frame::Failed { message, .. })) => (self.start, -1, message),
            _ => (self.start, -1, "the probe's helper ended unexpectedly".to_owned()),
        }
    }

    /// Its process in the container dies with the helper.
    fn give_up(&mut self, timeout: Duration) -> (Timestamp, i32, String) {
        let _ = self.helper.kill();
        let _ = self.helper.wait();
        (self.start, -1, format!("Health check exceeded timeout ({timeout:?})"))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }
}

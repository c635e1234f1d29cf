//! Terminals: `-t`, sizes, detach keys.

mod support;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use runtime::{
    AttachEnd, AttachOptions, DetachKeys, ExecConnection, Removal, SignalProxy, Status, Streams,
};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use support::{Machine, can_run_containers, until};

/// A terminal that a test types on and reads from.
struct Screen {
    master: std::fs::File,
    slave: OwnedFd,
}

impl Screen {
    fn new(rows: u16, columns: u16) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags =
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
        tcsetwinsize(&slave, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
        Self { master: master.into(), slave }
    }

    fn streams(&self) -> Streams {
        let copy = || self.slave.try_clone().unwrap();
        Streams::new(Some(copy()), copy(), copy())
    }

    fn read_until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let mut chunk = [0; 1024];
        while !String::from_utf8_lossy(&seen).contains(text) {
            let count = self.master.read(&mut chunk).unwrap();
            seen.extend_from_slice(&chunk[..count]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ICANON)
    }
}

fn attach(screen: &Screen) -> AttachOptions {
    AttachOptions {
        streams: screen.streams(),
        detach_keys: DetachKeys::default(),
        signals: SignalProxy::Forward,
    }
}

/// Covers: B07-09, RUN-4, RUN-24
#[test]
fn a_container_with_a_terminal_has_its_size_and_its_console() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let mut screen = Screen::new(33, 101);
    let id = machine.create("tty", "read line; tty; stty size; echo $TERM; ls /dev/console; test -t 0 && test -t 2 && echo got $line; exit 4", |options| {
        (options.tty, options.open_stdin, options.stdin_once) = (true, true, true);
    });
    let options = attach(&screen);
    let end = std::thread::scope(|scope| {
        let thread = scope.spawn(|| machine.runtime.start_attached(&id, options).unwrap());
        until("the command's terminal to be raw", || screen.is_raw());
        screen.master.write_all(b"hello\n").unwrap();
        let text = screen.read_until("got hello");
        assert!(
            text.contains("/dev/pts/0\r\n33 101\r\nxterm\r\n/dev/console\r\ngot hello"),
            "{text:?}"
        );
        thread.join().unwrap()
    });
    assert_eq!(end, AttachEnd::Exited(4));
    assert!(!screen.is_raw(), "the command's terminal is put back");
}

/// Covers: RUN-27, N3-041
#[test]
fn detach_keys_leave_the_container_running_and_attach_comes_back() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let mut screen = Screen::new(24, 80);
    let id = machine.create(
        "tty",
        "while read line; do echo got $line; [ $line = end ] && exit 3; done",
        |options| {
            (options.tty, options.open_stdin, options.stdin_once) = (true, true, true);
        },
    );
    let options = attach(&screen);
    let end = std::thread::scope(|scope| {
        let thread = scope.spawn(|| machine.runtime.start_attached(&id, options).unwrap());
        until("raw mode", || screen.is_raw());
        screen.master.write_all(b"one\n").unwrap();
        screen.read_until("got one");
        screen.master.write_all(b"\x10\x11").unwrap();
        thread.join().unwrap()
    });
    assert_eq!(end, AttachEnd::Detached);
    assert!(!screen.is_raw());
    assert_eq!(machine.runtime.get(&id).unwrap().state.status, Status::Running);
    let options = attach(&screen);
    let end = std::thread::scope(|scope| {
        let thread = scope.spawn(|| machine.runtime.attach(&id, options).unwrap());
        until("raw mode again", || screen.is_raw());
        screen.master.write_all(b"end\n").unwrap();
        screen.read_until("got end");
        thread.join().unwrap()
    });
    assert_eq!(end, AttachEnd::Exited(3));
    machine.runtime.remove("tty", Removal::OnlyStopped).unwrap();
}

/// Covers: RUN-28, B07-13
#[test]
fn exec_with_a_terminal_is_a_session_of_its_own() {
    if !can_run_containers() {
        return;
    }
    let machine = Machine::new();
    let mut screen = Screen::new(40, 90);
    let id = machine.create("plain", "sleep 1000", |_| {});
    machine.runtime.start(&id).unwrap();
    let streams = screen.streams();
    let code = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (code, _, _) = machine
                .exec_with(
                    &id,
                    &["sh", "-c", "read line; tty; stty size; echo got $line; exit 9"],
                    |request| {
                        request.tty = true;
                        request.connection = ExecConnection::Attached {
                            streams,
                            detach_keys: DetachKeys::default(),
                        };
                    },
                )
                .unwrap();
            code
        });
        until("raw mode", || screen.is_raw());
        screen.master.write_all(b"word\n").unwrap();
        let text = screen.read_until("got word");
        assert!(text.contains("/dev/pts/0\r\n40 90\r\ngot word"), "{text:?}");
        thread.join().unwrap()
    });
    assert_eq!(code, 9);
    assert!(!screen.is_raw());
    let error = machine
        .exec_with(&id, &["nosuch"], |request| {
            request.tty = true;
            request.connection = ExecConnection::Attached {
                streams: screen.streams(),
                detach_keys: DetachKeys::default(),
            };
        })
        .unwrap_err();
    assert_eq!(error.run_exit_code(), 127, "{error}");
}

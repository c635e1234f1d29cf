//! Stands in for `wherry` in the tests of the runtime: the hidden subcommands, and an attached start that a test can signal.

use std::ffi::OsString;
use std::process::ExitCode;

use runtime::{
    AttachEnd, AttachOptions, DetachKeys, ExecConnection, ExecRequest, Input, Runtime,
    RuntimeConfig, SignalProxy, StepNetwork, StepRequest, Streams,
};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = runtime::dispatch(&args, |_, _| None) {
        return code;
    }
    let args: Vec<String> = args.into_iter().map(|arg| arg.into_string().unwrap()).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let [command, state_dir, run_dir, rest @ ..] = words.as_slice() else {
        panic!("start STATE RUN …")
    };
    let config = RuntimeConfig {
        state_dir: state_dir.into(),
        run_dir: run_dir.into(),
        self_exe: std::env::current_exe().unwrap(),
        networks: None,
    };
    let runtime = Runtime::open(config).unwrap();
    match (*command, rest) {
        ("start", [reference]) => start(&runtime, reference),
        ("exec", [reference, command @ ..]) => exec(&runtime, reference, command),
        ("step", [rootfs, command @ ..]) => step(&runtime, rootfs, command),
        _ => panic!("unknown command {words:?}"),
    }
}

fn start(runtime: &Runtime, reference: &str) -> ExitCode {
    let id = runtime.resolve(reference).unwrap();
    let attach = AttachOptions {
        streams: Streams::inherit(Input::Forwarded).unwrap(),
        detach_keys: DetachKeys::default(),
        signals: SignalProxy::Forward,
    };
    match runtime.start_attached(&id, attach) {
        Ok(AttachEnd::Exited(code)) => ExitCode::from(u8::try_from(code).unwrap()),
        Ok(AttachEnd::Detached) => {
            eprintln!("detached");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.run_exit_code())
        }
    }
}

fn exec(runtime: &Runtime, reference: &str, command: &[&str]) -> ExitCode {
    let id = runtime.resolve(reference).unwrap();
    let request = ExecRequest {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        env: Vec::new(),
        workdir: None,
        user: None,
        privileged: false,
        tty: std::env::var_os("TTY").is_some(),
        connection: ExecConnection::Attached {
            streams: Streams::inherit(Input::Forwarded).unwrap(),
            detach_keys: DetachKeys::default(),
        },
    };
    match runtime.exec(&id, request) {
        Ok(Some(code)) => ExitCode::from(u8::try_from(code).unwrap()),
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.run_exit_code())
        }
    }
}

fn step(runtime: &Runtime, rootfs: &str, command: &[&str]) -> ExitCode {
    let request = StepRequest {
        rootfs: runtime::RootFs::Path { path: rootfs.into() },
        args: command.iter().map(|word| (*word).to_owned()).collect(),
        env: Vec::new(),
        workdir: "/".into(),
        user: String::new(),
        mounts: Vec::new(),
        network: StepNetwork::None,
        resources: runtime::Resources::default(),
        hostname: "step".into(),
        insecure: false,
        extra_hosts: Vec::new(),
        groups: Vec::new(),
        shm_size: None,
        ulimits: Vec::new(),
        stop: None,
    };
    let mut print = |_, bytes: &[u8]| {
        use std::io::Write;
        let mut out = std::io::stdout();
        out.write_all(bytes).and_then(|()| out.flush()).unwrap();
    };
    match runtime.run_step(&request, &mut print) {
        Ok(status) => ExitCode::from(u8::try_from(status.code()).unwrap()),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.run_exit_code())
        }
    }
}

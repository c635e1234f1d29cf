//! `exec`.

use std::path::Path;

use serde_json::{Value, json};

use super::arguments::Flags;
use super::container::{Phase, Store};
use super::create::{NewNetwork, base_builder, explain, plan_of, read_spec, strip_process};
use crate::error::{Error, Result};
use crate::helper;
use crate::id;
use crate::launch;
use crate::state;

/// `exec [--process FILE] [--detach] [--console-socket PATH] [--pid-file FILE] ID [COMMAND …]`.
pub(super) fn exec(store: &Store, flags: &Flags) -> Result<u8> {
    let id = flags.id()?;
    let (meta, phase) = store.phase(id)?;
    match phase {
        Phase::Running | Phase::Created => {}
        Phase::Paused if flags.has("ignore-paused") => {}
        Phase::Paused => return Err(refuse("cannot exec in a paused container")),
        Phase::Stopped => return Err(refuse("cannot exec in a stopped container")),
    }
    let spec = read_spec(&meta.bundle.join("config.json"))?;
    let mut process = match flags.value("process") {
        Some(file) => read_spec(Path::new(file))?,
        None => process_of(flags, &spec["process"])?,
    };
    let (report, report_end) = launch::report_pipe()?;
    let mut plan = plan_of(&process, &spec, report_end, NewNetwork::No)?;
    plan.close_cgroups = false;
    strip_process(&mut process);
    let file = store.dir(id)?.join(format!("process-{}.json", hex::encode(id::random::<8>()?)));
    state::write_json(&file, &process)?;
    let detach = flags.has("detach") || flags.value("console-socket").is_some();
    let built = base_builder(store, flags, id, plan).map(|builder| {
        builder
            .as_tenant()
            .with_detach(detach)
            .with_process(Some(&file))
            .with_ignore_paused(true)
            .build()
    });
    let _ = state::remove_file(&file);
    let pid = built?.map_err(|error| explain(report, &error))?;
    if flags.has("detach") {
        return Ok(0);
    }
    let code = helper::reap(pid.as_raw());
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// The container's own process with the command and the options of the command line.
fn process_of(flags: &Flags, base: &Value) -> Result<Value> {
    if flags.rest().is_empty() {
        return Err(Error::invalid("arguments", "", "exec needs --process or a command"));
    }
    let mut process = base.clone();
    process["args"] = json!(flags.rest());
    process["terminal"] = json!(flags.has("tty"));
    if let Some(cwd) = flags.value("cwd") {
        process["cwd"] = json!(cwd);
    }
    if flags.has("no-new-privs") {
        process["noNewPrivileges"] = json!(true);
    }
    if let Some(env) = process["env"].as_array_mut() {
        env.extend(flags.all("env").into_iter().map(|entry| json!(entry)));
    }
    if let Some(user) = flags.value("user") {
        let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
        let number = |text: &str| {
            text.parse::<u32>()
                .map_err(|_| Error::invalid("--user", user, "write UID[:GID] in numbers"))
        };
        process["user"] = json!({ "uid": number(uid)?, "gid": number(gid)? });
    }
    for capability in flags.all("cap") {
        for set in ["bounding", "effective", "permitted"] {
            if let Some(list) = process["capabilities"][set].as_array_mut() {
                list.push(json!(capability));
            }
        }
    }
    Ok(process)
}

fn refuse(message: &str) -> Error {
    Error::Start { exit_code: 1, message: message.to_owned() }
}

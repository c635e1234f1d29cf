//! A newcomer who types what README says.

use tests::{Need, Site, have};

/// The commands of README: the `sh` blocks, in order.
fn blocks(readme: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in readme.lines() {
        match (&mut block, line.trim_end()) {
            (None, "```sh") => block = Some(String::new()),
            (Some(_), "```") => blocks.extend(block.take()),
            (Some(text), line) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

fn readme() -> String {
    let path = xtask::shell::workspace_root().join("README.md");
    std::fs::read_to_string(path).expect("README.md")
}

/// Two ports that are free now.
fn free_ports() -> [u16; 3] {
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let listeners = [bind(), bind(), bind()];
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

#[test]
fn the_commands_of_readme_work_on_a_clean_root() {
    if !have(&[Need::Root, Need::Mmdebstrap, Need::Mirror]) {
        return;
    }
    let blocks = blocks(&readme());
    assert!(blocks.len() >= 4, "README has its story in sh blocks");
    let mut site = Site::new();
    // README calls cargo, which has its home in the user's.
    let home = std::env::var("HOME").unwrap_or_default();
    for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        let place = std::env::var(name).unwrap_or_else(|_| format!("{home}/{folder}"));
        site.set_env(name, &place);
    }
    let root = xtask::shell::workspace_root();
    site.set_env("CARGO_TARGET_DIR", &xtask::shell::target_dir(&root).display().to_string());
    let demo = site.path().join("demo").display().to_string();
    std::fs::create_dir(&demo).expect("a folder");
    site.set_env("DEMO", &demo);
    let [one, two, three] = free_ports();
    let mut script = String::from("set -eu\n");
    for block in &blocks {
        // The binary is built and installed already; everything else is as written, on ports that are free.
        for line in block
            .lines()
            .filter(|line| !line.starts_with("cargo install") && !line.starts_with("git clone"))
        {
            let line = line
                .replace("127.0.0.1:5000", &format!("127.0.0.1:{one}"))
                .replace("127.0.0.1:5001", &format!("127.0.0.1:{two}"))
                .replace("-p 8080:", &format!("-p {three}:"))
                .replace("127.0.0.1:8080", &format!("127.0.0.1:{three}"));
            script.push_str(&line);
            script.push('\n');
            if line.ends_with('&') {
                script.push_str("background=$!\n");
            }
        }
    }
    // What was started in the background ends with the script.
    let script = format!("cd {}\ntrap 'kill $background' EXIT\n{script}", root.display());
    let run = site.shell(&script).ok();
    assert!(run.stdout.contains("Harbour log"), "the page was fetched: {run}");
}

#[test]
fn readme_shows_only_verbs_that_exist() {
    let site = Site::new();
    let mut verbs: Vec<String> = blocks(&readme())
        .iter()
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|line| {
            Some(line.trim().strip_prefix("wherry ")?.split_whitespace().next()?.to_owned())
        })
        .filter(|verb| !verb.starts_with('-'))
        .collect();
    verbs.sort();
    verbs.dedup();
    assert!(verbs.len() >= 8, "{verbs:?}");
    for verb in verbs {
        site.run(&[verb.as_str(), "--help"]).ok();
    }
}

//! Instructions that make a layer: RUN, COPY, ADD, WORKDIR.

use super::metadata::with_shell;
use super::remote::{self, GitAddress};
use super::stage::{StageState, Step};
use super::{Lowering, globals};
use crate::chmod::ModeChange;
use crate::error::Result;
use crate::frontend::{Copy, Form, Heredoc, Network, Run};
use crate::graph::{CopyFrom, CopyItem, CopyOp, HistoryOrigin, Op, RunMount, RunOp, WorkdirOp};
use crate::paths;

/// The argument that names the host of RUN steps.
const HOSTNAME: &str = "BUILDKIT_SANDBOX_HOSTNAME";

impl Lowering<'_> {
    pub(super) fn run(&mut self, state: &mut StageState, step: &Step<'_>, run: &Run) -> Result<()> {
        let command = self.run_command(state, step, run)?;
        let mut mounts = command.script.into_iter().collect::<Vec<_>>();
        for flag in &run.mounts {
            let mount = self.mount(state, step, &flag.value, &mounts)?;
            mounts.push(mount);
        }
        let name = self.step_name(state, step, &command.summary);
        let network =
            if run.network == Network::Default { self.options.network } else { run.network };
        let op = RunOp {
            args: command.args.clone(),
            env: state.env.clone(),
            proxy_env: self.proxy_env(state),
            hostname: self.options.build_args.get(HOSTNAME).cloned(),
            cwd: if state.config.config.working_dir.is_empty() {
                "/".to_owned()
            } else {
                state.config.config.working_dir.clone()
            },
            user: state.config.config.user.clone(),
            network,
            security: run.security,
            mounts,
            platform: state.platform.clone(),
        };
        let id = self.push(state, step, Op::Run(Box::new(op)), name);
        let text = format!("RUN {} # buildkit", run_text(state, &command.args));
        state.commit(text, HistoryOrigin::Step(id));
        Ok(())
    }

    /// The argument vector, with here-documents put where they belong.
    fn run_command(&self, state: &StageState, step: &Step<'_>, run: &Run) -> Result<RunCommand> {
        let mut text = run.command.args.join(" ");
        let mut command =
            RunCommand { args: run.command.args.clone(), script: None, summary: String::new() };
        if let [first, ..] = run.heredocs.as_slice() {
            if run.command.form != Form::Shell {
                return Err(
                    self.error(step.span, "a heredoc cannot be used with the exec form of RUN")
                );
            }
            if Heredoc::parse_opening(text.trim()).is_some() {
                let body = first.body();
                command.summary = format!(" ({})", summary(&first.content));
                if body.starts_with("#!") {
                    // The script is a file of its own, run by what its first line names.
                    let target = format!("/dev/pipes/{}", first.name);
                    text.clone_from(&target);
                    command.script = Some(RunMount::Inline { target, content: body });
                } else {
                    text = body;
                }
            } else {
                // Several, or a command in front: the shell gets them back as they were written.
                for heredoc in &run.heredocs {
                    text.push('\n');
                    text.push_str(&heredoc.content);
                    text.push_str(&heredoc.name);
                }
            }
        }
        if run.command.form == Form::Shell {
            command.args = with_shell(state, &text);
        }
        Ok(command)
    }

    /// Proxy arguments, in both cases, unless an ARG or ENV already put them in.
    fn proxy_env(&self, state: &StageState) -> Vec<(String, String)> {
        let mut env = Vec::new();
        for (name, value) in
            self.options.build_args.iter().filter(|(name, _)| globals::is_proxy(name))
        {
            for spelling in [name.to_ascii_uppercase(), name.to_ascii_lowercase()] {
                if globals::get(&state.env, &spelling).is_none() {
                    globals::set(&mut env, &spelling, value);
                }
            }
        }
        env
    }

    pub(super) fn workdir(
        &mut self,
        state: &mut StageState,
        step: &Step<'_>,
        path: &str,
    ) -> Result<()> {
        let path = self.word(state, step, path)?;
        if !state.workdir_set && !path.starts_with('/') {
            self.findings.push(crate::graph::Finding {
                rule: "WorkdirRelativePath",
                message: format!("Relative workdir {path:?} can have unexpected results if the base image changes"),
                span: step.span,
            });
        }
        state.workdir_set = true;
        let path = paths::absolute(&state.config.config.working_dir, &path);
        state.config.config.working_dir.clone_from(&path);
        let text = format!("WORKDIR {path}");
        let name = self.step_name(state, step, "");
        if path == "/" {
            state.commit(text, HistoryOrigin::Metadata);
            return Ok(());
        }
        let user = state.config.config.user.clone();
        let id = self.push(state, step, Op::Workdir(WorkdirOp { path, user }), name);
        state.commit(text, HistoryOrigin::Step(id));
        Ok(())
    }

    pub(super) fn copy(
        &mut self,
        state: &mut StageState,
        step: &Step<'_>,
        copy: &Copy,
    ) -> Result<()> {
        let keyword = step.node.instruction.keyword();
        let from = self.copy_from(state, step, copy)?;
        let words = self.copy_words(state, step, copy)?;
        crate::context::ignore::Patterns::new(&words.exclude)
            .map_err(|e| self.error(step.span, e.to_string()))?;
        let items = self.copy_items(state, step, copy, &words, keyword == "ADD")?;
        let chmod = words
            .chmod
            .as_deref()
            .map(ModeChange::parse)
            .transpose()
            .map_err(|e| self.error(step.span, e))?;
        let destination = paths::destination(&state.config.config.working_dir, &words.destination);
        if items.len() > 1 && !destination.ends_with('/') {
            let message = format!(
                "when using {keyword} with more than one source file, the destination must be a directory and end with a /"
            );
            return Err(self.error(step.span, message));
        }
        let nameless = items.iter().find_map(|item| match item {
            CopyItem::Url { url, file_name, unpack: false, .. } => {
                (file_name == remote::UNNAMED).then_some(url)
            }
            _ => None,
        });
        if let Some(url) = nameless.filter(|_| destination.ends_with('/')) {
            let url = remote::without_credentials(url);
            let message = format!("cannot determine filename from url: {url}");
            let hint = "name the file: end the destination with a name in place of /";
            return Err(self.file.diagnostic(step.span, message).hint(hint).into());
        }
        let name = self.step_name(state, step, "");
        let text = copy_text(keyword, copy, &words);
        let op = CopyOp {
            from,
            items,
            destination,
            chown: words.chown,
            chmod,
            link: copy.link,
            parents: copy.parents,
            exclude: words.exclude,
        };
        let id = self.push(state, step, Op::Copy(Box::new(op)), name);
        state.commit(text, HistoryOrigin::Step(id));
        Ok(())
    }

    fn copy_from(&mut self, state: &StageState, step: &Step<'_>, copy: &Copy) -> Result<CopyFrom> {
        match &copy.from {
            None => Ok(CopyFrom::Context),
            Some(name) if name.contains('$') => Err(self
                .file
                .diagnostic(step.span, "variable expansion is not supported for --from")
                .hint("define a new stage with FROM using an ARG from the global scope, and copy from that")
                .into()),
            Some(name) => self.copy_source(name, true, state.index, step.span, &state.platform),
        }
    }

    /// Every word of the instruction with its variables replaced.
    fn copy_words(
        &mut self,
        state: &StageState,
        step: &Step<'_>,
        copy: &Copy,
    ) -> Result<CopyWords> {
        let mut one =
            |word: &Option<String>| word.as_deref().map(|w| self.word(state, step, w)).transpose();
        let (chown, chmod, checksum) = (one(&copy.chown)?, one(&copy.chmod)?, one(&copy.checksum)?);
        let mut all = |words: &[String]| {
            words.iter().map(|w| self.word(state, step, w)).collect::<Result<Vec<_>>>()
        };
        Ok(CopyWords {
            sources: all(&copy.sources)?,
            exclude: all(&copy.exclude)?,
            destination: self.word(state, step, &copy.destination)?,
            chown: chown.filter(|w| !w.is_empty()),
            chmod: chmod.filter(|w| !w.is_empty()),
            checksum,
        })
    }

    fn copy_items(
        &self,
        state: &StageState,
        step: &Step<'_>,
        copy: &Copy,
        words: &CopyWords,
        is_add: bool,
    ) -> Result<Vec<CopyItem>> {
        let mut items = Vec::new();
        for source in &words.sources {
            items.push(self.item(step, source, copy, words.checksum.as_deref(), is_add)?);
        }
        let is_remote =
            |item: &CopyItem| matches!(item, CopyItem::Url { .. } | CopyItem::Git { .. });
        match (&words.checksum, items.as_slice()) {
            (None, _) => {}
            (Some(_), [one]) if is_remote(one) => {}
            (Some(_), [_]) => {
                return Err(self.error(step.span, "checksum requires HTTP(S) or Git sources"));
            }
            (Some(_), _) => {
                return Err(
                    self.error(step.span, "checksum can't be specified for multiple sources")
                );
            }
        }
        for file in &copy.inline {
            let content = if file.expand {
                let expanded = self.lexer().ignore_quotes().word(&file.content, &state.env);
                expanded.map_err(|e| self.error(step.span, e.to_string()))?
            } else {
                file.content.clone()
            };
            items.push(CopyItem::Inline { name: file.name.clone(), content });
        }
        Ok(items)
    }

    fn item(
        &self,
        step: &Step<'_>,
        source: &str,
        copy: &Copy,
        checksum: Option<&str>,
        is_add: bool,
    ) -> Result<CopyItem> {
        let git = GitAddress::parse(source).map_err(|e| self.error(step.span, e))?;
        let is_url = remote::is_url(source);
        if (git.is_some() || is_url) && !is_add {
            let what = if git.is_some() {
                "source can't be a git ref for COPY"
            } else {
                "source can't be a URL for COPY"
            };
            return Err(self.file.diagnostic(step.span, what).hint("use ADD").into());
        }
        if let Some(git) = git {
            return Ok(CopyItem::Git {
                keep_git_dir: copy.keep_git_dir.or(git.keep_git_dir) == Some(true),
                checksum: checksum.map(str::to_owned).or(git.checksum),
                remote: git.remote,
                reference: git.reference,
                subdir: git.subdir,
                submodules: git.submodules,
            });
        }
        if is_url {
            let checksum = checksum
                .map(str::parse)
                .transpose()
                .map_err(|e: oci::DigestError| self.error(step.span, e.to_string()))?;
            return Ok(CopyItem::Url {
                url: source.to_owned(),
                file_name: remote::url_file_name(source),
                checksum,
                unpack: copy.unpack == Some(true),
            });
        }
        let unpack = copy.unpack.unwrap_or(is_add);
        if !copy.parents {
            return Ok(CopyItem::Path { path: paths::from_root(source), pattern: None, unpack });
        }
        // The pivot `/./` says from where parents are kept.
        let (root, pattern) =
            source.split_once("/./").map_or(("", source), |(root, rest)| (root, rest));
        Ok(CopyItem::Path {
            path: paths::from_root(root),
            pattern: Some(paths::from_root(pattern)),
            unpack,
        })
    }
}

struct RunCommand {
    args: Vec<String>,
    script: Option<RunMount>,
    summary: String,
}

struct CopyWords {
    sources: Vec<String>,
    exclude: Vec<String>,
    destination: String,
    chown: Option<String>,
    chmod: Option<String>,
    checksum: Option<String>,
}

/// `|1 V=2 /bin/sh -c make`.
fn run_text(state: &StageState, args: &[String]) -> String {
    let values: Vec<String> = state
        .args
        .iter()
        .map(|(name, value)| {
            let value = globals::get(&state.env, name).or(value.as_deref()).unwrap_or_default();
            format!("{name}={value}")
        })
        .collect();
    let counted = if values.is_empty() {
        String::new()
    } else {
        format!("|{} {} ", values.len(), values.join(" "))
    };
    counted + &args.join(" ")
}

/// `COPY --chown=1 a b /x # buildkit`: the words as they expanded, no `--from`.
fn copy_text(keyword: &str, copy: &Copy, words: &CopyWords) -> String {
    let mut text = keyword.to_owned();
    if copy.parents {
        text.push_str(" --parents");
    }
    for (flag, value) in [("chown", &words.chown), ("chmod", &words.chmod)] {
        if let Some(value) = value {
            text.push_str(&format!(" --{flag}={value}"));
        }
    }
    words
        .sources
        .iter()
        .for_each(|source| text.push_str(&format!(" {}", remote::without_credentials(source))));
    copy.inline.iter().for_each(|file| text.push_str(&format!(" <<{}", file.name)));
    text + " " + &words.destination + " # buildkit"
}

/// The first line of a here-document, with dots when there are more.
fn summary(content: &str) -> String {
    let trimmed = content.trim();
    let first = trimmed.lines().next().unwrap_or_default();
    if trimmed.lines().count() > 1 { format!("{first}...") } else { first.to_owned() }
}

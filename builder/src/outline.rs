//! `build --call=outline` and `--call=targets`: what a Dockerfile can be told, without building it. Pure.

use serde::Serialize;

use crate::error::Result;
use crate::frontend::expand::Lexer;
use crate::frontend::{Dockerfile, Instruction, Mount, MountKind, Node, Span, Stage};
use crate::lower::{ImageResolver, LowerOptions, needed_stages};

/// What a target takes: arguments, secrets, agents, caches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// The name of the target.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What the comment above it says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The arguments that it or a stage below it declares.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<OutlineArg>,
    /// The secrets that its steps mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<OutlineMount>,
    /// The ssh agents that its steps mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<OutlineMount>,
    /// The cache mounts of its steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<OutlineMount>,
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// What the comment above it says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The value that it would have.
    pub value: String,
    /// True when it was declared before the first FROM.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub global: bool,
    /// Where it was declared.
    pub location: Location,
}

/// A secret, an agent or a cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutlineMount {
    /// Its id.
    pub name: String,
    /// Whether a build without it fails.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// The step that asks for it.
    pub location: Location,
}

/// A stage that can be a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether it is built when none is named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// What the comment above it says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it is built upon, as it is written.
    pub base: String,
    /// The value of `--platform`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Where its FROM stands.
    pub location: Location,
}

/// Lines of the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Location {
    /// From which line to which, counted from 1.
    pub ranges: Vec<Range>,
}

/// A run of lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Range {
    /// Its first line.
    pub start: Line,
    /// Its last line.
    pub end: Line,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its number, counted from 1.
    pub line: usize,
}

/// Every stage of a Dockerfile.
pub fn targets(file: &Dockerfile) -> Vec<Target> {
    let last = file.stages.len().saturating_sub(1);
    let stages = file.stages.iter();
    stages
        .map(|stage| Target {
            name: stage.name.clone().unwrap_or_default(),
            default: stage.index == last,
            description: describe(stage.comments.last(), stage.name.as_deref()),
            base: stage.base.clone(),
            platform: stage.platform.clone(),
            location: location(file, stage.span),
        })
        .collect()
}

/// What the target of `options` takes; only stages that it needs are looked at.
pub fn outline(
    file: &Dockerfile,
    options: &LowerOptions,
    images: &dyn ImageResolver,
) -> Result<Outline> {
    let needed = needed_stages(file, options, images)?;
    let target = match &options.target {
        Some(name) => file.stage_index(name),
        None => None,
    };
    let target = &file.stages[target.unwrap_or(file.stages.len() - 1)];
    let mut outliner = Outliner::new(file, options);
    for index in needed {
        outliner.stage(&file.stages[index]);
    }
    Ok(Outline {
        name: target.name.clone().unwrap_or_default(),
        description: describe(target.comments.last(), target.name.as_deref()),
        args: outliner.args,
        secrets: outliner.secrets,
        ssh: outliner.ssh,
        cache: outliner.cache,
    })
}

struct Outliner<'a> {
    file: &'a Dockerfile,
    options: &'a LowerOptions,
    globals: Vec<(String, String)>,
    args: Vec<OutlineArg>,
    secrets: Vec<OutlineMount>,
    ssh: Vec<OutlineMount>,
    cache: Vec<OutlineMount>,
}

impl<'a> Outliner<'a> {
    fn new(file: &'a Dockerfile, options: &'a LowerOptions) -> Self {
        let mut outliner = Outliner {
            file,
            options,
            globals: Vec::new(),
            args: Vec::new(),
            secrets: Vec::new(),
            ssh: Vec::new(),
            cache: Vec::new(),
        };
        for node in &file.global_args {
            let Instruction::Arg(pairs) = &node.instruction else { continue };
            for pair in pairs {
                let value = outliner.value(&pair.name, pair.default.as_deref(), &[]);
                outliner.globals.push((pair.name.clone(), value));
            }
        }
        outliner
    }

    fn lexer(&self) -> Lexer {
        Lexer::new(self.file.directives.escape)
    }

    /// What was given, else the default with what is known so far put in.
    fn value(&self, name: &str, default: Option<&str>, local: &[(String, String)]) -> String {
        if let Some(given) = self.options.build_args.get(name) {
            return given.clone();
        }
        let known: Vec<(String, String)> = self.globals.iter().chain(local).cloned().collect();
        let Some(default) = default else {
            let of = |list: &[(String, String)]| {
                list.iter().rev().find(|(k, _)| k == name).map(|(_, v)| v.clone())
            };
            return of(local).or_else(|| of(&self.globals)).unwrap_or_default();
        };
        self.lexer().word(default, &known).unwrap_or_else(|_| default.to_owned())
    }

    fn stage(&mut self, stage: &Stage) {
        let words = std::iter::once(&stage.base).chain(&stage.platform);
        let used: Vec<String> = words
            .filter_map(|text| self.lexer().expand(text, &self.globals).ok())
            .flat_map(|expanded| expanded.matched)
            .collect();
        for node in &self.file.global_args {
            self.declared(node, &mut Vec::new(), |name| used.iter().any(|u| u == name), true);
        }
        let mut local = Vec::new();
        for node in &stage.nodes {
            match &node.instruction {
                Instruction::Arg(_) => self.declared(node, &mut local, |_| true, false),
                Instruction::Run(run) => {
                    for flag in &run.mounts {
                        let keep = |text: &str| Ok(text.to_owned());
                        // A mount that cannot be read stopped the parser before.
                        if let Ok(mount) = Mount::parse(&flag.value, &keep) {
                            self.mount(&mount, node.span);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn declared(
        &mut self,
        node: &Node,
        local: &mut Vec<(String, String)>,
        wanted: impl Fn(&str) -> bool,
        global: bool,
    ) {
        let Instruction::Arg(pairs) = &node.instruction else { return };
        for pair in pairs.iter().filter(|pair| wanted(&pair.name)) {
            let value = self.value(&pair.name, pair.default.as_deref(), local);
            local.push((pair.name.clone(), value.clone()));
            let inherited =
                pair.default.is_none() && self.globals.iter().any(|(name, _)| *name == pair.name);
            if self.args.iter().any(|arg| arg.name == pair.name) {
                continue;
            }
            let comment = comment_above(&self.file.text, node.span);
            self.args.push(OutlineArg {
                name: pair.name.clone(),
                description: describe(comment.as_ref(), Some(&pair.name)),
                value,
                global: global || inherited,
                location: location(self.file, node.span),
            });
        }
    }

    fn mount(&mut self, mount: &Mount, span: Span) {
        let target_name = || mount.target.as_deref().and_then(|t| t.rsplit('/').next());
        let (list, name) = match mount.kind {
            MountKind::Secret => {
                let name = mount.id.as_deref().or_else(target_name).or(mount.env.as_deref());
                (&mut self.secrets, name)
            }
            MountKind::Ssh => (&mut self.ssh, Some(mount.id.as_deref().unwrap_or("default"))),
            MountKind::Cache => (&mut self.cache, mount.id.as_deref().or(mount.target.as_deref())),
            MountKind::Bind | MountKind::Tmpfs => return,
        };
        let name = name.unwrap_or_default();
        match list.iter_mut().find(|known| known.name == name) {
            Some(known) => known.required |= mount.required,
            None => list.push(OutlineMount {
                name: name.to_owned(),
                required: mount.required,
                location: location(self.file, span),
            }),
        }
    }
}

/// A comment is a description when it begins with the name of what it stands above.
fn describe(comment: Option<&String>, name: Option<&str>) -> String {
    let (Some(comment), Some(name)) = (comment, name) else { return String::new() };
    let (first, rest) = comment.trim().split_once(' ').unwrap_or_default();
    if first.eq_ignore_ascii_case(name) { rest.trim().to_owned() } else { String::new() }
}

/// The comment on the line right above a place.
fn comment_above(text: &str, span: Span) -> Option<String> {
    let before = text.get(..span.start)?.trim_end_matches([' ', '\t']).strip_suffix('\n')?;
    let line = before.rsplit('\n').next()?;
    Some(line.trim().strip_prefix('#')?.trim().to_owned())
}

fn location(file: &Dockerfile, span: Span) -> Location {
    let line = |at: usize| {
        let before = file.text.get(..at.min(file.text.len())).unwrap_or_default();
        Line { line: before.matches('\n').count() + 1 }
    };
    Location { ranges: vec![Range { start: line(span.start), end: line(span.end) }] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PortError;
    use crate::frontend;
    use crate::graph::BaseImage;

    struct NoImages;

    impl ImageResolver for NoImages {
        fn resolve(
            &self,
            reference: &oci::Reference,
            _: &oci::Platform,
        ) -> std::result::Result<BaseImage, PortError> {
            Err(format!("{reference} is not to be looked up").into())
        }
    }

    const TEXT: &str = "# GO the language's version\nARG GO=1.22\nARG UNUSED=x\n\
        # build compiles\nFROM golang:${GO} AS build\n# TAGS build tags\nARG TAGS=netgo\nARG GO\n\
        RUN --mount=type=secret,id=token,required=true --mount=type=ssh go build\n\
        FROM scratch AS other\nARG NEVER=1\nRUN --mount=type=secret,id=hidden true\n\
        # final the image\nFROM scratch AS final\nCOPY --from=build /a /a\n";

    fn options(target: Option<&str>) -> LowerOptions {
        let mut options = LowerOptions::new("linux/amd64".parse().unwrap());
        options.target = target.map(str::to_owned);
        options
    }

    /// Covers: BLD-13
    #[test]
    fn an_outline_has_what_the_stages_on_the_way_take_and_nothing_else() {
        let file = frontend::parse(TEXT).unwrap();
        let found = outline(&file, &options(None), &NoImages).unwrap();
        assert_eq!((found.name.as_str(), found.description.as_str()), ("final", "the image"));
        let args: Vec<(&str, &str, &str, bool)> = found
            .args
            .iter()
            .map(|a| (a.name.as_str(), a.value.as_str(), a.description.as_str(), a.global))
            .collect();
        assert_eq!(
            args,
            [
                ("GO", "1.22", "the language's version", true),
                ("TAGS", "netgo", "build tags", false)
            ]
        );
        assert_eq!((found.secrets[0].name.as_str(), found.secrets[0].required), ("token", true));
        assert_eq!((found.secrets.len(), found.ssh[0].name.as_str()), (1, "default"));
        assert_eq!(found.args[0].location.ranges[0].start.line, 2);
        let other = outline(&file, &options(Some("other")), &NoImages).unwrap();
        assert_eq!((other.args.len(), other.secrets[0].name.as_str()), (1, "hidden"));
    }

    /// Covers: BLD-13
    #[test]
    fn values_given_with_the_build_are_shown_and_defaults_are_expanded() {
        let file = frontend::parse("ARG A=1\nFROM x:$A\nARG A\nARG B=${A}-b\n").unwrap();
        let mut options = options(None);
        options.build_args.insert("A".to_owned(), "9".to_owned());
        let found = outline(&file, &options, &NoImages).unwrap();
        let values: Vec<&str> = found.args.iter().map(|a| a.value.as_str()).collect();
        assert_eq!(values, ["9", "9-b"]);
    }

    /// Covers: BLD-13
    #[test]
    fn targets_are_the_stages_and_the_last_is_the_default() {
        let file = frontend::parse(TEXT).unwrap();
        let found = targets(&file);
        let names: Vec<(&str, bool)> = found.iter().map(|t| (t.name.as_str(), t.default)).collect();
        assert_eq!(names, [("build", false), ("other", false), ("final", true)]);
        assert_eq!(
            (found[0].base.as_str(), found[0].description.as_str()),
            ("golang:${GO}", "compiles")
        );
    }
}

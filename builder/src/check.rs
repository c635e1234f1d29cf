//! Build checks: doubtful places of a Dockerfile under BuildKit's rule names. Pure.
//!
//! `# check=skip=RuleA,RuleB;error=true` skips rules (`all` skips every one) and turns findings into an error.

use std::fmt::Write as _;

use crate::context::ignore::Patterns;
use crate::frontend::expand::Lexer;
use crate::frontend::{Copy, Dockerfile, Instruction, KeyValue, Node, Span, Stage, Warning};
use crate::graph::{Finding, Graph};
use crate::paths;
use crate::request::BuildRequest;

/// Every rule with the words that its page begins with.
pub const RULES: [(&str, &str); 22] = [
    (
        "ConsistentInstructionCasing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    ),
    ("CopyIgnoredFile", "Attempting to Copy file that is excluded by .dockerignore"),
    ("DuplicateStageName", "Stage names should be unique"),
    (
        "ExposeInvalidFormat",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
    ),
    ("ExposeProtoCasing", "Protocol in EXPOSE instruction should be lowercase"),
    ("FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword"),
    ("FromPlatformFlagConstDisallowed", "FROM --platform flag should not use a constant value"),
    ("InvalidBaseImagePlatform", "Base image platform does not match expected target platform"),
    (
        "InvalidDefaultArgInFrom",
        "Default value for global ARG results in an empty or invalid base image name",
    ),
    (
        "InvalidDefinitionDescription",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`",
    ),
    (
        "JSONArgsRecommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    ),
    (
        "LegacyKeyValueFormat",
        "Legacy key/value format with whitespace separator should not be used",
    ),
    (
        "MaintainerDeprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    ),
    (
        "MultipleInstructionsDisallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    ),
    ("NoEmptyContinuation", "Empty continuation lines will become errors in a future release"),
    (
        "RedundantTargetPlatform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    ),
    ("ReservedStageName", "Reserved words should not be used as stage names"),
    ("SecretsUsedInArgOrEnv", "Sensitive data should not be used in the ARG or ENV commands"),
    ("StageNameCasing", "Stage names should be lowercase"),
    ("UndefinedArgInFrom", "FROM command must use declared ARGs"),
    ("UndefinedVar", "Variables should be defined before their use"),
    (
        "WorkdirRelativePath",
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
    ),
];

/// What the checks came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was found, in the order of the file.
    pub findings: Vec<Finding>,
    /// True when findings are to fail the build.
    pub is_error: bool,
}

/// The argument that says what the `check` directive says, and comes before it.
const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Checks the Dockerfile of a request; `BUILDKIT_DOCKERFILE_CHECK` among its arguments replaces the directive.
pub fn check(request: &BuildRequest, graph: Option<&Graph>, ignore: Option<&Patterns>) -> Report {
    let given = request.build_args.get(ARGUMENT).map(String::as_str);
    check_file(&request.dockerfile, given, graph, ignore)
}

/// Checks a Dockerfile; with its graph also what depends on variables, with the context's patterns also what they hide.
fn check_file(
    file: &Dockerfile,
    settings: Option<&str>,
    graph: Option<&Graph>,
    ignore: Option<&Patterns>,
) -> Report {
    let mut checks = Checks { file, found: Vec::new() };
    checks.warnings();
    checks.casing();
    checks.stages();
    checks.bases();
    checks.global_args();
    for node in file.stages.iter().flat_map(|s| &s.nodes) {
        checks.node(node, ignore);
    }
    let mut findings = checks.found;
    findings.extend(graph.iter().flat_map(|g| g.findings.clone()));
    findings.sort_by_key(|f| f.span.start);
    findings.dedup();
    let settings = settings.or(file.directives.check.as_deref());
    let settings = Settings::parse(settings.unwrap_or_default());
    findings.retain(|f| !settings.skips(f.rule));
    Report { is_error: settings.error && !findings.is_empty(), findings }
}

/// The value of the `check` directive.
struct Settings {
    skip: Vec<String>,
    error: bool,
}

impl Settings {
    fn parse(text: &str) -> Settings {
        let mut settings = Settings { skip: Vec::new(), error: false };
        for part in text.split(';') {
            match part.trim().split_once('=') {
                Some(("skip", rules)) => {
                    settings.skip = rules.split(',').map(|r| r.trim().to_owned()).collect()
                }
                Some(("error", value)) => {
                    settings.error = value.trim().eq_ignore_ascii_case("true")
                }
                _ => {}
            }
        }
        settings
    }

    fn skips(&self, rule: &str) -> bool {
        self.skip.iter().any(|s| s.eq_ignore_ascii_case("all") || s.eq_ignore_ascii_case(rule))
    }
}

impl Report {
    /// The findings as BuildKit prints them.
    pub fn render(&self, name: &str, file: &Dockerfile) -> String {
        if self.findings.is_empty() {
            return "Check complete, no warnings found.\n".to_owned();
        }
        let mut out = match self.findings.len() {
            1 => "Check complete, 1 warning has been found!\n".to_owned(),
            several => format!("Check complete, {several} warnings have been found!\n"),
        };
        for finding in &self.findings {
            let _ = writeln!(out, "\nWARNING: {} - {}", finding.rule, page(finding.rule));
            let _ = writeln!(
                out,
                "{}\n{}",
                finding.message,
                crate::solve::excerpt(name, &file.text, finding.span)
            );
        }
        out
    }
}

impl Report {
    /// The findings as a build mentions them when it is done; nothing when there are none.
    pub fn summary(&self, file: &Dockerfile) -> String {
        let mut out = match self.findings.len() {
            0 => return String::new(),
            1 => " 1 warning found (use --check for details):\n".to_owned(),
            several => format!(" {several} warnings found (use --check for details):\n"),
        };
        for finding in &self.findings {
            let line = line_of(file, finding.span.start);
            let _ = writeln!(out, " - {}: {} (line {line})", finding.rule, finding.message);
        }
        out
    }

    /// The findings for programs, in the form of BuildKit's lint request.
    pub fn json(&self, name: &str, file: &Dockerfile) -> serde_json::Value {
        let warnings = self.findings.iter().map(|finding| {
            let rule = RULES.iter().find(|(rule, _)| *rule == finding.rule);
            let range = serde_json::json!({
                "start": { "line": line_of(file, finding.span.start) },
                "end": { "line": line_of(file, finding.span.end) },
            });
            serde_json::json!({
                "ruleName": finding.rule,
                "description": rule.map_or("", |(_, words)| *words),
                "url": page(finding.rule),
                "detail": finding.message,
                "location": { "ranges": [range] },
            })
        });
        let warnings: Vec<_> = warnings.collect();
        let source = serde_json::json!({ "filename": name, "language": "Dockerfile" });
        serde_json::json!({ "warnings": warnings, "sources": [source] })
    }
}

fn line_of(file: &Dockerfile, at: usize) -> usize {
    let before = file.text.get(..at.min(file.text.len())).unwrap_or_default();
    before.matches('\n').count() + 1
}

/// Where a rule is explained.
fn page(rule: &str) -> String {
    format!("https://docs.docker.com/go/dockerfile/rule/{}/", kebab(rule))
}

/// `StageNameCasing` → `stage-name-casing`, `JSONArgs` → `json-args`.
fn kebab(rule: &str) -> String {
    let chars: Vec<char> = rule.chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        let starts = c.is_uppercase()
            && i > 0
            && (chars[i - 1].is_lowercase() || chars.get(i + 1).is_some_and(|n| n.is_lowercase()));
        if starts {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

struct Checks<'a> {
    file: &'a Dockerfile,
    found: Vec<Finding>,
}

impl Checks<'_> {
    fn add(&mut self, rule: &'static str, span: Span, message: String) {
        self.found.push(Finding { rule, message, span });
    }

    fn warnings(&mut self) {
        for Warning::EmptyContinuation(span) in &self.file.warnings {
            self.add("NoEmptyContinuation", *span, "Empty continuation line".to_owned());
        }
    }

    /// Keywords follow the case of their majority.
    fn casing(&mut self) {
        let file = self.file;
        let words: Vec<(&str, Span)> = file
            .global_args
            .iter()
            .map(|n| (n.keyword.as_str(), n.span))
            .chain(file.stages.iter().flat_map(|s| {
                std::iter::once((s.keyword.as_str(), s.span))
                    .chain(s.nodes.iter().map(|n| (n.keyword.as_str(), n.span)))
            }))
            .collect();
        let is_lower = |w: &str| w.chars().all(|c| c.is_ascii_lowercase());
        let is_upper = |w: &str| w.chars().all(|c| c.is_ascii_uppercase());
        let lower = words.iter().filter(|(w, _)| is_lower(w)).count();
        let upper = words.iter().filter(|(w, _)| is_upper(w)).count();
        let (name, fits): (_, &dyn Fn(&str) -> bool) =
            if lower > upper { ("lowercase", &is_lower) } else { ("uppercase", &is_upper) };
        for (word, span) in words.iter().filter(|(w, _)| !fits(w)) {
            let message =
                format!("Command '{word}' should match the case of the command majority ({name})");
            self.add("ConsistentInstructionCasing", *span, message);
        }
    }

    fn stages(&mut self) {
        let mut seen: Vec<&str> = Vec::new();
        for stage in &self.file.stages {
            let (Some(written), Some(name)) = (&stage.written_name, &stage.name) else { continue };
            if written != name {
                self.add(
                    "StageNameCasing",
                    stage.span,
                    format!("Stage name '{written}' should be lowercase"),
                );
            }
            if ["context", "scratch"].contains(&name.as_str()) {
                self.add(
                    "ReservedStageName",
                    stage.span,
                    format!(
                        "Stage name should not use the same name as reserved stage {written:?}"
                    ),
                );
            }
            if seen.contains(&name.as_str()) {
                self.add(
                    "DuplicateStageName",
                    stage.span,
                    format!("Duplicate stage name {written:?}, stage names should be unique"),
                );
            }
            seen.push(name);
            self.as_casing(stage);
            self.description(stage, name);
        }
    }

    fn as_casing(&mut self, stage: &Stage) {
        let Some(written) = &stage.written_as else { return };
        let same = |f: fn(&char) -> bool| {
            stage.keyword.chars().all(|c| f(&c)) && written.chars().all(|c| f(&c))
        };
        if !same(char::is_ascii_lowercase) && !same(char::is_ascii_uppercase) {
            let message =
                format!("'{written}' and '{}' keywords' casing do not match", stage.keyword);
            self.add("FromAsCasing", stage.span, message);
        }
    }

    /// A comment directly above a stage describes it when it begins with its name.
    fn description(&mut self, stage: &Stage, name: &str) {
        let Some(comment) = stage.comments.last() else { return };
        let first = comment.split_whitespace().next().unwrap_or_default();
        // Only a file that describes something else that way means its comments as descriptions.
        let describes = |s: &Stage| {
            let first = s.comments.last().and_then(|c| c.split_whitespace().next());
            first.is_some() && first == s.name.as_deref()
        };
        if first != name && self.file.stages.iter().any(describes) {
            let message = format!(
                "Comment for build stage should follow the format: `# {name} <description>`"
            );
            self.add("InvalidDefinitionDescription", stage.span, message);
        }
    }

    fn bases(&mut self) {
        let mut globals: Vec<(String, String)> =
            crate::lower::platform_arg_names().map(|n| (n.to_owned(), "x".to_owned())).collect();
        for node in &self.file.global_args {
            let Instruction::Arg(pairs) = &node.instruction else { continue };
            for pair in pairs {
                let value = Lexer::new(self.file.directives.escape)
                    .word(pair.default.as_deref().unwrap_or_default(), &globals);
                globals.push((pair.name.clone(), value.unwrap_or_default()));
            }
        }
        for stage in &self.file.stages {
            self.base(stage, &globals);
        }
    }

    fn base(&mut self, stage: &Stage, globals: &[(String, String)]) {
        let lexer = Lexer::new(self.file.directives.escape);
        for text in std::iter::once(&stage.base).chain(&stage.platform) {
            for name in lexer.expand(text, globals).map(|e| e.unmatched).unwrap_or_default() {
                self.add(
                    "UndefinedArgInFrom",
                    stage.span,
                    format!("FROM argument '{name}' is not declared"),
                );
            }
        }
        if let Ok(expanded) = lexer.expand(&stage.base, globals) {
            let is_bad =
                expanded.text.is_empty() || expanded.text.parse::<oci::Reference>().is_err();
            if !expanded.matched.is_empty() && is_bad {
                let message = format!(
                    "Default value for ARG {} results in empty or invalid base image name",
                    stage.base
                );
                self.add("InvalidDefaultArgInFrom", stage.span, message);
            }
        }
        let Some(platform) = &stage.platform else { return };
        if matches!(platform.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
            let message = format!(
                "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"
            );
            self.add("RedundantTargetPlatform", stage.span, message);
        }
        let in_name = |platform: &str| {
            stage.name.as_deref().is_some_and(|n| platform.split('/').any(|part| n.contains(part)))
        };
        if !platform.contains('$') && !in_name(platform) {
            let message =
                format!("FROM --platform flag should not use constant value {platform:?}");
            self.add("FromPlatformFlagConstDisallowed", stage.span, message);
        }
    }

    fn global_args(&mut self) {
        for node in &self.file.global_args {
            if let Instruction::Arg(pairs) = &node.instruction {
                pairs.iter().for_each(|pair| self.secret_name("ARG", &pair.name, node.span));
            }
        }
    }

    fn node(&mut self, node: &Node, ignore: Option<&Patterns>) {
        match &node.instruction {
            Instruction::Maintainer(_) => {
                let message =
                    "Maintainer instruction is deprecated in favor of using label".to_owned();
                self.add("MaintainerDeprecated", node.span, message);
            }
            Instruction::Env(pairs) => {
                pairs.iter().for_each(|pair| self.secret_name("ENV", &pair.key, node.span));
                self.legacy("ENV", pairs, node.span);
            }
            Instruction::Label(pairs) => self.legacy("LABEL", pairs, node.span),
            Instruction::Arg(pairs) => {
                pairs.iter().for_each(|pair| self.secret_name("ARG", &pair.name, node.span))
            }
            Instruction::Expose(words) => words.iter().for_each(|word| self.port(word, node.span)),
            Instruction::Copy(copy) if copy.from.is_none() => {
                self.ignored("Copy", copy, node.span, ignore)
            }
            Instruction::Add(copy) => self.ignored("Add", copy, node.span, ignore),
            _ => {}
        }
    }

    fn legacy(&mut self, keyword: &str, pairs: &[KeyValue], span: Span) {
        if pairs.iter().any(|p| p.legacy) {
            let message = format!(
                "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
            );
            self.add("LegacyKeyValueFormat", span, message);
        }
    }

    /// A name that says secret; a file's name and a public key are none.
    fn secret_name(&mut self, keyword: &str, name: &str, span: Span) {
        const SECRET: [&str; 11] = [
            "apikey",
            "auth",
            "credential",
            "credentials",
            "key",
            "password",
            "pword",
            "passwd",
            "secret",
            "token",
            "pass",
        ];
        let lower = name.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('_').collect();
        let harmless =
            lower.ends_with("_file") || lower.ends_with("_path") || parts.contains(&"public");
        if !harmless && parts.iter().any(|part| SECRET.contains(part)) {
            let message = format!(
                "Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})"
            );
            self.add("SecretsUsedInArgOrEnv", span, message);
        }
    }

    fn port(&mut self, word: &str, span: Span) {
        if word.contains('$') {
            return;
        }
        if word.contains(':') {
            let message = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'"
            );
            self.add("ExposeInvalidFormat", span, message);
        }
        if let Some((port, proto)) = word.split_once('/')
            && proto.chars().any(|c| c.is_ascii_uppercase())
        {
            let message = format!(
                "Defined protocol '{word}' in EXPOSE instruction should be lowercase: '{port}/{}'",
                proto.to_ascii_lowercase()
            );
            self.add("ExposeProtoCasing", span, message);
        }
    }

    fn ignored(&mut self, act: &str, copy: &Copy, span: Span, ignore: Option<&Patterns>) {
        // With exceptions a folder may be hidden and still hold something that is not.
        let Some(ignore) = ignore.filter(|p| !p.has_exceptions()) else { return };
        for source in
            copy.sources.iter().filter(|s| !s.contains(['$', '*', '?', '[']) && !s.contains("://"))
        {
            let path = paths::from_root(source);
            if !path.is_empty() && ignore.excludes(&path) {
                let message = format!(
                    "Attempting to {act} file {source:?} that is excluded by .dockerignore"
                );
                self.add("CopyIgnoredFile", span, message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend;

    fn rules(text: &str) -> Vec<&'static str> {
        let file = frontend::parse(text).unwrap();
        let ignore = Patterns::new(&["hidden", "*.tmp"]).unwrap();
        check_file(&file, None, None, Some(&ignore)).findings.into_iter().map(|f| f.rule).collect()
    }

    /// Covers: BLD-12
    #[test]
    fn every_rule_has_a_place_where_it_speaks_and_one_where_it_is_silent() {
        for (rule, bad, good) in [
            ("StageNameCasing", "FROM a AS Build\n", "FROM a AS build\n"),
            ("FromAsCasing", "FROM a as b\n", "FROM a AS b\n"),
            ("NoEmptyContinuation", "FROM a\nRUN x \\\n\n  y\n", "FROM a\nRUN x \\\n  # c\n  y\n"),
            ("ConsistentInstructionCasing", "FROM a\nRun x\nRUN y\n", "from a\nrun x\n"),
            ("DuplicateStageName", "FROM a AS b\nFROM a AS B\n", "FROM a AS b\nFROM a AS c\n"),
            ("ReservedStageName", "FROM a AS context\n", "FROM a AS contexts\n"),
            ("MaintainerDeprecated", "FROM a\nMAINTAINER me\n", "FROM a\nLABEL maintainer=me\n"),
            ("UndefinedArgInFrom", "FROM a:$TAG\n", "ARG TAG=1\nFROM a:$TAG\n"),
            ("LegacyKeyValueFormat", "FROM a\nENV a b\n", "FROM a\nENV a=b\n"),
            (
                "RedundantTargetPlatform",
                "FROM --platform=$TARGETPLATFORM a\n",
                "FROM --platform=$BUILDPLATFORM a\n",
            ),
            (
                "SecretsUsedInArgOrEnv",
                "FROM a\nARG AWS_SECRET_ACCESS\n",
                "FROM a\nENV DB_PASSWORD_FILE=/run/x\n",
            ),
            ("InvalidDefaultArgInFrom", "ARG TAG\nFROM a:$TAG\n", "ARG TAG=1\nFROM a:$TAG\n"),
            (
                "FromPlatformFlagConstDisallowed",
                "FROM --platform=linux/amd64 a\n",
                "FROM --platform=linux/amd64 a AS b_amd64\n",
            ),
            ("CopyIgnoredFile", "FROM a\nCOPY hidden /x\n", "FROM a\nCOPY shown /x\n"),
            ("ExposeProtoCasing", "FROM a\nEXPOSE 80/TCP\n", "FROM a\nEXPOSE 80/tcp\n"),
            ("ExposeInvalidFormat", "FROM a\nEXPOSE 8080:80\n", "FROM a\nEXPOSE 80\n"),
            (
                "InvalidDefinitionDescription",
                "# b the base\nFROM a AS b\n# other words\nFROM a AS c\n",
                "# b the base\nFROM a AS b\n# c the rest\nFROM a AS c\n",
            ),
        ] {
            assert!(rules(bad).contains(&rule), "{rule} is silent on {bad:?}: {:?}", rules(bad));
            assert!(!rules(good).contains(&rule), "{rule} speaks on {good:?}");
        }
    }

    /// Covers: BLD-12
    #[test]
    fn exceptions_in_the_ignore_file_silence_copy_ignored_file() {
        let file = frontend::parse("FROM a\nCOPY hidden /x\n").unwrap();
        let ignore = Patterns::new(&["hidden", "!hidden/x"]).unwrap();
        assert!(check_file(&file, None, None, Some(&ignore)).findings.is_empty());
    }

    /// Covers: BLD-1, BLD-12
    #[test]
    fn the_check_directive_skips_rules_and_makes_errors() {
        assert_eq!(rules("# check=skip=StageNameCasing\nFROM a AS Build\n"), [""; 0]);
        assert_eq!(rules("# check=skip=all\nFROM a AS Build\nMAINTAINER x\n"), [""; 0]);
        let file = frontend::parse("# check=error=true\nFROM a AS Build\n").unwrap();
        assert!(check_file(&file, None, None, None).is_error);
        let file = frontend::parse("# check=error=true\nFROM a\n").unwrap();
        assert!(!check_file(&file, None, None, None).is_error);
        let file = frontend::parse("FROM a AS Build\n").unwrap();
        assert!(check_file(&file, Some("error=true"), None, None).is_error);
        assert!(!check_file(&file, Some("skip=all;error=true"), None, None).is_error);
    }

    #[test]
    fn a_report_reads_like_buildkits() {
        let file = frontend::parse("FROM a AS Build\n").unwrap();
        assert_eq!(
            check_file(&file, None, None, None).render("Dockerfile", &file),
            "Check complete, 1 warning has been found!\n\nWARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\nStage name 'Build' should be lowercase\nDockerfile:1\n--------------------\n   1 | >>> FROM a AS Build\n--------------------\n"
        );
        assert_eq!(kebab("JSONArgsRecommended"), "json-args-recommended");
    }

    #[test]
    fn every_rule_that_can_be_found_is_in_the_list() {
        for rule in [
            "UndefinedVar",
            "WorkdirRelativePath",
            "JSONArgsRecommended",
            "MultipleInstructionsDisallowed",
            "InvalidBaseImagePlatform",
        ] {
            assert!(RULES.iter().any(|(name, _)| *name == rule), "{rule}");
        }
    }
}

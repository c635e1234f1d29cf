//! One command that has ended: its status and what it said.

use std::process::Output;

/// The outcome of a command.
#[derive(Debug, Clone)]
pub struct Run {
    /// The command as typed.
    pub line: String,
    /// The exit status; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// From what the process left.
    pub fn new(line: String, output: &Output) -> Self {
        Run {
            line,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts status 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Asserts this exit status.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Asserts that it failed on its own account (a status, not a signal) and said each of the words on standard error,
    /// whatever their case.
    #[track_caller]
    pub fn fails_with(self, words: &[&str]) -> Self {
        assert!(self.code.is_some_and(|code| code != 0), "should have failed: {self}");
        let said = self.stderr.to_lowercase();
        for word in words {
            assert!(said.contains(&word.to_lowercase()), "does not say '{word}': {self}");
        }
        assert!(!said.contains("panicked at"), "{self}");
        self
    }

    /// Standard output without the line ends at its end.
    pub fn out(&self) -> &str {
        self.stdout.trim_end()
    }

    /// The lines of standard output.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// Both outputs, standard output first.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Asserts that standard output contains the text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "does not say '{text}': {self}");
        self
    }

    /// Asserts that neither output contains the text.
    #[track_caller]
    pub fn does_not_say(self, text: &str) -> Self {
        assert!(!self.all().contains(text), "says '{text}': {self}");
        self
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "$ {}", self.line)?;
        writeln!(f, "status {:?}", self.code)?;
        writeln!(f, "-- stdout\n{}", self.stdout)?;
        writeln!(f, "-- stderr\n{}", self.stderr)
    }
}

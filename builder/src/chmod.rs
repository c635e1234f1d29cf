//! `--chmod`: octal or symbolic (POSIX `chmod`), applied to permission bits.

use std::fmt;

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChange {
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Octal(u32),
    Symbolic(Vec<Clause>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    /// Which of 0o700 (u), 0o070 (g), 0o007 (o); the special bits go with them.
    who: u32,
    actions: Vec<(char, Vec<char>)>,
}

impl ModeChange {
    /// Reads `0755`, `u=rwX,go=rX`, `+x`, `g=u`, `a-w`.
    pub fn parse(text: &str) -> Result<ModeChange, String> {
        let refuse = || {
            format!(
                "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
            )
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode =
                u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o7777).ok_or_else(refuse)?;
            return Ok(ModeChange { text: text.to_owned(), kind: Kind::Octal(mode) });
        }
        let clauses: Option<Vec<Clause>> = text.split(',').map(clause).collect();
        let clauses = clauses.ok_or_else(|| format!("invalid chmod parameter: '{text}'. it should be octal, or symbolic like u=rwX,go=rX"))?;
        Ok(ModeChange { text: text.to_owned(), kind: Kind::Symbolic(clauses) })
    }

    /// The bits (`0o7777`) that `mode` becomes.
    pub fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        match &self.kind {
            Kind::Octal(bits) => *bits,
            Kind::Symbolic(clauses) => {
                clauses.iter().fold(mode & 0o7777, |mode, clause| clause.apply(mode, is_folder))
            }
        }
    }
}

impl fmt::Display for ModeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn clause(text: &str) -> Option<Clause> {
    let end = text.find(['+', '-', '='])?;
    let mut who = 0;
    for c in text[..end].chars() {
        who |= match c {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => return None,
        };
    }
    if who == 0 {
        who = 0o777;
    }
    let mut actions: Vec<(char, Vec<char>)> = Vec::new();
    for c in text[end..].chars() {
        match c {
            '+' | '-' | '=' => actions.push((c, Vec::new())),
            'r' | 'w' | 'x' | 'X' | 's' | 't' | 'u' | 'g' | 'o' => actions.last_mut()?.1.push(c),
            _ => return None,
        }
    }
    Some(Clause { who, actions })
}

impl Clause {
    fn apply(&self, start: u32, is_folder: bool) -> u32 {
        let mut mode = start;
        for (sign, perms) in &self.actions {
            let bits = perms.iter().fold(0, |bits, perm| bits | self.bits(*perm, mode, is_folder));
            // The special bits that `=` clears: set-uid with u, set-gid with g, sticky with all.
            let special = self.set_id_bits();
            let sticky = if self.who == 0o777 { 0o1000 } else { 0 };
            mode = match sign {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ if is_folder => (mode & !self.who) | bits,
                _ => (mode & !(self.who | special | sticky)) | bits,
            };
        }
        mode
    }

    fn set_id_bits(&self) -> u32 {
        ((self.who & 0o700).min(1) * 0o4000) | ((self.who & 0o070).min(1) * 0o2000)
    }

    fn bits(&self, perm: char, mode: u32, is_folder: bool) -> u32 {
        let spread = |three: u32| (three << 6 | three << 3 | three) & self.who;
        match perm {
            'r' => spread(4),
            'w' => spread(2),
            'x' => spread(1),
            'X' if is_folder || mode & 0o111 != 0 => spread(1),
            's' => self.set_id_bits(),
            't' => 0o1000,
            'u' => spread(mode >> 6 & 7),
            'g' => spread(mode >> 3 & 7),
            'o' => spread(mode & 7),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: BLD-45
    #[test]
    fn octal_and_symbolic_changes_give_the_bits_of_chmod() {
        for (change, mode, is_folder, expect) in [
            ("755", 0o600, false, 0o755),
            ("0", 0o777, false, 0),
            ("07777", 0, false, 0o7777),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("g=u", 0o740, false, 0o770),
            ("u+s", 0o755, false, 0o4755),
            ("u=rw", 0o4755, false, 0o655),
            ("+t", 0o777, true, 0o1777),
            ("u+x,g-r", 0o644, false, 0o704),
            ("ug+w-x", 0o755, false, 0o665),
            ("go=", 0o777, false, 0o700),
        ] {
            assert_eq!(
                ModeChange::parse(change).unwrap().apply(mode, is_folder),
                expect,
                "{change} on {mode:o}"
            );
        }
    }

    /// Covers: BLD-45
    #[test]
    fn what_is_no_mode_is_refused() {
        for bad in ["10000", "8", "9x", "u", "rwx", "q+x", "u+q", "", "u=rw,"] {
            assert!(ModeChange::parse(bad).is_err(), "{bad}");
        }
    }
}

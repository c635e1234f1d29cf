//! The differential corpus of `testdata/dockerfiles/corpus`: Dockerfiles, and what peers make of them.

pub mod expected;
pub mod files;
pub mod image;
pub mod peers;

use std::fs;
use std::path::{Path, PathBuf};

use crate::text::words;
use files::ContextFile;

/// One Dockerfile with its context and options.
#[derive(Debug, Clone)]
pub struct Case {
    /// `copy/wildcards`.
    pub name: String,
    /// Rows of the specification tables.
    pub rows: Vec<String>,
    /// Intended differences: what, and why.
    pub differs: Vec<(String, String)>,
    args: String,
    file: String,
    parent: Option<String>,
    form: Form,
    many: usize,
    files: Vec<ContextFile>,
}

/// How the Dockerfile is written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    ByteOrderMark,
    WindowsLines,
}

/// A case on disk.
#[derive(Debug)]
pub struct Laid {
    /// The image to build first: its Dockerfile and its name.
    pub parent: Option<(PathBuf, String)>,
    /// The Dockerfile.
    pub dockerfile: PathBuf,
    /// The context.
    pub context: PathBuf,
    /// More words for the command line.
    pub args: Vec<String>,
}

/// The folder of the corpus.
pub fn folder() -> PathBuf {
    xtask::shell::workspace_root().join("testdata/dockerfiles/corpus")
}

/// Every case of an area, by name.
#[track_caller]
pub fn area(name: &str) -> Vec<Case> {
    let listed = fs::read_dir(folder().join(name)).expect("the corpus has this area");
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.expect("readable").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "case"));
    paths.sort();
    paths.iter().map(|path| Case::read(name, path)).collect()
}

/// The areas whose cases build, by name.
pub fn areas() -> Vec<String> {
    let listed = fs::read_dir(folder()).expect("the corpus is there");
    let names = listed.map(|entry| entry.expect("readable").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    let others = ["README.md", "expected", "files", "wrong"];
    names.retain(|name| !others.contains(&name.as_str()));
    names.sort();
    names
}

impl Case {
    fn read(area: &str, path: &Path) -> Self {
        let stem = path.file_stem().expect("a case has a name").to_string_lossy();
        let text = fs::read_to_string(path).expect("read a case");
        let (head, body) = text.split_at(text.find("-- ").expect("a case has files"));
        let mut case = Case {
            name: format!("{area}/{stem}"),
            rows: Vec::new(),
            differs: Vec::new(),
            args: String::new(),
            file: "Dockerfile".to_owned(),
            parent: None,
            form: Form::Plain,
            many: 0,
            files: files::parse(body),
        };
        for line in head.lines() {
            case.set(line);
        }
        assert!(!case.rows.is_empty(), "{}: says no row", case.name);
        case
    }

    fn set(&mut self, line: &str) {
        let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("{}: {line}", self.name));
        let value = value.trim();
        match key {
            "rows" => self.rows = value.split(' ').map(str::to_owned).collect(),
            "args" => self.args = value.to_owned(),
            "file" => self.file = value.to_owned(),
            "parent" => self.parent = Some(value.to_owned()),
            "bom" => self.form = Form::ByteOrderMark,
            "crlf" => self.form = Form::WindowsLines,
            "many" => self.many = value.parse().expect("a number of files"),
            "differs" => {
                let (what, why) = value.split_once(": ").expect("WHAT: REASON");
                self.differs.push((what.to_owned(), why.to_owned()));
            }
            other => panic!("{}: unknown key '{other}'", self.name),
        }
    }

    /// The name of its image.
    pub fn tag(&self) -> String {
        format!("corpus/{}:latest", self.name)
    }

    /// Writes the case into a folder of its own below `site`.
    pub fn lay(&self, site: &Path) -> Laid {
        let home = site.join("cases").join(&self.name);
        let context = home.join("context");
        fs::create_dir_all(&context).expect("make the context");
        files::write(&self.files, &context);
        if self.many > 0 {
            fs::create_dir(context.join("many")).expect("make a folder");
        }
        for number in 0..self.many {
            let text = format!("file {number}\n");
            fs::write(context.join(format!("many/{number:04}")), text).expect("write a file");
        }
        let dockerfile = context.join(&self.file);
        self.rewrite(&dockerfile);
        let place = home.display().to_string();
        Laid {
            parent: self.parent.clone().map(|name| (context.join("Dockerfile.parent"), name)),
            dockerfile,
            args: words(&self.args.replace("{}", &place)),
            context,
        }
    }

    fn rewrite(&self, dockerfile: &Path) {
        let text = || fs::read_to_string(dockerfile).expect("a case has a Dockerfile");
        let new = match self.form {
            Form::Plain => return,
            Form::ByteOrderMark => format!("\u{feff}{}", text()),
            Form::WindowsLines => text().replace('\n', "\r\n"),
        };
        fs::write(dockerfile, new).expect("rewrite the Dockerfile");
    }
}

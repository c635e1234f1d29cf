//! Progress of a build, as BuildKit shows it: numbered plain lines, or a list that is redrawn on a terminal.

use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProgressMode {
    /// `tty` on a terminal, `plain` elsewhere.
    Auto,
    /// Numbered lines with all output of the steps.
    Plain,
    /// A list that is redrawn.
    Tty,
    /// Nothing.
    Quiet,
    /// One JSON object a line.
    Rawjson,
}

/// What happened to one vertex (a step, or work around the steps).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VertexEvent {
    /// It begins.
    Started,
    /// Its result was known.
    Cached,
    /// It said something.
    Output(Vec<u8>),
    /// A part of its work, such as `transferring context: 2B`.
    Detail(String),
    /// It is done.
    Done,
    /// It failed.
    Failed(String),
}

/// The lines of one build. Shared by the threads of the build.
pub(crate) struct BuildProgress {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

struct Shared {
    mode: ProgressMode,
    board: Mutex<Board>,
    wake: Condvar,
}

struct Board {
    started: Instant,
    vertices: Vec<Vertex>,
    /// The vertex whose lines were printed last, where lines stay.
    current: Option<usize>,
    /// Lines drawn last, where they are redrawn.
    drawn: usize,
    finished: bool,
}

struct Vertex {
    id: usize,
    title: String,
    started: Option<Instant>,
    elapsed: Option<Duration>,
    end: Option<VertexEvent>,
    details: Vec<String>,
    tail: Vec<String>,
    partial: Vec<u8>,
}

/// Lines of output kept below a running step.
const TAIL_LINES: usize = 6;
/// The longest line of output kept: a step may print without newlines.
const LINE_MAX: usize = 64 << 10;
/// Time between redraws.
const TICK: Duration = Duration::from_millis(150);

impl BuildProgress {
    /// A board that draws in `mode`, which is not `Auto` any more.
    pub(crate) fn new(mode: ProgressMode) -> Self {
        let board = Board {
            started: Instant::now(),
            vertices: Vec::new(),
            current: None,
            drawn: 0,
            finished: false,
        };
        let shared = Arc::new(Shared { mode, board: Mutex::new(board), wake: Condvar::new() });
        let ticker = (mode == ProgressMode::Tty).then(|| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || tick(&shared))
        });
        Self { shared, ticker }
    }

    /// Something happened to the vertex `id`. Vertices are numbered by when they were first heard of.
    pub(crate) fn event(&self, id: usize, title: &str, event: VertexEvent) {
        let mut board = lock(&self.shared.board);
        let number = board.number(id, title);
        let lines = board.apply(number, event);
        let text = match self.shared.mode {
            ProgressMode::Plain | ProgressMode::Auto => board.plain(number, &lines),
            ProgressMode::Rawjson => lines.iter().map(|line| json_line(number, line)).collect(),
            ProgressMode::Tty | ProgressMode::Quiet => return,
        };
        write(&text);
    }

    /// Draws the last state.
    pub(crate) fn finish(mut self) {
        {
            let mut board = lock(&self.shared.board);
            board.finished = true;
            self.shared.wake.notify_all();
        }
        if let Some(ticker) = self.ticker.take() {
            // The thread only draws; a panic in it has nothing to add to the build's own result.
            drop(ticker.join());
        }
    }
}

/// One line of news about a vertex, without its number.
#[derive(Debug, Clone, PartialEq)]
enum Line {
    Title(String),
    Output(f64, String),
    Detail(String),
    Cached,
    Done(f64),
    Failed(String),
}

impl Board {
    fn number(&mut self, id: usize, title: &str) -> usize {
        if let Some(number) = self.vertices.iter().position(|vertex| vertex.id == id) {
            return number;
        }
        self.vertices.push(Vertex::new(id, title));
        self.vertices.len() - 1
    }

    fn apply(&mut self, number: usize, event: VertexEvent) -> Vec<Line> {
        let Some(vertex) = self.vertices.get_mut(number) else {
            return Vec::new();
        };
        // What is over stays over: after CACHED there is nothing to be done.
        if vertex.end.is_some() && matches!(event, VertexEvent::Done) {
            return Vec::new();
        }
        let mut lines = Vec::new();
        if vertex.started.is_none() {
            vertex.started = Some(Instant::now());
            lines.push(Line::Title(vertex.title.clone()));
        }
        let elapsed = vertex.started.map_or(Duration::ZERO, |started| started.elapsed());
        match event {
            VertexEvent::Started => {}
            VertexEvent::Output(bytes) => {
                lines.extend(
                    vertex
                        .output(&bytes)
                        .into_iter()
                        .map(|text| Line::Output(elapsed.as_secs_f64(), text)),
                );
            }
            VertexEvent::Detail(text) => {
                lines.push(Line::Detail(text.clone()));
                vertex.details.push(text);
            }
            end => {
                lines.extend(vertex.rest().map(|text| Line::Output(elapsed.as_secs_f64(), text)));
                vertex.elapsed = Some(elapsed);
                lines.push(match &end {
                    VertexEvent::Cached => Line::Cached,
                    VertexEvent::Failed(error) => Line::Failed(error.clone()),
                    _ => Line::Done(elapsed.as_secs_f64()),
                });
                vertex.end = Some(end);
            }
        }
        lines
    }

    /// Plain text: an empty line and the title where another vertex spoke last.
    fn plain(&mut self, number: usize, lines: &[Line]) -> String {
        let mut out = String::new();
        let title_first = matches!(lines.first(), Some(Line::Title(_)));
        if self.current != Some(number) && !lines.is_empty() {
            if self.current.is_some() {
                out.push('\n');
            }
            if !title_first && let Some(vertex) = self.vertices.get(number) {
                out.push_str(&format!("#{} {}\n", number + 1, vertex.title));
            }
            self.current = Some(number);
        }
        for line in lines {
            let text = match line {
                Line::Title(title) | Line::Detail(title) => title.clone(),
                Line::Output(at, text) => format!("{at:.3} {text}"),
                Line::Cached => "CACHED".to_owned(),
                Line::Done(seconds) => format!("DONE {seconds:.1}s"),
                Line::Failed(error) => format!("ERROR: {error}"),
            };
            out.push_str(&format!("#{} {text}\n", number + 1));
        }
        out
    }

    /// The list as lines, each cut to `width`.
    fn picture(&self, width: usize) -> Vec<String> {
        let started: Vec<&Vertex> =
            self.vertices.iter().filter(|vertex| vertex.started.is_some()).collect();
        let done = started.iter().filter(|vertex| vertex.end.is_some()).count();
        let finished = if self.finished { " FINISHED" } else { "" };
        let total = self.vertices.len();
        let mut lines = vec![format!(
            "[+] Building {:.1}s ({done}/{total}){finished}",
            self.started.elapsed().as_secs_f64()
        )];
        for vertex in started {
            lines.extend(vertex.picture(width));
        }
        lines
    }
}

impl Vertex {
    fn new(id: usize, title: &str) -> Self {
        Self {
            id,
            title: title.to_owned(),
            started: None,
            elapsed: None,
            end: None,
            details: Vec::new(),
            tail: Vec::new(),
            partial: Vec::new(),
        }
    }

    /// Adds output and gives the lines that are complete.
    fn output(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if byte == b'\n' || self.partial.len() >= LINE_MAX {
                lines.extend(self.rest());
            }
            if byte != b'\n' {
                self.partial.push(byte);
            }
        }
        lines
    }

    /// What was said without a newline yet, or the line that just ended (maybe empty).
    fn rest(&mut self) -> Option<String> {
        let bytes = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&bytes).trim_end_matches('\r').to_owned();
        if text.is_empty() {
            return None;
        }
        self.tail.push(text.clone());
        if self.tail.len() > TAIL_LINES {
            self.tail.remove(0);
        }
        Some(text)
    }

    fn picture(&self, width: usize) -> Vec<String> {
        let seconds = self
            .elapsed
            .or_else(|| self.started.map(|s| s.elapsed()))
            .unwrap_or_default()
            .as_secs_f64();
        let mark = match self.end {
            Some(VertexEvent::Cached) => "CACHED ",
            Some(VertexEvent::Failed(_)) => "ERROR ",
            _ => "",
        };
        let mut lines = vec![timed(&format!(" => {mark}{}", self.title), seconds, width)];
        lines.extend(
            self.details.iter().map(|detail| timed(&format!(" => => {detail}"), seconds, width)),
        );
        if self.end.is_none() {
            lines.extend(self.tail.iter().map(|line| cut(&format!(" => => # {line}"), width)));
        }
        lines
    }
}

/// `text` with seconds at the right edge.
fn timed(text: &str, seconds: f64, width: usize) -> String {
    let time = format!("{seconds:.1}s");
    let room = width.saturating_sub(time.len() + 1);
    let text = cut(text, room);
    let fill = room.saturating_sub(text.chars().count());
    format!("{text}{} {time}", " ".repeat(fill))
}

fn cut(text: &str, width: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(width).collect()
}

fn tick(shared: &Shared) {
    let mut board = lock(&shared.board);
    loop {
        redraw(&mut board);
        if board.finished {
            return;
        }
        board = match shared.wake.wait_timeout(board, TICK) {
            Ok((board, _)) => board,
            Err(poisoned) => poisoned.into_inner().0,
        };
    }
}

/// Moves up over what was drawn, draws anew. A list longer than the screen keeps its end, so that moving up works.
fn redraw(board: &mut Board) {
    let (width, height) = screen();
    let mut lines = board.picture(width);
    if !board.finished && lines.len() >= height {
        let cut = lines.len() + 1 - height.max(2);
        lines.drain(1..=cut.min(lines.len() - 1));
    }
    let mut text = String::new();
    if board.drawn > 0 {
        text.push_str(&format!("\x1b[{}A", board.drawn));
    }
    text.push_str("\x1b[0J");
    for line in &lines {
        text.push_str(line);
        text.push('\n');
    }
    board.drawn = lines.len();
    write(&text);
}

fn screen() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(std::io::stderr())
        .ok()
        .filter(|size| size.ws_col > 0 && size.ws_row > 0);
    match size {
        Some(size) => (usize::from(size.ws_col).clamp(20, 400), usize::from(size.ws_row).max(5)),
        None => (80, 24),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked while drawing left lines at worst.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write(text: &str) {
    // News only: a closed standard error must not stop a build.
    let _unheard = std::io::stderr().lock().write_all(text.as_bytes());
}

fn json_line(number: usize, line: &Line) -> String {
    let value = match line {
        Line::Title(title) => {
            serde_json::json!({"vertex": number + 1, "name": title, "event": "started"})
        }
        Line::Detail(text) => {
            serde_json::json!({"vertex": number + 1, "event": "status", "id": text})
        }
        Line::Output(at, text) => {
            serde_json::json!({"vertex": number + 1, "event": "log", "at": at, "data": text})
        }
        Line::Cached => serde_json::json!({"vertex": number + 1, "event": "cached"}),
        Line::Done(seconds) => {
            serde_json::json!({"vertex": number + 1, "event": "done", "seconds": seconds})
        }
        Line::Failed(error) => {
            serde_json::json!({"vertex": number + 1, "event": "error", "error": error})
        }
    };
    format!("{value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        Board {
            started: Instant::now(),
            vertices: vec![
                Vertex::new(0, "[internal] load build definition from Dockerfile"),
                Vertex::new(7, "[build 2/4] RUN make"),
            ],
            current: None,
            drawn: 0,
            finished: false,
        }
    }

    fn play(events: &[(usize, VertexEvent)]) -> String {
        let mut board = board();
        let mut out = String::new();
        for (number, event) in events {
            let lines = board.apply(*number, event.clone());
            out.push_str(&board.plain(*number, &lines));
        }
        out
    }

    /// Covers: B08-18, B08-21
    #[test]
    fn plain_lines_are_numbered_and_parted_by_vertex() {
        let out = play(&[
            (0, VertexEvent::Started),
            (0, VertexEvent::Detail("transferring dockerfile: 335B".into())),
            (0, VertexEvent::Done),
            (1, VertexEvent::Cached),
            (1, VertexEvent::Done),
        ]);
        assert_eq!(
            out,
            "#1 [internal] load build definition from Dockerfile\n#1 transferring dockerfile: 335B\n#1 DONE 0.0s\n\n\
             #2 [build 2/4] RUN make\n#2 CACHED\n"
        );
    }

    #[test]
    fn a_vertex_that_speaks_again_repeats_its_title() {
        let out = play(&[
            (0, VertexEvent::Started),
            (1, VertexEvent::Started),
            (0, VertexEvent::Output(b"one\r\ntwo".to_vec())),
            (0, VertexEvent::Failed("exit code: 2".into())),
        ]);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[3], "");
        assert_eq!(lines[4], "#1 [internal] load build definition from Dockerfile");
        assert!(lines[5].starts_with("#1 0.0") && lines[5].ends_with(" one"), "{}", lines[5]);
        assert!(lines[6].ends_with(" two") && lines[7] == "#1 ERROR: exit code: 2", "{out}");
    }

    /// Covers: B08-18
    #[test]
    fn the_picture_has_one_line_per_step_with_its_seconds_at_the_edge() {
        let mut board = board();
        board.apply(1, VertexEvent::Output(b"compiling\n".to_vec()));
        let running = board.picture(60);
        assert!(running[0].starts_with("[+] Building 0.0s (0/2)"), "{running:?}");
        assert_eq!(running[1].chars().count(), 60);
        assert!(
            running[1].starts_with(" => [build 2/4] RUN make") && running[1].ends_with(" 0.0s")
        );
        assert_eq!(running[2], " => => # compiling");
        board.apply(1, VertexEvent::Cached);
        board.finished = true;
        let done = board.picture(60);
        assert_eq!(done.len(), 2);
        assert!(
            done[0].ends_with("(1/2) FINISHED")
                && done[1].starts_with(" => CACHED [build 2/4] RUN make")
        );
    }

    #[test]
    fn control_characters_of_a_step_cannot_move_the_cursor() {
        let mut board = board();
        board.apply(1, VertexEvent::Output(b"\x1b[2Jgone\n".to_vec()));
        assert_eq!(board.picture(60)[2], " => => # [2Jgone");
    }

    #[test]
    fn output_without_newlines_is_bounded() {
        let mut board = board();
        let lines = board.apply(1, VertexEvent::Output(vec![b'x'; 3 * LINE_MAX]));
        assert_eq!(lines.len(), 3, "the title and two full lines");
    }
}

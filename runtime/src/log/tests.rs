use proptest::prelude::*;

use super::*;
use crate::options::LogDriverName::{self, JsonFile, Local};
use crate::request::{LogEntry, LogQuery};

const ORIGIN: Origin<'_> = Origin { id: "0123456789abcdef", name: "web", image: "busybox" };

const BOTH: [LogDriverName; 2] = [LogDriverName::JsonFile, LogDriverName::Local];

fn options(driver: LogDriverName, max_size: &str, max_files: &str) -> LogOptions {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let name = if driver == LogDriverName::Local { "local" } else { "json-file" };
    LogOptions::parse(Some(name), &[pair("max-size", max_size), pair("max-file", max_files)])
        .unwrap()
}

fn second(number: i64) -> Timestamp {
    Timestamp::from_second(number).unwrap()
}

fn all(driver: LogDriverName, path: &Path, query: &LogQuery) -> Vec<LogEntry> {
    let mut entries = Vec::new();
    read(driver, path, query, &|| false, &mut |entry| {
        entries.push(entry);
        Ok(())
    })
    .unwrap();
    entries
}

fn texts(entries: &[LogEntry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.line).into_owned()).collect()
}

/// Covers: RUN-33
#[test]
fn lines_are_written_as_docker_writes_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    let mut log = open(&options(JsonFile, "-1", "1"), &path, &ORIGIN).unwrap();
    log.append(
        OutputStream::Stdout,
        Timestamp::new(1_700_000_000, 120_000_000).unwrap(),
        b"a \"b\" <c>\t\n",
    )
    .unwrap();
    log.append(OutputStream::Stderr, second(1_700_000_001), b"\xff\x01").unwrap();
    log.flush().unwrap();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "{\"log\":\"a \\\"b\\\" \\u003cc\\u003e\\t\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.12Z\"}\n\
         {\"log\":\"\\ufffd\\u0001\",\"stream\":\"stderr\",\"time\":\"2023-11-14T22:13:21Z\"}\n"
    );
}

/// Covers: RUN-35
#[test]
fn files_are_rotated_and_the_oldest_go() {
    for driver in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut log = open(&options(driver, "200", "3"), &path, &ORIGIN).unwrap();
        for number in 0..40 {
            log.append(OutputStream::Stdout, second(number), format!("line {number}\n").as_bytes())
                .unwrap();
            log.flush().unwrap();
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
        let kept = texts(&all(driver, &path, &LogQuery::default()));
        assert_eq!(kept.last().unwrap(), "line 39\n");
        let first: i32 = kept[0].trim().strip_prefix("line ").unwrap().parse().unwrap();
        assert_eq!(
            kept.len(),
            usize::try_from(40 - first).unwrap(),
            "what is kept is a run without gaps"
        );
        for file in std::fs::read_dir(dir.path()).unwrap() {
            assert!(file.unwrap().metadata().unwrap().len() <= 200);
        }
    }
}

/// Covers: RUN-33
#[test]
fn a_query_selects_by_time_and_from_the_end() {
    for driver in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut log = open(&options(driver, "-1", "1"), &path, &ORIGIN).unwrap();
        for number in 0..10 {
            log.append(OutputStream::Stdout, second(number), format!("{number}\n").as_bytes())
                .unwrap();
        }
        log.flush().unwrap();
        let query = |tail, since: Option<i64>, until: Option<i64>| LogQuery {
            tail,
            since: since.map(second),
            until: until.map(second),
            follow: false,
        };
        assert_eq!(texts(&all(driver, &path, &query(Some(2), None, None))), ["8\n", "9\n"]);
        assert_eq!(texts(&all(driver, &path, &query(Some(0), None, None))), [""; 0]);
        assert_eq!(
            texts(&all(driver, &path, &query(None, Some(3), Some(5)))),
            ["3\n", "4\n", "5\n"]
        );
        assert_eq!(texts(&all(driver, &path, &query(Some(1), Some(3), Some(5)))), ["5\n"]);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(
            texts(&all(driver, &path, &query(Some(1), None, None))),
            ["8\n"],
            "a torn end is passed over"
        );
    }
}

#[test]
fn a_damaged_line_of_json_is_passed_over_and_a_damaged_frame_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.log");
    let good = "{\"log\":\"ok\\n\",\"stream\":\"stdout\",\"time\":\"2023-01-01T00:00:00Z\"}\n";
    std::fs::write(&path, format!("not json\n{good}{{\"log\":\"cut")).unwrap();
    assert_eq!(texts(&all(JsonFile, &path, &LogQuery::default())), ["ok\n"]);
    std::fs::write(&path, [7; 40]).unwrap();
    assert!(read(Local, &path, &LogQuery::default(), &|| false, &mut |_| Ok(())).is_err());
}

/// Covers: RUN-34
#[test]
fn a_long_line_is_split_at_sixteen_kib() {
    let mut splitter = Splitter::default();
    let mut pieces = Vec::new();
    let mut line = vec![b'x'; 40_000];
    line.push(b'\n');
    splitter
        .feed(&line, |piece| {
            pieces.push(piece.to_vec());
            Ok(())
        })
        .unwrap();
    assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [16384, 16384, 7233]);
    assert_eq!(pieces.concat(), line);
}

proptest! {
    #[test]
    fn splitting_loses_and_invents_nothing(text in "[ab\n]{0,400}", cut in 1usize..50) {
        let mut splitter = Splitter::default();
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for chunk in text.as_bytes().chunks(cut) {
            splitter.feed(chunk, |piece| { pieces.push(piece.to_vec()); Ok(()) }).unwrap();
        }
        let complete = pieces.len();
        splitter.finish(|piece| { pieces.push(piece.to_vec()); Ok(()) }).unwrap();
        prop_assert_eq!(pieces.concat(), text.as_bytes());
        prop_assert!(pieces[..complete].iter().all(|piece| piece.ends_with(b"\n")));
        prop_assert_eq!(complete, text.matches('\n').count());
    }
}

proptest! {
    #[test]
    fn the_local_driver_keeps_every_byte(lines in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..60)), 0..20)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut log = open(&options(Local, "-1", "1"), &path, &ORIGIN).unwrap();
        let expected: Vec<LogEntry> = lines
            .into_iter()
            .enumerate()
            .map(|(number, (is_error, line))| LogEntry {
                time: Timestamp::new(1_700_000_000, i32::try_from(number).unwrap()).unwrap(),
                stream: if is_error { OutputStream::Stderr } else { OutputStream::Stdout },
                line,
            })
            .collect();
        for entry in &expected {
            log.append(entry.stream, entry.time, &entry.line).unwrap();
        }
        log.flush().unwrap();
        prop_assert_eq!(all(Local, &path, &LogQuery::default()), expected);
    }
}

//! Compression whose bytes depend on the input, the level and the codec's version, never on
//! how many threads did it: fixed blocks, deflated on their own and joined into one member.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::Scope;

use flate2::{Compress, Crc, FlushCompress, Status};
use oci::Compression;

/// The level of gzip layers; part of the format, since it decides the digest.
pub const GZIP_LEVEL: u32 = 6;

/// The level of zstd layers; part of the format, since it decides the digest.
pub const ZSTD_LEVEL: i32 = 3;

/// The unit of parallel deflate; part of the format, since it decides the digest.
const BLOCK_BYTES: usize = 1024 * 1024;

/// The size of a zstd job; part of the format, since it decides the digest.
const ZSTD_JOB_BYTES: u32 = 4 * 1024 * 1024;

/// No name, no time, no extra flags, an unknown system (RFC 1952, 2.3).
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// An empty final block: it ends the deflate stream behind the flushed ones (RFC 1951, 3.2.3).
const DEFLATE_END: [u8; 2] = [3, 0];

/// Runs `produce` on this thread and writes what it writes, compressed, into `sink`.
pub(super) fn compress<T>(
    compression: Compression,
    threads: usize,
    sink: &mut (dyn Write + Send),
    produce: impl FnOnce(&mut dyn Write) -> io::Result<T>,
) -> io::Result<T> {
    match compression {
        Compression::None => {
            let mut buffered = io::BufWriter::with_capacity(BLOCK_BYTES, sink);
            let answer = produce(&mut buffered)?;
            buffered.flush()?;
            Ok(answer)
        }
        Compression::Gzip => gzip(threads, sink, produce),
        Compression::Zstd => zstd(threads, sink, produce),
    }
}

/// With at least one worker zstd cuts its input into jobs, and how many workers there are
/// does not show in the bytes.
fn zstd<T>(
    threads: usize,
    sink: &mut (dyn Write + Send),
    produce: impl FnOnce(&mut dyn Write) -> io::Result<T>,
) -> io::Result<T> {
    use zstd::zstd_safe::CParameter;
    let mut encoder = zstd::stream::write::Encoder::new(sink, ZSTD_LEVEL)?;
    encoder.multithread(threads.max(1) as u32)?;
    encoder.set_parameter(CParameter::JobSize(ZSTD_JOB_BYTES))?;
    encoder.include_checksum(true)?;
    let mut buffered = io::BufWriter::with_capacity(BLOCK_BYTES, encoder);
    let answer = produce(&mut buffered)?;
    buffered.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?;
    Ok(answer)
}

fn gzip<T>(
    threads: usize,
    sink: &mut (dyn Write + Send),
    produce: impl FnOnce(&mut dyn Write) -> io::Result<T>,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let (mut blocks, results) = workers(scope, threads.max(1));
        let join = scope.spawn(move || join_member(results, sink));
        let produced = produce(&mut blocks).and_then(|answer| blocks.finish().map(|()| answer));
        drop(blocks);
        let joined = join.join().unwrap_or_else(|_| Err(io::Error::other("the writer panicked")));
        // A full disk shows in both; what the writer says is the cause.
        joined.and(produced)
    })
}

struct Job {
    bytes: Vec<u8>,
    result: SyncSender<io::Result<Deflated>>,
}

struct Deflated {
    bytes: Vec<u8>,
    crc: Crc,
}

/// Cuts what is written into blocks, and queues them for the workers and, in order, for the
/// joining thread.
struct Blocks {
    current: Vec<u8>,
    jobs: SyncSender<Job>,
    order: SyncSender<Receiver<io::Result<Deflated>>>,
}

fn workers<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    threads: usize,
) -> (Blocks, Receiver<Receiver<io::Result<Deflated>>>) {
    let (jobs, queue) = sync_channel::<Job>(threads);
    let (order, results) = sync_channel(2 * threads);
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..threads {
        let queue = queue.clone();
        scope.spawn(move || {
            let mut deflate = Compress::new(flate2::Compression::new(GZIP_LEVEL), false);
            while let Some(job) = next(&queue) {
                // Nobody waits for it where the writer has failed.
                let _ = job.result.send(deflate_block(&mut deflate, &job.bytes));
            }
        });
    }
    (Blocks { current: Vec::new(), jobs, order }, results)
}

fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).recv().ok()
}

impl Blocks {
    fn push(&mut self) -> io::Result<()> {
        let ended = || io::Error::from(io::ErrorKind::BrokenPipe);
        let bytes = std::mem::replace(&mut self.current, Vec::with_capacity(BLOCK_BYTES));
        let (result, wait) = sync_channel(1);
        self.order.send(wait).map_err(|_| ended())?;
        self.jobs.send(Job { bytes, result }).map_err(|_| ended())
    }

    fn finish(&mut self) -> io::Result<()> {
        match self.current.is_empty() {
            true => Ok(()),
            false => self.push(),
        }
    }
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(BLOCK_BYTES - self.current.len());
        self.current.extend_from_slice(&bytes[..count]);
        if self.current.len() == BLOCK_BYTES {
            self.push()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Deflates a block on its own, up to a byte boundary.
fn deflate_block(deflate: &mut Compress, bytes: &[u8]) -> io::Result<Deflated> {
    let mut crc = Crc::new();
    crc.update(bytes);
    deflate.reset();
    let mut out = Vec::with_capacity(bytes.len() / 2 + 1024);
    loop {
        let rest = &bytes[deflate.total_in() as usize..];
        let status = deflate.compress_vec(rest, &mut out, FlushCompress::Sync)?;
        let room = out.capacity() > out.len();
        if status == Status::StreamEnd || (deflate.total_in() as usize == bytes.len() && room) {
            return Ok(Deflated { bytes: out, crc });
        }
        out.reserve(out.capacity().max(1024));
    }
}

fn join_member(
    results: Receiver<Receiver<io::Result<Deflated>>>,
    sink: &mut (dyn Write + Send),
) -> io::Result<()> {
    let mut crc = Crc::new();
    sink.write_all(&GZIP_HEADER)?;
    for wait in results {
        let block = wait.recv().map_err(|_| io::Error::other("a compressor panicked"))??;
        crc.combine(&block.crc);
        sink.write_all(&block.bytes)?;
    }
    sink.write_all(&DEFLATE_END)?;
    sink.write_all(&crc.sum().to_le_bytes())?;
    sink.write_all(&crc.amount().to_le_bytes())
}

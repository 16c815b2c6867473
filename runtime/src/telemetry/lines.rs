//! Where log lines wait to be written: one write for many, and never on a request's path.
//!
//! A write for each line costs a busy service more than the line itself, and a reader that
//! stops reading would stop the service.

use std::{
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that come within this time are written together.
const GATHER: Duration = Duration::from_millis(5);
/// Bytes that wait at most; lines beyond them are dropped and counted.
const MOST: usize = 4 << 20;
/// How long the last lines may take, when the process ends and nobody reads.
const LAST: Duration = Duration::from_secs(1);

/// Takes lines. Clones share what waits.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something has come, or the end.
    come: Condvar,
    /// Everything is written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    dropped: u64,
    /// The writer has taken what was there and has not written it yet.
    writing: bool,
    ended: bool,
}

/// Writes what waits until it is dropped, and then what is left.
#[derive(Debug)]
#[must_use = "lines are written for as long as this lives"]
pub(super) struct Writing {
    shared: Arc<Shared>,
}

impl Lines {
    /// Lines for `to`, and what writes them there. Without a thread for it they go to standard
    /// error at once.
    pub(super) fn new(to: impl Write + Send + 'static) -> (Self, Writing) {
        let shared = Arc::<Shared>::default();
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.write(to)
        });
        if thread.is_err() {
            shared.waiting.lock().ended = true;
        }
        (Self(Arc::clone(&shared)), Writing { shared })
    }
}

impl Shared {
    fn add(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock();
        if waiting.ended {
            // Of a thread that outlives `main`, or there is no thread to write: nobody gathers.
            let _ = io::stderr().write_all(line);
            return;
        }
        if waiting.bytes.len() + line.len() > MOST {
            waiting.dropped += 1;
            return;
        }
        let first = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(line);
        drop(waiting);
        if first {
            self.come.notify_one();
        }
    }

    fn write(&self, mut to: impl Write) {
        let mut taken = Vec::new();
        loop {
            let mut waiting = self.waiting.lock();
            while waiting.bytes.is_empty() && !waiting.ended {
                self.come.wait(&mut waiting);
            }
            if !waiting.ended {
                drop(waiting);
                std::thread::sleep(GATHER);
                waiting = self.waiting.lock();
            }
            std::mem::swap(&mut taken, &mut waiting.bytes);
            let dropped = std::mem::take(&mut waiting.dropped);
            let last = waiting.ended;
            waiting.writing = true;
            drop(waiting);
            // There is nobody to tell of an error: this is where errors are told.
            let _ = to.write_all(&taken);
            if dropped > 0 {
                let _ = writeln!(
                    to,
                    "{dropped} log lines were dropped: nobody read them in time"
                );
            }
            let _ = to.flush();
            taken.clear();
            taken.shrink_to(GATHERED);
            let mut waiting = self.waiting.lock();
            waiting.writing = false;
            self.written.notify_all();
            if last && waiting.bytes.is_empty() {
                return;
            }
        }
    }
}

/// What is kept of a buffer that was large once.
const GATHERED: usize = 64 << 10;

impl Drop for Writing {
    fn drop(&mut self) {
        let end = Instant::now() + LAST;
        let mut waiting = self.shared.waiting.lock();
        waiting.ended = true;
        self.shared.come.notify_one();
        while (waiting.writing || !waiting.bytes.is_empty())
            && !self
                .shared
                .written
                .wait_until(&mut waiting, end)
                .timed_out()
        {}
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// What was written, a message for each write.
    struct Told(mpsc::Sender<String>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.0.send(text).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_together_and_the_last_before_the_end() {
        let (told, writes) = mpsc::channel();
        let (lines, writing) = Lines::new(Told(told));
        for nth in 0..100 {
            writeln!(&lines, "line {nth}").unwrap();
        }
        writeln!(&lines, "the last").unwrap();
        drop(writing);
        let writes: Vec<String> = writes.iter().collect();
        let all = writes.concat();
        assert!(all.starts_with("line 0\nline 1\n") && all.ends_with("the last\n"));
        assert_eq!(all.lines().count(), 101);
        assert!(writes.len() < 50, "{}", writes.len());
    }

    /// Takes nothing until it is let go.
    struct Stuck(mpsc::Receiver<()>, mpsc::Sender<String>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.1.send(text).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_is_lost_is_told() {
        let (go, stuck) = mpsc::channel();
        let (told, writes) = mpsc::channel();
        let (lines, writing) = Lines::new(Stuck(stuck, told));
        let line = "x".repeat(1023);
        for _ in 0..3 * (MOST / 1024) {
            writeln!(&lines, "{line}").unwrap();
        }
        drop(go);
        drop(writing);
        let all: String = writes.iter().collect();
        assert!(all.len() < 2 * MOST + 1024, "{}", all.len());
        assert!(all.contains("log lines were dropped"), "the loss is told");
    }
}

//! Processes that are measured, and what Linux tells of them under /proc.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// Clock ticks in a second: Linux tells processor time in hundredths on every architecture.
const TICKS: f64 = 100.0;
/// Much longer than any of them takes to start.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

/// A process that ends with this value.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    stdout: Option<BufReader<std::process::ChildStdout>>,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with nothing of this process's environment. What it says on standard
    /// error goes to a file in `folder`, as a service's log does.
    pub(crate) fn start<A: AsRef<OsStr>>(
        name: &'static str,
        program: &Path,
        arguments: &[A],
        environment: &[(&str, String)],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().map(BufReader::new);
        Ok(Self {
            name,
            child,
            stdout,
            log,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first line on its standard output.
    pub(crate) fn first_line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if let Some(stdout) = &mut self.stdout {
            stdout.read_line(&mut line)?;
        }
        match line.trim() {
            "" => bail!("{} ended at once: {}", self.name, self.last_words()),
            said => Ok(said.to_owned()),
        }
    }

    /// The address in its log line whose message is `message`; waits for it.
    pub(crate) fn address_in_log(&mut self, message: &str) -> anyhow::Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            for line in fs::read_to_string(&self.log)?.lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
                if line["message"] == message
                    && let Some(address) = line["address"].as_str()
                {
                    return Ok(address.to_owned());
                }
            }
            if self.child.try_wait()?.is_some() {
                bail!("{} ended at once: {}", self.name, self.last_words());
            }
            if Instant::now() > end {
                bail!("{} does not listen: {}", self.name, self.last_words());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        use rustix::process::{Pid, Signal, kill_process};
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > end {
                bail!("{} does not end: {}", self.name, self.last_words());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let from = log.len().saturating_sub(2000);
        log.get(from..).unwrap_or(&log).trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It is not to do anything any more, and has nothing that is worth keeping.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time and memory of some processes, together.
#[derive(Clone, Debug)]
pub(crate) struct Meter(Vec<u32>);

impl Meter {
    pub(crate) fn of(processes: &[&Process]) -> Self {
        Self(processes.iter().map(|process| process.pid()).collect())
    }

    #[cfg(test)]
    pub(crate) fn of_this_process() -> Self {
        Self(vec![std::process::id()])
    }

    /// Seconds of processor time, in user and kernel, that they have used.
    pub(crate) fn seconds(&self) -> anyhow::Result<f64> {
        let ticks = self.0.iter().map(|pid| {
            let stat = read(*pid, "stat")?;
            used_ticks(&stat).with_context(|| format!("cannot read {stat:?}"))
        });
        Ok(ticks.sum::<anyhow::Result<u64>>()? as f64 / TICKS)
    }

    /// Their memory in MiB: what is resident now, and the most that ever was.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let mut total = Memory::default();
        for pid in &self.0 {
            let status = read(*pid, "status")?;
            let kib = |name| kibibytes(&status, name).with_context(|| format!("no {name}"));
            total.now += kib("VmRSS")? / 1024.0;
            total.peak += kib("VmHWM")? / 1024.0;
        }
        Ok(total)
    }
}

/// Resident memory in MiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) now: f64,
    pub(crate) peak: f64,
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path)
        .with_context(|| format!("cannot read {path}: the process has ended, or this is not Linux"))
}

/// utime and stime. The name before them may hold blanks and brackets.
fn used_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some(user + kernel)
}

fn kibibytes(status: &str, name: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Lets this process and those that it starts open as many files as the system allows.
pub(crate) fn raise_open_files() -> anyhow::Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_tells() {
        let stat = "42 (a) b) c) S 1 42 42 0 -1 4194304 100 0 0 0 250 17 9 9 20 0 3 0 100 1 2";
        assert_eq!(used_ticks(stat), Some(267));
        let status = "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(kibibytes(status, "VmRSS"), Some(1024.0));
        assert_eq!(kibibytes(status, "VmHWM"), Some(2048.0));
        assert_eq!(kibibytes(status, "Vm"), None);
    }

    #[test]
    fn a_process_that_cannot_start_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let shell = Path::new("/bin/sh");
        let arguments = ["-c", "echo broken >&2"];
        let start = || Process::start("shell", shell, &arguments, &[], folder.path()).unwrap();
        let error = start().first_line().unwrap_err().to_string();
        assert!(error.contains("shell ended at once"), "{error}");
        let error = start().address_in_log("listens").unwrap_err().to_string();
        assert!(error.contains("broken"), "{error}");
    }
}

//! What the gateway adds, measured beside a proxy that only passes bytes on.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, ensure};
use clap::{Args, CommandFactory as _, Parser, Subcommand, error::ErrorKind};

mod client;
mod events;
mod figures;
mod hostile;
mod load;
mod pass_through;
mod pool;
mod process;
mod programs;
mod rig;
mod run;
mod simulate;
mod table;
#[cfg(test)]
mod tests;
mod tls;
mod workload;

use crate::{
    hostile::Hostile,
    load::Lengths,
    programs::find,
    rig::Programs,
    run::Effort,
    workload::{WORKLOADS, Workload},
};

const EXAMPLES: &str = "\
Examples:
  cargo run --release -p bench                        everything; some minutes
  cargo run --release -p bench -- --quick             everything, shorter and less exact
  cargo run --release -p bench -- --only stream-small-32,slow-500 --repetitions 9
  cargo run --release -p bench -- --only bad          what misbehaving clients do
  cargo run --release -p bench -- simulate            gateways and replicas, in virtual time
  cargo run --release -p bench -- pool --check        a token-service with 10,000 projects
  cargo run --release -p bench -- --beside 'LISTEN=127.0.0.1:$PORT TO=$UPSTREAM some-proxy'

Exit status: 0 measured, whatever the figures; 1 something failed; 2 wrong usage.";

/// Measures what the gateway adds.
///
/// Starts a fake Google with answers made beforehand, a proxy that only passes bytes on, the
/// token-service and the gateway, each as a process on loopback; puts them under load in
/// turn; and tells the gateway's figures as multiples of the pass-through's of the same
/// repetition. Needs Linux, whose /proc tells what processes use.
#[derive(Debug, Parser)]
#[command(name = "bench", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    measure: Measure,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be the reference: a reverse proxy that looks at no body.
    PassThrough(pass_through::Arguments),
    /// Simulate gateways and replicas of the token-service, and print what came of it.
    Simulate(simulate::Arguments),
    /// Measure a token-service with ten thousand projects.
    Pool(pool::Arguments),
    /// Be the token-service that `pool` measures.
    #[command(hide = true)]
    PoolService,
}

#[derive(Debug, Args)]
struct Measure {
    /// Seconds for everything but bad input; for whether it works rather than how fast.
    #[arg(long)]
    quick: bool,
    /// Only the workloads whose names begin so.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    only: Vec<String>,
    /// List the workloads, and measure nothing.
    #[arg(long)]
    list: bool,
    /// How often each target is measured; 5, or with --quick 1. Slow streams: half as often.
    #[arg(long, value_name = "N")]
    repetitions: Option<usize>,
    /// Seconds of each measurement, after a warm-up of a third of that; 1, or with --quick 0.2.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Folder with fake-google, token-service and gateway; without it they are built for
    /// release.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Another proxy to measure too: assignments and a command, for /bin/sh, that listens on
    /// 127.0.0.1:$PORT and passes on to $UPSTREAM (host:port, in the clear).
    #[arg(long, value_name = "COMMAND")]
    beside: Option<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(wrong) = options.measure.check() {
        wrong.exit();
    }
    let passes = matches!(
        options.command,
        Some(Command::PassThrough(_) | Command::PoolService)
    );
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // The load comes from one core, so that what is measured has the others.
    runtime.worker_threads(if passes { 2 } else { 1 });
    let done = runtime
        .enable_all()
        .build()
        .context("cannot start")
        .and_then(|runtime| {
            // On a worker thread, as tasks are: the main thread would be one more.
            let running = runtime.spawn(options.run());
            runtime.block_on(running).context("broken off")?
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    async fn run(self) -> anyhow::Result<()> {
        let files = process::raise_open_files()?;
        match self.command {
            Some(Command::PassThrough(arguments)) => pass_through::run(arguments).await,
            Some(Command::Pool(arguments)) => arguments.run().await,
            Some(Command::PoolService) => Box::pin(pool::be_service()).await,
            Some(Command::Simulate(arguments)) => arguments.run(),
            None if self.measure.list => {
                self.measure.list_names();
                Ok(())
            }
            None => self.measure.run(files).await,
        }
    }
}

impl Measure {
    fn chosen(&self, name: &str) -> bool {
        let only = &self.only;
        only.is_empty() || only.iter().any(|start| name.starts_with(start))
    }

    /// Whether each name of `--only` begins one that is measured.
    fn check(&self) -> Result<(), clap::Error> {
        let all = || {
            let workloads = self.workloads().into_iter().map(|workload| workload.name);
            workloads.chain(self.hostile().into_iter().map(Hostile::name))
        };
        for start in &self.only {
            if !all().any(|name| name.starts_with(start.as_str())) {
                let message =
                    format!("--only: no workload's name begins with '{start}'; --list names them");
                return Err(Options::command().error(ErrorKind::InvalidValue, message));
            }
        }
        Ok(())
    }

    fn workloads(&self) -> Vec<&'static Workload> {
        let all = WORKLOADS.iter();
        all.filter(|workload| {
            let named = self.only.iter().any(|name| name == workload.name);
            self.chosen(workload.name) && (named || !(self.quick && workload.full_only))
        })
        .collect()
    }

    fn hostile(&self) -> Vec<Hostile> {
        let all = Hostile::ALL.into_iter();
        let quick = self.quick && self.only.is_empty();
        all.filter(|hostile| !quick && self.chosen(hostile.name()))
            .collect()
    }

    fn list_names(&self) {
        let names = self.workloads().into_iter().map(|workload| workload.name);
        for name in names.chain(self.hostile().into_iter().map(Hostile::name)) {
            println!("{name}");
        }
    }

    fn effort(&self) -> Effort {
        let seconds = self.seconds.unwrap_or(if self.quick { 0.2 } else { 1.0 });
        let measured = Duration::from_secs_f64(seconds.clamp(0.05, 60.0));
        Effort {
            repetitions: self
                .repetitions
                .unwrap_or(if self.quick { 1 } else { 5 })
                .max(1),
            lengths: Lengths {
                warm_up: measured / 3,
                measured,
                // The first wave alone would tell the making of connections.
                waves: if self.quick { 1 } else { 2 },
            },
            settle: measured * 3,
            streams: if self.quick { 50 } else { usize::MAX },
        }
    }

    async fn run(self, files: u64) -> anyhow::Result<()> {
        let (workloads, hostile) = (self.workloads(), self.hostile());
        let effort = self.effort();
        let programs: Programs = find(self.bin_dir.as_deref(), self.beside)?;
        let mut all = Vec::new();
        for workload in workloads {
            let measured = run::workload(workload, &programs, effort).await;
            all.push(measured.with_context(|| workload.name)?);
        }
        // Each takes a file here and one in the gateway; the rest is for all else.
        let connections = usize::try_from(files.saturating_sub(500)).unwrap_or(usize::MAX);
        let connections = connections.min(if self.quick { 500 } else { 10_000 });
        let mut effects = Vec::new();
        for one in hostile {
            let lengths = effort.lengths;
            let measured = hostile::measure(one, &programs, lengths, effort.settle, connections);
            effects.push(measured.await.with_context(|| one.name())?);
        }
        if !all.is_empty() {
            println!("{}", table::processor(&all));
            let more = [
                table::latency(&all),
                table::silence(&all),
                table::streams(&all),
                table::scale(&all),
            ];
            for one in more.into_iter().flatten() {
                println!("{one}");
            }
            println!("{}", table::memory(&all));
        }
        if !effects.is_empty() {
            println!("{}", table::hostile(&effects));
        }
        for one in &all {
            if let Some(failures) = one.failures() {
                println!("{}: {failures}", one.workload.name);
            }
        }
        for effect in &effects {
            if let Some(failure) = &effect.others.failure {
                println!("{}: {failure}", effect.name);
            }
        }
        let failed = all.iter().any(|one| one.failures().is_some());
        ensure!(
            !failed,
            "some requests were not answered as they have to be"
        );
        Ok(())
    }
}

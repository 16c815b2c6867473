//! One workload after the other, each with processes of its own, each target in turn in
//! each repetition.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::{
    figures::{Figures, Life, Memories},
    load::{self, Lengths},
    process::Meter,
    rig::{Programs, Rig, Setting, Target},
    workload::{Load, Workload},
};

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) repetitions: usize,
    pub(crate) lengths: Lengths,
    /// After the load, before memory is read again.
    pub(crate) settle: Duration,
    /// Slow streams at most.
    pub(crate) streams: usize,
}

/// Measures one workload.
pub(crate) async fn workload(
    workload: &'static Workload,
    programs: &Programs,
    effort: Effort,
) -> anyhow::Result<Figures> {
    let rig = Rig::start(programs, Setting::of(workload)).await?;
    let requests = workload.requests();
    let mut calls = Vec::new();
    for target in rig.targets() {
        let doors = rig.calls(target, &requests, workload.stream)?;
        for call in &doors {
            // Says at once what is wrong, and makes what is made with the first request.
            call.door.connect().await?.call(call, false).await?;
        }
        calls.push((target, doors));
    }
    let (load, repetitions) = match workload.load {
        Load::Slow { streams } => {
            let streams = streams.min(effort.streams);
            // They take seconds each, most of which pass in waiting.
            (Load::Slow { streams }, effort.repetitions.div_ceil(2))
        }
        other => (other, effort.repetitions),
    };
    let before = Watched::of(&rig)?;
    let mut told = Vec::new();
    for repetition in 1..=repetitions {
        let began = Instant::now();
        let mut of_this = HashMap::new();
        for (target, doors) in &calls {
            let meter = rig.meter(*target);
            let one = load::measure(load, doors, effort.lengths, &meter).await?;
            of_this.insert(*target, one);
        }
        eprintln!(
            "{:<24} {repetition}/{repetitions}  {:>4.1} s  {}",
            workload.name,
            began.elapsed().as_secs_f64(),
            in_short(&of_this)
        );
        told.push(of_this);
    }
    tokio::time::sleep(effort.settle).await;
    let after = Watched::of(&rig)?;
    Ok(Figures {
        workload,
        told,
        memory: Memories {
            gateway: Life::between(before.gateway, after.gateway),
            pass_through: Life::between(before.pass_through, after.pass_through),
            token_service: Life::between(before.token_service, after.token_service),
        },
        streams: match load {
            Load::Slow { streams } => Some(streams),
            Load::Closed { .. } | Load::Silent { .. } => None,
        },
    })
}

/// For whoever watches.
fn in_short(told: &HashMap<Target, load::Told>) -> String {
    let cpu = |target| told.get(&target).map_or(f64::NAN, |one| one.cpu);
    let failed: usize = told.values().map(|one| one.failures).sum();
    let ratio = cpu(Target::Ours) / cpu(Target::PassThrough);
    match failed {
        0 => format!("CPU × {ratio:.2}"),
        _ => format!("CPU × {ratio:.2}, {failed} failed"),
    }
}

struct Watched {
    gateway: crate::process::Memory,
    pass_through: crate::process::Memory,
    token_service: crate::process::Memory,
}

impl Watched {
    fn of(rig: &Rig) -> anyhow::Result<Self> {
        let memory = |meter: Meter| meter.memory();
        Ok(Self {
            gateway: memory(rig.gateway())?,
            pass_through: memory(rig.pass_through())?,
            token_service: memory(rig.token_service())?,
        })
    }
}

//! The load: many clients at once, and what came of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::{
    client::{Answer, Call, Connection},
    events,
    process::Meter,
    workload::Load,
};

/// Connections that are being made at once.
const OPENING: usize = 64;
/// Between the first requests of two connections that are not to meet: all of them together
/// begin within the 200 ms for which each is silent.
const APART: Duration = Duration::from_millis(5);
/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    /// Before anything is counted.
    pub(crate) warm_up: Duration,
    /// What is counted.
    pub(crate) measured: Duration,
    /// Waves of slow streams that are counted.
    pub(crate) waves: usize,
}

/// What one load told of one target.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// Whole answers.
    pub(crate) answers: usize,
    pub(crate) per_second: f64,
    /// Processor time in seconds for 1,000 requests; of the target alone.
    pub(crate) cpu: f64,
    /// Milliseconds to the first byte of the body, median and 99th percentile.
    pub(crate) first_byte: Percentiles,
    /// Milliseconds to the end.
    pub(crate) total: Percentiles,
    /// Milliseconds between two reads, of the worst stream.
    pub(crate) longest_gap: f64,
    /// Requests without a whole answer, and the first one's reason.
    pub(crate) failures: usize,
    pub(crate) failure: Option<String>,
}

/// In milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Percentiles {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let last = times.len().saturating_sub(1);
            let nth = (last as f64 * share).round() as usize;
            times
                .get(nth)
                .map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
        };
        Self {
            p50: at(0.5),
            p99: at(0.99),
        }
    }
}

#[derive(Default)]
struct Tally {
    answers: Vec<Answer>,
    failures: usize,
    failure: Option<String>,
}

impl Tally {
    fn add(&mut self, answer: anyhow::Result<Answer>) {
        match answer {
            Ok(answer) => self.answers.push(answer),
            Err(error) => {
                self.failures += 1;
                self.failure.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.answers.extend(other.answers);
        self.failures += other.failures;
        self.failure = self.failure.take().or(other.failure);
    }
}

/// When a client stops.
#[derive(Clone, Copy)]
enum Until {
    Time(Instant),
    Requests(usize),
}

/// Puts the load on and measures `meter`'s processes between the end of the warm-up and the
/// end of the last answer that counts.
///
/// `calls` are one for each door, which the connections share evenly.
pub(crate) async fn measure(
    load: Load,
    calls: &[Arc<Call>],
    lengths: Lengths,
    meter: &Meter,
) -> anyhow::Result<Told> {
    let clients = connect(calls, load.connections()).await?;
    let slow = matches!(load, Load::Slow { .. });
    let apart = match load {
        Load::Silent { .. } => APART,
        Load::Closed { .. } | Load::Slow { .. } => Duration::ZERO,
    };
    let clients = if slow {
        clients
    } else {
        let warm = Until::Time(Instant::now() + lengths.warm_up);
        round(clients, warm, apart, false).await?.0
    };
    let cpu = meter.seconds()?;
    let began = Instant::now();
    let until = match load {
        Load::Closed { .. } | Load::Silent { .. } => Until::Time(began + lengths.measured),
        Load::Slow { .. } => Until::Requests(lengths.waves),
    };
    let (_clients, mut tally) = round(clients, until, apart, slow).await?;
    let took = began.elapsed().as_secs_f64();
    let cpu = meter.seconds()? - cpu;
    if slow {
        check_events(&mut tally);
    }
    Ok(told(tally, took, cpu))
}

fn told(tally: Tally, took: f64, cpu: f64) -> Told {
    let answers = tally.answers.len();
    let times =
        |time: fn(&Answer) -> Duration| Percentiles::of(tally.answers.iter().map(time).collect());
    let gaps = tally.answers.iter().map(|answer| answer.longest_gap);
    Told {
        answers,
        per_second: answers as f64 / took,
        cpu: cpu / answers as f64 * 1000.0,
        first_byte: times(|answer| answer.first_byte),
        total: times(|answer| answer.total),
        longest_gap: gaps.max().unwrap_or_default().as_secs_f64() * 1000.0,
        failures: tally.failures,
        failure: tally.failure,
    }
}

/// An answer whose events are not all there, one by one and in their order, is a failure.
fn check_events(tally: &mut Tally) {
    let mut broken = None;
    tally
        .answers
        .retain(|answer| match events::check(&answer.body) {
            Ok(_) => true,
            Err(error) => {
                tally.failures += 1;
                broken.get_or_insert(error);
                false
            }
        });
    tally.failure = tally.failure.take().or(broken);
}

/// A connection, and what is asked on it.
struct Client {
    connection: Connection,
    call: Arc<Call>,
}

impl Client {
    async fn new(call: Arc<Call>) -> anyhow::Result<Self> {
        let connection = call.door.connect().await?;
        Ok(Self { connection, call })
    }
}

async fn connect(calls: &[Arc<Call>], count: usize) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(count);
    let mut all = calls.iter().cycle();
    while clients.len() < count {
        let mut opening = JoinSet::new();
        for call in all.by_ref().take(OPENING.min(count - clients.len())) {
            opening.spawn(Client::new(Arc::clone(call)));
        }
        for opened in opening.join_all().await {
            clients.push(opened?);
        }
    }
    Ok(clients)
}

/// Every client sends request after request until it is to stop; each begins `apart` from the
/// one before it.
async fn round(
    clients: Vec<Client>,
    until: Until,
    apart: Duration,
    keep: bool,
) -> anyhow::Result<(Vec<Client>, Tally)> {
    let mut running = JoinSet::new();
    for (mut client, nth) in clients.into_iter().zip(0..) {
        running.spawn(async move {
            if !apart.is_zero() {
                tokio::time::sleep(apart * nth).await;
            }
            let mut tally = Tally::default();
            let mut left = match until {
                Until::Requests(requests) => requests,
                Until::Time(_) => usize::MAX,
            };
            while left > 0 && !matches!(until, Until::Time(end) if Instant::now() >= end) {
                left -= 1;
                let answer = client.connection.call(&client.call, keep).await;
                let broken = answer.is_err();
                tally.add(answer);
                if broken {
                    // Its state is not known. A target that fails is not to be flooded either.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    match Client::new(Arc::clone(&client.call)).await {
                        Ok(new) => client = new,
                        Err(error) => {
                            tally.add(Err(error));
                            return (None, tally);
                        }
                    }
                }
            }
            (Some(client), tally)
        });
    }
    let mut all = Tally::default();
    let mut clients = Vec::new();
    while let Some(done) = running.join_next().await {
        let (client, tally) = done.context("a client broke off")?;
        clients.extend(client);
        all.merge(tally);
    }
    Ok((clients, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let times = |range: std::ops::RangeInclusive<u64>| range.map(Duration::from_millis);
        let of = Percentiles::of(times(1..=101).rev().collect());
        assert_eq!((of.p50, of.p99), (51.0, 100.0));
        assert!(Percentiles::of(Vec::new()).p50.is_nan());
    }
}

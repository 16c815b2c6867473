//! The protocol between gateways and token-service, in virtual time: the rotation and what
//! gateways hold are the real ones, the network, Google and the database are models.
//!
//! Everything comes out of one seed: the same seed gives the same table.

mod gateway;
mod google;
mod refresh;
mod replica;
mod table;
#[cfg(test)]
mod tests;
mod time;
mod traffic;

use anyhow::ensure;
use clap::Args;

/// Gateways, replicas and projects of the table, when none are named.
const SIZES: [Size; 6] = [
    Size::new(1, 1, 10),
    Size::new(10, 1, 100),
    Size::new(10, 3, 100),
    Size::new(100, 5, 1_000),
    Size::new(300, 10, 3_000),
    Size::new(1_000, 20, 10_000),
];

/// What is simulated.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Gateways, 1 to 1,000; with this, --replicas or --projects it is one size, not the table.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    gateways: Option<u32>,
    /// Replicas of the token-service, 1 to 20.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20))]
    replicas: Option<u32>,
    /// Projects, 2 to 10,000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=10_000))]
    projects: Option<u32>,
    /// What the same table comes of.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Requests a second that each gateway gets, on average.
    #[arg(long, value_name = "N", default_value_t = 5.0)]
    rate: f64,
    /// Of a hundred times that the database tells replicas of a change, how often one does not
    /// hear it and has to find it by looking.
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0)]
    lost: f64,
    /// Seconds of clients' traffic; as many again with projects that run into limits.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    seconds: u64,
    /// Hours for which access tokens are kept fresh.
    #[arg(long, value_name = "HOURS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=48))]
    hours: u64,
}

/// How large a simulated installation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    gateways: usize,
    replicas: usize,
    projects: usize,
}

impl Size {
    const fn new(gateways: usize, replicas: usize, projects: usize) -> Self {
        Self {
            gateways,
            replicas,
            projects,
        }
    }
}

/// What came of one size.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    size: Size,
    traffic: traffic::Figures,
    refresh: refresh::Figures,
}

impl Arguments {
    fn sizes(&self) -> Vec<Size> {
        if (self.gateways, self.replicas, self.projects) == (None, None, None) {
            return SIZES.into();
        }
        let or = |wanted: Option<u32>, usual: u32| wanted.unwrap_or(usual) as usize;
        vec![Size::new(
            or(self.gateways, 10),
            or(self.replicas, 3),
            or(self.projects, 100),
        )]
    }

    /// Simulates one size.
    fn simulate(&self, size: Size) -> Outcome {
        Outcome {
            size,
            traffic: traffic::simulate(self, size),
            refresh: refresh::simulate(self, size),
        }
    }

    /// The tables.
    fn tables(&self) -> anyhow::Result<String> {
        ensure!(
            self.rate > 0.0 && self.rate <= 200.0,
            "--rate: is not between 0 and 200 requests a second"
        );
        ensure!(
            (0.0..=100.0).contains(&self.lost),
            "--lost: is not between 0 and 100"
        );
        let outcomes: Vec<_> = self
            .sizes()
            .into_iter()
            .map(|size| self.simulate(size))
            .collect();
        for Outcome { size, traffic, .. } in &outcomes {
            ensure!(
                traffic.spread <= traffic.bound,
                "{size:?}: requests of projects differ by {}, more than {}",
                traffic.spread,
                traffic.bound
            );
        }
        Ok(format!(
            "{}\n{}\n{}\n{}",
            table::calls(&outcomes),
            table::shares(&outcomes),
            table::cooldowns(&outcomes),
            table::refreshes(&outcomes)
        ))
    }

    /// Prints the tables.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        println!("{}", self.tables()?);
        Ok(())
    }
}

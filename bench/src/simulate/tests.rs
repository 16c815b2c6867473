//! Small sizes, whole: what the tables say is held to what the contract says.

use std::time::Duration;

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn arguments(more: &str) -> Arguments {
    let words = std::iter::once("simulate").chain(more.split_whitespace());
    Command::parse_from(words).arguments
}

#[test]
fn the_same_seed_gives_the_same_table() {
    let small = "--gateways 4 --replicas 3 --projects 20 --seconds 20";
    let table = arguments(small).tables().unwrap();
    assert_eq!(table, arguments(small).tables().unwrap());
    let other = arguments(&format!("{small} --seed 2")).tables().unwrap();
    assert_ne!(table, other);
}

#[test]
fn small_installations_keep_the_contract() {
    for (size, seed) in [
        (Size::new(1, 1, 5), 1),
        (Size::new(6, 1, 12), 2),
        (Size::new(3, 4, 40), 3),
        (Size::new(8, 5, 8), 4),
    ] {
        let arguments = arguments(&format!("--seed {seed} --seconds 30 --hours 12"));
        let Outcome {
            traffic, refresh, ..
        } = arguments.simulate(size);
        assert!(traffic.spread <= traffic.bound, "{size:?}: {traffic:?}");
        assert_eq!(traffic.failed, 0, "{size:?}: {traffic:?}");
        let obedience = &traffic.obedience;
        assert!(traffic.requests > 1.0 && obedience.count > 0, "{traffic:?}");
        // Replicas are told within the time that reports wait, and look each two seconds.
        assert!(obedience.known[0] < 100_000, "{size:?}: {traffic:?}");
        assert!(obedience.known[2] < 2_200_000, "{size:?}: {traffic:?}");
        // A gateway uses no token longer that was not dealt.
        let known = ::gateway::tokens::KNOWN + Duration::from_millis(2_100);
        assert!(
            obedience.asked[2] < time::of(known),
            "{size:?}: {traffic:?}"
        );
        assert!(refresh.mean >= refresh.ideal, "{refresh:?}");
        assert!(refresh.mean < 1.3 * refresh.ideal, "{refresh:?}");
        assert!(refresh.least_left > 300_000_000, "{refresh:?}");
    }
}

#[test]
fn a_word_that_is_lost_is_found_by_looking() {
    let known = |lost: u32| {
        let arguments = arguments(&format!("--lost {lost} --seconds 30"));
        let figures = arguments.simulate(Size::new(6, 4, 30)).traffic;
        assert!(figures.spread <= figures.bound, "{figures:?}");
        figures.obedience.known
    };
    let (all, none) = (known(100), known(0));
    assert!(none[2] < 100_000, "{none:?}");
    assert!(all[0] > 500_000 && all[2] < 2_200_000, "{all:?}");
}

#[test]
fn sizes_out_of_range_are_wrong_usage() {
    for wrong in [
        "--gateways 0",
        "--replicas 21",
        "--projects 1",
        "--seconds 1",
    ] {
        let words = std::iter::once("simulate").chain(wrong.split_whitespace());
        assert!(Command::try_parse_from(words).is_err(), "{wrong}");
    }
    assert!(arguments("--rate 0").tables().is_err());
    assert!(arguments("--lost 101").tables().is_err());
}

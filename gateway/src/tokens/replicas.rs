//! What several token-services say of the projects that they share: most of it is the same, but each
//! counts for itself what gateways report to it, and learns for itself what Google denies.

use std::collections::HashMap;

use antigravity_proto::v1::{Project, project::State};

/// Adds what another one says.
pub(super) fn merge(projects: &mut [Project], others: Vec<Project>) {
    let mut others: HashMap<_, _> = others.into_iter().map(|it| (it.id.clone(), it)).collect();
    for project in projects {
        if let Some(other) = others.remove(&project.id) {
            add(project, other);
        }
    }
}

fn add(project: &mut Project, other: Project) {
    project.requests_last_hour += other.requests_last_hour;
    project.errors_last_hour += other.errors_last_hour;
    if at(other.last_dealt_at.as_ref()) > at(project.last_dealt_at.as_ref()) {
        project.last_dealt_at = other.last_dealt_at;
    }
    // A denial is all of its state that a replica does not tell the others.
    if project.state() == State::Active && other.state() == State::Denied {
        project.state = other.state;
        project.state_reason = other.state_reason;
        project.state_cause = other.state_cause;
        project.action_url = other.action_url;
    }
    if project.refresh_error.is_empty() {
        project.refresh_error = other.refresh_error;
        project.refresh_fault = other.refresh_fault;
    }
    for quota in other.quotas {
        let same = |it: &&mut antigravity_proto::v1::Quota| {
            (&it.model_group, &it.window) == (&quota.model_group, &quota.window)
        };
        match project.quotas.iter_mut().find(same) {
            Some(known) if at(known.observed_at.as_ref()) < at(quota.observed_at.as_ref()) => {
                *known = quota;
            }
            Some(_) => {}
            None => project.quotas.push(quota),
        }
    }
}

fn at(time: Option<&prost_types::Timestamp>) -> Option<(i64, i32)> {
    time.map(|time| (time.seconds, time.nanos))
}

#[cfg(test)]
mod tests {
    use antigravity_proto::v1::Quota;

    use super::*;

    fn project(id: &str, state: State, requests: u64) -> Project {
        Project {
            id: id.to_owned(),
            state: state.into(),
            requests_last_hour: requests,
            errors_last_hour: 1,
            ..Default::default()
        }
    }

    fn quota(group: &str, remaining_fraction: f64, seconds: i64) -> Quota {
        Quota {
            model_group: group.to_owned(),
            window: "5h".to_owned(),
            remaining_fraction,
            observed_at: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            ..Default::default()
        }
    }

    #[test]
    fn what_each_counts_is_added_and_what_one_has_learned_is_known() {
        let mut known = vec![
            project("a", State::Active, 10),
            project("b", State::CoolingDown, 20),
            project("c", State::Active, 0),
        ];
        known[0].quotas = vec![quota("gemini", 0.5, 100), quota("3p", 0.2, 300)];
        let mut denied = project("a", State::Denied, 5);
        denied.state_cause = Some("SERVICE_DISABLED".to_owned());
        denied.refresh_error = "timed out".to_owned();
        denied.quotas = vec![quota("gemini", 0.4, 200), quota("3p", 0.9, 200)];
        let others = vec![
            project("b", State::Denied, 1),
            denied,
            project("new", State::Active, 7),
        ];
        merge(&mut known, others);
        assert_eq!(known[0].state(), State::Denied);
        assert_eq!(known[0].state_cause(), "SERVICE_DISABLED");
        assert_eq!(known[0].refresh_error, "timed out");
        let left: Vec<_> = known[0]
            .quotas
            .iter()
            .map(|it| it.remaining_fraction)
            .collect();
        assert_eq!(left, [0.4, 0.2], "the latest of each");
        // It rests for all, whatever one of them was denied before.
        assert_eq!(known[1].state(), State::CoolingDown);
        let counts: Vec<_> = known.iter().map(|it| it.requests_last_hour).collect();
        assert_eq!(counts, [15, 21, 0]);
        assert_eq!(known[2].errors_last_hour, 1);
    }
}

use super::*;

fn dealt(project: &str) -> v1::AcquireTokensResponse {
    let token = v1::AccessToken {
        project_id: project.to_owned(),
        upstream: Upstream::Antigravity.into(),
        access_token: "t".to_owned(),
        fingerprint: "f".to_owned(),
        expires_at: Some(prost_types::Timestamp {
            seconds: 3600,
            nanos: 0,
        }),
        ..Default::default()
    };
    v1::AcquireTokensResponse {
        turns: vec![v1::Turn {
            turn_id: "i-1-p".to_owned(),
            token: Some(token),
        }],
        pool_upstreams: vec![Upstream::Antigravity.into()],
        ..Default::default()
    }
}

/// A project that rests for one group goes on being dealt for the other: that says nothing of
/// the first, and a gateway that nobody told would run into the limit again and again.
#[test]
fn what_is_dealt_for_one_group_is_not_known_in_another() {
    let mut held = Held::default();
    let now = Now {
        wall: Timestamp::UNIX_EPOCH,
        instant: Instant::now(),
    };
    let models = ["gemini-3-pro", "claude-sonnet-4-5"];
    let [gemini, claude] = models.map(|model| Key::of(&[], model, &[Upstream::Antigravity]));
    held.add(&gemini, dealt("p"), now);
    let nobody = HashSet::new();
    let mut take = |key, model, trust| held.take(key, model, &nobody, trust, now);
    assert!(take(&claude, models[1], Trust::Known).is_none());
    assert!(take(&claude, models[1], Trust::Any).is_some());
    let turn = take(&gemini, models[0], Trust::Known).and_then(|lease| lease.turn_id);
    assert_eq!(turn.as_deref(), Some("i-1-p"));
    let without = take(&gemini, models[0], Trust::Known).unwrap();
    assert!(without.turn_id.is_none());
}

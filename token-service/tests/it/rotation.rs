//! The order of turns, over gRPC.

use antigravity_proto::v1::{self, Upstream};
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    Home, dealt, entry, google, numbers, report, set_disabled, tokens_json, tokens_json_of, wanted,
};

#[tokio::test]
async fn six_calls_give_each_of_three_twice_in_order() {
    let google = google(3).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=3));
    let service = home.start().await;
    let _idle = service.tokens().await;
    let mut gateway = service.tokens().await;
    let mut order = Vec::new();
    for _ in 0..6 {
        order.push(dealt(&mut gateway, wanted(1)).await);
    }
    assert_eq!(order.join(" "), "1 2 3 1 2 3");
    assert_eq!(dealt(&mut gateway, wanted(7)).await, "1 2 3 1 2 3 1");
    assert_eq!(dealt(&mut gateway, wanted(0)).await, "");
    let plain = v1::AcquireTokensRequest::default();
    assert_eq!(dealt(&mut gateway, plain).await, "2");

    set_disabled(&mut service.projects().await, "fake-project-1", true).await;
    assert_eq!(dealt(&mut gateway, wanted(4)).await, "3 2 3 2");
    set_disabled(&mut service.projects().await, "fake-project-1", false).await;
    assert_eq!(dealt(&mut gateway, wanted(4)).await, "1 3 2 1");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_callers_at_once_keep_the_order() {
    let google = google(7).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=7));
    let service = home.start().await;
    let gateway = service.tokens().await;
    let turn_number =
        |turn: &v1::Turn| -> u64 { turn.turn_id.split('-').nth(1).unwrap().parse().unwrap() };
    let callers = (0..500).map(|n| {
        let mut gateway = gateway.clone();
        tokio::spawn(async move {
            let answer = gateway.acquire_tokens(wanted(1 + n % 4)).await.unwrap();
            answer.into_inner().turns
        })
    });
    let mut turns = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        turns.extend(caller.await.unwrap());
    }
    turns.sort_by_key(turn_number);
    let expected: Vec<_> = (0..turns.len()).map(|n| (n % 7 + 1).to_string()).collect();
    assert_eq!(turns.len(), 1250);
    assert_eq!(
        numbers(&turns),
        expected.join(" "),
        "round-robin in the order of dealing"
    );

    // Half of them give their turns back, while the others go on.
    let callers = (0..500).map(|n| {
        let mut gateway = gateway.clone();
        tokio::spawn(async move {
            let answer = gateway.acquire_tokens(wanted(1)).await.unwrap();
            let turns = answer.into_inner().turns;
            if n % 2 == 0 {
                return turns;
            }
            let back = v1::AcquireTokensRequest {
                count: Some(0),
                returned_turns: turns.into_iter().map(|turn| turn.turn_id).collect(),
                ..Default::default()
            };
            gateway.acquire_tokens(back).await.unwrap();
            Vec::new()
        })
    });
    let mut kept = vec![0_u32; 8];
    for caller in callers.collect::<Vec<_>>() {
        for turn in caller.await.unwrap() {
            let number: usize = numbers(&[turn]).parse().unwrap();
            kept[number] += 1;
        }
    }
    // What was returned is dealt first: after it everybody has had the same.
    let mut gateway = gateway;
    for _ in 0..250 {
        let number: usize = dealt(&mut gateway, wanted(1)).await.parse().unwrap();
        kept[number] += 1;
    }
    let (least, most) = (
        kept[1..].iter().min().unwrap(),
        kept[1..].iter().max().unwrap(),
    );
    assert!(most - least <= 1, "{kept:?}");
    service.stop().await;
}

#[tokio::test]
async fn goes_on_after_a_restart() {
    let google = google(3).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=3));
    let service = home.start().await;
    assert_eq!(
        dealt(&mut service.tokens().await, wanted(4)).await,
        "1 2 3 1"
    );
    service.stop().await;
    let service = home.start().await;
    assert_eq!(dealt(&mut service.tokens().await, wanted(3)).await, "2 3 1");
    service.stop().await;
}

#[tokio::test]
async fn turns_of_another_replica_and_of_before_a_restart_are_dealt_again() {
    let google = google(4).await;
    let homes = [Home::new(&google), Home::new(&google)];
    for home in &homes {
        home.write_tokens(&tokens_json(1..=4));
    }
    let there = homes[0].start().await;
    let here = homes[1].start().await;
    let dealt_there = there.tokens().await.acquire_tokens(wanted(3)).await;
    let turns = dealt_there.unwrap().into_inner().turns;
    assert_eq!(numbers(&turns), "1 2 3");
    let mut gateway = here.tokens().await;
    let returning = |turns: &[v1::Turn]| v1::AcquireTokensRequest {
        returned_turns: turns.iter().map(|turn| turn.turn_id.clone()).collect(),
        ..wanted(1)
    };
    assert_eq!(dealt(&mut gateway, returning(&turns[1..])).await, "2");
    // The same again, as a gateway does whose call broke.
    assert_eq!(dealt(&mut gateway, returning(&turns[1..])).await, "3");
    assert_eq!(dealt(&mut gateway, returning(&turns[1..])).await, "1");

    // One that rests gets none of those back, nor one that left the rotation.
    let limited = v1::OutcomeReport {
        model: String::new(),
        project_id: "fake-project-1".into(),
        ..report("limited", v1::Outcome::QuotaExhausted)
    };
    let reports = v1::ReportOutcomesRequest {
        reports: vec![limited],
        ..Default::default()
    };
    gateway.report_outcomes(reports).await.unwrap();
    set_disabled(&mut here.projects().await, "fake-project-2", true).await;
    let more = there.tokens().await.acquire_tokens(wanted(3)).await;
    let more = more.unwrap().into_inner().turns;
    assert_eq!(numbers(&more), "4 1 2");
    assert_eq!(dealt(&mut gateway, returning(&more[1..])).await, "3");
    here.stop().await;

    there.stop().await;
    let there = homes[0].start().await;
    assert_eq!(
        dealt(&mut there.tokens().await, returning(&turns[..1])).await,
        "1"
    );
    assert_eq!(dealt(&mut there.tokens().await, wanted(2)).await, "3 4");
    there.stop().await;
}

#[tokio::test]
async fn filters_affinity_and_returned_turns() {
    let google = google(4).await;
    let home = Home::new(&google);
    let mut on_vertex = entry(4);
    on_vertex["upstream"] = json!("Vertex");
    home.write_tokens(&tokens_json_of([entry(1), entry(2), entry(3), on_vertex]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;

    let code_assist = v1::AcquireTokensRequest {
        upstreams: vec![Upstream::Antigravity.into()],
        exclude_project_ids: vec!["fake-project-1".into()],
        ..wanted(3)
    };
    let answer = gateway
        .acquire_tokens(code_assist)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(numbers(&answer.turns), "2 3 2");
    let pool: Vec<i32> = vec![Upstream::Antigravity.into(), Upstream::Vertex.into()];
    assert_eq!(answer.pool_upstreams, pool);

    let returning = v1::AcquireTokensRequest {
        returned_turns: vec![
            answer.turns[1].turn_id.clone(),
            answer.turns[1].turn_id.clone(),
            "another-1".into(),
        ],
        ..wanted(5)
    };
    assert_eq!(dealt(&mut gateway, returning).await, "3 1 4 3 2");
    let prefer = v1::AcquireTokensRequest {
        prefer_project_id: "fake-project-2".into(),
        ..wanted(2)
    };
    let answer = gateway.acquire_tokens(prefer).await.unwrap().into_inner();
    assert_eq!(numbers(&answer.turns), "2 1");
    let vertex = v1::AcquireTokensRequest {
        upstreams: vec![Upstream::Vertex.into()],
        ..wanted(1)
    };
    let answer = gateway.acquire_tokens(vertex).await.unwrap().into_inner();
    let token = answer.turns[0].token.as_ref().unwrap();
    assert_eq!(token.upstream(), Upstream::Vertex);
    assert_eq!(token.location, "global");
    assert_eq!(token.google_project_id, "fake-project-4");
    service.stop().await;
}

#[tokio::test]
async fn no_turn_is_told_with_its_reason() {
    let google = google(2).await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let reason = |status: tonic::Status| {
        assert_eq!(status.code(), Code::FailedPrecondition);
        let details = status.get_details_error_info().unwrap();
        assert_eq!(details.domain, "antigravity-gateway");
        details.reason
    };
    let refused = gateway.acquire_tokens(wanted(1)).await.unwrap_err();
    assert_eq!(reason(refused), "NO_PROJECTS");
    service.stop().await;

    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    for (request, expected) in [
        (
            v1::AcquireTokensRequest {
                upstreams: vec![Upstream::Gemini.into()],
                ..wanted(1)
            },
            "NO_PROJECTS",
        ),
        (
            v1::AcquireTokensRequest {
                exclude_project_ids: vec!["fake-project-1".into()],
                ..wanted(1)
            },
            "ALL_EXCLUDED",
        ),
    ] {
        let refused = gateway.acquire_tokens(request).await.unwrap_err();
        assert_eq!(reason(refused), expected);
    }
    set_disabled(&mut service.projects().await, "fake-project-1", true).await;
    let refused = gateway.acquire_tokens(wanted(1)).await.unwrap_err();
    assert_eq!(reason(refused), "ALL_DISABLED");
    service.stop().await;

    // Of two the one that could serve is not wanted: that the other one is disabled is not why.
    home.write_tokens(&tokens_json([1, 2]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let request = v1::AcquireTokensRequest {
        exclude_project_ids: vec!["fake-project-2".into()],
        ..wanted(1)
    };
    let refused = gateway.acquire_tokens(request).await.unwrap_err();
    assert_eq!(reason(refused), "ALL_EXCLUDED");
    service.stop().await;
}

#[tokio::test]
async fn fields_out_of_range_are_named() {
    let google = google(1).await;
    let service = Home::new(&google).start().await;
    let mut gateway = service.tokens().await;
    let request = v1::AcquireTokensRequest {
        upstreams: vec![99],
        ..wanted(257)
    };
    let refused = gateway.acquire_tokens(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let violations = refused.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["count", "upstreams"]);
    service.stop().await;
}

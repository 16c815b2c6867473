//! Tokens files at the start: what is taken over, and what survives the same file.

use std::time::Duration;

use antigravity_proto::v1::{self, Upstream, project::State};
use fake_google::{Account, CLIENT_ID, CLIENT_SECRET};
use serde_json::json;
use token_service::{
    project::Upstream as Api,
    tokens_file::{Complaint, Hints, TokensFileError, parse},
};

use crate::support::{
    Home, dealt, entry, eventually, google, ids, project, refreshes, set_disabled, tokens_json,
    tokens_json_of, update, wanted,
};

#[tokio::test]
async fn rotations_removals_and_disablings_survive_and_edits_are_taken_over() {
    let google = google(6).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=4));
    let service = home.start().await;
    let mut admin = service.projects().await;
    let rotated = v1::Project {
        id: "fake-project-1".into(),
        ..Default::default()
    };
    let fifth = Account::numbered(5).refresh_token;
    update(&mut admin, rotated, &fifth, &["refresh_token"])
        .await
        .unwrap();
    let removed = v1::DeleteProjectRequest {
        id: "fake-project-2".into(),
    };
    admin.delete_project(removed).await.unwrap();
    set_disabled(&mut admin, "fake-project-3", true).await;
    service.stop().await;

    for _ in 0..2 {
        // The first one's refresh token works no more: who uses it is found out.
        google.fake().revoke(&Account::numbered(1).refresh_token);
        home.clock.advance(Duration::from_secs(3700));
        let service = home.start().await;
        let mut admin = service.projects().await;
        assert_eq!(
            ids(&mut admin).await,
            ["fake-project-1", "fake-project-3", "fake-project-4"]
        );
        let third = project(&mut admin, "fake-project-3").await;
        assert_eq!(third.state(), State::Disabled);
        let mut order = dealt(&mut service.tokens().await, wanted(2)).await;
        order = order.split(' ').rev().collect::<Vec<_>>().join(" ");
        assert!(order == "1 4" || order == "4 1", "{order}");
        service.stop().await;
    }

    let mut file = tokens_json(1..=4);
    file["projects"][1]["display_name"] = json!("edited after its removal");
    file["projects"][3]["refresh_token"] = json!(Account::numbered(6).refresh_token);
    home.write_tokens(&file);
    let service = home.start().await;
    let mut admin = service.projects().await;
    assert_eq!(ids(&mut admin).await.len(), 4);
    let second = project(&mut admin, "fake-project-2").await;
    assert_eq!(second.display_name, "edited after its removal");
    let third = project(&mut admin, "fake-project-3").await;
    assert_eq!(third.state(), State::Disabled);
    eventually("the fourth is refreshed with its new login", async || {
        refreshes(google.fake(), 6) == 1
    })
    .await;
    assert!(
        dealt(&mut service.tokens().await, wanted(3))
            .await
            .contains('1')
    );
    service.stop().await;
}

#[tokio::test]
async fn an_edit_of_other_fields_keeps_the_pools_own_refresh_token() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut admin = service.projects().await;
    let rotated = v1::Project {
        id: "fake-project-1".into(),
        ..Default::default()
    };
    let second = Account::numbered(2).refresh_token;
    update(&mut admin, rotated, &second, &["refresh_token"])
        .await
        .unwrap();
    service.stop().await;

    google.fake().revoke(&Account::numbered(1).refresh_token);
    let mut file = tokens_json([1]);
    file["projects"][0]["display_name"] = json!("renamed");
    home.write_tokens(&file);
    let service = home.start().await;
    assert_eq!(dealt(&mut service.tokens().await, wanted(1)).await, "1");
    let shown = project(&mut service.projects().await, "fake-project-1").await;
    assert_eq!(shown.display_name, "renamed");
    service.stop().await;
}

#[tokio::test]
async fn good_entries_are_imported_and_the_file_is_left_as_it_is() {
    let google = google(4).await;
    let home = Home::new(&google);
    let mut vertex = entry(2);
    vertex["upstream"] = json!("vertex");
    vertex["location"] = json!("europe-west1");
    vertex["id"] = json!("in-europe");
    let twin = |number: usize| {
        let mut twin = entry(number);
        twin["project_id"] = json!("fake-project-1");
        twin
    };
    let mut file = tokens_json_of([
        entry(1),
        json!({"project_id": "no-token"}),
        vertex,
        twin(3),
        twin(4),
        entry(1),
        json!(7),
    ]);
    file["projects"][3]["oauth_client"] =
        json!({"client_id": "another-client", "client_secret": "s"});
    home.write_tokens(&file);
    let before = std::fs::read(home.tokens_file()).unwrap();
    let service = home.start().await;
    let mut admin = service.projects().await;
    assert_eq!(
        ids(&mut admin).await,
        [
            "fake-project-1",
            "fake-project-1-2",
            "fake-project-1-3",
            "in-europe"
        ]
    );
    let europe = project(&mut admin, "in-europe").await;
    assert_eq!(europe.upstream(), Upstream::Vertex);
    assert_eq!(europe.location, "europe-west1");
    let twin = project(&mut admin, "fake-project-1-2").await;
    assert_eq!(twin.google_project_id, "fake-project-1");
    assert_eq!(twin.oauth_client_id, "another-client");
    service.stop().await;
    assert_eq!(std::fs::read(home.tokens_file()).unwrap(), before);

    // The names stay when the entry that had the bare one is gone.
    file["projects"].as_array_mut().unwrap().remove(0);
    file["projects"].as_array_mut().unwrap().remove(4);
    home.write_tokens(&file);
    let service = home.start().await;
    assert_eq!(ids(&mut service.projects().await).await.len(), 4);
    service.stop().await;
}

#[test]
fn bad_entries_are_told_with_their_lines() {
    let text = r#"{
  "oauth_config": {"client_id": "c", "client_secret": "planted"},
  "note": "x",
  "projects": [
    {"project_id": "good", "refresh_token": "planted-1", "color": "red"},
    {"refresh_token": "planted-2"},
    {"project_id": 123456789012, "refresh_token": "planted-3"},
    {"project_id": "123456789012", "refresh_token": "planted-3"},
    {"project_id": "p", "refresh_token": ""},
    {"project_id": "p", "refresh_token": 5},
    {"project_id": "p", "refresh_token": "planted 6"},
    {"project_id": "p", "refresh_token": "planted-7",
     "upstream": "openai"},
    {"project_id": "good", "refresh_token": "planted-1", "upstream": "antigravity"},
    {"project_id": "p", "refresh_token": "planted-8", "id": "own"},
    {"project_id": "q", "refresh_token": "planted-9", "id": "own"},
    "planted"
  ]
}"#;
    let file = parse(text.as_bytes(), &Hints::upstream(Api::Antigravity)).unwrap();
    let told: Vec<_> = file.rejected.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "line 6: project_id is missing",
            "line 7: project_id is a project number; the project id (like my-project-123) is wanted",
            "line 8: 123456789012: project_id is a project number; the project id (like \
             my-project-123) is wanted",
            "line 9: p: refresh_token is missing",
            "line 10: p: refresh_token is a number, not text",
            "line 11: p: refresh_token holds a space or a control character",
            "line 12: p: upstream is none of antigravity, gemini, vertex",
            "line 14: good: is the same as the entry in line 5",
            "line 16: own: the id is that of the entry in line 15",
            "line 17: is text, not an object",
        ]
    );
    let lines: Vec<_> = file.entries.iter().map(|entry| entry.line).collect();
    assert_eq!(lines, [5, 15]);
    assert_eq!(
        file.entries[0].warnings,
        [Complaint::UnknownFields {
            names: vec!["color".into()]
        }]
    );
    assert_eq!(file.warnings.len(), 1);
    assert!(!format!("{file:?}{told:?}").contains("planted"));
}

#[test]
fn every_way_of_writing_a_time_is_read() {
    const NOON: i64 = 1_750_334_400;
    let cases = [
        ("1750334400", Some(NOON)),
        ("1750334400.75", Some(NOON)),
        (r#""1750334400""#, Some(NOON)),
        (r#""1750334400.25""#, Some(NOON)),
        (r#""2025-06-19T12:00:00Z""#, Some(NOON)),
        (r#""2025-06-19T14:00:00+02:00""#, Some(NOON)),
        (r#""2025-06-19T12:00:00""#, Some(NOON)),
        (r#""2025-06-19T12:00:00.123456""#, Some(NOON)),
        (r#""2025-06-19 12:00:00.123456""#, Some(NOON)),
        (r#""2025-06-19 12:00:00""#, Some(NOON)),
        ("null", None),
        (r#""""#, None),
        ("NaN", None),
        ("-Infinity", None),
        (r#""soon""#, None),
        ("true", None),
        ("1e300", None),
        ("-5", None),
        ("{}", None),
    ];
    for (written, seconds) in cases {
        let text = format!(
            r#"{{"oauth_config": {{"client_id": "c", "client_secret": "s"}},
                "projects": [{{"project_id": "p", "refresh_token": "r",
                "access_token": "NaN\" Infinity".replace, "expires_at": {written}}}]}}"#
        )
        .replace(r#""NaN\" Infinity".replace"#, r#""a""#);
        let file = parse(text.as_bytes(), &Hints::upstream(Api::Antigravity)).unwrap();
        let entry = &file.entries[0];
        let read = entry
            .access_token
            .as_ref()
            .map(|t| t.expires_at.as_second());
        assert_eq!(read, seconds, "{written}");
        let quiet = seconds.is_some() || ["null", r#""""#].contains(&written);
        assert_eq!(entry.warnings.is_empty(), quiet, "{written}");
    }
}

#[test]
fn constants_inside_of_text_stay() {
    let text = r#"{"oauth_config": {"client_id": "NaN", "client_secret": "a\"Infinity"},
        "projects": []}"#;
    let file = parse(text.as_bytes(), &Hints::upstream(Api::Antigravity)).unwrap();
    assert_eq!(file.clients[0].client_id, "NaN");
}

#[test]
fn what_is_no_tokens_file_is_told_with_its_line() {
    let many = format!("{{\"projects\": [{}0]}}", "0,".repeat(20_000));
    for (text, line) in [
        (b"".as_slice(), 1),
        (b"{\n\"projects\": [\n{\"project_id\": \"p\",}\n]}", 3),
        (b"{\"projects\": [}", 1),
        (b"{\n\"a\": \"\xff\"}", 2),
        (b"[]", 1),
        (b"{\"oauth_config\": {},\n\"projects\": {}}", 2),
        (b"{\n\"oauth_config\": 5, \"projects\": []}", 2),
        (b"{}", 1),
        (many.as_bytes(), 1),
    ] {
        let error = parse(text, &Hints::upstream(Api::Antigravity)).unwrap_err();
        let found = match &error {
            TokensFileError::NotUtf8 { line }
            | TokensFileError::NotJson { line, .. }
            | TokensFileError::Unrecognised { line }
            | TokensFileError::OAuthClient { line }
            | TokensFileError::ManagerIndex { line }
            | TokensFileError::TooMany { line, .. }
            | TokensFileError::WrongShape { line, .. } => *line,
        };
        assert_eq!(found, line, "{error}");
        assert!(
            error.to_string().starts_with(&format!("line {line}")),
            "{error}"
        );
    }
    let marked = b"\xef\xbb\xbf{\"projects\": []}";
    assert!(
        parse(marked, &Hints::upstream(Api::Antigravity))
            .unwrap()
            .entries
            .is_empty()
    );
}

#[test]
fn several_clients_are_read() {
    let text = json!({
        "oauth_clients": [{"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}],
        "projects": [
            {"project_id": "a", "refresh_token": "1"},
            {"project_id": "b", "refresh_token": "2", "oauth_client": "b-client"},
            {"project_id": "c", "refresh_token": "3",
             "oauth_client": {"client_id": "c-client", "token_url": "https://example.com/token"}},
            {"project_id": "d", "refresh_token": "4", "oauth_client": {"client_secret": "s"}},
        ],
    });
    let file = parse(
        text.to_string().as_bytes(),
        &Hints::upstream(Api::Antigravity),
    )
    .unwrap();
    assert_eq!(file.default_client.as_deref(), Some(CLIENT_ID));
    let clients: Vec<_> = file
        .entries
        .iter()
        .map(|e| e.oauth_client.as_deref())
        .collect();
    assert_eq!(clients, [None, Some("b-client"), Some("c-client")]);
    assert_eq!(file.clients.len(), 2);
    let missing = Complaint::Missing { field: "client_id" };
    assert_eq!(file.rejected[0].complaint, missing);
}

//! Import and export over gRPC.

use antigravity_proto::v1::{
    self,
    import_projects_request::{Options, Payload},
    import_projects_response::Result as Told,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    Home, ProjectsClient, dealt, entry, google, ids, project, rotating_google, set_disabled,
    tokens_json, tokens_json_of, wanted,
};

pub(crate) const PASSPHRASE: &str = "correct horse battery";

pub(crate) async fn import(
    client: &mut ProjectsClient,
    payloads: Vec<Payload>,
) -> Result<Vec<v1::ImportProjectsResponse>, Status> {
    let requests = payloads
        .into_iter()
        .map(|payload| v1::ImportProjectsRequest {
            payload: Some(payload),
        });
    let mut answers = client
        .import_projects(tokio_stream::iter(requests.collect::<Vec<_>>()))
        .await?
        .into_inner();
    let mut told = Vec::new();
    while let Some(answer) = answers.message().await? {
        told.push(answer);
    }
    Ok(told)
}

pub(crate) async fn export(client: &mut ProjectsClient) -> Vec<u8> {
    let request = v1::ExportProjectsRequest {
        passphrase: PASSPHRASE.into(),
        ids: Vec::new(),
    };
    let mut pieces = client.export_projects(request).await.unwrap().into_inner();
    let mut sealed = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        sealed.extend(piece.sealed_export);
    }
    sealed
}

fn told(answers: &[v1::ImportProjectsResponse]) -> Vec<(u32, &str, Told)> {
    answers
        .iter()
        .map(|answer| (answer.line, answer.id.as_str(), answer.result()))
        .collect()
}

fn in_pieces(file: &serde_json::Value) -> Vec<Payload> {
    let text = serde_json::to_string_pretty(file).unwrap();
    text.as_bytes()
        .chunks(50)
        .map(|piece| Payload::TokensJson(piece.to_vec()))
        .collect()
}

#[tokio::test]
async fn an_import_answers_for_each_entry_and_again_changes_nothing() {
    let google = google(2).await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut admin = service.projects().await;
    let file = tokens_json_of([entry(1), serde_json::json!({"project_id": "bad"}), entry(2)]);
    let options = |overwrite, dry_run| {
        vec![Payload::Options(Options {
            overwrite,
            dry_run,
            default_upstream: v1::Upstream::Gemini.into(),
            ..Default::default()
        })]
    };
    let all = |first: Vec<Payload>| [first, in_pieces(&file)].concat();
    let created = [
        (7, "fake-project-1", Told::Created),
        (13, "bad", Told::Rejected),
        (16, "fake-project-2", Told::Created),
    ];
    let dry = import(&mut admin, all(options(false, true))).await.unwrap();
    assert_eq!(told(&dry), created);
    assert_eq!(dry[1].message, "refresh_token is missing");
    assert!(ids(&mut admin).await.is_empty());
    let answers = import(&mut admin, all(options(false, false)))
        .await
        .unwrap();
    assert_eq!(told(&answers), created);
    let shown = project(&mut admin, "fake-project-1").await;
    assert_eq!(shown.upstream(), v1::Upstream::Gemini);
    let again = import(&mut admin, all(Vec::new())).await.unwrap();
    assert_eq!(again[0].result(), Told::Unchanged);
    let overwritten = import(&mut admin, all(options(true, false))).await.unwrap();
    assert_eq!(overwritten[0].result(), Told::Updated);
    assert_eq!(dealt(&mut service.tokens().await, wanted(2)).await, "1 2");
    service.stop().await;
}

#[tokio::test]
async fn an_import_by_hand_is_not_undone_by_the_next_start() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut admin = service.projects().await;
    let same = import(&mut admin, in_pieces(&tokens_json([1])))
        .await
        .unwrap();
    assert_eq!(
        same[0].result(),
        Told::Unchanged,
        "the start has imported it"
    );
    let mut renewed = tokens_json([2]);
    renewed["projects"][0]["project_id"] = "fake-project-1".into();
    renewed["oauth_config"]["token_url"] = "https://oauth2.example.com/token".into();
    let answers = import(&mut admin, in_pieces(&renewed)).await.unwrap();
    assert_eq!(told(&answers), [(8, "fake-project-1", Told::Updated)]);
    service.stop().await;

    google
        .fake()
        .revoke(&fake_google::Account::numbered(1).refresh_token);
    home.clock.advance(std::time::Duration::from_secs(3700));
    let service = home.start().await;
    assert_eq!(dealt(&mut service.tokens().await, wanted(1)).await, "1");
    let clients = service
        .projects()
        .await
        .list_o_auth_clients(v1::ListOAuthClientsRequest {})
        .await
        .unwrap()
        .into_inner()
        .clients;
    assert_eq!(clients[0].token_url, "https://oauth2.example.com/token");
    service.stop().await;
}

#[tokio::test]
async fn what_cannot_be_imported_is_told() {
    let google = google(1).await;
    let service = Home::new(&google).start().await;
    let mut admin = service.projects().await;
    let json = |text: &str| Payload::TokensJson(text.as_bytes().to_vec());
    let sealed = || Payload::SealedExport(b"nothing of the kind".to_vec());
    for (payloads, field, part) in [
        (vec![], "payload", "holds no"),
        (vec![json("{\n{")], "tokens_json", "line 2"),
        (vec![sealed()], "sealed_export", "not a sealed export"),
        (vec![json("{}"), sealed()], "payload", "mixes"),
        (
            vec![json("{}"), Payload::Options(Options::default())],
            "options",
            "first",
        ),
    ] {
        let refused = import(&mut admin, payloads).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let violation = &refused.get_details_bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, field);
        assert!(violation.description.contains(part), "{violation:?}");
    }
    let too_large = Payload::TokensJson(vec![b' '; 5 << 20]);
    let refused = import(&mut admin, vec![too_large]).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::OutOfRange,
        "a message has at most 4 MiB"
    );
    let short = v1::ExportProjectsRequest {
        passphrase: "elevenchars".into(),
        ids: Vec::new(),
    };
    let refused = admin.export_projects(short).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let unknown = v1::ExportProjectsRequest {
        passphrase: PASSPHRASE.into(),
        ids: vec!["nobody".into()],
    };
    let refused = admin.export_projects(unknown).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    service.stop().await;
}

#[tokio::test]
async fn an_export_rebuilds_the_pool_elsewhere() {
    let google = rotating_google(3).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=3));
    let service = home.start().await;
    // Has every refresh token rotated once, so that only the pool's own one works.
    dealt(&mut service.tokens().await, wanted(3)).await;
    home.clock.advance(std::time::Duration::from_secs(3700));
    dealt(&mut service.tokens().await, wanted(3)).await;
    set_disabled(&mut service.projects().await, "fake-project-2", true).await;
    let sealed = export(&mut service.projects().await).await;
    assert!(!String::from_utf8_lossy(&sealed).contains("fake-project"));
    service.stop().await;

    let elsewhere = Home::new(&google);
    let service = elsewhere.start().await;
    let mut admin = service.projects().await;
    let with = |passphrase: &str| {
        let options = Payload::Options(Options {
            passphrase: passphrase.into(),
            ..Default::default()
        });
        let pieces = sealed
            .chunks(100)
            .map(|piece| Payload::SealedExport(piece.to_vec()));
        std::iter::once(options).chain(pieces).collect::<Vec<_>>()
    };
    let refused = import(&mut admin, with("another passphrase"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let answers = import(&mut admin, with(PASSPHRASE)).await.unwrap();
    assert_eq!(answers.len(), 3);
    assert!(
        answers
            .iter()
            .all(|answer| answer.result() == Told::Created)
    );
    assert!(project(&mut admin, "fake-project-2").await.disabled);
    assert_eq!(
        dealt(&mut service.tokens().await, wanted(4)).await,
        "1 3 1 3"
    );
    // A picture of the past changes nothing that the pool has, unless it is told to.
    set_disabled(&mut admin, "fake-project-1", true).await;
    let answers = import(&mut admin, with(PASSPHRASE)).await.unwrap();
    assert!(answers.iter().all(|answer| {
        answer.result() == Told::Unchanged && answer.message.contains("overwrite")
            || answer.result() == Told::Unchanged
    }));
    assert!(project(&mut admin, "fake-project-1").await.disabled);
    service.stop().await;
}

#[tokio::test]
async fn an_unusable_client_does_not_hand_its_projects_to_another() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut admin = service.projects().await;
    let file = serde_json::json!({
        "oauth_config": {"client_id": "other", "client_secret": "s", "token_url": "not a url"},
        "projects": [{"project_id": "zz1", "refresh_token": "1//of-another-client"}],
    });
    let answers = import(&mut admin, in_pieces(&file)).await.unwrap();
    assert!(
        answers
            .iter()
            .all(|answer| answer.result() == Told::Rejected),
        "{answers:?}"
    );
    assert_eq!(ids(&mut admin).await, ["fake-project-1"]);
    service.stop().await;
}

#[tokio::test]
async fn a_large_import_is_one_step() {
    let google = google(1).await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut admin = service.projects().await;
    let many = (0..2000).map(|number| {
        serde_json::json!({
            "project_id": format!("p{number}"),
            "refresh_token": format!("1//r{number}"),
            "access_token": "ya29.x",
            "expires_at": home.clock.now().as_second() + 3000,
        })
    });
    let text = tokens_json_of(many).to_string();
    let pieces = text.as_bytes().chunks(1 << 20);
    let pieces = pieces
        .map(|piece| Payload::TokensJson(piece.to_vec()))
        .collect();
    assert_eq!(import(&mut admin, pieces).await.unwrap().len(), 2000);
    let request = v1::ListProjectsRequest {
        page_size: 1000,
        ..Default::default()
    };
    let page = admin.list_projects(request).await.unwrap().into_inner();
    assert_eq!((page.projects.len(), page.total_size), (1000, 2000));
    service.stop().await;
}

#[tokio::test]
async fn an_import_takes_no_secret_of_a_client_away() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut admin = service.projects().await;
    let sealed = export(&mut admin).await;
    // A client without its secret, as some files name it.
    let mut file = tokens_json([2]);
    file["oauth_config"]
        .as_object_mut()
        .unwrap()
        .remove("client_secret");
    let answers = import(&mut admin, in_pieces(&file)).await.unwrap();
    assert!(answers.iter().any(|told| told.id == "fake-project-2"));
    assert_eq!(dealt(&mut service.tokens().await, wanted(2)).await, "1 2");

    // A secret that was renewed since an export is not undone by it.
    let put = |secret: &str| v1::PutOAuthClientRequest {
        client: Some(v1::OAuthClient {
            client_id: fake_google::CLIENT_ID.to_owned(),
            token_url: "https://renewed.example/token".to_owned(),
            ..Default::default()
        }),
        client_secret: secret.to_owned(),
    };
    admin.put_o_auth_client(put("renewed")).await.unwrap();
    let options = Payload::Options(Options {
        passphrase: PASSPHRASE.to_owned(),
        ..Default::default()
    });
    import(&mut admin, vec![options, Payload::SealedExport(sealed)])
        .await
        .unwrap();
    let clients = admin
        .list_o_auth_clients(v1::ListOAuthClientsRequest {})
        .await
        .unwrap()
        .into_inner()
        .clients;
    assert_eq!(clients[0].token_url, "https://renewed.example/token");
    assert!(clients[0].has_secret);
    service.stop().await;
}

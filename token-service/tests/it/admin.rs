//! What operators do with projects and OAuth clients.

use antigravity_proto::v1::{self, Upstream, project::State};
use fake_google::{Account, CLIENT_ID, CLIENT_SECRET};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    Home, ProjectsClient, Service, dealt, fake, google, ids, one_token, project, refreshes,
    tokens_json, update, wanted,
};

fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

fn named(id: &str) -> v1::Project {
    v1::Project {
        id: id.to_owned(),
        ..Default::default()
    }
}

pub(crate) async fn put_client(
    client: &mut ProjectsClient,
    id: &str,
    secret: &str,
) -> v1::OAuthClient {
    let request = v1::PutOAuthClientRequest {
        client: Some(v1::OAuthClient {
            client_id: id.to_owned(),
            ..Default::default()
        }),
        client_secret: secret.to_owned(),
    };
    client
        .put_o_auth_client(request)
        .await
        .unwrap()
        .into_inner()
}

fn new_project(number: usize) -> v1::CreateProjectRequest {
    let account = Account::numbered(number);
    v1::CreateProjectRequest {
        project: Some(v1::Project {
            google_project_id: account.projects[0].clone(),
            ..Default::default()
        }),
        refresh_token: account.refresh_token,
        ..Default::default()
    }
}

async fn empty(google: &fake_google::Running) -> (Home, Service, ProjectsClient) {
    let home = Home::new(google);
    let service = home.start().await;
    let admin = service.projects().await;
    (home, service, admin)
}

#[tokio::test]
async fn a_created_project_is_dealt_and_outlives_a_restart() {
    let google = google(2).await;
    let (home, service, mut admin) = empty(&google).await;
    let refused = admin.create_project(new_project(1)).await.unwrap_err();
    assert_eq!(fields(&refused), ["project.oauth_client_id"]);
    let client = put_client(&mut admin, CLIENT_ID, CLIENT_SECRET).await;
    assert!(client.has_secret && client.projects == 0);
    let created = admin
        .create_project(new_project(1))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(created.id, "fake-project-1");
    assert_eq!(created.upstream(), Upstream::Antigravity);
    assert_eq!(created.oauth_client_id, CLIENT_ID);
    assert_eq!(created.state(), State::Active);
    let again = admin.create_project(new_project(1)).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    let mut elsewhere = new_project(2);
    let project = elsewhere.project.as_mut().unwrap();
    project.oauth_client_id = "nobody".into();
    assert_eq!(
        admin.create_project(elsewhere).await.unwrap_err().code(),
        Code::NotFound
    );
    let mut second = new_project(2);
    second.project.as_mut().unwrap().id = "second".into();
    second.access_token = "ya29.given".into();
    second.access_token_expires_at = Some(prost_types::Timestamp {
        seconds: home.clock.now().as_second() + 3000,
        nanos: 0,
    });
    admin.create_project(second).await.unwrap();
    assert_eq!(
        dealt(&mut service.tokens().await, wanted(3)).await,
        "1 second 1"
    );
    let shown = crate::support::project(&mut admin, "fake-project-1").await;
    assert!(shown.last_dealt_at.is_some() && shown.refreshed_at.is_some());
    service.stop().await;
    let service = home.start().await;
    assert_eq!(
        one_token(&mut service.tokens().await).await.access_token,
        "ya29.given"
    );
    assert_eq!(refreshes(google.fake(), 2), 0);
    service.stop().await;
}

#[tokio::test]
async fn bad_fields_are_named_all_at_once() {
    let google = google(1).await;
    let (_home, service, mut admin) = empty(&google).await;
    let request = v1::CreateProjectRequest {
        project: Some(v1::Project {
            id: "no spaces".into(),
            google_project_id: "123456789012".into(),
            upstream: 7,
            location: "europe".into(),
            display_name: "x".repeat(257),
            ..Default::default()
        }),
        access_token: "ya29.x".into(),
        ..Default::default()
    };
    let refused = admin.create_project(request).await.unwrap_err();
    assert_eq!(
        fields(&refused),
        [
            "refresh_token",
            "project.google_project_id",
            "project.id",
            "project.upstream",
            "project.location",
            "project.display_name",
            "access_token_expires_at"
        ]
    );
    // What steers a terminal, or turns the text beside it round.
    for name in ["a\u{1b}[31mb", "two\nlines", "a\u{202e}b"] {
        let request = v1::CreateProjectRequest {
            project: Some(v1::Project {
                google_project_id: "a-project".into(),
                display_name: name.into(),
                ..Default::default()
            }),
            refresh_token: "1//x".into(),
            ..Default::default()
        };
        let refused = admin.create_project(request).await.unwrap_err();
        assert_eq!(fields(&refused), ["project.display_name"], "{name:?}");
    }
    let client = v1::PutOAuthClientRequest {
        client: Some(v1::OAuthClient {
            token_url: "nowhere".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = admin.put_o_auth_client(client).await.unwrap_err();
    assert_eq!(fields(&refused), ["client.client_id", "client.token_url"]);
    service.stop().await;
}

#[tokio::test]
async fn pages_follow_each_other() {
    let google = google(1).await;
    let (home, service, mut admin) = empty(&google).await;
    let empty_page = admin
        .list_projects(v1::ListProjectsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((empty_page.projects, empty_page.total_size), (vec![], 0));
    assert_eq!(empty_page.next_page_token, "");
    service.stop().await;
    home.write_tokens(&tokens_json(1..=5));
    let service = home.start().await;
    let mut admin = service.projects().await;
    let mut seen = Vec::new();
    let mut replica = None;
    let mut page_token = String::new();
    loop {
        let request = v1::ListProjectsRequest {
            page_size: 2,
            page_token,
        };
        let page = admin.list_projects(request).await.unwrap().into_inner();
        assert_eq!(page.total_size, 5);
        let who = replica.get_or_insert_with(|| page.replica.clone());
        assert!(!page.replica.is_empty() && page.replica == *who);
        seen.push(page.projects.len());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        let gone = v1::DeleteProjectRequest {
            id: "nobody".into(),
        };
        assert_eq!(
            admin.delete_project(gone).await.unwrap_err().code(),
            Code::NotFound
        );
    }
    assert_eq!(seen, [2, 2, 1]);
    for (page_size, page_token, field) in [
        (1001, "", "page_size"),
        (0, "fake-project-1", "page_token"),
        (0, "***", "page_token"),
    ] {
        let request = v1::ListProjectsRequest {
            page_size,
            page_token: page_token.to_owned(),
        };
        let refused = admin.list_projects(request).await.unwrap_err();
        assert_eq!(fields(&refused), [field]);
    }
    service.stop().await;
}

#[tokio::test]
async fn a_mask_changes_what_it_names_and_nothing_else() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=2));
    let service = home.start().await;
    let mut admin = service.projects().await;
    let mut gateway = service.tokens().await;
    let token = one_token(&mut gateway).await;
    let before = project(&mut admin, "fake-project-1").await;
    let wish = v1::Project {
        display_name: "First".into(),
        disabled: true,
        upstream: Upstream::Vertex.into(),
        google_project_id: "elsewhere".into(),
        ..named("fake-project-1")
    };
    let after = update(&mut admin, wish.clone(), "", &["display_name"])
        .await
        .unwrap();
    let expected = v1::Project {
        display_name: "First".into(),
        updated_at: after.updated_at,
        ..before.clone()
    };
    assert_eq!(after, expected);
    let moved = update(
        &mut admin,
        wish.clone(),
        "",
        &["upstream", "google_project_id"],
    )
    .await
    .unwrap();
    assert_eq!(moved.upstream(), Upstream::Vertex);
    assert_eq!(moved.location, "global");
    assert_eq!(moved.google_project_id, "elsewhere");
    assert_eq!(
        moved.token_fingerprint, token.fingerprint,
        "the login is the same"
    );

    for (paths, field) in [
        (vec![], "update_mask"),
        (vec!["state"], "update_mask"),
        (vec!["refresh_token"], "refresh_token"),
        (vec!["oauth_client_id"], "project.oauth_client_id"),
    ] {
        let refused = update(&mut admin, wish.clone(), "", &paths)
            .await
            .unwrap_err();
        assert_eq!(fields(&refused), [field]);
    }
    let nobody = update(&mut admin, named("nobody"), "", &["disabled"]).await;
    assert_eq!(nobody.unwrap_err().code(), Code::NotFound);
    let other_client = v1::Project {
        oauth_client_id: "nobody".into(),
        ..named("fake-project-1")
    };
    let refused = update(&mut admin, other_client, "", &["oauth_client_id"]).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);

    let second = Account::numbered(2).refresh_token;
    let renewed = update(
        &mut admin,
        named("fake-project-1"),
        &second,
        &["refresh_token"],
    )
    .await
    .unwrap();
    assert_ne!(renewed.token_fingerprint, token.fingerprint);
    service.stop().await;
    let service = home.start().await;
    let kept = project(&mut service.projects().await, "fake-project-1").await;
    assert_eq!(kept.display_name, "First");
    assert_eq!(kept.google_project_id, "elsewhere");
    service.stop().await;
}

#[tokio::test]
async fn refreshes_on_demand() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut admin = service.projects().await;
    let before = one_token(&mut service.tokens().await).await;
    let request = v1::RefreshProjectRequest {
        id: "fake-project-1".into(),
    };
    let after = admin
        .refresh_project(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_ne!(after.token_fingerprint, before.fingerprint);
    fake(&google).revoke(&Account::numbered(1).refresh_token);
    let refused = admin.refresh_project(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let nobody = v1::RefreshProjectRequest {
        id: "nobody".into(),
    };
    let refused = admin.refresh_project(nobody).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    service.stop().await;
}

#[tokio::test]
async fn a_deleted_project_is_gone_and_its_client_can_follow() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut admin = service.projects().await;
    let delete_client = v1::DeleteOAuthClientRequest {
        client_id: CLIENT_ID.into(),
    };
    let refused = admin
        .delete_o_auth_client(delete_client.clone())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let request = v1::DeleteProjectRequest {
        id: "fake-project-1".into(),
    };
    admin.delete_project(request).await.unwrap();
    assert!(ids(&mut admin).await.is_empty());
    admin
        .delete_o_auth_client(delete_client.clone())
        .await
        .unwrap();
    let refused = admin.delete_o_auth_client(delete_client).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    service.stop().await;
}

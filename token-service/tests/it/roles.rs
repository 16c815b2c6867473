//! Who may call what, and what needs no token.

use std::time::Duration;

use antigravity_proto::v1;
use tonic::Code;
use tonic_reflection::pb::{
    v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    },
    v1alpha,
};

use crate::support::{ADMIN_TOKEN, GATEWAY_TOKEN, Home, channel, google, tokens_json, wanted};

#[tokio::test]
async fn each_token_opens_what_it_is_for() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    for (token, tokens, projects) in [
        (ADMIN_TOKEN, Code::Ok, Code::Ok),
        (GATEWAY_TOKEN, Code::Ok, Code::PermissionDenied),
        (
            "another-token",
            Code::Unauthenticated,
            Code::Unauthenticated,
        ),
        ("", Code::Unauthenticated, Code::Unauthenticated),
    ] {
        let mut client = service.tokens_as(token).await;
        let code = match client.acquire_tokens(wanted(1)).await {
            Ok(_) => Code::Ok,
            Err(status) => status.code(),
        };
        assert_eq!(code, tokens, "{token:?}");
        let mut client = service.projects_as(token).await;
        let request = v1::ListProjectsRequest::default();
        let code = match client.list_projects(request).await {
            Ok(_) => Code::Ok,
            Err(status) => status.code(),
        };
        assert_eq!(code, projects, "{token:?}");
    }
    service.stop().await;
}

#[tokio::test]
async fn health_needs_no_token() {
    let google = google(1).await;
    let service = Home::new(&google).start().await;
    let address = service.address;
    // The port is bound before the service serves.
    let asked = tokio::time::timeout(
        Duration::from_secs(5),
        token_service::healthcheck(address, None),
    );
    asked.await.unwrap().unwrap();
    service.stop().await;
    let error = token_service::healthcheck(address, None).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let google = google(1).await;
    let service = Home::new(&google).start().await;
    let expected = [
        "antigravity.token.v1.ProjectService",
        "antigravity.token.v1.TokenService",
        "grpc.health.v1.Health",
    ];
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel(service.address).await);
    let mut answers = client
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("{answer:?}");
    };
    for name in expected {
        assert!(
            list.service.iter().any(|service| service.name == name),
            "{name}"
        );
    }

    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
                expected[0].to_owned(),
            ),
        ),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(
        channel(service.address).await,
    );
    let mut answers = client
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let found = matches!(
        answer,
        Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
    );
    assert!(found, "{answer:?}");
    service.stop().await;
}

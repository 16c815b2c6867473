//! What the contract promises by its shape alone: gateways see no refresh token, and
//! the token-service sees no prompt.

#![expect(clippy::expect_used, reason = "tests")]

use std::collections::BTreeSet;

use antigravity_proto::v1::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

fn messages() -> Vec<DescriptorProto> {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("a descriptor set");
    files
        .file
        .into_iter()
        .filter(|file| file.package() == "antigravity.token.v1")
        .flat_map(|file| file.message_type)
        .collect()
}

/// The names of all fields that can be reached from a message.
fn fields(root: &str) -> BTreeSet<String> {
    let messages = messages();
    let mut names = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let Some(message) = messages.iter().find(|message| message.name() == name) else {
            continue;
        };
        for field in &message.field {
            names.insert(field.name().to_owned());
            if let Some(inner) = field.type_name().rsplit('.').next() {
                open.push(inner.to_owned());
            }
        }
    }
    assert!(!names.is_empty(), "{root} is not a message");
    names
}

#[test]
fn gateways_see_no_refresh_token_and_no_client_secret() {
    for message in ["AcquireTokensResponse", "ReportOutcomesResponse"] {
        for field in fields(message) {
            let secret = field.contains("refresh_token")
                || field.contains("secret")
                || field.contains("service_account");
            assert!(!secret, "{message} reaches {field}");
        }
    }
}

#[test]
fn reading_projects_tells_no_secret() {
    for message in [
        "Project",
        "ListProjectsResponse",
        "OAuthClient",
        "ListOAuthClientsResponse",
    ] {
        for field in fields(message) {
            let secret = [
                "refresh_token",
                "access_token",
                "client_secret",
                "service_account_key",
                "api_key",
            ]
            .contains(&field.as_str());
            assert!(!secret, "{message} reaches {field}");
        }
    }
}

#[test]
fn the_token_service_sees_no_prompt() {
    // Every field that a gateway sends, by name: a new one has to be looked at here.
    let known: BTreeSet<String> = [
        "count",
        "upstreams",
        "model",
        "exclude_project_ids",
        "prefer_project_id",
        "returned_turns",
        "rejected",
        "gateway_id",
        "tokens",
        "project_id",
        "fingerprint",
        "reports",
        "outcome_id",
        "turn_id",
        "outcome",
        "reset_at",
        "reason",
        "url",
        "http_status",
        "started_at",
        "duration",
        "first_event",
        "usage",
        "api_key_name",
        "surface",
        "request_id",
        "stream",
        "prompt_tokens",
        "candidates_tokens",
        "thoughts_tokens",
        "cached_tokens",
        "tool_use_prompt_tokens",
        "total_tokens",
    ]
    .map(str::to_owned)
    .into();
    let sent: BTreeSet<String> = fields("AcquireTokensRequest")
        .union(&fields("ReportOutcomesRequest"))
        .cloned()
        .collect();
    assert_eq!(sent, known);
}

#[test]
fn every_message_field_and_method_is_documented() {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("a descriptor set");
    for file in files
        .file
        .iter()
        .filter(|file| file.package() == "antigravity.token.v1")
    {
        let Some(info) = &file.source_code_info else {
            panic!("{} carries no comments", file.name());
        };
        let documented: BTreeSet<&[i32]> = info
            .location
            .iter()
            .filter(|location| !location.leading_comments().is_empty())
            .map(|location| location.path.as_slice())
            .collect();
        for (at, service) in (0..).zip(&file.service) {
            for (method_at, method) in (0..).zip(&service.method) {
                let path: &[i32] = &[6, at, 2, method_at];
                assert!(
                    documented.contains(path),
                    "{} is not documented",
                    method.name()
                );
            }
        }
        for (at, message) in (0..).zip(&file.message_type) {
            for (field_at, field) in (0..).zip(&message.field) {
                let path: &[i32] = &[4, at, 2, field_at];
                assert!(
                    documented.contains(path),
                    "{}.{} is not documented",
                    message.name(),
                    field.name()
                );
            }
        }
    }
}

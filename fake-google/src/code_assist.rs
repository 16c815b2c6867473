//! Code Assist's control plane: which project an account has, which models, and what is left of its quota.

use http::Response;
use jiff::{SignedDuration, Timestamp};

use crate::accounts::{AccountId, Holder};
use crate::authorization::Caller;
use crate::catalogue::{Group, Kind, Model, Upstream};
use crate::config::Discovery;
use crate::endpoint::Endpoint;
use crate::json::{Fields, Json, object};
use crate::reply::{self, Body};
use crate::router::Exchange;
use crate::status::Status;

const FREE_TIER: &str = "free-tier";
const ONBOARDED: &str =
    "type.googleapis.com/google.internal.cloud.code.v1internal.OnboardUserResponse";

const IDE_TYPES: [&str; 8] = [
    "IDE_UNSPECIFIED",
    "VSCODE",
    "INTELLIJ",
    "VSCODE_CLOUD_WORKSTATION",
    "INTELLIJ_CLOUD_WORKSTATION",
    "CLOUD_SHELL",
    "GEMINI_CLI",
    "ANTIGRAVITY",
];
const PLATFORMS: [&str; 6] = [
    "PLATFORM_UNSPECIFIED",
    "DARWIN_AMD64",
    "DARWIN_ARM64",
    "LINUX_AMD64",
    "LINUX_ARM64",
    "WINDOWS_AMD64",
];
const PLUGIN_TYPES: [&str; 5] = [
    "PLUGIN_UNSPECIFIED",
    "CLOUD_CODE",
    "GEMINI",
    "AIPLUGIN_INTELLIJ",
    "AIPLUGIN_STUDIO",
];

/// Every `v1internal` method that makes no content.
pub(crate) fn answer(exchange: &Exchange, body: &[u8]) -> Response<Body> {
    let document = if body.is_empty() {
        Ok(object! {})
    } else {
        Json::parse(body)
    };
    let answered = exchange
        .caller()
        .and_then(|caller| match (caller, document) {
            (_, Err(error)) => Err(Status::invalid_argument(format!(
                "Invalid JSON payload received. {error}"
            ))),
            (Caller::Key(_), _) => Err(exchange.context("").credentials_missing()),
            (Caller::Account(account, _), Ok(document)) => method(exchange, account, &document),
        });
    match answered {
        Ok(document) => reply::json(200, &document),
        Err(status) => exchange.error(&status),
    }
}

fn method(exchange: &Exchange, account: AccountId, body: &Json) -> Result<Json, Status> {
    check_metadata(body)?;
    match exchange.route.endpoint {
        Endpoint::LoadCodeAssist => Ok(load(exchange.fake.ledger().accounts.holder(account))),
        Endpoint::OnboardUser => onboard(exchange, account, body),
        Endpoint::Operation => {
            operation(exchange, exchange.route.name.as_deref().unwrap_or_default())
        }
        Endpoint::FetchAvailableModels => {
            check_named_project(exchange, account, body)?;
            Ok(models(exchange, account))
        }
        Endpoint::RetrieveUserQuotaSummary => {
            check_named_project(exchange, account, body)?;
            Ok(quota_summary(exchange, account))
        }
        _ => {
            check_named_project(exchange, account, body)?;
            Ok(quota(exchange, account))
        }
    }
}

/// Enum strings that the service does not know are refused.
fn check_metadata(body: &Json) -> Result<(), Status> {
    let Some(metadata) = body.get("metadata") else {
        return Ok(());
    };
    let known: [(&str, &str, &[&str]); 3] = [
        ("ideType", "ide_type", &IDE_TYPES),
        ("platform", "platform", &PLATFORMS),
        ("pluginType", "plugin_type", &PLUGIN_TYPES),
    ];
    for (camel, snake, values) in known {
        let Some(value) = metadata.either(camel, snake).and_then(Json::as_str) else {
            continue;
        };
        if !values.contains(&value) {
            let field = format!("metadata.{snake}");
            let message = format!(
                "Invalid value at '{field}' (type.googleapis.com/google.internal.cloud.code.v1internal.ClientMetadata), \"{value}\""
            );
            return Err(Status::invalid_argument(&message).violations(&[(field, message.clone())]));
        }
    }
    Ok(())
}

fn check_named_project(exchange: &Exchange, account: AccountId, body: &Json) -> Result<(), Status> {
    let Some(project) = body.get("project").and_then(Json::as_str) else {
        return Ok(());
    };
    if exchange
        .fake
        .ledger()
        .accounts
        .holder(account)
        .may_use(project)
    {
        return Ok(());
    }
    let mut context = exchange.context("");
    context.project = project;
    Err(context.consumer_invalid())
}

fn tier() -> Json {
    object! {
        "id": FREE_TIER,
        "name": "Antigravity",
        "description": "Gemini-powered code suggestions and chat",
        "privacyNotice": object! { "showNotice": true, "noticeText": "This is a test double." },
    }
}

fn allowed_tiers() -> Json {
    let mut free = tier();
    free.set("isDefault", true);
    Json::from([
        free,
        object! { "id": "standard-tier", "name": "Standard", "userDefinedCloudaicompanionProject": true },
    ])
}

/// Of accounts that bring a project of their own.
fn own_project_tier() -> Json {
    object! {
        "id": "standard-tier",
        "name": "Standard",
        "isDefault": true,
        "userDefinedCloudaicompanionProject": true,
    }
}

fn load(holder: &Holder) -> Json {
    let onboarded = |project: Json| {
        object! {
            "currentTier": tier(),
            "allowedTiers": allowed_tiers(),
            "cloudaicompanionProject": project,
            "gcpManaged": false,
            "paidTier": object! {
                "id": "g1-pro-tier",
                "name": "Google AI Pro",
                "availableCredits": [object! {
                    "creditType": "GOOGLE_ONE_AI",
                    "creditAmount": "25000",
                    "minimumCreditAmountForUsage": "50",
                }],
            },
        }
    };
    let ineligible =
        |reason: Json| object! { "allowedTiers": Vec::<Json>::new(), "ineligibleTiers": [reason] };
    match holder.account.discovery {
        Discovery::StringProject => onboarded(holder.project().into()),
        Discovery::ObjectProject => onboarded(object! { "id": holder.project() }),
        Discovery::NotOnboarded if holder.onboarded => onboarded(holder.project().into()),
        Discovery::NotOnboarded => object! { "allowedTiers": allowed_tiers() },
        Discovery::OwnProject if holder.onboarded => onboarded(holder.project().into()),
        Discovery::OwnProject => object! { "allowedTiers": [own_project_tier()] },
        Discovery::ValidationRequired => ineligible(object! {
            "reasonCode": "VALIDATION_REQUIRED",
            "reasonMessage": "Verify your account to continue.",
            "tierId": FREE_TIER,
            "tierName": "Antigravity",
            "validationUrl": "https://accounts.google.com/signin/continue?continue=verify",
            "validationErrorMessage": "Verify your account to continue.",
            "validationUrlLinkText": "Verify your account",
            "validationLearnMoreUrl": "https://support.google.com/accounts?p=al_alert",
            "validationLearnMoreLinkText": "Learn more",
        }),
        Discovery::UnsupportedLocation => ineligible(object! {
            "reasonCode": "UNSUPPORTED_LOCATION",
            "reasonMessage": "Your current account is not eligible because it is not currently available in your location.",
            "tierId": FREE_TIER,
            "tierName": "Antigravity",
        }),
    }
}

fn onboard(exchange: &Exchange, account: AccountId, body: &Json) -> Result<Json, Status> {
    let tier = body
        .either("tierId", "tier_id")
        .and_then(Json::as_str)
        .unwrap_or_default();
    let project = body.either("cloudaicompanionProject", "cloudaicompanion_project");
    if tier == FREE_TIER && project.is_some() {
        return Err(Status::new(
            400,
            "FAILED_PRECONDITION",
            "Precondition check failed.",
        ));
    }
    if !matches!(tier, FREE_TIER | "standard-tier" | "legacy-tier") {
        return Err(Status::invalid_argument(
            "Request contains an invalid argument.",
        ));
    }
    let project = project.and_then(Json::as_str);
    let mut ledger = exchange.fake.ledger();
    let holder = ledger.accounts.holder(account);
    if tier != FREE_TIER && !project.is_some_and(|project| holder.may_use(project)) {
        return Err(Status::new(
            400,
            "FAILED_PRECONDITION",
            "Precondition check failed.",
        ));
    }
    let running = ledger
        .operations
        .iter()
        .find(|(_, (whose, _))| *whose == account)
        .map(|(name, _)| name.clone());
    let name = running.unwrap_or_else(|| {
        let name = format!("operations/onboard-{}", exchange.fake.next_operation());
        ledger.operations.insert(
            name.clone(),
            (account, exchange.fake.config().onboarding_polls),
        );
        name
    });
    drop(ledger);
    operation(exchange, &name)
}

/// Onboarding is asked about again by its operation, or by onboarding again.
fn operation(exchange: &Exchange, name: &str) -> Result<Json, Status> {
    let mut ledger = exchange.fake.ledger();
    let Some((account, polls_left)) = ledger.operations.get_mut(name) else {
        return Err(Status::not_found("Requested entity was not found."));
    };
    let account = *account;
    if *polls_left > 0 {
        *polls_left -= 1;
        return Ok(object! { "name": name, "done": false });
    }
    ledger.accounts.onboard(account);
    let project = ledger.accounts.holder(account).project();
    Ok(object! {
        "name": name,
        "done": true,
        "response": object! {
            "@type": ONBOARDED,
            "cloudaicompanionProject": object! { "id": project, "name": project, "projectNumber": "123456789012" },
        },
    })
}

/// The quota's state in the form of lists: fraction left (left out when nothing is) and when it starts anew.
fn state(exchange: &Exchange, account: AccountId, group: Group, listed: f64) -> Json {
    let window = exchange.fake.ledger().window(account, group);
    let fraction = window.map_or(listed, |window| window.remaining_fraction());
    let reset = window.map_or_else(
        || exchange.fake.timestamp() + SignedDuration::from_hours(5),
        |window| Timestamp::try_from(window.ends()).unwrap_or(Timestamp::MAX),
    );
    let mut state = object! {};
    if fraction > 0.0 {
        state.set(
            "remainingFraction",
            if fraction >= 1.0 {
                Json::from(1_u64)
            } else {
                Json::from(fraction)
            },
        );
    }
    state.set(
        "resetTime",
        reset.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    );
    state
}

fn with(mut first: Json, more: Json) -> Json {
    if let (Json::Object(first), Json::Object(more)) = (&mut first, more) {
        first.extend(more);
    }
    first
}

fn models(exchange: &Exchange, account: AccountId) -> Json {
    let served: Vec<&Model> = exchange
        .fake
        .config()
        .models
        .iter()
        .filter(|model| {
            model.upstreams.contains(&Upstream::CodeAssist) && model.kind != Kind::Embedding
        })
        .collect();
    let ids = |wanted: &dyn Fn(&Model) -> bool| -> Vec<Json> {
        served
            .iter()
            .filter(|model| wanted(model))
            .map(|model| Json::from(&model.id))
            .collect()
    };
    let shown = ids(&|model| !model.hidden && model.kind != Kind::Image);
    let entries: Fields = served
        .iter()
        .enumerate()
        .map(|(number, model)| (model.id.clone(), entry(exchange, account, model, number)))
        .collect();
    object! {
        "models": entries,
        "defaultAgentModelId": shown.first().cloned().unwrap_or(Json::Null),
        "agentModelSorts": [object! {
            "displayName": "Recommended",
            "groups": [object! { "modelIds": shown }],
        }],
        "commandModelIds": ids(&|model| model.id == "gemini-3-flash"),
        "tabModelIds": ids(&|model| model.hidden),
        "imageGenerationModelIds": ids(&|model| model.kind == Kind::Image),
        "webSearchModelIds": ids(&|model| model.id == "gemini-3.1-flash-lite"),
        "commitMessageModelIds": ids(&|model| model.id == "gemini-2.5-flash-lite"),
        "audioTranscriptionModelIds": Vec::<Json>::new(),
        "tieredModelIds": object! {
            "flashLite": ids(&|model| model.id == "gemini-3.1-flash-lite"),
            "flash": ids(&|model| model.id == "gemini-3.8-flash-tiered"),
            "pro": ids(&|model| model.id == "gemini-3.1-pro-low"),
        },
        "deprecatedModelIds": object! {
            "gemini-3-pro-low": object! { "newModelId": "gemini-3.1-pro-low", "oldModelEnum": "MODEL_PLACEHOLDER_M7" },
        },
        "experimentIds": Vec::<Json>::new(),
    }
}

fn entry(exchange: &Exchange, account: AccountId, model: &Model, number: usize) -> Json {
    let (api, maker) = match model.group() {
        Group::Gemini => ("API_PROVIDER_GOOGLE_GEMINI", "MODEL_PROVIDER_GOOGLE"),
        Group::ThirdParty if model.id.starts_with("claude") => {
            ("API_PROVIDER_ANTHROPIC_VERTEX", "MODEL_PROVIDER_ANTHROPIC")
        }
        Group::ThirdParty => ("API_PROVIDER_OPENAI_VERTEX", "MODEL_PROVIDER_OPENAI"),
    };
    let mut entry = object! {};
    if !model.hidden {
        entry.set("displayName", &model.display_name);
    }
    entry.set("model", format!("MODEL_PLACEHOLDER_M{}", number + 100));
    entry.set("apiProvider", api);
    entry.set("modelProvider", maker);
    if !model.hidden {
        entry.set("supportsImages", true);
        entry.set("recommended", true);
        entry.set(
            "supportedMimeTypes",
            object! { "image/png": true, "image/jpeg": true, "application/pdf": true },
        );
    }
    if model.thinks() {
        entry.set("supportsThinking", true);
        match model.group() {
            Group::Gemini => {
                entry.set("thinkingBudget", -1_i64);
                entry.set("minThinkingBudget", 32_u64);
                entry.set("supportsVideo", true);
                entry.set("supportsPdf", true);
            }
            Group::ThirdParty => entry.set("thinkingBudget", 1024_u64),
        }
    }
    entry.set("maxTokens", model.input_token_limit);
    entry.set("maxOutputTokens", model.output_token_limit);
    entry.set("tokenizerType", "LLAMA_WITH_SPECIAL");
    entry.set(
        "quotaInfo",
        state(exchange, account, model.group(), model.remaining_fraction),
    );
    entry
}

fn quota_summary(exchange: &Exchange, account: AccountId) -> Json {
    let group = |group: Group, title: &str, id: &str| {
        let bucket = |window: &str, title: &str| {
            let named = object! { "bucketId": format!("{id}-{window}"), "window": window, "displayName": title };
            with(named, state(exchange, account, group, 1.0))
        };
        object! {
            "displayName": title,
            "description": "Models within this group share a quota.",
            "buckets": [bucket("weekly", "Weekly Limit"), bucket("5h", "Five Hour Limit")],
        }
    };
    object! {
        "groups": [
            group(Group::Gemini, "Gemini Models", "gemini"),
            group(Group::ThirdParty, "Claude and GPT models", "3p"),
        ],
    }
}

fn quota(exchange: &Exchange, account: AccountId) -> Json {
    let served = exchange.fake.config().models.iter();
    let buckets: Vec<Json> = served
        .filter(|model| model.upstreams.contains(&Upstream::CodeAssist) && !model.hidden)
        .map(|model| {
            let named = object! { "modelId": &model.id, "tokenType": "REQUESTS" };
            with(
                named,
                state(exchange, account, model.group(), model.remaining_fraction),
            )
        })
        .collect();
    object! { "buckets": buckets }
}

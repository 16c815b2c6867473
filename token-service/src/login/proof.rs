//! One real call with a new login: what works here works for clients.

use antigravity_runtime::random;
use serde_json::{Value, json};

use super::{
    Places,
    google::{Caller, Refusal, UNSUPPORTED_CLIENT, line},
};
use crate::{
    pool::Grant,
    project::{Answer, Upstream},
};

/// Small, and on every upstream where the account does not say what it has.
const MODEL: &str = "gemini-2.5-flash";

/// What came of it.
pub(super) struct Proof {
    pub(super) model: String,
    /// Why it failed, and what to do. `None`: it did not.
    pub(super) error: Option<String>,
    /// What it means for the project.
    pub(super) verdict: Answer,
}

/// Asks one of the account's models for a word.
pub(super) async fn prove(http: &reqwest::Client, places: &Places, grant: &Grant) -> Proof {
    let caller = Caller {
        http,
        token: &grant.secret,
        headers: &places.headers,
        user_project: (grant.upstream == Upstream::Gemini)
            .then_some(grant.google_project_id.as_str()),
    };
    let mut model = MODEL.to_owned();
    let asked = match grant.upstream {
        Upstream::Antigravity => antigravity(&caller, places, grant, &mut model).await,
        Upstream::Gemini => gemini(&caller, places, &mut model).await,
        Upstream::Vertex => vertex(&caller, places, grant, &model).await,
    };
    let (error, verdict) = match asked {
        Ok(answer) if says(&answer, UNSUPPORTED_CLIENT) => {
            let refusal = Refusal {
                status: 400,
                message: UNSUPPORTED_CLIENT.to_owned(),
                ..Refusal::default()
            };
            (Some(advice(&refusal, grant)), Answer::Neutral)
        }
        Ok(_) => (None, Answer::Ok),
        Err(refusal) => (Some(advice(&refusal, grant)), refusal.verdict()),
    };
    Proof {
        model,
        error,
        verdict,
    }
}

async fn antigravity(
    caller: &Caller<'_>,
    places: &Places,
    grant: &Grant,
    model: &mut String,
) -> Result<Value, Refusal> {
    let hosts = &places.antigravity;
    let project = json!({"project": grant.google_project_id});
    let (models, _) = caller
        .post_to_any(hosts, "/v1internal:fetchAvailableModels", &project)
        .await?;
    if let Some(listed) = small_model(&models) {
        *model = listed;
    }
    let id = random::id_bytes()
        .map(|byte| format!("{byte:02x}"))
        .concat();
    let body = json!({
        "project": grant.google_project_id,
        "requestId": format!("agent-{id}"),
        "model": model,
        "requestType": "agent",
        "request": request(),
    });
    let (answer, _) = caller
        .post_to_any(hosts, "/v1internal:generateContent", &body)
        .await?;
    Ok(answer)
}

async fn gemini(
    caller: &Caller<'_>,
    places: &Places,
    model: &mut String,
) -> Result<Value, Refusal> {
    let url = |model: &str| format!("{}/v1beta/models/{model}:generateContent", places.gemini);
    match caller.post(&url(model), &request()).await {
        Err(refusal) if refusal.status == 404 => {
            let listed = format!("{}/v1beta/models?pageSize=1000", places.gemini);
            let Some(other) = flash_model(&caller.get(&listed).await?) else {
                return Err(refusal);
            };
            *model = other;
            caller.post(&url(model), &request()).await
        }
        answered => answered,
    }
}

async fn vertex(
    caller: &Caller<'_>,
    places: &Places,
    grant: &Grant,
    model: &str,
) -> Result<Value, Refusal> {
    // Both are checked when they are taken: neither has a character that would have to be
    // escaped.
    let (project, location) = (&grant.google_project_id, &grant.location);
    let host = match (&places.vertex, location.as_str()) {
        (Some(host), _) => host.clone(),
        (None, "global") => "https://aiplatform.googleapis.com".to_owned(),
        (None, "us" | "eu") => format!("https://aiplatform.{location}.rep.googleapis.com"),
        (None, region) => format!("https://{region}-aiplatform.googleapis.com"),
    };
    let url = format!(
        "{host}/v1/projects/{project}/locations/{location}/publishers/google/models/{model}\
         :generateContent"
    );
    caller.post(&url, &request()).await
}

fn request() -> Value {
    json!({
        "contents": [{"role": "user", "parts": [{"text": "Say OK."}]}],
        "generationConfig": {"maxOutputTokens": 32},
    })
}

/// The smallest of the models that Code Assist lists: by its tiers, else the one that it
/// takes itself.
fn small_model(models: &Value) -> Option<String> {
    let tiers = &models["tieredModelIds"];
    let candidates = [
        &tiers["flashLite"][0],
        &tiers["flash"][0],
        &models["defaultAgentModelId"],
    ];
    let known = models["models"].as_object();
    let named = candidates.into_iter().filter_map(Value::as_str);
    let mut named = named.filter(|id| known.is_some_and(|known| known.contains_key(*id)));
    let first = || known?.keys().find(|id| id.starts_with("gemini-"));
    named.next().or_else(|| Some(first()?.as_str())).map(line)
}

/// A model of the Gemini API that makes text.
fn flash_model(listed: &Value) -> Option<String> {
    let special = ["image", "tts", "live", "audio", "embedding"];
    let models = listed["models"].as_array()?.iter();
    let names = models.filter_map(|model| {
        let methods = model["supportedGenerationMethods"].as_array()?;
        let generates = methods.iter().any(|method| method == "generateContent");
        let name = model["name"].as_str()?.strip_prefix("models/")?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let fits = name.contains("flash") && !special.iter().any(|part| name.contains(part));
        (generates && fits && name.bytes().all(plain)).then_some(name)
    });
    names.map(str::to_owned).next()
}

fn says(answer: &Value, text: &str) -> bool {
    let answer = answer.get("response").unwrap_or(answer);
    let parts = answer["candidates"][0]["content"]["parts"].as_array();
    let mut parts = parts.into_iter().flatten();
    parts.any(|part| {
        part["text"]
            .as_str()
            .is_some_and(|said| said.contains(text))
    })
}

/// What the refusal of a project that is stored calls for.
fn advice(refusal: &Refusal, grant: &Grant) -> String {
    let project = &grant.project;
    let again = format!("`antigravity-gateway projects refresh {project}` tries it again");
    let open = refusal
        .link
        .as_ref()
        .map(|link| format!("open {link}, and then "));
    let open = open.unwrap_or_default();
    let next = match refusal.verdict() {
        _ if refusal.is_of_client() => {
            "Google serves this account to newer versions of its own client alone, and clients' \
             requests may fail the same way"
                .to_owned()
        }
        Answer::Suspended { .. } => format!("{open}appeal to Google; {again}"),
        Answer::Limited { .. } => {
            "it is in the pool, and comes back when its limit ends".to_owned()
        }
        Answer::Denied { .. } | Answer::ValidationRequired { .. } => format!("{open}{again}"),
        _ if refusal.is_transient() => "it is in the pool, and may work the next time".to_owned(),
        _ if refusal.status == 404 => {
            "the model or the location may not be there for this project; clients may name another"
                .to_owned()
        }
        _ => format!("{open}{again}"),
    };
    format!("{refusal}; {next}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_model_is_chosen_of_those_that_are_there() {
        let models = json!({
            "models": {"claude-x": {}, "gemini-y": {}, "gemini-lite": {}},
            "tieredModelIds": {"flashLite": ["gone"], "flash": ["gemini-lite"]},
        });
        assert_eq!(small_model(&models).as_deref(), Some("gemini-lite"));
        let bare = json!({"models": {"claude-x": {}, "gemini-y": {}}});
        assert_eq!(small_model(&bare).as_deref(), Some("gemini-y"));
        assert_eq!(small_model(&json!([])), None);
        let listed = json!({"models": [
            {"name": "models/gemini-flash-image", "supportedGenerationMethods": ["generateContent"]},
            {"name": "models/gemini-4-flash", "supportedGenerationMethods": ["generateContent"]},
        ]});
        assert_eq!(flash_model(&listed).as_deref(), Some("gemini-4-flash"));
    }
}

//! Which Google project an account has on Code Assist: `loadCodeAssist`, and `onboardUser`
//! for an account that is new there.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    LoginError, ONBOARDING, Refused,
    finish::{Step, Told},
    google::{Caller, Refusal, line, link},
};
use crate::limits;

/// Between two questions whether an account is ready: soon at first, then as Google's own
/// client asks.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
const PAUSE: Duration = Duration::from_secs(5);
/// What Google itself falls back to.
const LAST_TIER: &str = "legacy-tier";

/// A way to use Code Assist.
struct Tier {
    id: String,
    /// The account brings a Google project of its own.
    own_project: bool,
}

impl Tier {
    fn of(value: &Value) -> Option<Self> {
        let own_project = &value["userDefinedCloudaicompanionProject"];
        Some(Self {
            id: value["id"].as_str()?.to_owned(),
            own_project: own_project.as_bool().unwrap_or(false),
        })
    }
}

/// Finds the account's Google project; `wanted` goes before the one that Google names.
pub(super) async fn discover(
    caller: &Caller<'_>,
    hosts: &[String],
    wanted: Option<&str>,
    told: &Told,
) -> Result<String, LoginError> {
    let mut body = json!({"metadata": metadata()});
    if let Some(wanted) = wanted {
        body["cloudaicompanionProject"] = wanted.into();
        body["metadata"]["duetProject"] = wanted.into();
    }
    let (loaded, host) = caller
        .post_to_any(hosts, "/v1internal:loadCodeAssist", &body)
        .await?;
    let current = Tier::of(&loaded["currentTier"]);
    let found = project(&loaded["cloudaicompanionProject"]);
    if let (Some(_), Some(project)) = (&current, wanted.map(str::to_owned).or(found)) {
        return Ok(project);
    }
    if let Some(ineligible) = ineligible(&loaded) {
        return Err(ineligible);
    }
    let allowed = loaded["allowedTiers"].as_array();
    let default = allowed
        .into_iter()
        .flatten()
        .find(|tier| tier["isDefault"] == true);
    let tier = current
        .or_else(|| Tier::of(default?))
        .unwrap_or_else(|| Tier {
            id: LAST_TIER.to_owned(),
            own_project: true,
        });
    if tier.own_project && wanted.is_none() {
        return Err(Refused::because(
            "PROJECT_REQUIRED",
            format!(
                "this account uses the tier {}, to which it has to bring a Google Cloud project \
                 of its own; nothing was stored. Log in again and name it: --project \
                 GOOGLE_PROJECT_ID (google_project_id)",
                line(&tier.id)
            ),
        ));
    }
    onboard(caller, host, &tier, wanted, told).await
}

/// Says what this is, and pretends to be no other program.
fn metadata() -> Value {
    json!({
        "ideType": "IDE_UNSPECIFIED",
        "platform": "PLATFORM_UNSPECIFIED",
        "pluginType": "GEMINI",
    })
}

/// A project is a text, or an object that names it.
fn project(value: &Value) -> Option<String> {
    let named = ["id", "projectId", "project"]
        .iter()
        .find_map(|key| value.get(*key));
    let project = named.unwrap_or(value).as_str()?;
    let fits = limits::is_id(project) && !limits::is_project_number(project);
    fits.then(|| project.to_owned())
}

/// Why the account may not use Code Assist, in Google's words.
fn ineligible(loaded: &Value) -> Option<LoginError> {
    let tiers = loaded["ineligibleTiers"].as_array()?;
    let allowed = loaded["allowedTiers"].as_array();
    let none_allowed = allowed.is_none_or(Vec::is_empty);
    let text = |tier: &Value, key: &str| line(tier[key].as_str().unwrap_or_default());
    let to_validate = |tier: &&Value| tier["reasonCode"] == "VALIDATION_REQUIRED";
    let tier = tiers
        .iter()
        .find(to_validate)
        .or_else(|| tiers.first().filter(|_| none_allowed))?;
    let reason = match text(tier, "reasonCode") {
        unnamed if unnamed.is_empty() => "UNKNOWN".to_owned(),
        reason => reason,
    };
    let said = ["reasonMessage", "validationErrorMessage"];
    let said = said.iter().map(|key| text(tier, key));
    let said = said.into_iter().find(|text| !text.is_empty());
    let titled = |url: &str, title: &str, default: &str| {
        let title = Some(text(tier, title)).filter(|title| !title.is_empty());
        Some((
            title.unwrap_or_else(|| default.to_owned()),
            link(&tier[url])?,
        ))
    };
    let validation = titled(
        "validationUrl",
        "validationUrlLinkText",
        "Verify the account",
    );
    let more = titled(
        "validationLearnMoreUrl",
        "validationLearnMoreLinkText",
        "Learn more",
    );
    let next = match (&validation, &more) {
        (Some((_, url)), _) => {
            format!("Open {url} as the account's owner, then log in again")
        }
        (None, Some((_, url))) => format!("{url} tells more; another account may be eligible"),
        (None, None) => "Another account may be eligible".to_owned(),
    };
    Some(LoginError::Refused(Refused {
        message: format!(
            "Google does not let this account use Code Assist: {} ({reason}); nothing was \
             stored. {next}",
            said.unwrap_or_else(|| "it does not say why".to_owned())
        ),
        reason,
        links: validation.into_iter().chain(more).collect(),
    }))
}

/// Has Google make the account ready, and waits for it.
async fn onboard(
    caller: &Caller<'_>,
    host: &str,
    tier: &Tier,
    wanted: Option<&str>,
    told: &Told,
) -> Result<String, LoginError> {
    let mut body = json!({"tierId": tier.id, "metadata": metadata()});
    // Refused for tiers that come with a project.
    if let Some(wanted) = wanted.filter(|_| tier.own_project) {
        body["cloudaicompanionProject"] = wanted.into();
        body["metadata"]["duetProject"] = wanted.into();
    }
    let url = format!("{host}/v1internal:onboardUser");
    let began = Instant::now();
    told.step(Step::Onboarding, "onboarding the account")
        .await?;
    let mut operation = caller.post(&url, &body).await?;
    let mut pauses = PAUSES.into_iter();
    while operation["done"] != true {
        if began.elapsed() >= ONBOARDING {
            return Err(LoginError::Unavailable(format!(
                "Google has not made the account ready within {} s; nothing was stored. Log in \
                 again in a few minutes: it goes on meanwhile",
                ONBOARDING.as_secs()
            )));
        }
        tokio::time::sleep(pauses.next().unwrap_or(PAUSE)).await;
        let seconds = began.elapsed().as_secs();
        told.step(
            Step::Onboarding,
            &format!("onboarding the account, {seconds} s"),
        )
        .await?;
        operation = again(caller, host, &operation, &url, &body).await?;
    }
    if let Some(error) = operation.get("error").filter(|error| error.is_object()) {
        let mut refusal = Refusal {
            status: 400,
            ..Refusal::default()
        };
        refusal.absorb(error);
        return Err(refusal.into());
    }
    let found = project(&operation["response"]["cloudaicompanionProject"]);
    wanted.map(str::to_owned).or(found).ok_or_else(|| {
        Refused::because(
            "PROJECT_REQUIRED",
            "Google has made the account ready and names no project; nothing was stored. Log in \
             again and name one: --project GOOGLE_PROJECT_ID (google_project_id)"
                .to_owned(),
        )
    })
}

/// Asks how far it is: by the operation, where there is one to ask for, else by asking the
/// same again.
async fn again(
    caller: &Caller<'_>,
    host: &str,
    operation: &Value,
    url: &str,
    body: &Value,
) -> Result<Value, Refusal> {
    let name = operation["name"].as_str().unwrap_or_default();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    if name.starts_with("operations/") && name.bytes().all(plain) && !name.contains("..") {
        match caller.get(&format!("{host}/v1internal/{name}")).await {
            Ok(operation) => return Ok(operation),
            Err(refusal) if refusal.status != 404 => return Err(refusal),
            Err(_) => {}
        }
    }
    caller.post(url, body).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_are_found_in_every_form() {
        for (value, found) in [
            (json!("quick-lamp"), Some("quick-lamp")),
            (
                json!({"id": "quick-lamp", "projectNumber": "1"}),
                Some("quick-lamp"),
            ),
            (json!({"projectId": "quick-lamp"}), Some("quick-lamp")),
            (json!("123456789012"), None),
            (json!(""), None),
            (json!("a b"), None),
            (json!(null), None),
            (json!({}), None),
        ] {
            assert_eq!(project(&value).as_deref(), found, "{value}");
        }
    }

    #[test]
    fn ineligibility_is_told_in_googles_words() {
        let loaded = json!({"ineligibleTiers": [
            {"reasonCode": "UNSUPPORTED_LOCATION", "reasonMessage": "Not here."},
            {"reasonCode": "VALIDATION_REQUIRED", "reasonMessage": "Verify\n it.",
             "validationUrl": "https://example.com/verify",
             "validationLearnMoreUrl": "javascript:alert(1)"},
        ]});
        let Some(LoginError::Refused(refused)) = ineligible(&loaded) else {
            panic!("it is eligible");
        };
        assert_eq!(refused.reason, "VALIDATION_REQUIRED");
        assert!(refused.message.contains("Verify it. (VALIDATION_REQUIRED)"));
        assert!(refused.message.contains("Open https://example.com/verify"));
        assert_eq!(refused.links.len(), 1, "a script is no link");
        let another = json!({
            "allowedTiers": [{"id": "free-tier"}],
            "ineligibleTiers": [{"reasonCode": "DASHER_USER"}],
        });
        assert!(ineligible(&another).is_none(), "another tier is allowed");
        assert!(ineligible(&json!({"ineligibleTiers": [{}]})).is_some());
    }
}

//! `thinkingConfig`: how much each generation thinks for what was asked.

use super::{
    model::{self, Generation},
    request::{Effort, Thinking},
};

/// A `thinkingConfig`, and what it makes necessary.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Config {
    /// As JSON.
    pub(super) json: String,
    /// `maxOutputTokens` where the client gave none.
    pub(super) least_output: Option<i64>,
}

/// What Claude's budget has to be below of, where the client set no limit.
const CLAUDE_OUTPUT: i64 = 64_000;
/// The least that Claude thinks.
const CLAUDE_BUDGET: i64 = 1024;

/// Whether the model has a setting for `reasoning_effort`.
fn is_adjustable(model: &str) -> bool {
    let thinks = match Generation::of(model) {
        Generation::Gemini2 | Generation::GptOss => false,
        Generation::Claude => model.contains("-thinking"),
        Generation::Gemini25 | Generation::Gemini3 => true,
    };
    thinks && !model::makes_images(model) && !model::speaks(model)
}

/// Whether how much to think was said and goes nowhere: the model has no setting for it, or
/// Claude none for so little.
pub(crate) fn goes_nowhere(asked: &Thinking, model: &str, max_output: Option<i64>) -> bool {
    let generation = Generation::of(model);
    // Claude does not think unless it is asked to.
    let is_met = generation == Generation::Claude
        && asked.effort == Some(Effort::None)
        && is_adjustable(model);
    let asks = asked.effort.is_some() || asked.budget.is_some();
    asks && !is_met
        && (asked.effort.is_some() && !is_adjustable(model)
            || config(asked, generation, model, max_output).is_none())
}

/// The setting; `None` when nothing was asked, or the model has no such setting.
pub(super) fn config(
    asked: &Thinking,
    generation: Generation,
    model: &str,
    max_output: Option<i64>,
) -> Option<Config> {
    let Thinking {
        effort,
        level,
        budget,
        include_thoughts,
    } = *asked;
    let include = include_thoughts.or(match effort {
        Some(Effort::None) | None => None,
        Some(_) => Some(true),
    });
    let effort = effort.filter(|_| is_adjustable(model));
    let mut level = level;
    let mut budget = budget;
    match (generation, effort) {
        (Generation::Gemini3, Some(effort)) => level = Some(level_of(effort, model)),
        (_, Some(effort)) => budget = Some(budget_of(effort, generation, model)?),
        (_, None) if level.is_none() && budget.is_none() && include_thoughts.is_none() => {
            return None;
        }
        (_, None) => {}
    }
    let mut least_output = None;
    if generation == Generation::Claude {
        // Budgets from 1,024 on, and below the limit of the output.
        if let Some(asked) = budget {
            let max = max_output.unwrap_or(CLAUDE_OUTPUT);
            budget = Some(asked.min(max - 1)).filter(|budget| *budget >= CLAUDE_BUDGET);
            budget?;
            least_output = Some(CLAUDE_OUTPUT);
        }
    }
    let mut members = Vec::new();
    if let Some(level) = level {
        members.push(format!("\"thinkingLevel\":\"{level}\""));
    }
    if let Some(budget) = budget {
        members.push(format!("\"thinkingBudget\":{budget}"));
    }
    if let Some(include) = include {
        members.push(format!("\"includeThoughts\":{include}"));
    }
    (!members.is_empty()).then(|| Config {
        json: format!("{{{}}}", members.join(",")),
        least_output,
    })
}

/// Not every model of the third generation knows every level: only Flash has MINIMAL, and
/// 3 Pro has no MEDIUM. Source: <https://ai.google.dev/gemini-api/docs/thinking>.
fn level_of(effort: Effort, model: &str) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal if model.contains("flash") => "MINIMAL",
        Effort::None | Effort::Minimal | Effort::Low => "LOW",
        Effort::Medium if model.starts_with("gemini-3-pro") => "HIGH",
        Effort::Medium => "MEDIUM",
        Effort::High => "HIGH",
    }
}

/// The budgets of Google's own OpenAI endpoint:
/// <https://ai.google.dev/gemini-api/docs/openai#thinking>.
fn budget_of(effort: Effort, generation: Generation, model: &str) -> Option<i64> {
    match effort {
        Effort::None if generation == Generation::Claude => None,
        // 2.5 Pro cannot but think.
        Effort::None if model.contains("pro") => Some(128),
        Effort::None => Some(0),
        Effort::Minimal | Effort::Low => Some(1024),
        Effort::Medium => Some(8192),
        Effort::High => Some(24576),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(asked: Thinking, model: &str, max: Option<i64>) -> Option<String> {
        config(&asked, Generation::of(model), model, max).map(|config| config.json)
    }

    fn effort(effort: Effort) -> Thinking {
        Thinking {
            effort: Some(effort),
            ..Thinking::default()
        }
    }

    #[test]
    fn each_generation_has_its_own_measure() {
        for (asked, model, expected) in [
            (
                Effort::None,
                "gemini-3-flash",
                Some(r#"{"thinkingLevel":"MINIMAL"}"#),
            ),
            (
                Effort::None,
                "gemini-3.1-pro",
                Some(r#"{"thinkingLevel":"LOW"}"#),
            ),
            (
                Effort::Medium,
                "gemini-3-pro-preview",
                Some(r#"{"thinkingLevel":"HIGH","includeThoughts":true}"#),
            ),
            (
                Effort::None,
                "gemini-2.5-pro",
                Some(r#"{"thinkingBudget":128}"#),
            ),
            (
                Effort::High,
                "gemini-2.5-flash",
                Some(r#"{"thinkingBudget":24576,"includeThoughts":true}"#),
            ),
            (
                Effort::High,
                "claude-opus-4-6-thinking",
                Some(r#"{"thinkingBudget":24576,"includeThoughts":true}"#),
            ),
            (Effort::None, "claude-opus-4-6-thinking", None),
        ] {
            assert_eq!(
                json(effort(asked), model, None).as_deref(),
                expected,
                "{model}"
            );
        }
        for model in [
            "gpt-oss-120b-medium",
            "claude-sonnet-4-6",
            "gemini-2.0-flash",
            "gemini-3-pro-image",
            "gemini-2.5-flash-preview-tts",
        ] {
            assert!(!is_adjustable(model), "{model}");
        }
    }

    #[test]
    fn claude_thinks_below_its_limit_or_not_at_all() {
        let low = effort(Effort::Low);
        let claude = "claude-sonnet-4-6-thinking";
        assert_eq!(json(low, claude, Some(1024)), None);
        assert_eq!(
            json(effort(Effort::High), claude, Some(4096)).as_deref(),
            Some(r#"{"thinkingBudget":4095,"includeThoughts":true}"#)
        );
    }

    #[test]
    fn nothing_is_sent_when_nothing_was_asked() {
        assert_eq!(json(Thinking::default(), "gemini-3-flash", None), None);
        let told = Thinking {
            include_thoughts: Some(false),
            ..effort(Effort::Low)
        };
        assert_eq!(
            json(told, "gemini-3-flash", None).as_deref(),
            Some(r#"{"thinkingLevel":"LOW","includeThoughts":false}"#)
        );
    }
}

//! Token counts as Google tells them (`usageMetadata`).

use crate::json::{self, Kind, Raw, WrongType};

/// The counts of one answer. Google repeats them on many chunks of a stream,
/// cumulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// `promptTokenCount`, cached tokens included.
    pub prompt: u64,
    /// `candidatesTokenCount`.
    pub candidates: u64,
    /// `thoughtsTokenCount`.
    pub thoughts: u64,
    /// `cachedContentTokenCount`.
    pub cached: u64,
    /// `toolUsePromptTokenCount`.
    pub tool_use_prompt: u64,
    /// `totalTokenCount`.
    pub total: u64,
    /// Of the prompt, audio.
    pub prompt_audio: u64,
    /// Of the candidates, audio.
    pub candidates_audio: u64,
}

impl Usage {
    /// OpenAI's `prompt_tokens`.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        self.prompt.saturating_add(self.tool_use_prompt)
    }

    /// OpenAI's `completion_tokens`: thoughts included, unless Google's total says that
    /// the candidates hold them already.
    #[must_use]
    pub fn completion_tokens(&self) -> u64 {
        let without_thoughts = self.prompt_tokens().saturating_add(self.candidates);
        if self.thoughts > 0 && without_thoughts == self.total {
            self.candidates
        } else {
            self.candidates.saturating_add(self.thoughts)
        }
    }

    /// OpenAI's `total_tokens`, which is the sum by OpenAI's definition.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens()
            .saturating_add(self.completion_tokens())
    }
}

/// Of an answer that was asked for in several calls.
impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        for (mine, others) in [
            (&mut self.prompt, other.prompt),
            (&mut self.candidates, other.candidates),
            (&mut self.thoughts, other.thoughts),
            (&mut self.cached, other.cached),
            (&mut self.tool_use_prompt, other.tool_use_prompt),
            (&mut self.total, other.total),
            (&mut self.prompt_audio, other.prompt_audio),
            (&mut self.candidates_audio, other.candidates_audio),
        ] {
            *mine = mine.saturating_add(others);
        }
    }
}

/// `usageMetadata` as one chunk has it: any field may be missing.
#[derive(Clone, Debug, Default)]
pub struct UsageMetadata {
    prompt: Option<u64>,
    candidates: Option<u64>,
    thoughts: Option<u64>,
    cached: Option<u64>,
    tool_use_prompt: Option<u64>,
    total: Option<u64>,
    prompt_audio: Option<u64>,
    candidates_audio: Option<u64>,
}

impl UsageMetadata {
    pub(super) fn read(raw: Raw<'_>) -> Result<Self, WrongType> {
        let mut this = Self::default();
        for (name, raw) in json::object(raw)?.iter() {
            match &*name {
                "promptTokenCount" => this.prompt = count(raw),
                "candidatesTokenCount" => this.candidates = count(raw),
                "thoughtsTokenCount" => this.thoughts = count(raw),
                "cachedContentTokenCount" => this.cached = count(raw),
                "toolUsePromptTokenCount" => this.tool_use_prompt = count(raw),
                "totalTokenCount" => this.total = count(raw),
                "promptTokensDetails" => this.prompt_audio = Some(audio(raw)?),
                "candidatesTokensDetails" => this.candidates_audio = Some(audio(raw)?),
                _ => {}
            }
        }
        Ok(this)
    }
}

/// A count as a number, or as the text that proto3's JSON writes 64-bit numbers as.
fn count(raw: Raw<'_>) -> Option<u64> {
    match raw.kind() {
        Kind::Number => raw.get().parse().ok(),
        _ => raw.as_string()?.text().parse().ok(),
    }
}

/// The sum of what `ModalityCount`s count of audio.
fn audio(details: Raw<'_>) -> Result<u64, WrongType> {
    // 8 is AUDIO where enums come as numbers.
    let is_audio = |modality: Raw<'_>| match modality.as_string() {
        Some(name) => name.says("AUDIO"),
        None => modality.get() == "8",
    };
    let mut sum = 0_u64;
    for detail in json::array(details)? {
        let detail = json::object(detail)?;
        if detail.get("modality").is_some_and(is_audio) {
            let told = detail.get("tokenCount").or(detail.get("token_count"));
            sum = sum.saturating_add(told.and_then(count).unwrap_or(0));
        }
    }
    Ok(sum)
}

/// Gathers the counts of a stream's chunks.
#[derive(Clone, Debug, Default)]
pub struct UsageTally(Option<Usage>);

impl UsageTally {
    /// Takes one chunk's counts. One with a total stands for itself, since fields of
    /// several chunks need not add up; one without completes what was there.
    pub fn add(&mut self, chunk: &UsageMetadata) {
        let counted = chunk.prompt.is_some() || chunk.candidates.is_some() || chunk.total.is_some();
        if !counted && self.0.is_none() {
            // Some chunks carry a trafficType and no count.
            return;
        }
        let base = match chunk.total {
            Some(_) => Usage::default(),
            None => self.0.unwrap_or_default(),
        };
        self.0 = Some(Usage {
            prompt: chunk.prompt.unwrap_or(base.prompt),
            candidates: chunk.candidates.unwrap_or(base.candidates),
            thoughts: chunk.thoughts.unwrap_or(base.thoughts),
            cached: chunk.cached.unwrap_or(base.cached),
            tool_use_prompt: chunk.tool_use_prompt.unwrap_or(base.tool_use_prompt),
            total: chunk.total.unwrap_or(base.total),
            prompt_audio: chunk.prompt_audio.unwrap_or(base.prompt_audio),
            candidates_audio: chunk.candidates_audio.unwrap_or(base.candidates_audio),
        });
    }

    /// The counts, if any were told.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(chunks: &[&str]) -> Option<Usage> {
        let mut tally = UsageTally::default();
        for chunk in chunks {
            let chunk = json::Document::read(chunk).expect("JSON");
            tally.add(&UsageMetadata::read(chunk.root()).expect("usage"));
        }
        tally.usage()
    }

    #[test]
    fn thoughts_are_counted_once() {
        let beside = tally(&[r#"{"promptTokenCount":10,"candidatesTokenCount":5,"thoughtsTokenCount":7,"totalTokenCount":22}"#]).expect("counted");
        assert_eq!(
            (beside.completion_tokens(), beside.total_tokens()),
            (12, 22)
        );
        let inside = tally(&[r#"{"promptTokenCount":10,"candidatesTokenCount":12,"thoughtsTokenCount":7,"totalTokenCount":22}"#]).expect("counted");
        assert_eq!(
            (inside.completion_tokens(), inside.total_tokens()),
            (12, 22)
        );
    }

    #[test]
    fn counts_beyond_measure_do_not_overflow() {
        let most = u64::MAX;
        let usage = tally(&[&format!(
            r#"{{"promptTokenCount":{most},"candidatesTokenCount":{most},"totalTokenCount":1,
                "promptTokensDetails":[{{"modality":"AUDIO","tokenCount":{most}}},{{"modality":"AUDIO","tokenCount":1}}]}}"#
        )])
        .expect("counted");
        assert_eq!((usage.total_tokens(), usage.prompt_audio), (most, most));
    }

    #[test]
    fn the_last_total_counts_whole() {
        let usage = tally(&[
            r#"{"promptTokenCount":10,"thoughtsTokenCount":99,"totalTokenCount":10}"#,
            r#"{"trafficType":"ON_DEMAND"}"#,
            r#"{"promptTokenCount":10,"candidatesTokenCount":"2","totalTokenCount":12}"#,
        ])
        .expect("counted");
        assert_eq!((usage.thoughts, usage.total_tokens()), (0, 12));
        assert_eq!(tally(&[r#"{"trafficType":"ON_DEMAND"}"#]), None);
    }
}

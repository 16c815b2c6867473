//! Google's counts as OpenAI counts: part of the contract, since what clients are told and what
//! the ledger holds have to agree.

use crate::v1::Usage;

impl Usage {
    /// OpenAI's `prompt_tokens`.
    #[must_use]
    pub fn openai_prompt_tokens(&self) -> u64 {
        self.prompt_tokens
            .saturating_add(self.tool_use_prompt_tokens)
    }

    /// OpenAI's `completion_tokens`: thoughts included, unless Google's total says that the
    /// candidates hold them already.
    #[must_use]
    pub fn openai_completion_tokens(&self) -> u64 {
        let without_thoughts = self
            .openai_prompt_tokens()
            .saturating_add(self.candidates_tokens);
        if self.thoughts_tokens > 0 && without_thoughts == self.total_tokens {
            self.candidates_tokens
        } else {
            self.candidates_tokens.saturating_add(self.thoughts_tokens)
        }
    }
}

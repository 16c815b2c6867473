//! OpenAI chat completions to Gemini and back: pure, without I/O, clock or randomness.

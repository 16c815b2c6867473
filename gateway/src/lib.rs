//! Serves the OpenAI HTTP API and answers with Gemini.

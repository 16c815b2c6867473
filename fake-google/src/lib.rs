//! A faithful offline Google: OAuth, Code Assist, the Gemini API and Vertex AI, with scripted faults.

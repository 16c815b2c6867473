//! How an answer of Code Assist is told, for what is measured.

use translate::chat::{
    audio::AudioFormat,
    names::Names,
    reply::{Settings, Shape},
};

pub(crate) fn settings(shape: Shape) -> Settings {
    Settings {
        id: "chatcmpl-0123456789abcdef0123456789abcdef".to_owned(),
        created: 1_767_225_600,
        model: "gemini-2.5-flash".to_owned(),
        shape,
        first_call_only: false,
        legacy_functions: false,
        names: Names::default(),
        signature_id_limit: 4096,
        audio: AudioFormat::Pcm16,
        choice: None,
        wrapped: true,
    }
}

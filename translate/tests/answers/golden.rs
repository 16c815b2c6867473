//! A folder for each answer worth remembering: what the upstream sends
//! (`upstream.sse` or `upstream.json`), what the client is told of it as a stream
//! (`stream.sse`) and as a whole (`object.json`), and what it is worth (`verdict`).
//! `settings.json` is there where the defaults are not meant.
//!
//! `UPDATE_GOLDEN=1` writes what the client is told now.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use translate::{
    chat::{
        audio::AudioFormat,
        reply::{Settings, Shape},
    },
    sse::Framing,
};

use crate::{
    fold::folded,
    played::{End, Played, STREAM, play, settings},
};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_answers");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    cases
}

fn settings_of(case: &Path, shape: Shape) -> Settings {
    let file = fs::read(case.join("settings.json"));
    let wanted: Value = file.map_or(Value::Null, |file| serde_json::from_slice(&file).unwrap());
    let mut settings = settings(shape);
    for (key, value) in wanted.as_object().into_iter().flatten() {
        match key.as_str() {
            "wrapped" => settings.wrapped = value.as_bool().unwrap(),
            "legacy_functions" => settings.legacy_functions = value.as_bool().unwrap(),
            "first_call_only" => settings.first_call_only = value.as_bool().unwrap(),
            "signature_id_limit" => {
                settings.signature_id_limit = value.as_u64().unwrap() as usize;
            }
            "audio" if value == "wav" => settings.audio = AudioFormat::Wav,
            "include_usage" if shape != Shape::Object => {
                settings.shape = Shape::Stream {
                    include_usage: value.as_bool().unwrap(),
                };
            }
            "include_usage" => {}
            other => panic!("{}: {other}", case.display()),
        }
    }
    settings
}

fn played(case: &Path, shape: Shape) -> Played {
    let settings = settings_of(case, shape);
    match fs::read(case.join("upstream.sse")) {
        Ok(bytes) => play(&bytes, &[], Framing::Sse, settings),
        Err(_) => {
            let bytes = fs::read(case.join("upstream.json")).unwrap();
            play(&bytes, &[], Framing::Json, settings)
        }
    }
}

fn verdict(stream: &Played, object: &Played) -> String {
    let told = |played: &Played| match &played.end {
        End::Ended(verdict) => format!("{verdict:?}"),
        End::Broken(broken) => format!("{broken:?}"),
    };
    let (stream, object) = (told(stream), told(object));
    assert_eq!(stream, object);
    stream + "\n"
}

#[test]
fn each_answer_is_told_as_it_was() {
    let update = env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let (stream, object) = (played(&case, STREAM), played(&case, Shape::Object));
        let mut files = vec![("verdict", verdict(&stream, &object))];
        if !stream.told.is_empty() {
            files.push(("stream.sse", stream.told));
        }
        if !object.told.is_empty() {
            let object: Value = serde_json::from_str(&object.told).unwrap();
            files.push(("object.json", format!("{object:#}\n")));
        }
        let expected: BTreeSet<&str> = files.iter().map(|(name, _)| *name).collect();
        for name in ["stream.sse", "object.json"] {
            let file = case.join(name);
            if !expected.contains(name) && file.exists() {
                if update {
                    fs::remove_file(file).unwrap();
                } else {
                    wrong.push(format!("{} is no longer told", file.display()));
                }
            }
        }
        for (name, told) in files {
            let file = case.join(name);
            if update {
                fs::write(file, told).unwrap();
            } else if fs::read_to_string(&file).ok().as_ref() != Some(&told) {
                wrong.push(format!(
                    "{} is not what is told now:\n{told}",
                    file.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_streams_add_up_to_the_objects() {
    let mut compared = 0;
    for case in cases() {
        let (stream, object) = (played(&case, STREAM), played(&case, Shape::Object));
        let wav = settings_of(&case, STREAM).audio == AudioFormat::Wav;
        let (chunks, done) = stream.chunks();
        assert_eq!(done, stream.is_success(), "{}", case.display());
        let counted = chunks.last().is_some_and(|chunk| !chunk["usage"].is_null());
        if done && counted && !wav {
            assert_eq!(folded(&chunks), object.object(), "{}", case.display());
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn any_split_of_the_bytes_tells_the_same() {
    for case in cases() {
        let Ok(bytes) = fs::read(case.join("upstream.sse")) else {
            continue;
        };
        let at_once = played(&case, STREAM);
        for at in 0..bytes.len() {
            let split = play(&bytes, &[at], Framing::Sse, settings_of(&case, STREAM));
            assert_eq!(split, at_once, "{} split at {at}", case.display());
        }
        let every: Vec<usize> = (0..bytes.len()).collect();
        let split = play(&bytes, &every, Framing::Sse, settings_of(&case, STREAM));
        assert_eq!(split, at_once, "{}", case.display());
    }
}

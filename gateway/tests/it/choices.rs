//! Several choices: of one call where Google gives several candidates, else of several
//! calls side by side.

use fake_google::{Action, Config, ErrorForm, ErrorName, Fault};
use serde_json::{Value, json};

use crate::support::{Answer, MODEL, Setup, World, hello, with};

fn three(model: &str) -> Value {
    with(with(hello(), "model", json!(model)), "n", json!(3))
}

fn counted(body: Value) -> Value {
    with(
        with(body, "stream", json!(true)),
        "stream_options",
        json!({"include_usage": true}),
    )
}

fn texts(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let object = answer.json();
    let choices = object["choices"].as_array().unwrap();
    let indexes: Vec<&Value> = choices.iter().map(|choice| &choice["index"]).collect();
    assert_eq!(indexes, [0, 1, 2]);
    let texts = choices.iter().map(|choice| {
        assert_eq!(choice["finish_reason"], "stop");
        choice["message"]["content"].as_str().unwrap().to_owned()
    });
    texts.collect()
}

fn streamed(answer: &Answer) -> (Vec<String>, Value) {
    let (chunks, done) = answer.chunks();
    assert!(done, "{}", answer.body);
    let mut texts = vec![String::new(); 3];
    let mut ends = [0; 3];
    for choice in chunks
        .iter()
        .flat_map(|chunk| chunk["choices"].as_array().unwrap())
    {
        let index = choice["index"].as_u64().unwrap() as usize;
        texts[index] += choice["delta"]["content"].as_str().unwrap_or_default();
        ends[index] += usize::from(choice["finish_reason"] == "stop");
    }
    assert_eq!(ends, [1, 1, 1]);
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]
        && chunk["created"] == chunks[0]["created"]));
    let counts: Vec<&Value> = chunks
        .iter()
        .filter(|chunk| !chunk["usage"].is_null())
        .collect();
    assert_eq!(counts.len(), 1);
    assert_eq!(counts[0]["choices"], json!([]));
    (texts, counts[0]["usage"].clone())
}

fn asked(world: &World) -> u64 {
    ["p1", "p2", "p3"]
        .iter()
        .map(|project| world.asked(project))
        .sum()
}

#[tokio::test]
async fn candidates_are_choices() {
    let world = Setup::default().start().await;
    let whole = world.chat(&three(MODEL)).await;
    let texts = texts(&whole);
    assert!(
        texts[0].contains("Hello") && texts[2].contains("Take 3"),
        "{texts:?}"
    );
    let (told, usage) = streamed(&world.chat(&counted(three(MODEL))).await);
    assert_eq!((told, usage), (texts, whole.json()["usage"].clone()));
    assert_eq!(asked(&world), 2);
}

#[tokio::test]
async fn where_google_gives_one_candidate_each_choice_is_a_call() {
    let google = Config {
        max_candidates: 1,
        ..Config::default()
    };
    let world = Setup {
        google,
        ..Setup::default()
    }
    .start()
    .await;
    let alone = world.chat(&hello()).await.json()["usage"].clone();
    let whole = world.chat(&three(MODEL)).await;
    assert!(texts(&whole).iter().all(|text| text.contains("Hello")));
    let usage = whole.json()["usage"].clone();
    for key in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert_eq!(
            usage[key].as_u64().unwrap(),
            3 * alone[key].as_u64().unwrap()
        );
    }
    // One alone, one refused, three by three projects.
    assert_eq!(asked(&world), 5);
    let answer = world.chat(&counted(three(MODEL))).await;
    assert_eq!(streamed(&answer), (texts(&whole), usage));
    // Nobody is asked again for what was refused.
    assert_eq!(asked(&world), 8);
    // What is not asked for is not told.
    let silent = world.chat(&with(three(MODEL), "stream", json!(true))).await;
    let (chunks, done) = silent.chunks();
    assert!(done && chunks.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn what_an_upstream_refuses_is_remembered_of_each() {
    let google = Config {
        max_candidates: 1,
        ..Config::default()
    };
    let setup = Setup {
        google,
        ..Setup::projects(&[("p1", "gemini"), ("p2", "vertex")])
    };
    let world = setup.start().await;
    for calls in [4, 7, 10] {
        texts(&world.chat(&three(MODEL)).await);
        assert_eq!(asked(&world), calls);
    }
    // Another model may take it.
    texts(&world.chat(&three("gemini-2.5-pro")).await);
    assert_eq!(asked(&world), 14);
}

#[tokio::test]
async fn candidates_that_google_leaves_out_are_asked_for() {
    let world = Setup::projects(&[("p1", "gemini")]).start().await;
    let candidate = |index: u32| {
        let content = json!({"role": "model", "parts": [{"text": format!("Take {index}")}]});
        json!({"candidates": [{"index": index, "content": content, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 2, "totalTokenCount": 12}})
    };
    let alone = world.chat(&hello()).await.json()["usage"]["prompt_tokens"].as_u64();
    for (told, missing) in [
        (vec![0], 2),
        (vec![1], 2),
        (vec![2, 0], 1),
        (vec![0, 1, 2], 0),
    ] {
        let mut answers = Vec::new();
        for body in [three(MODEL), counted(three(MODEL))] {
            let before = asked(&world);
            let chunks = told.iter().map(|index| candidate(*index)).collect();
            world
                .google
                .fake()
                .script(Fault::once(Action::Answer { chunks }));
            let answer = world.chat(&body).await;
            assert_eq!(asked(&world) - before, 1 + missing, "{told:?}");
            answers.push(answer);
        }
        let texts = texts(&answers[0]);
        for (index, text) in texts.iter().enumerate() {
            let is_told = told.contains(&(index as u32));
            assert_eq!(*text == format!("Take {index}"), is_told, "{texts:?}");
            assert!(is_told || text.contains("Hello"), "{texts:?}");
        }
        let usage = answers[0].json()["usage"].clone();
        assert_eq!(
            usage["prompt_tokens"].as_u64(),
            alone.map(|alone| 10 + missing * alone)
        );
        assert_eq!(streamed(&answers[1]), (texts, usage));
    }
}

#[tokio::test]
async fn a_refused_prompt_is_not_asked_anew_for_each_choice() {
    let world = Setup::projects(&[("p1", "gemini")]).start().await;
    for body in [three(MODEL), counted(three(MODEL))] {
        let chunks = vec![json!({"promptFeedback": {"blockReason": "SAFETY"}})];
        world
            .google
            .fake()
            .script(Fault::once(Action::Answer { chunks }));
        let before = asked(&world);
        let answer = world.chat(&body).await;
        assert_eq!(asked(&world) - before, 1);
        let ends = answer.body.matches("\"finish_reason\":\"content_filter\"");
        assert_eq!((answer.status, ends.count()), (200, 1), "{}", answer.body);
    }
}

#[tokio::test]
async fn calls_of_several_choices_have_their_own_ids() {
    let google = Config {
        max_candidates: 1,
        ..Config::default()
    };
    let setup = Setup {
        google,
        ..Setup::projects(&[("p1", "gemini")])
    };
    let world = setup.start().await;
    let tool = json!({"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}});
    let mut body = with(three(MODEL), "tools", json!([tool]));
    body["messages"] = json!([{"role": "user", "content": "Please call get_time"}]);
    let object = world.chat(&body).await.json();
    let mut ids: Vec<&str> = object["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| choice["message"]["tool_calls"][0]["id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "{object}");
}

#[tokio::test]
async fn claude_is_asked_once_for_each_choice() {
    let world = Setup::default().start().await;
    let body = three("claude-sonnet-4-6");
    assert!(
        texts(&world.chat(&body).await)
            .iter()
            .all(|text| text.contains("Hello"))
    );
    assert_eq!(asked(&world), 3);
}

#[tokio::test]
async fn one_choice_that_fails_fails_the_answer() {
    let google = Config {
        max_candidates: 1,
        ..Config::default()
    };
    let setup = Setup {
        google,
        environment: vec![("MAX_ATTEMPTS", "1".to_owned())],
        ..Setup::default()
    };
    let world = setup.start().await;
    let fake = world.google.fake();
    let overloaded = || {
        Fault::once(Action::Error {
            error: ErrorName::Overloaded,
            form: ErrorForm::Object,
            retry_after: None,
        })
    };
    for stream in [false, true] {
        // The first is refused anyway, and the next is one of three.
        fake.script(Fault::once(Action::Delay {
            before_commit_ms: 0,
            before_headers_ms: 0,
            before_first_event_ms: 0,
            between_events_ms: 0,
        }));
        fake.script(overloaded());
        let answer = world
            .chat(&with(three(MODEL), "stream", json!(stream)))
            .await;
        if answer.status == 200 {
            let (chunks, done) = answer.chunks();
            assert!(stream && !done);
            assert!(chunks.last().unwrap()["error"]["message"].is_string());
        } else {
            assert_eq!(answer.status, 503, "{}", answer.body);
        }
    }
}

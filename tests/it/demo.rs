//! `demo`: an answer through everything, and nothing left behind.

use crate::support::Folder;

#[test]
fn an_answer_comes_through_and_nothing_stays() {
    let folder = Folder::new();
    let temporary = Folder::new();
    let done = folder
        .run(
            &["demo", "--once", "--port", "0"],
            &[
                ("TMPDIR", temporary.path().to_str().unwrap()),
                // What is configured for real, or for the network, must not be met.
                ("HTTPS_PROXY", "http://127.0.0.1:9"),
                ("HTTP_PROXY", "http://127.0.0.1:9"),
                ("DATABASE_URL", "sqlite://real/tokens.db"),
                ("ANTIGRAVITY_BASE_URLS", "https://example.invalid"),
            ],
        )
        .exits_with(0);
    done.says("one event at a time")
        .says("fake-project-1")
        .says("fake-project-2")
        .says("fake-project-3")
        .says("0 of its");
    assert!(folder.names().is_empty(), "{:?}", folder.names());
    assert!(temporary.names().is_empty(), "{:?}", temporary.names());
}

#[test]
fn it_serves_on_until_it_is_told_to_end() {
    let folder = Folder::new();
    let demo = folder.start(&["demo", "--port", "0"], &[]);
    let text = demo.stdout_until("Ctrl-C ends it");
    assert!(text.contains("curl -N http://127.0.0.1:"), "{text}");
    assert!(text.contains("from openai import OpenAI"), "{text}");
    demo.terminate();
    demo.wait().exits_with(0);
}

//! A client of the fake Google.

use std::time::Duration;

use fake_google::{API_KEY, CLIENT_ID, CLIENT_SECRET, Config, Running};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A fake Google in the clear with an access token for each of its first accounts.
pub(crate) struct Google {
    pub(crate) running: Running,
    pub(crate) http: reqwest::Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    pub(crate) fn content_type(&self) -> &str {
        self.headers["content-type"].to_str().unwrap()
    }

    /// The events of a stream.
    pub(crate) fn events(&self) -> Vec<Value> {
        let events = self
            .body
            .split("\r\n\r\n")
            .filter(|event| !event.is_empty());
        events
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect()
    }

    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }
}

/// A client that trusts nobody but `ca`, if that.
pub(crate) fn client(ca: Option<&str>) -> reqwest::ClientBuilder {
    // A second test of this process finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificates = ca.map(|ca| reqwest::Certificate::from_pem(ca.as_bytes()).unwrap());
    reqwest::Client::builder()
        .tls_certs_only(certificates)
        .timeout(Duration::from_secs(20))
}

impl Google {
    pub(crate) async fn start(config: Config) -> Self {
        let running = Running::start(config, false).await.unwrap();
        Self {
            running,
            http: client(None).build().unwrap(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.base_url())
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Answer {
        self.form(
            "/token",
            &[
                ("client_id", CLIENT_ID),
                ("client_secret", CLIENT_SECRET),
                ("grant_type", "refresh_token"),
                ("refresh_token", refresh_token),
            ],
        )
        .await
    }

    pub(crate) async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        read(self.http.post(self.url(path)).form(fields))
            .await
            .unwrap()
    }

    /// An access token of account number `n`.
    pub(crate) async fn token(&self, n: usize) -> String {
        let answer = self.refresh(&format!("1//fake-refresh-token-{n}")).await;
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        read(self.http.get(self.url(path)).bearer_auth(token))
            .await
            .unwrap()
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.try_post(path, token, body).await.unwrap()
    }

    pub(crate) async fn try_post(
        &self,
        path: &str,
        token: &str,
        body: &Value,
    ) -> reqwest::Result<Answer> {
        read(
            self.http
                .post(self.url(path))
                .bearer_auth(token)
                .body(body.to_string()),
        )
        .await
    }

    /// A method of the Gemini API with the key that it knows.
    pub(crate) async fn gemini(&self, model_and_verb: &str, body: &Value) -> Answer {
        self.try_gemini(model_and_verb, body).await.unwrap()
    }

    pub(crate) async fn try_gemini(
        &self,
        model_and_verb: &str,
        body: &Value,
    ) -> reqwest::Result<Answer> {
        let url = self.url(&format!("/v1beta/models/{model_and_verb}"));
        read(
            self.http
                .post(url)
                .header("x-goog-api-key", API_KEY)
                .body(body.to_string()),
        )
        .await
    }

    /// A method of Code Assist for account 1.
    pub(crate) async fn code_assist(&self, verb: &str, model: &str, request: Value) -> Answer {
        let token = self.token(1).await;
        let body = json!({ "project": "fake-project-1", "model": model, "request": request });
        self.post(&format!("/v1internal:{verb}"), &token, &body)
            .await
    }

    /// What comes over a socket for a streamed request of Code Assist, headers and all, until the connection ends.
    pub(crate) async fn raw(
        &self,
        verb: &str,
        model: &str,
        request: Value,
    ) -> std::io::Result<String> {
        let token = self.token(1).await;
        let body =
            json!({ "project": "fake-project-1", "model": model, "request": request }).to_string();
        let mut socket = TcpStream::connect(self.running.address()).await.unwrap();
        let head = format!(
            "POST /v1internal:{verb} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        socket
            .write_all(format!("{head}{body}").as_bytes())
            .await
            .unwrap();
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).await?;
        Ok(String::from_utf8(bytes).unwrap())
    }
}

/// Sends a request and reads its answer to the end.
pub(crate) async fn read(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer {
        status,
        headers,
        body: response.text().await?,
    })
}

/// A request that says `text`.
pub(crate) fn say(text: &str) -> Value {
    json!({ "contents": [{ "role": "user", "parts": [{ "text": text }] }] })
}

/// The parts of the first candidate.
pub(crate) fn parts(response: &Value) -> &Vec<Value> {
    response["candidates"][0]["content"]["parts"]
        .as_array()
        .unwrap()
}

/// The text of the first candidate, thoughts aside.
pub(crate) fn text(response: &Value) -> String {
    parts(response)
        .iter()
        .filter(|part| part["thought"] != true)
        .filter_map(|part| part["text"].as_str())
        .collect()
}

/// Waits until something about the fake is so.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came to be");
}

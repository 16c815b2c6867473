//! The status page as a browser and as an attacker see it: over HTTP, with a real token-service
//! behind it.

mod attacks;
mod figures;
mod sessions;

use reqwest::header::HeaderMap;

use crate::support::{Answer, Setup, World, eventually};

const ADMIN_TOKEN: &str = "planted-admin-token";

/// A world whose gateway has an admin listener, and a browser's part.
struct Page {
    world: World,
    admin: String,
    scheme: &'static str,
    client: reqwest::Client,
}

/// Somebody who is signed in.
struct Visitor<'p> {
    page: &'p Page,
    /// `name=value`, as a browser sends it.
    cookie: String,
    csrf: String,
}

impl Page {
    async fn start(mut setup: Setup) -> Self {
        let admin = fake_google::unused_address().unwrap().to_string();
        setup.environment.push(("ADMIN_LISTEN", admin.clone()));
        let world = setup.start().await;
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only([])
            .build()
            .unwrap();
        let token_service = world.token_address().to_string();
        eventually("both answer", || {
            let open = |address: &String| std::net::TcpStream::connect(address).is_ok();
            open(&admin) && open(&token_service)
        })
        .await;
        Self {
            world,
            admin,
            scheme: "http",
            client,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.admin)
    }

    async fn get(&self, path: &str, headers: HeaderMap) -> Answer {
        let request = self.client.get(self.url(path)).headers(headers);
        Answer::of(request.send().await.unwrap()).await
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)], headers: HeaderMap) -> Answer {
        let request = self.client.post(self.url(path)).form(fields);
        Answer::of(request.headers(headers).send().await.unwrap()).await
    }

    async fn try_token(&self, token: &str) -> Answer {
        self.post("/login", &[("token", token)], HeaderMap::new())
            .await
    }

    /// In the token-service's place somebody who takes connections and says nothing, until what is
    /// returned is dropped.
    async fn silence_tokens(&mut self) -> std::net::TcpListener {
        self.world.stop_tokens().await;
        loop {
            match std::net::TcpListener::bind(self.world.token_address()) {
                Ok(silent) => return silent,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    }

    async fn sign_in(&self) -> Visitor<'_> {
        let answer = self.try_token(ADMIN_TOKEN).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        assert_eq!(answer.header("location"), Some("./"));
        let cookie = answer.header("set-cookie").unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let mut visitor = Visitor {
            page: self,
            cookie,
            csrf: String::new(),
        };
        let page = visitor.look("/").await;
        let (_, rest) = page.split_once("name=\"csrf\" value=\"").unwrap();
        rest.split('"')
            .next()
            .unwrap()
            .clone_into(&mut visitor.csrf);
        visitor
    }
}

impl Visitor<'_> {
    fn headers(&self) -> HeaderMap {
        headers(&[("cookie", &self.cookie)])
    }

    /// The page, which is there.
    async fn look(&self, path: &str) -> String {
        let answer = self.page.get(path, self.headers()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body.contains("id=\"verdict\""), "{}", answer.body);
        answer.body
    }

    /// The page, once it has `text`.
    async fn look_until(&self, text: &str) -> String {
        for _ in 0..400 {
            let page = self.look("/").await;
            if page.contains(text) {
                return page;
            }
            // What the token-service told is told again for a while.
            self.page
                .world
                .clock
                .advance(std::time::Duration::from_secs(2));
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        panic!("{text:?} does not come: {}", self.look("/").await);
    }

    async fn press(&self, action: &str, id: &str) -> Answer {
        let fields = [("csrf", &*self.csrf), ("action", action), ("id", id)];
        self.page.post("/project", &fields, self.headers()).await
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    pairs.collect()
}

/// What stands between the tags of the element of this id; of the first, where it has several.
fn within<'p>(page: &'p str, id: &str) -> &'p str {
    let marked = format!("id=\"{id}\"");
    let (_, rest) = page
        .split_once(&marked)
        .unwrap_or_else(|| panic!("no {id}: {page}"));
    let (_, rest) = rest.split_once('>').unwrap();
    rest.split_once("</").unwrap().0
}

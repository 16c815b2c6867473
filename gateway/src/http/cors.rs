//! Which pages in browsers may ask.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::respond::{IGNORED_PARAMS, RATE_LIMITS, REQUEST_ID, RETRY_AFTER_MS};

/// Origins that may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// None: pages get no answer that they could read.
    #[default]
    Nobody,
    /// All.
    Everybody,
    /// These.
    Only(Vec<HeaderValue>),
}

impl Cors {
    /// Reads `CORS_ALLOW_ORIGINS`.
    ///
    /// # Errors
    /// Text that is no list of origins.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self::Everybody);
        }
        let origins = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        let origins = origins.map(origin).collect::<Result<Vec<_>, _>>()?;
        if origins.is_empty() {
            return Err("names no origin".to_owned());
        }
        Ok(Self::Only(origins))
    }

    /// What answers browsers' questions; `None`: nobody does.
    pub(super) fn layer(&self) -> Option<CorsLayer> {
        let origins = match self {
            Self::Nobody => return None,
            Self::Everybody => AllowOrigin::any(),
            Self::Only(origins) => AllowOrigin::list(origins.iter().cloned()),
        };
        let told: Vec<HeaderName> = [
            REQUEST_ID,
            IGNORED_PARAMS,
            header::RETRY_AFTER,
            RETRY_AFTER_MS,
        ]
        .into_iter()
        .chain(RATE_LIMITS)
        .collect();
        let layer = CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST])
            // The SDKs send headers of their own, which tell nothing but themselves.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(told)
            .max_age(Duration::from_secs(3600));
        Some(layer)
    }
}

/// An origin as browsers send it: `https://host` or `https://host:port`.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let wrong =
        || format!("{text:?} is no origin: give scheme and host, such as https://chat.example.com");
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong());
    };
    // A path, even `/`, is never sent, so such an origin would never fit.
    if format!("{scheme}://{authority}") != text {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_send_them() {
        assert_eq!(Cors::parse(" * "), Ok(Cors::Everybody));
        let two = Cors::parse("https://a.example, http://localhost:3000").unwrap();
        let Cors::Only(origins) = two else {
            panic!("a list");
        };
        assert_eq!(origins, ["https://a.example", "http://localhost:3000"]);
        for text in [
            "",
            ",",
            "a.example",
            "https://a.example/",
            "https://a.example/x",
            "*,a",
        ] {
            assert!(Cors::parse(text).is_err(), "{text}");
        }
    }
}

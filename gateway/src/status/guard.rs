//! What keeps other pages out: where a request comes from, by which name we were asked, and what
//! browsers are told to hold back.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

/// Everything that a page of ours may do. What is not named it may not.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; \
                      base-uri 'none'";

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Puts on what every answer has. `script` and `style` change with the version, and the pages
/// each time: nothing is kept.
pub(super) fn put_on(headers: &mut HeaderMap) {
    let all: [(HeaderName, &'static str); 7] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=()",
        ),
    ];
    for (name, value) in all {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The name and port that we were asked by: `Host`, or what HTTP/2 has in its place.
pub(super) fn asked_by<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = headers.get(header::HOST).map(HeaderValue::to_str);
    match host {
        Some(host) => host.ok(),
        None => uri.authority().map(|authority| authority.as_str()),
    }
}

/// Whether nothing but this machine reaches this address, written as one of IPv6 too.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether a listener on loopback can be known by this name. A page of somebody else's whose name
/// leads here (DNS rebinding) is none of ours, even though a browser takes it for one.
pub(super) fn is_of_this_machine(host: &str) -> bool {
    let name = without_port(host).trim_end_matches('.');
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let name = name.to_ascii_lowercase();
    address.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether a request that changes something comes from a page of ours, as far as browsers say.
/// What is no browser says neither, and has no cookie that it was not given.
pub(super) fn is_of_our_page(host: Option<&str>, headers: &HeaderMap) -> bool {
    // Of our own origin by the browser's own judgement, whatever name a proxy asks us by.
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let origin = origin.to_str().ok().and_then(|origin| {
        let default = if origin.starts_with("https://") {
            ":443"
        } else {
            ":80"
        };
        Some((origin.split_once("://")?.1, default))
    });
    // `null`, as of a page in a sandbox, is nobody's.
    let (Some((origin, default)), Some(host)) = (origin, host) else {
        return false;
    };
    let plain = |name: &str| {
        name.strip_suffix(default)
            .unwrap_or(name)
            .to_ascii_lowercase()
    };
    plain(origin) == plain(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("127.1.2.3", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("::ffff:10.0.0.7", false),
            ("0.0.0.0", false),
            ("::", false),
        ] {
            assert_eq!(is_loopback(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn names_of_this_machine() {
        for host in [
            "localhost",
            "LocalHost:9090",
            "status.localhost:9090",
            "localhost.",
            "127.0.0.1:9090",
            "[::1]:9090",
            "[::1]",
            "10.0.0.7:9090",
        ] {
            assert!(is_of_this_machine(host), "{host}");
        }
        for host in [
            "",
            "attacker.example",
            "attacker.example:9090",
            "localhost.attacker.example",
            "127.0.0.1.attacker.example:9090",
            "notlocalhost",
            ":9090",
        ] {
            assert!(!is_of_this_machine(host), "{host}");
        }
    }

    #[test]
    fn pages_that_are_ours() {
        let asked = |host, pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            });
            is_of_our_page(host, &headers.collect())
        };
        let ours = Some("127.0.0.1:9090");
        assert!(asked(ours, &[]));
        for origin in ["http://127.0.0.1:9090", "HTTP://127.0.0.1:9090"] {
            assert!(asked(ours, &[("origin", origin)]), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://127.0.0.1",
            "http://127.0.0.1:9091",
            "http://attacker.example",
            "http://127.0.0.1:9090.attacker.example",
            "http://attacker.example/127.0.0.1:9090",
        ] {
            assert!(!asked(ours, &[("origin", origin)]), "{origin}");
        }
        let named = Some("Status.example:443");
        assert!(asked(named, &[("origin", "https://status.example")]));
        assert!(asked(
            Some("status.example"),
            &[("origin", "http://status.example:80")]
        ));
        assert!(!asked(named, &[("origin", "http://status.example")]));
        assert!(!asked(None, &[("origin", "http://status.example")]));
        for site in ["cross-site", "same-site", "none"] {
            let pairs = [
                ("sec-fetch-site", site),
                ("origin", "http://127.0.0.1:9090"),
            ];
            assert!(!asked(ours, &pairs), "{site}");
        }
        // Behind a proxy that asks us by another name.
        let pairs = [
            ("sec-fetch-site", "same-origin"),
            ("origin", "https://status.example"),
        ];
        assert!(asked(ours, &pairs));
    }
}

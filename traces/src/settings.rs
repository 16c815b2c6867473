//! What an operator sets, under OpenTelemetry's names.

use antigravity_runtime::{
    config::{ConfigError, Environment, Var},
    tls::{ClientFiles, Connector},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;

/// Where traces are sent.
pub const ENDPOINT: Var = Var {
    name: "OTEL_EXPORTER_OTLP_ENDPOINT",
    default: "",
    help: "Where traces are sent: an OpenTelemetry collector, such as http://127.0.0.1:4318. Not \
           set: there are none.",
    secret: false,
};
/// How.
pub const PROTOCOL: Var = Var {
    name: "OTEL_EXPORTER_OTLP_PROTOCOL",
    default: "http/protobuf",
    help: "How: http/protobuf (port 4318 of a collector) or grpc (4317).",
    secret: false,
};
/// With which headers.
pub const HEADERS: Var = Var {
    name: "OTEL_EXPORTER_OTLP_HEADERS",
    default: "",
    help: "Headers for the collector, such as its key: name=value, comma-separated, with %XX for \
           what is special.",
    secret: true,
};
/// Whom to believe to be the collector.
pub const CERTIFICATE: Var = Var {
    name: "OTEL_EXPORTER_OTLP_CERTIFICATE",
    default: "",
    help: "Certificates (PEM) of the authorities that alone are trusted for an https:// collector. \
           Not set: the system's.",
    secret: false,
};
/// What is shown to it.
pub const CLIENT_CERTIFICATE: Var = Var {
    name: "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    default: "",
    help: "Certificate (PEM, with its chain) for a collector that demands one.",
    secret: false,
};
/// The key of that.
pub const CLIENT_KEY: Var = Var {
    name: "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    default: "",
    help: "Private key (PEM) of OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE.",
    secret: false,
};
/// What this service is called.
pub const SERVICE_NAME: Var = Var {
    name: "OTEL_SERVICE_NAME",
    default: "",
    help: "What traces call this service. Not set: antigravity-gateway and \
           antigravity-token-service.",
    secret: false,
};
/// Which requests are traced.
pub const SAMPLER: Var = Var {
    name: "OTEL_TRACES_SAMPLER",
    default: "parentbased_always_on",
    help: "Which requests are traced: always_on, always_off, traceidratio; parentbased_ before it \
           has the client decide when it sends a traceparent.",
    secret: false,
};
/// How many of them.
pub const SAMPLER_ARG: Var = Var {
    name: "OTEL_TRACES_SAMPLER_ARG",
    default: "1",
    help: "The share for traceidratio, such as 0.01.",
    secret: false,
};

/// Where traces go, and which.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) endpoint: String,
    pub(crate) protocol: Protocol,
    /// Marked as sensitive, so that they are not told.
    pub(crate) headers: HeaderMap,
    pub(crate) tls: Connector,
    pub(crate) service_name: Option<String>,
    pub(crate) sampler: Sampler,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

/// Which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampler {
    /// Whether a caller that says which trace it is in decides.
    pub(crate) parent_based: bool,
    /// Of the others, this share.
    pub(crate) share: f64,
}

impl Sampler {
    /// Whether a trace is recorded, of which a caller may have said so.
    pub(crate) fn samples(self, trace_id: [u8; 16], parent: Option<bool>) -> bool {
        if let (true, Some(sampled)) = (self.parent_based, parent) {
            return sampled;
        }
        if self.share >= 1.0 {
            return true;
        }
        // As OpenTelemetry's libraries do, so that all who see a trace decide alike.
        let mut low = [0; 8];
        low.copy_from_slice(&trace_id[8..]);
        let place = (u64::from_be_bytes(low) >> 1) as f64 / (1_u64 << 63) as f64;
        place < self.share
    }
}

impl Settings {
    /// What is set; `None`: nothing is traced.
    ///
    /// # Errors
    /// A value that cannot be used, named.
    pub fn from_environment(environment: &Environment) -> Result<Option<Self>, ConfigError> {
        let protocol = environment.required(&PROTOCOL, |text| match text {
            "grpc" => Ok(Protocol::Grpc),
            "http/protobuf" => Ok(Protocol::Http),
            _ => Err("is not grpc or http/protobuf".to_owned()),
        })?;
        let share = environment.required(&SAMPLER_ARG, |text| match text.parse() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
            _ => Err("is not a share from 0 to 1, such as 0.01".to_owned()),
        })?;
        let sampler = environment.required(&SAMPLER, |text| sampler(text, share))?;
        let tls = ClientFiles::from_environment(
            environment,
            &CERTIFICATE,
            &CLIENT_CERTIFICATE,
            &CLIENT_KEY,
        )?;
        let headers = match environment.secret(&HEADERS)? {
            Some(text) => headers(text.expose_secret())
                .map_err(|problem| environment.invalid(&HEADERS, problem))?,
            None => HeaderMap::new(),
        };
        let service_name = environment.read(&SERVICE_NAME, |text| Ok(text.to_owned()))?;
        let endpoint = environment.read(&ENDPOINT, antigravity_runtime::config::base_url)?;
        Ok(endpoint.map(|endpoint| Self {
            endpoint,
            protocol,
            headers,
            tls: Connector::new(tls),
            service_name,
            sampler,
        }))
    }
}

fn sampler(name: &str, share: f64) -> Result<Sampler, String> {
    let (parent_based, own) = match name.strip_prefix("parentbased_") {
        Some(own) => (true, own),
        None => (false, name),
    };
    let share = match own {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => share,
        _ => {
            return Err(
                "is not one of always_on, always_off, traceidratio, or one of these with \
                 parentbased_ before it"
                    .to_owned(),
            );
        }
    };
    Ok(Sampler {
        parent_based,
        share,
    })
}

fn headers(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let members = text.split(',').map(str::trim);
    for member in members.filter(|member| !member.is_empty()) {
        // The value is a secret: only its place is told.
        let wrong = || format!("entry {} is not name=value", headers.len() + 1);
        let (name, value) = member.split_once('=').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        let value = unescaped(value.trim()).ok_or_else(wrong)?;
        let mut value = HeaderValue::from_bytes(&value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// `%20` and the like as what they stand for.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (pair, after) = after.split_at_checked(2)?;
        let pair = std::str::from_utf8(pair).ok()?;
        bytes.push(u8::from_str_radix(pair, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<Settings>, ConfigError> {
        Settings::from_environment(&Environment::of(pairs.iter().copied()))
    }

    #[test]
    fn without_an_endpoint_nothing_is_traced() {
        assert!(read(&[]).unwrap().is_none());
        let on = read(&[(ENDPOINT.name, "http://collector:4318/")])
            .unwrap()
            .unwrap();
        assert_eq!(on.endpoint, "http://collector:4318");
        assert_eq!(on.protocol, Protocol::Http);
        assert_eq!((on.sampler.parent_based, on.sampler.share), (true, 1.0));
    }

    #[test]
    fn headers_are_read_as_opentelemetry_writes_them_and_told_to_nobody() {
        let on = read(&[
            (ENDPOINT.name, "http://collector:4318"),
            (HEADERS.name, "authorization=Bearer%20planted, x-scope = a"),
        ]);
        let on = on.unwrap().unwrap();
        assert_eq!(on.headers["authorization"], "Bearer planted");
        assert_eq!(on.headers["x-scope"], "a");
        assert!(!format!("{on:?}").contains("planted"));
        for wrong in ["planted", "a b=planted", "a=planted%2", "a=planted%0A"] {
            let error = read(&[(HEADERS.name, wrong)]).unwrap_err().to_string();
            assert!(
                error.contains(HEADERS.name) && !error.contains("planted"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (name, value) in [
            (ENDPOINT.name, "collector"),
            (PROTOCOL.name, "http/json"),
            (SAMPLER.name, "sometimes"),
            (SAMPLER.name, "parentbased_"),
            (SAMPLER_ARG.name, "1.5"),
            (SAMPLER_ARG.name, "NaN"),
            (CLIENT_KEY.name, "key.pem"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_share_is_kept_and_a_caller_decides_only_where_it_may() {
        let ids = || (0..10_000).map(|_| antigravity_runtime::random::id_bytes());
        let one_percent = sampler("parentbased_traceidratio", 0.01).unwrap();
        let sampled = ids().filter(|id| one_percent.samples(*id, None)).count();
        assert!((50..=160).contains(&sampled), "{sampled}");
        assert!(ids().all(|id| one_percent.samples(id, Some(true))));
        assert!(ids().all(|id| !one_percent.samples(id, Some(false))));
        let own = sampler("traceidratio", 0.0).unwrap();
        assert!(ids().all(|id| !own.samples(id, Some(true))));
        let all = sampler("always_on", 0.0).unwrap();
        assert!(ids().all(|id| all.samples(id, Some(false))));
        assert!(all.samples([255; 16], None));
    }
}

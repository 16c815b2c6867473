//! The gRPC listener over TLS: whom it lets in, and what those hear who stay outside.

use std::time::Duration;

use antigravity_proto::v1::{AcquireTokensRequest, token_service_client::TokenServiceClient};
use antigravity_runtime::{
    config::{Environment, Var},
    tls::{ClientFiles, Connector, connection_failure},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use crate::{
    certificates::{Authority, EXPIRED, put},
    support::{Bearer, GATEWAY_TOKEN, Home, Service, google, tokens_json},
};

const fn var(name: &'static str) -> Var {
    Var {
        name,
        default: "",
        help: "",
        secret: false,
    }
}

const CA: Var = var("CA");
const CERTIFICATE: Var = var("CERTIFICATE");
const KEY: Var = var("KEY");

/// A client with these files of the home, each given as `NAME`, file.
fn connector(home: &Home, files: &[(&str, &str)]) -> Connector {
    let pairs = files
        .iter()
        .map(|(name, file)| (*name, home.path(file).display().to_string()));
    let environment = Environment::of(pairs);
    let files = ClientFiles::from_environment(&environment, &CA, &CERTIFICATE, &KEY);
    Connector::new(files.unwrap())
}

fn channel(service: &Service, connector: Connector) -> Channel {
    let address = service.address;
    let connect = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let stream = connector.connect("localhost", &[b"h2"], stream).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_with_connector_lazy(connect)
}

/// Asks for a turn; what went wrong, in words.
async fn acquire(channel: Channel) -> Result<(), String> {
    let mut client =
        TokenServiceClient::with_interceptor(channel, Bearer(GATEWAY_TOKEN.to_owned()));
    let request = AcquireTokensRequest {
        count: Some(1),
        ..Default::default()
    };
    let asked = tokio::time::timeout(Duration::from_secs(10), client.acquire_tokens(request));
    match asked.await.unwrap() {
        Ok(_) => Ok(()),
        Err(status) => {
            Err(connection_failure(&status).unwrap_or_else(|| format!("no TLS: {status}")))
        }
    }
}

fn home_with(authority: &Authority, google: &fake_google::Running) -> Home {
    let home = Home::new(google);
    home.write_tokens(&tokens_json(0..2));
    authority.put(home.folder.path(), "server");
    std::fs::write(home.path("ca.pem"), &authority.pem).unwrap();
    home
}

async fn start(home: &Home, client_authorities: Option<&str>) -> Service {
    let path = |file: &str| home.path(file).display().to_string();
    let mut variables = home.variables();
    variables.push(("TOKEN_SERVICE_TLS_CERT_FILE", path("server.pem")));
    variables.push(("TOKEN_SERVICE_TLS_KEY_FILE", path("server.key")));
    if let Some(file) = client_authorities {
        variables.push(("TOKEN_SERVICE_CLIENT_CA_FILE", path(file)));
    }
    let of = token_service::Config::from_environment(&Environment::of(variables));
    let mut config = home.config();
    config.tls = of.unwrap().tls;
    let service = Service::start(config.clone()).await;
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while let Err(error) = token_service::healthcheck(service.address, config.tls.as_ref()).await {
        assert!(std::time::Instant::now() < end, "{error:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    service
}

#[tokio::test]
async fn tokens_are_had_over_tls_and_not_in_the_clear() {
    let google = google(2).await;
    let authority = Authority::new("ours");
    let home = home_with(&authority, &google);
    let service = start(&home, None).await;
    let trusting = connector(&home, &[("CA", "ca.pem")]);
    acquire(channel(&service, trusting)).await.unwrap();

    let clear = Endpoint::from_shared(format!("http://{}", service.address)).unwrap();
    assert!(acquire(clear.connect_lazy()).await.is_err());
    assert!(
        token_service::healthcheck(service.address, None)
            .await
            .is_err()
    );

    std::fs::write(home.path("others.pem"), Authority::new("others").pem).unwrap();
    let doubting = connector(&home, &[("CA", "others.pem")]);
    let said = acquire(channel(&service, doubting)).await.unwrap_err();
    assert!(said.contains("no authority that is trusted"), "{said}");
}

#[tokio::test]
async fn gateways_that_have_to_show_a_certificate_hear_what_is_wrong_with_it() {
    let google = google(2).await;
    let authority = Authority::new("ours");
    let home = home_with(&authority, &google);
    let service = start(&home, Some("ca.pem")).await;
    let folder = home.folder.path();
    let client = |name: &str| {
        let files = [
            ("CA", "ca.pem"),
            ("CERTIFICATE", &format!("{name}.pem")),
            ("KEY", &format!("{name}.key")),
        ];
        channel(&service, connector(&home, &files))
    };

    let nobody = connector(&home, &[("CA", "ca.pem")]);
    let said = acquire(channel(&service, nobody)).await.unwrap_err();
    assert!(said.contains("demands a client certificate"), "{said}");

    Authority::new("others").put(folder, "stranger");
    let said = acquire(client("stranger")).await.unwrap_err();
    assert!(said.contains("refuses our certificate"), "{said}");

    put(folder, "old", &authority.sign(&["localhost"], EXPIRED));
    let old = client("old");
    let said = acquire(old.clone()).await.unwrap_err();
    assert!(said.contains("refuses our certificate"), "{said}");

    // The same client, with its files renewed.
    authority.put(folder, "old");
    acquire(old).await.unwrap();
    authority.put(folder, "gateway");
    acquire(client("gateway")).await.unwrap();
}

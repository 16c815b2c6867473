//! Everything that a measurement needs, as processes on loopback: a fake Google, the
//! pass-through in front of it, and the two services in front of it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::{
    client::{Call, Door, headers},
    process::{Meter, Process},
    tls,
    workload::{Load, Requests, Workload},
};

const API_KEY: &str = "sk-of-the-benchmark";
const GATEWAY_TOKEN: &str = "gateway-token-of-the-benchmark";
/// Events of an answer.
const EVENTS: usize = 20;
const SLOW_EVENTS: usize = 50;
const SLOW_DELAY_MS: usize = 20;
/// Silence after the first of two events. Longer than the 40 ms for which a system may hold an
/// acknowledgement, and so a small segment, back.
const SILENCE_MS: u64 = 200;
/// For the services to have refreshed every token and be at rest.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(300);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// Google itself.
    Direct,
    /// The reference.
    PassThrough,
    /// Somebody else's proxy, when one was named.
    Beside,
    /// The gateway, with the token-service.
    Ours,
    /// Two gateways that share the load, with the token-service.
    Two,
}

/// The programs that are started.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// This one.
    pub(crate) bench: PathBuf,
    pub(crate) fake_google: PathBuf,
    pub(crate) token_service: PathBuf,
    pub(crate) gateway: PathBuf,
    /// A shell command that starts a proxy on `127.0.0.1:$PORT` to `$UPSTREAM`.
    pub(crate) beside: Option<String>,
}

/// What is started, and how the fake Google is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) https: bool,
    pub(crate) projects: usize,
    /// Whether there is a second gateway.
    pub(crate) two: bool,
    pub(crate) answers: Answers,
}

/// What the fake Google answers with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answers {
    /// 20 events, as fast as they go.
    Prepared,
    /// 50 events, 20 ms apart.
    Slow,
    /// Two events, 200 ms apart.
    Silent,
    /// What it is told to, with all its checks.
    Told,
}

/// All that runs.
#[derive(Debug)]
pub(crate) struct Rig {
    google: Process,
    pass_through: Process,
    beside: Option<Process>,
    token_service: Process,
    gateway: Process,
    second: Option<Process>,
    doors: Doors,
    /// Last, so that it outlives them.
    _folder: TempDir,
}

#[derive(Debug)]
struct Doors {
    google: Door,
    pass_through: SocketAddr,
    beside: Option<SocketAddr>,
    gateway: SocketAddr,
    second: Option<SocketAddr>,
}

impl Setting {
    pub(crate) fn of(workload: &Workload) -> Self {
        let answers = match workload.load {
            Load::Closed { .. } => Answers::Prepared,
            Load::Slow { .. } => Answers::Slow,
            Load::Silent { .. } => Answers::Silent,
        };
        Self {
            https: workload.https,
            projects: workload.projects,
            two: workload.two,
            answers,
        }
    }

    fn arguments(&self, folder: &Path) -> Vec<String> {
        let mut arguments = vec![
            "--tokens-out".to_owned(),
            path(folder, "tokens.json"),
            "--projects".to_owned(),
            self.projects.to_string(),
        ];
        let mut add = |more: &[&dyn ToString]| {
            arguments.extend(more.iter().map(|one| one.to_string()));
        };
        if self.https {
            add(&[&"--tls", &"--ca-out", &path(folder, "ca.pem")]);
        }
        match self.answers {
            Answers::Prepared => add(&[&"--prepared", &"--text-chunks", &EVENTS]),
            Answers::Slow => {
                add(&[&"--prepared", &"--text-chunks", &SLOW_EVENTS]);
                add(&[&"--event-delay", &SLOW_DELAY_MS]);
            }
            Answers::Silent => {
                add(&[&"--prepared", &"--text-chunks", &2]);
                add(&[&"--event-delay", &SILENCE_MS]);
            }
            Answers::Told => {}
        }
        arguments
    }
}

impl Rig {
    /// Starts everything, and waits until it answers and is at rest.
    pub(crate) async fn start(programs: &Programs, setting: Setting) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for the services")?;
        let at = folder.path();
        let start = |name, program: &Path, arguments: &[String], environment: &[_]| {
            Process::start(name, program, arguments, environment, at)
        };
        let arguments = setting.arguments(at);
        let mut fake = start("fake-google", &programs.fake_google, &arguments, &[])?;
        let url = fake.first_line()?;
        let ca = setting.https.then(|| at.join("ca.pem"));

        let mut arguments = vec!["pass-through".to_owned(), "--to".to_owned(), url.clone()];
        if setting.https {
            arguments.extend(["--ca".to_owned(), path(at, "ca.pem")]);
        }
        let mut pass_through = start("pass-through", &programs.bench, &arguments, &[])?;
        let pass_through_url = pass_through.first_line()?;

        let environment = environment(at, &url, setting.https);
        let mut token_service = start("token-service", &programs.token_service, &[], &environment)?;
        let address = token_service.address_in_log("listening")?;
        let mut environment = environment;
        environment.push(("TOKEN_SERVICE_URL", format!("http://{address}")));
        let mut gateway = start("gateway", &programs.gateway, &[], &environment)?;
        let gateway_address = gateway.address_in_log("the gateway listens")?;
        let mut second = match setting.two {
            true => Some(start("gateway-2", &programs.gateway, &[], &environment)?),
            false => None,
        };
        let second_address = match &mut second {
            Some(second) => Some(second.address_in_log("the gateway listens")?.parse()?),
            None => None,
        };

        let (_, authority) = url.split_once("://").context("fake-google names no URL")?;
        let beside = match &programs.beside {
            // Others are not told of the certificate authority.
            Some(command) if !setting.https => Some(start_beside(command, authority, at).await?),
            _ => None,
        };
        let port = authority.rsplit(':').next().unwrap_or_default();
        let (beside, beside_address) = beside.unzip();
        let doors = Doors {
            google: Door {
                address: format!("127.0.0.1:{port}").parse()?,
                tls: match setting.https {
                    true => Some(Arc::new(tls::trusting(ca.as_deref())?)),
                    false => None,
                },
            },
            pass_through: pass_through_url.trim_start_matches("http://").parse()?,
            beside: beside_address,
            gateway: gateway_address.parse()?,
            second: second_address,
        };
        let rig = Self {
            google: fake,
            pass_through,
            beside,
            token_service,
            gateway,
            second,
            doors,
            _folder: folder,
        };
        rig.wait_for_rest().await?;
        Ok(rig)
    }

    /// The targets, from the barest to the fullest.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let mut targets = vec![Target::Direct, Target::PassThrough];
        targets.extend(self.beside.as_ref().map(|_| Target::Beside));
        targets.push(Target::Ours);
        targets.extend(self.second.as_ref().map(|_| Target::Two));
        targets
    }

    /// The request that `target` understands, for each of its doors.
    pub(crate) fn calls(
        &self,
        target: Target,
        requests: &Requests,
        stream: bool,
    ) -> anyhow::Result<Vec<Arc<Call>>> {
        let plain = |address| Door { address, tls: None };
        let doors = match target {
            Target::Direct => vec![self.doors.google.clone()],
            Target::PassThrough => vec![plain(self.doors.pass_through)],
            Target::Beside => vec![plain(self.doors.beside.context("nobody is beside")?)],
            Target::Ours => vec![plain(self.doors.gateway)],
            Target::Two => {
                let second = self.doors.second.context("there is one gateway")?;
                vec![plain(self.doors.gateway), plain(second)]
            }
        };
        let ours = matches!(target, Target::Ours | Target::Two);
        let call = |door| -> anyhow::Result<Arc<Call>> {
            Ok(Arc::new(if ours {
                Call {
                    door,
                    path: "/v1/chat/completions".to_owned(),
                    headers: headers(Some(API_KEY))?,
                    body: requests.openai.clone(),
                    end_mark: if stream {
                        "data: [DONE]\n\n"
                    } else {
                        "\"usage\""
                    },
                }
            } else {
                Call {
                    door,
                    path: requests.google_path.clone(),
                    headers: headers(None)?,
                    body: requests.google.clone(),
                    end_mark: "\"finishReason\"",
                }
            }))
        };
        doors.into_iter().map(call).collect()
    }

    /// Whose processor time counts.
    pub(crate) fn meter(&self, target: Target) -> Meter {
        let services = [&self.gateway, &self.token_service];
        let of: Vec<&Process> = match target {
            Target::Direct => vec![&self.google],
            Target::PassThrough => vec![&self.pass_through],
            Target::Beside => self.beside.iter().collect(),
            Target::Ours => services.into(),
            Target::Two => services.into_iter().chain(&self.second).collect(),
        };
        Meter::of(&of)
    }

    pub(crate) fn gateway(&self) -> Meter {
        Meter::of(&[&self.gateway])
    }

    pub(crate) fn token_service(&self) -> Meter {
        Meter::of(&[&self.token_service])
    }

    pub(crate) fn pass_through(&self) -> Meter {
        Meter::of(&[&self.pass_through])
    }

    /// Waits until nothing works any more: tokens are refreshed ahead of need.
    async fn wait_for_rest(&self) -> anyhow::Result<()> {
        let all = Meter::of(&[&self.google, &self.token_service, &self.gateway]);
        let end = Instant::now() + PATIENCE;
        let mut used = all.seconds()?;
        while Instant::now() < end {
            tokio::time::sleep(LOOK).await;
            let now = all.seconds()?;
            // A tick of the clock is a hundredth.
            if now - used < 0.015 {
                return Ok(());
            }
            used = now;
        }
        anyhow::bail!("the services do not come to rest")
    }
}

/// What people run: keys checked, usage counted, outcomes reported, a line of log a request.
fn environment(folder: &Path, google: &str, https: bool) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("TOKENS_FILE", path(folder, "tokens.json")),
        (
            "DATABASE_URL",
            format!("sqlite://{}", path(folder, "tokens.db")),
        ),
        ("OAUTH_TOKEN_URL", format!("{google}/token")),
        ("TOKEN_SERVICE_LISTEN", "127.0.0.1:0".to_owned()),
        ("GATEWAY_TOKEN", GATEWAY_TOKEN.to_owned()),
        ("ADMIN_TOKEN", "admin-token-of-the-benchmark".to_owned()),
        ("API_KEYS", format!("bench={API_KEY}")),
        ("ANTIGRAVITY_BASE_URLS", google.to_owned()),
        ("GEMINI_BASE_URL", google.to_owned()),
        ("VERTEX_BASE_URL", google.to_owned()),
        ("HOST", "127.0.0.1".to_owned()),
        ("PORT", "0".to_owned()),
        ("LOG_FORMAT", "json".to_owned()),
    ];
    if https {
        environment.push(("UPSTREAM_CA_FILE", path(folder, "ca.pem")));
    }
    environment
}

async fn start_beside(
    command: &str,
    upstream: &str,
    folder: &Path,
) -> anyhow::Result<(Process, SocketAddr)> {
    // Let go of again, for the other to take.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let environment = [
        ("PATH", std::env::var("PATH").unwrap_or_default()),
        ("PORT", address.port().to_string()),
        ("UPSTREAM", upstream.to_owned()),
    ];
    // `exec`, so that the process that is measured is the proxy and not the shell.
    let arguments = ["-c".to_owned(), format!("exec env {command}")];
    let shell = Path::new("/bin/sh");
    let process = Process::start("beside", shell, &arguments, &environment, folder)?;
    let end = Instant::now() + Duration::from_secs(10);
    while let Err(error) = tokio::net::TcpStream::connect(address).await {
        anyhow::ensure!(Instant::now() < end, "{command:?} does not listen: {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok((process, address))
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

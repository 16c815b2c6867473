//! The pages: what their templates are filled with. Whatever comes from outside is escaped by
//! them, as text and as an attribute.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    figures::{Live, MANY, Tile},
    ledger::Hours,
    plot::Kind,
    pool::Told,
    projects::{self, Counts, Filter, List},
    session::Notice,
    words::{self, Moment},
};
use crate::{
    metrics::{Failure, Fault, Minute, Standing},
    tokens::operator::OperatorError,
};

/// How often a page asks for itself anew, in seconds.
const REFRESH: u32 = 10;

/// The form that asks for the operators' token.
#[derive(Debug, Template)]
#[template(path = "status/login.html")]
pub(super) struct Login<'a> {
    /// Why it is shown, if there is more to say.
    pub(super) message: &'a str,
}

/// What went wrong, and the way back.
#[derive(Debug, Template)]
#[template(path = "status/message.html")]
pub(super) struct Message<'a> {
    pub(super) title: &'a str,
    pub(super) text: &'a str,
}

/// What there is to know, in one sentence.
#[derive(Clone, Debug)]
struct Verdict {
    tone: &'static str,
    text: String,
    next: String,
}

/// A request that came to nothing.
#[derive(Clone, Debug)]
struct Failed {
    at: Moment,
    status: u16,
    /// It had begun well, and broke.
    broke_off: bool,
    tone: &'static str,
    code: &'static str,
    /// Empty: it was refused before that was known, or there is none of such a name.
    model: String,
    request_id: String,
}

/// What all of the page is made of.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) now: Timestamp,
    pub(super) minutes: Vec<Minute>,
    /// As many as are kept of each fault: none of one pushes out one of the other.
    pub(super) failures: Vec<Failure>,
    pub(super) standing: Standing,
    /// Projects whose access token is in hand.
    pub(super) tokens_in_hand: usize,
    pub(super) told: Result<Arc<Told>, OperatorError>,
    pub(super) filter: Filter,
    pub(super) csrf: SecretString,
    pub(super) notice: Option<Notice>,
    /// Where the token-service is sought.
    pub(super) token_service: String,
}

/// The page itself.
#[derive(Debug, Template)]
#[template(path = "status/overview.html")]
pub(super) struct Overview {
    title: String,
    version: &'static str,
    up_for: String,
    at: Moment,
    refresh: u32,
    csrf: SecretString,
    notice: Option<Notice>,
    verdict: Verdict,
    tiles: Vec<Tile>,
    live: Live,
    filter: Filter,
    query: String,
    /// `None`: the token-service does not answer.
    list: Option<List>,
    has_projects: bool,
    hours: Option<Hours>,
    /// Why there are no hours.
    ledger_error: String,
    failures: Vec<Failed>,
    without_key: String,
}

impl Overview {
    pub(super) fn of(seen: Seen) -> Self {
        let Seen {
            now,
            minutes,
            failures,
            standing,
            tokens_in_hand,
            told,
            filter,
            csrf,
            notice,
            token_service,
        } = seen;
        let live = Live::of(&minutes, now, standing.up_for);
        let counts = match &told {
            Ok(told) => Some(Counts::of(&told.projects)),
            Err(_) => None,
        };
        let verdict = match &told {
            Ok(_) => verdict(counts.unwrap_or_default(), &live),
            Err(error) => away(error, &token_service, tokens_in_hand, standing.away_for),
        };
        let mut tiles = live.tiles();
        tiles.push(Tile {
            id: "in-flight",
            name: "Running",
            value: words::grouped(standing.requests_in_flight),
            more: words::counted(standing.streams_in_flight, "stream"),
            tone: "",
        });
        tiles.push(Tile {
            id: "in-rotation",
            name: "Projects in rotation",
            value: counts.map_or_else(
                || "?".to_owned(),
                |counts| words::grouped(counts.serving as u64),
            ),
            more: counts.map_or_else(
                || "not known".to_owned(),
                |counts| format!("of {}", words::grouped(counts.all as u64)),
            ),
            tone: match counts {
                Some(counts) if counts.serving > 0 => "",
                _ => "bad",
            },
        });
        tiles.push(Tile {
            id: "tokens-in-hand",
            name: "Access tokens in hand",
            value: words::grouped(tokens_in_hand as u64),
            more: match (standing.reports_queued, standing.reports_dropped) {
                (0, 0) => "no report queued".to_owned(),
                (queued, 0) => format!("{} queued", words::counted(queued, "report")),
                (_, dropped) => format!("{} lost", words::counted(dropped, "report")),
            },
            tone: if tokens_in_hand == 0 && told.is_err() {
                "bad"
            } else {
                ""
            },
        });
        let (list, hours, ledger_error) = match &told {
            Ok(told) => {
                let list = projects::list(&told.projects, told.in_all, &filter, now);
                match &told.ledger {
                    Ok(ledger) => {
                        let hours = Hours::of(&ledger.hours, &ledger.models, now);
                        (Some(list), Some(hours), String::new())
                    }
                    Err(error) => (Some(list), None, error.to_string()),
                }
            }
            Err(_) => (None, None, String::new()),
        };
        let mark = match verdict.tone {
            "good" => "",
            _ => "! ",
        };
        Self {
            title: format!("{mark}{}", verdict.text),
            version: env!("CARGO_PKG_VERSION"),
            up_for: words::span(standing.up_for),
            at: words::moment(now, now),
            refresh: REFRESH,
            csrf,
            notice,
            verdict,
            tiles,
            live,
            query: filter.query(),
            filter,
            list,
            has_projects: counts.is_some_and(|counts| counts.all > 0),
            hours,
            ledger_error,
            failures: failures
                .into_iter()
                .map(|failure| failed(failure, now))
                .collect(),
            without_key: words::counted(standing.requests_without_key, "request"),
        }
    }
}

fn failed(failure: Failure, now: Timestamp) -> Failed {
    Failed {
        at: words::moment(failure.at, now),
        status: failure.status,
        broke_off: failure.status < 400,
        tone: match failure.fault {
            Fault::Ours => "bad",
            Fault::Clients => "rest",
        },
        code: failure.code,
        model: failure.model.map(String::from).unwrap_or_default(),
        request_id: failure.request_id.as_ref().to_owned(),
    }
}

/// What matters most, where the token-service answers.
fn verdict(counts: Counts, live: &Live) -> Verdict {
    let told = |tone, text: String, next: &str| Verdict {
        tone,
        text,
        next: next.to_owned(),
    };
    let now = &live.now;
    if counts.all == 0 {
        return told(
            "warn",
            "There is no project yet".to_owned(),
            "Add one on the token-service's machine: antigravity-gateway login, or \
             antigravity-gateway import data/tokens.json. Until then every request is refused.",
        );
    }
    if counts.serving == 0 {
        return told(
            "bad",
            "No project is in the rotation".to_owned(),
            if counts.need_you > 0 {
                "What to do stands beside each project below."
            } else if counts.resting > 0 {
                "Requests are refused until the first comes back by itself."
            } else {
                "Requests are refused. Enable a project below."
            },
        );
    }
    // What clients feel comes before what they may not.
    if now.failed * 100 > now.requests() * MANY {
        let text = format!(
            "{} of the requests failed in the last 5 minutes",
            words::percent(now.failed, now.requests())
        );
        let mut next = "The last errors below tell what clients were told.".to_owned();
        if counts.need_you > 0 {
            next = format!(
                "{}: what to do stands beside the project. {next}",
                need_you(counts.need_you)
            );
        } else if counts.unrefreshed > 0 {
            next = format!(
                "{}: why stands beside the project. {next}",
                unrefreshed(counts.unrefreshed)
            );
        }
        return told("bad", text, &next);
    }
    if counts.need_you > 0 {
        let next = if now.answered > 0 {
            "The others go on serving. What to do stands beside the project below."
        } else {
            "What to do stands beside the project below."
        };
        return told("warn", need_you(counts.need_you), next);
    }
    if counts.unrefreshed > 0 {
        return told(
            "warn",
            unrefreshed(counts.unrefreshed),
            "What has an access token serves until that ends. Why, and what to do, stands beside \
             the project below.",
        );
    }
    told("good", "All is well".to_owned(), "")
}

fn need_you(projects: usize) -> String {
    match projects {
        1 => "1 project needs you".to_owned(),
        many => format!("{} projects need you", words::grouped(many as u64)),
    }
}

fn unrefreshed(projects: usize) -> String {
    format!(
        "{} cannot be refreshed",
        words::counted(projects as u64, "project")
    )
}

/// What is to be said when it does not.
fn away(
    error: &OperatorError,
    token_service: &str,
    in_hand: usize,
    away_for: Option<Duration>,
) -> Verdict {
    let since = away_for.map_or_else(String::new, |since| {
        format!("Away for {}. ", words::span(since))
    });
    let in_hand = match in_hand {
        0 => "No access token is in hand, so that requests are refused.".to_owned(),
        1 => "This gateway goes on with the access token in hand, until it ends.".to_owned(),
        many => format!(
            "This gateway goes on with the {} access tokens in hand, until they end.",
            words::grouped(many as u64)
        ),
    };
    let why = match error {
        OperatorError::Away(said) => said.clone(),
        other => other.to_string(),
    };
    Verdict {
        tone: "bad",
        text: "The token-service does not answer".to_owned(),
        next: format!(
            "{since}{in_hand} Look whether it runs at {token_service} and what its log says; to us it \
             says: {why}. Projects and the ledger are shown again once it answers."
        ),
    }
}

/// A page as an answer.
pub(super) fn html(status: StatusCode, page: &impl Template) -> Response<Body> {
    let (status, text) = match page.render() {
        Ok(text) => (status, text),
        Err(error) => {
            tracing::error!(%error, "a page of the status cannot be written");
            let text = "The page cannot be written; the gateway's log says why.".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use antigravity_proto::v1::{Project, project::State};

    use super::*;
    use crate::metrics::MINUTES;

    #[test]
    fn what_matters_most_is_said_first() {
        let now: Timestamp = "2026-11-26T12:30:30Z".parse().unwrap();
        let said = |states: &[State], answered, failed, refresh_error: &str| {
            let projects: Vec<_> = states
                .iter()
                .map(|state| Project {
                    state: (*state).into(),
                    refresh_error: refresh_error.to_owned(),
                    ..Default::default()
                })
                .collect();
            let mut minutes = vec![Minute::default(); MINUTES];
            let last = &mut minutes[MINUTES - 1];
            (last.answered, last.failed) = (answered, failed);
            let live = Live::of(&minutes, now, Duration::from_secs(3600));
            verdict(Counts::of(&projects), &live)
        };
        let well = [State::Active, State::Disabled, State::CoolingDown];
        for (states, answered, failed, refresh_error, tone, text) in [
            (&[][..], 0, 0, "", "warn", "There is no project yet"),
            (&well[..], 0, 0, "", "good", "All is well"),
            (&well, 95, 5, "", "good", "All is well"),
            (
                &well,
                90,
                10,
                "",
                "bad",
                "10 % of the requests failed in the last 5 minutes",
            ),
            (
                &well,
                95,
                5,
                "Google does not answer",
                "warn",
                "1 project cannot be refreshed",
            ),
            (
                &[State::Active, State::NeedsLogin, State::Denied],
                95,
                5,
                "",
                "warn",
                "2 projects need you",
            ),
            (
                &[State::Active, State::NeedsLogin],
                7,
                93,
                "",
                "bad",
                "93 % of the requests failed in the last 5 minutes",
            ),
            (&well[1..], 0, 0, "", "bad", "No project is in the rotation"),
        ] {
            let told = said(states, answered, failed, refresh_error);
            assert_eq!((told.tone, told.text), (tone, text.to_owned()));
        }
        // Nothing is said of the others that is not known.
        let needed = [State::Active, State::NeedsLogin];
        let others = "The others go on serving";
        assert!(said(&needed, 1, 0, "").next.starts_with(others));
        for (answered, failed) in [(0, 0), (7, 93)] {
            let next = said(&needed, answered, failed, "").next;
            assert!(!next.contains(others), "{next}");
        }
        let next = said(&needed, 7, 93, "").next;
        assert!(next.starts_with("1 project needs you: "), "{next}");
        let next = said(&well, 7, 93, "Google does not answer").next;
        assert!(
            next.starts_with("1 project cannot be refreshed: "),
            "{next}"
        );
    }

    fn seen(now: Timestamp, failures: Vec<Failure>) -> Seen {
        Seen {
            now,
            minutes: vec![Minute::default(); MINUTES],
            failures,
            standing: Standing {
                up_for: Duration::from_secs(3600),
                requests_in_flight: 0,
                streams_in_flight: 0,
                away_for: None,
                reports_queued: 0,
                reports_dropped: 0,
                requests_without_key: 0,
            },
            tokens_in_hand: 0,
            told: Err(OperatorError::Away("Connection refused".to_owned())),
            filter: Filter::default(),
            csrf: "mark".into(),
            notice: None,
            token_service: String::new(),
        }
    }

    #[test]
    fn failures_of_ours_are_listed_however_many_are_the_clients() {
        let now: Timestamp = "2026-11-26T12:30:30Z".parse().unwrap();
        let recent = crate::metrics::Recent::default();
        let end = |nth: usize, status, outcome| {
            let chat = crate::metrics::Chat {
                request_id: &Arc::from(format!("req_{nth}")),
                model: None,
                status,
                outcome,
                duration: Duration::ZERO,
                first_piece: None,
                usage: None,
            };
            recent.ended(&chat, now + Duration::from_millis(nth as u64));
        };
        for nth in 0..3 {
            end(nth, 502, "upstream_error");
        }
        for nth in 3..60 {
            end(nth, 400, "invalid_type");
        }
        let page = Overview::of(seen(now, recent.failures())).render().unwrap();
        assert_eq!(page.matches("upstream_error").count(), 3, "{page}");
        assert_eq!(page.matches("invalid_type").count(), 50, "{page}");
        assert!(!page.contains("</span> broke off"), "{page}");
        // A stream has told its status before it broke; of whose model nothing is known a dash.
        end(60, 200, "upstream_error");
        let page = Overview::of(seen(now, recent.failures())).render().unwrap();
        let first = page.split_once("class=\"failures\"").unwrap().1;
        let first = first.split("</tr>").nth(1).unwrap();
        assert!(first.contains("200</span> broke off"), "{first}");
        assert!(first.contains("<td role=\"cell\">–</td>"), "{first}");
    }

    #[test]
    fn who_is_away_is_told_with_what_is_left_and_where_to_look() {
        let error = OperatorError::Away("Connection refused".to_owned());
        let since = Some(Duration::from_secs(125));
        let told = away(&error, "http://tokens:50051", 1, since);
        assert_eq!(told.text, "The token-service does not answer");
        for part in [
            "Away for 2 min 5 s.",
            "goes on with the access token in hand",
            "http://tokens:50051",
            "Connection refused",
        ] {
            assert!(told.next.contains(part), "{}", told.next);
        }
        let told = away(&error, "http://tokens:50051", 0, None);
        assert!(told.next.starts_with("No access token is in hand"));
    }
}

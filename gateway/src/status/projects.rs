//! The projects of the pool as the page lists them: those first that need somebody, a page at a
//! time, narrowed down by what is looked for.

use antigravity_proto::v1::{
    self, Upstream,
    project::{Credential, State},
};
use jiff::Timestamp;
use url::{Url, form_urlencoded};

use super::{
    advice::{next_step, reason},
    words::{self, Moment},
};

/// Projects a page.
const PAGE: usize = 50;
/// Of what is looked for, in bytes.
const LONGEST: usize = 128;

/// Which projects are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// What their id, name, Google project or account has in it.
    pub(super) text: String,
    pub(super) show: Show,
    /// From 0.
    pub(super) page: usize,
}

/// In which states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Show {
    #[default]
    All,
    NeedYou,
    Resting,
    Serving,
    Disabled,
}

impl Show {
    pub(super) const EACH: [Self; 5] = [
        Self::All,
        Self::NeedYou,
        Self::Resting,
        Self::Serving,
        Self::Disabled,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::NeedYou => "need-you",
            Self::Resting => "resting",
            Self::Serving => "in-rotation",
            Self::Disabled => "disabled",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::NeedYou => "Need you",
            Self::Resting => "Resting",
            Self::Serving => "In rotation",
            Self::Disabled => "Disabled",
        }
    }

    fn of(state: State) -> Self {
        match state {
            State::Unspecified
            | State::NeedsLogin
            | State::NeedsValidation
            | State::Suspended
            | State::Denied => Self::NeedYou,
            State::CoolingDown => Self::Resting,
            State::Active => Self::Serving,
            State::Disabled => Self::Disabled,
        }
    }
}

impl Filter {
    /// What a query or a form says; what cannot be read is as if it were not there.
    pub(super) fn read(query: &str) -> Self {
        let mut this = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "q" => {
                    let text = value.trim();
                    text[..text.floor_char_boundary(LONGEST)].clone_into(&mut this.text);
                }
                "show" => {
                    let named = Show::EACH.into_iter().find(|show| show.name() == value);
                    this.show = named.unwrap_or_default();
                }
                "page" => {
                    // For people the first is 1.
                    let page: usize = value.parse().unwrap_or(1);
                    this.page = page.saturating_sub(1);
                }
                _ => {}
            }
        }
        this
    }

    /// The query that says the same.
    pub(super) fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if !self.text.is_empty() {
            query.append_pair("q", &self.text);
        }
        if self.show != Show::All {
            query.append_pair("show", self.show.name());
        }
        if self.page > 0 {
            query.append_pair("page", &(self.page + 1).to_string());
        }
        query.finish()
    }

    fn shows(&self, project: &v1::Project) -> bool {
        self.show == Show::All || self.show == Show::of(project.state())
    }
}

/// How many there are, by what they are to whoever looks.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// As a query names it.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) count: String,
    pub(super) query: String,
    pub(super) is_chosen: bool,
}

/// A page of projects.
#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) choices: Vec<Choice>,
    pub(super) rows: Vec<Row>,
    /// `1–50 of 1,234`.
    pub(super) extent: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    /// The first projects in the order of their ids, as the pool has more than are looked at.
    pub(super) only_of: Option<String>,
}

/// How many projects are in which state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) all: usize,
    pub(super) need_you: usize,
    pub(super) resting: usize,
    pub(super) serving: usize,
    pub(super) disabled: usize,
    /// Of those in the rotation, those whose last refresh failed.
    pub(super) unrefreshed: usize,
}

impl Counts {
    pub(super) fn of<'p>(projects: impl IntoIterator<Item = &'p v1::Project>) -> Self {
        let mut counts = Self::default();
        for project in projects {
            counts.all += 1;
            if project.state() == State::Active && !project.refresh_error.is_empty() {
                counts.unrefreshed += 1;
            }
            match Show::of(project.state()) {
                Show::NeedYou => counts.need_you += 1,
                Show::Resting => counts.resting += 1,
                Show::Serving | Show::All => counts.serving += 1,
                Show::Disabled => counts.disabled += 1,
            }
        }
        counts
    }

    fn shown(self, show: Show) -> usize {
        match show {
            Show::All => self.all,
            Show::NeedYou => self.need_you,
            Show::Resting => self.resting,
            Show::Serving => self.serving,
            Show::Disabled => self.disabled,
        }
    }
}

/// The page that `filter` asks for, or the last where it asks for one beyond.
pub(super) fn list(projects: &[v1::Project], in_all: u32, filter: &Filter, now: Timestamp) -> List {
    let looked_for = filter.text.to_lowercase();
    let named: Vec<_> = projects
        .iter()
        .filter(|project| is_named(project, &looked_for))
        .collect();
    // Each choice leads to as many as it says, with the same words.
    let counts = Counts::of(named.iter().copied());
    let mut found = named;
    found.retain(|project| filter.shows(project));
    found.sort_by(|a, b| (urgency(a), &a.id).cmp(&(urgency(b), &b.id)));
    let last = found.len().saturating_sub(1) / PAGE;
    let page = filter.page.min(last);
    let begins = page * PAGE;
    let ends = (begins + PAGE).min(found.len());
    let at = |page| Filter {
        page,
        ..filter.clone()
    };
    let choices = Show::EACH.map(|show| Choice {
        name: show.name(),
        title: show.title(),
        count: words::grouped(counts.shown(show) as u64),
        query: Filter {
            show,
            page: 0,
            text: filter.text.clone(),
        }
        .query(),
        is_chosen: show == filter.show,
    });
    let count = |count: usize| words::grouped(count as u64);
    List {
        choices: choices.into(),
        rows: found[begins..ends].iter().map(|p| row(p, now)).collect(),
        extent: match found.len() {
            0 => String::new(),
            of if of <= PAGE => words::counted(of as u64, "project"),
            of => format!("{}–{} of {}", count(begins + 1), count(ends), count(of)),
        },
        before: (page > 0).then(|| at(page - 1).query()),
        after: (page < last).then(|| at(page + 1).query()),
        only_of: (projects.len() < in_all as usize).then(|| words::grouped(in_all.into())),
    }
}

/// Whether these words, in small letters, are in its id, name, Google project or account.
fn is_named(project: &v1::Project, looked_for: &str) -> bool {
    let within = |text: &String| text.to_lowercase().contains(looked_for);
    looked_for.is_empty()
        || [
            &project.id,
            &project.display_name,
            &project.google_project_id,
            &project.account,
        ]
        .into_iter()
        .any(within)
}

/// What comes first has the lowest.
fn urgency(project: &v1::Project) -> u8 {
    match project.state() {
        State::NeedsValidation | State::NeedsLogin | State::Unspecified => 0,
        State::Suspended => 1,
        State::Denied => 2,
        State::Active if !project.refresh_error.is_empty() => 3,
        State::CoolingDown => 4,
        State::Active if !project.cooldowns.is_empty() => 5,
        State::Active => 6,
        State::Disabled => 7,
    }
}

/// A project as the page shows it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) display_name: String,
    /// Where it is another than the id.
    pub(super) google_project_id: String,
    pub(super) upstream: &'static str,
    pub(super) account: String,
    pub(super) state: &'static str,
    /// The class that gives the state its colour.
    pub(super) tone: &'static str,
    pub(super) next: String,
    pub(super) link: Option<Link>,
    pub(super) reason: String,
    pub(super) refresh_error: String,
    pub(super) requests: String,
    pub(super) errors: String,
    pub(super) has_errors: bool,
    pub(super) expires: Option<Moment>,
    pub(super) has_expired: bool,
    pub(super) refreshed: Option<Moment>,
    pub(super) is_api_key: bool,
    pub(super) cooldowns: Vec<Cooldown>,
    pub(super) quotas: Vec<Quota>,
    pub(super) disabled: bool,
}

/// Where to go; of what is no address of the Web only the text is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) address: Option<String>,
    /// Where that leads, for those who look before they leap.
    pub(super) shown: String,
}

#[derive(Clone, Debug)]
pub(super) struct Cooldown {
    pub(super) group: String,
    pub(super) until: Option<Moment>,
}

#[derive(Clone, Debug)]
pub(super) struct Quota {
    pub(super) name: String,
    /// What is left, of 100.
    pub(super) left: u8,
    pub(super) is_low: bool,
    pub(super) resets: Option<Moment>,
}

fn row(project: &v1::Project, now: Timestamp) -> Row {
    let (state, tone) = match project.state() {
        State::Unspecified => ("unknown", "warn"),
        State::Active if !project.refresh_error.is_empty() => ("not refreshed", "warn"),
        State::Active => ("in rotation", "good"),
        State::CoolingDown => ("resting", "rest"),
        State::NeedsLogin => ("needs a login", "bad"),
        State::NeedsValidation => ("needs a click", "bad"),
        State::Suspended => ("suspended", "bad"),
        State::Disabled => ("disabled", "off"),
        State::Denied => ("denied", "bad"),
    };
    let seen =
        |time: Option<&prost_types::Timestamp>| words::time(time).map(|at| words::moment(at, now));
    let expires_at = words::time(project.token_expires_at.as_ref());
    Row {
        id: project.id.clone(),
        display_name: project.display_name.clone(),
        google_project_id: if project.google_project_id == project.id {
            String::new()
        } else {
            project.google_project_id.clone()
        },
        upstream: match project.upstream() {
            Upstream::Unspecified => "",
            Upstream::Antigravity => "antigravity",
            Upstream::Gemini => "gemini",
            Upstream::Vertex => "vertex",
        },
        account: project.account.clone(),
        state,
        tone,
        next: next_step(project),
        link: link(&project.action_url),
        reason: reason(project).to_owned(),
        refresh_error: project.refresh_error.clone(),
        requests: words::counted(project.requests_last_hour, "request"),
        errors: words::counted(project.errors_last_hour, "error"),
        has_errors: project.errors_last_hour > 0,
        expires: seen(project.token_expires_at.as_ref()),
        has_expired: expires_at.is_some_and(|at| at <= now),
        refreshed: seen(project.refreshed_at.as_ref()),
        is_api_key: project.credential() == Credential::ApiKey,
        cooldowns: project
            .cooldowns
            .iter()
            .map(|cooldown| Cooldown {
                group: if cooldown.model_group.is_empty() {
                    "every model".to_owned()
                } else {
                    cooldown.model_group.clone()
                },
                until: seen(cooldown.until.as_ref()),
            })
            .collect(),
        quotas: project.quotas.iter().map(|q| quota(q, now)).collect(),
        disabled: project.disabled,
    }
}

fn quota(quota: &v1::Quota, now: Timestamp) -> Quota {
    // A number that is none becomes 0.
    let left = (quota.remaining_fraction * 100.0).clamp(0.0, 100.0).round() as u8;
    Quota {
        name: format!("{} {}", quota.model_group, quota.window),
        left,
        is_low: left <= 10,
        resets: words::time(quota.reset_at.as_ref()).map(|at| words::moment(at, now)),
    }
}

/// What Google has given as an address comes from outside: a script is no place to go.
fn link(address: &str) -> Option<Link> {
    if address.is_empty() {
        return None;
    }
    let url = Url::parse(address)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    Some(match url {
        Some(url) => Link {
            shown: url.host_str().unwrap_or_default().to_owned(),
            address: Some(url.into()),
        },
        None => Link {
            address: None,
            shown: address.to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(id: &str, state: State) -> v1::Project {
        v1::Project {
            id: id.to_owned(),
            state: state.into(),
            ..Default::default()
        }
    }

    fn now() -> Timestamp {
        "2026-11-26T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn those_that_need_somebody_come_first_of_ten_thousand() {
        let mut projects: Vec<_> = (0..10_000)
            .map(|nth| project(&format!("p{nth:05}"), State::Active))
            .collect();
        projects[9_998] = project("p09998", State::NeedsLogin);
        projects[5_000] = project("p05000", State::CoolingDown);
        projects[0] = project("p00000", State::Disabled);
        let read = |query| list(&projects, 10_000, &Filter::read(query), now());
        let ids = |list: &List| -> Vec<_> { list.rows.iter().map(|row| row.id.clone()).collect() };
        let all = read("");
        assert_eq!(ids(&all)[..3], ["p09998", "p05000", "p00001"]);
        assert_eq!((all.rows.len(), &*all.extent), (PAGE, "1–50 of 10,000"));
        assert_eq!((all.before, all.after.as_deref()), (None, Some("page=2")));
        let counts: Vec<_> = all.choices.iter().map(|choice| &*choice.count).collect();
        assert_eq!(counts, ["10,000", "1", "1", "9,997", "1"]);
        let last = read("page=200");
        assert_eq!(ids(&last).last().unwrap(), "p00000");
        assert_eq!(last.after, None);
        assert_eq!(ids(&read("page=1000000")), ids(&last));
        assert_eq!(ids(&read("q=P0999&show=in-rotation")).len(), 9);
        assert_eq!(ids(&read("show=need-you")), ["p09998"]);
        assert!(read("q=nothing-of-the-kind").rows.is_empty());
        assert!(all.only_of.is_none());
        // The choices count what they lead to.
        let named = read("q=p0999");
        let counts: Vec<_> = named.choices.iter().map(|choice| &*choice.count).collect();
        assert_eq!(counts, ["10", "1", "0", "9", "0"]);
        assert_eq!(read(&named.choices[1].query).rows.len(), 1);
    }

    #[test]
    fn a_query_is_read_as_it_was_written_and_nonsense_is_nothing() {
        let filter = Filter {
            text: "a&b=\"ü\" <".to_owned(),
            show: Show::Resting,
            page: 3,
        };
        assert_eq!(Filter::read(&filter.query()), filter);
        for query in ["", "q=", "show=everything&page=-1", "page=0", "%ff&&=&x=y"] {
            assert_eq!(Filter::read(query), Filter::default(), "{query}");
        }
        let long = Filter::read(&format!("q={}", "ä".repeat(1000)));
        assert!(long.text.len() <= LONGEST);
    }

    #[test]
    fn only_addresses_of_the_web_are_links() {
        for address in ["https://accounts.google.com/x?y=1", "http://example.com/"] {
            let link = link(address).unwrap();
            assert_eq!(link.address.as_deref(), Some(address));
        }
        for address in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            " javascript:alert(1)",
            "java\nscript:alert(1)",
            "data:text/html,<script>alert(1)</script>",
            "file:///etc/passwd",
            "//example.com",
            "/relative",
            "no address",
        ] {
            let link = link(address).unwrap();
            assert_eq!((link.address, &*link.shown), (None, address));
        }
        assert_eq!(link(""), None);
        // What would end an attribute is no more than part of the address.
        let quoted = link("https://example.com/\"onclick=\"alert(1)").unwrap();
        assert!(!quoted.address.unwrap().contains('"'));
    }
}

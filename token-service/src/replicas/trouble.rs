//! A database that is there and refuses what replicas ask of it all the time: its operators are told,
//! as nothing of what others store reaches this replica until that is mended.

use sqlx::postgres::PgDatabaseError;

use crate::{pool::Pool, store::StoreError};

/// What is asked of the database all the time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    /// What others have changed.
    Look,
    /// To note that this replica is there.
    Beat,
    /// To take again what it lacks.
    Again,
}

/// Why it is refused, as long as it is.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    look: Option<String>,
    beat: Option<String>,
    again: Option<String>,
}

impl Trouble {
    /// The first of what is refused.
    pub(crate) fn why(&self) -> Option<&str> {
        let Self { look, beat, again } = self;
        let first = look.as_deref().or(beat.as_deref());
        first.or(again.as_deref())
    }
}

impl Pool {
    /// Remembers how it went, and tells of a change. A database that is away is told of elsewhere.
    pub(super) fn tell_trouble(&self, asked: Asked, error: Option<StoreError>) {
        if self.is_database_away().is_some() {
            return;
        }
        let mut state = self.state();
        let was_well = state.trouble.why().is_none();
        let why = match asked {
            Asked::Look => &mut state.trouble.look,
            Asked::Beat => &mut state.trouble.beat,
            Asked::Again => &mut state.trouble.again,
        };
        *why = error.as_ref().map(ToString::to_string);
        match (error, was_well) {
            (Some(error), true) => tracing::error!(
                %error,
                "the database refuses what it is asked for all the time; what is in memory is \
                 served, and it is asked again every 2 s. {}",
                remedy(&error)
            ),
            (None, false) if state.trouble.why().is_none() => {
                tracing::info!("the database refuses nothing any more");
            }
            _ => {}
        }
    }

    /// Whether the database is there, and does what it is asked.
    pub(crate) fn is_database_up(&self) -> bool {
        self.is_database_away().is_none() && self.is_database_refusing().is_none()
    }

    /// Why the database cannot be followed, although it is there; `None`: it can.
    pub(crate) fn is_database_refusing(&self) -> Option<String> {
        self.state().trouble.why().map(str::to_owned)
    }
}

/// What an operator does about it.
fn remedy(error: &StoreError) -> &'static str {
    let said = match error {
        StoreError::Database(sqlx::Error::Database(said)) => said,
        StoreError::Busy | StoreError::Waited(_) => {
            return "End who holds the lock: pg_stat_activity and pg_locks say who does";
        }
        _ => return "See the server's log",
    };
    let said = said.try_downcast_ref::<PgDatabaseError>();
    match said.map(PgDatabaseError::code).unwrap_or_default() {
        code if code.starts_with("28") => {
            "Check user and password of DATABASE_URL, and the server's pg_hba.conf"
        }
        "3D000" => "Check the name of the database in DATABASE_URL",
        "42501" => "Grant the role of DATABASE_URL all on the schema's tables and sequences",
        _ => "See the server's log",
    }
}

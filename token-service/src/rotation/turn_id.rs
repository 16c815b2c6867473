//! How turns are named on the wire: by the process that dealt them, their number there, and
//! their project, so that whichever replica gets one back knows whose it is. Gateways do not
//! look into it.

use super::ForeignTurn;

/// A turn as it is named on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnId<'t> {
    /// This process dealt it.
    Ours(u64),
    /// Another did.
    Foreign(ForeignTurn<'t>),
}

impl<'t> TurnId<'t> {
    /// The name of a turn that `instance` dealt. An instance has no hyphen, a project may have.
    #[must_use]
    pub fn write(instance: &str, number: u64, project: &str) -> String {
        format!("{instance}-{number}-{project}")
    }

    /// Reads a name; `None` when it is none. Of our own, the project may be missing.
    #[must_use]
    pub fn read(text: &'t str, ours: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let (instance, number) = (parts.next()?, parts.next()?.parse().ok()?);
        if instance == ours {
            return Some(Self::Ours(number));
        }
        let project = parts.next()?;
        Some(Self::Foreign(ForeignTurn {
            instance,
            number,
            project,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let id = TurnId::write("0a1b2c", 17, "my-project-3");
        assert_eq!(TurnId::read(&id, "0a1b2c"), Some(TurnId::Ours(17)));
        let foreign = TurnId::Foreign(ForeignTurn {
            instance: "0a1b2c",
            number: 17,
            project: "my-project-3",
        });
        assert_eq!(TurnId::read(&id, "other"), Some(foreign));
    }

    #[test]
    fn what_is_no_name_is_none() {
        assert_eq!(TurnId::read("ours-3", "ours"), Some(TurnId::Ours(3)));
        for text in [
            "",
            "-",
            "ours",
            "ours-",
            "ours-x-p",
            "theirs-3",
            "theirs-x-p",
        ] {
            assert_eq!(TurnId::read(text, "ours"), None, "{text:?}");
        }
        let huge = format!("theirs-{}0-p", u64::MAX);
        assert_eq!(TurnId::read(&huge, "ours"), None);
    }
}

//! Names of functions: what Gemini does not take as a name goes out under another one,
//! and comes back under its own.
//!
//! The other name is made of the name alone, so that it is the same in every request of
//! a conversation and no gateway has to remember it.

use std::{borrow::Cow, sync::Arc};

use crate::schema;

/// Characters of a function's name that Gemini takes.
const MAX_NAME: usize = 64;

/// Names that go out changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// What the client says, and what Gemini is told.
    renamed: Arc<[(String, String)]>,
    /// Claude has no dots in names, and gets properties that are only there for its sake.
    for_claude: bool,
    /// Some function's name begins with [`NAMESPACES`] by itself.
    is_namespaced: bool,
}

/// What Gemini knows functions by among itself; at times it comes out.
const NAMESPACES: [&str; 2] = ["default_api.", "default_api:"];

impl Names {
    /// For these declared functions; whichever can keep its name keeps it.
    pub(super) fn of<'n>(
        declared: impl Iterator<Item = &'n str> + Clone,
        for_claude: bool,
    ) -> Self {
        let mut renamed: Vec<(String, String)> = Vec::new();
        for name in declared.clone().filter(|name| !fits(name, for_claude)) {
            let is_free = |candidate: &str| {
                declared.clone().all(|other| other != candidate)
                    && renamed.iter().all(|(_, taken)| taken != candidate)
            };
            let mut other = substitute(name, 0);
            for nth in 1.. {
                if is_free(&other) {
                    break;
                }
                other = substitute(name, nth);
            }
            renamed.push((name.to_owned(), other));
        }
        Self {
            renamed: renamed.into(),
            for_claude,
            is_namespaced: declared.clone().any(|name| bare(name) != name),
        }
    }

    /// What Gemini is told instead of `name`.
    pub(super) fn upstream<'a>(&self, name: Cow<'a, str>) -> Cow<'a, str> {
        if fits(&name, self.for_claude) {
            return name;
        }
        let known = self.renamed.iter().find(|(client, _)| *client == name);
        // A function of the history that is no longer declared.
        known
            .map_or_else(|| substitute(&name, 0), |(_, other)| other.clone())
            .into()
    }

    /// Arguments as the client's schema has them.
    #[must_use]
    pub fn arguments<'a>(&self, args: &'a str) -> Cow<'a, str> {
        if self.for_claude {
            schema::without_placeholder(args)
        } else {
            args.into()
        }
    }

    /// What the client calls the function that Gemini calls `name`.
    #[must_use]
    pub fn client<'n>(&'n self, name: &'n str) -> &'n str {
        let name = if self.is_namespaced { name } else { bare(name) };
        let known = self.renamed.iter().find(|(_, upstream)| upstream == name);
        known.map_or(name, |(client, _)| client)
    }
}

/// The name without its namespace.
fn bare(name: &str) -> &str {
    let bare = NAMESPACES.iter().find_map(|it| name.strip_prefix(it));
    bare.filter(|bare| !bare.is_empty()).unwrap_or(name)
}

/// Whether Gemini takes the name: <https://ai.google.dev/api/caching#FunctionDeclaration>,
/// without the colon, which Vertex AI does not have.
fn fits(name: &str, no_dots: bool) -> bool {
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
    let goes_on = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    name.len() <= MAX_NAME
        && name.starts_with(starts)
        && name.chars().all(|c| goes_on(c) || (c == '.' && !no_dots))
}

/// The name as far as it can be said, and a fingerprint of all of it.
fn substitute(name: &str, nth: u32) -> String {
    let fingerprint = fingerprint(name).wrapping_add(nth);
    let mut said: String = name
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || c == '-' => c,
            _ => '_',
        })
        .take(MAX_NAME - 10)
        .collect();
    if !said.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        said.insert(0, '_');
    }
    format!("{said}_{fingerprint:08x}")
}

/// FNV-1a: it has to be the same in every release.
fn fingerprint(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_fits_stays() {
        let names = Names::of(["f", "fs.read-all", "_x1"].into_iter(), false);
        assert_eq!(names, Names::default());
        assert_eq!(names.upstream("fs.read-all".into()), "fs.read-all");
        let claude = Names::of(["fs.read"].into_iter(), true);
        assert_eq!(claude.upstream("fs.read".into()), "fs_read_d154e2a4");
        assert_eq!(claude.client("fs_read_d154e2a4"), "fs.read");
    }

    #[test]
    fn a_name_that_is_taken_is_not_given() {
        let taken = substitute("größe", 0);
        let names = Names::of(["größe", &*taken].into_iter(), false);
        assert_eq!(names.upstream((&*taken).into()), taken);
        let other = names.upstream("größe".into());
        assert_ne!(other, taken);
        assert_eq!(names.client(&other), "größe");
    }

    #[test]
    fn what_gemini_calls_its_functions_among_itself_is_taken_off() {
        let names = Names::of(["größe", "f"].into_iter(), false);
        assert_eq!(names.client("default_api.f"), "f");
        assert_eq!(names.client("default_api:f"), "f");
        assert_eq!(names.client("default_api."), "default_api.");
        let upstream = format!("default_api:{}", names.upstream("größe".into()));
        assert_eq!(names.client(&upstream), "größe");
        let own = Names::of(["default_api.f"].into_iter(), false);
        assert_eq!(own.client("default_api.f"), "default_api.f");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn every_name_comes_back(declared in proptest::collection::btree_set("\\PC{1,80}|[a-z.:/]{60,70}|mcp__[a-z]{1,3}__.", 1..8), no_dots: bool) {
            let names = Names::of(declared.iter().map(String::as_str), no_dots);
            let mut seen = std::collections::BTreeSet::new();
            for name in &declared {
                let upstream = names.upstream(name.as_str().into()).into_owned();
                prop_assert!(fits(&upstream, no_dots), "{}", upstream);
                prop_assert_eq!(names.client(&upstream), name);
                prop_assert!(seen.insert(upstream));
            }
        }
    }
}

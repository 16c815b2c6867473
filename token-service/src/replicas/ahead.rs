//! Operators' changes that the database lacks, since another server has taken the place of the
//! primary, without what that had last: they are made again.

use std::collections::{BTreeSet, HashSet};

use super::trouble::Asked;
use crate::{
    pool::{Pool, State},
    project::{Project, ProjectId},
    store::{Change, ClientImportRecord, ClientRecord, ImportRecord, ProjectRecord, StoreError},
};

/// What was changed here last, and is to be stored again.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    pub(crate) projects: BTreeSet<ProjectId>,
    pub(crate) clients: BTreeSet<String>,
}

impl Ahead {
    /// Whether a project is stored as it was before what operators have changed in memory. Only
    /// of a server that is looked at for the first time: of others, what is stored is newer,
    /// whatever the clocks of those say who have changed it.
    pub(super) fn is_behind(
        &mut self,
        stored: &ProjectRecord,
        mine: &Project,
        is_another: bool,
    ) -> bool {
        let may_be = is_another || self.projects.contains(&mine.id);
        let is_behind = may_be && stored.project.updated_at < mine.updated_at;
        if is_behind {
            self.projects.insert(mine.id.clone());
        } else {
            self.projects.remove(&mine.id);
        }
        is_behind
    }
}

impl State {
    /// The same of an OAuth client.
    pub(super) fn is_client_ahead(&mut self, stored: &ClientRecord, is_another: bool) -> bool {
        let id = &stored.credentials.client_id;
        let may_be = is_another || self.ahead.clients.contains(id);
        let known = self.clients.get(id);
        let is_ahead =
            may_be && known.is_some_and(|known| stored.updated_at < known.record.updated_at);
        if is_ahead {
            self.ahead.clients.insert(id.clone());
        } else {
            self.ahead.clients.remove(id);
        }
        is_ahead
    }

    /// What is in memory and not stored was added last: nothing was removed since.
    pub(super) fn mark_missing(&mut self, projects: &HashSet<String>, clients: &HashSet<String>) {
        let missing = self.projects.keys().filter(|id| !projects.contains(&***id));
        self.ahead.projects.extend(missing.cloned());
        let missing = self.clients.keys().filter(|id| !clients.contains(*id));
        self.ahead.clients.extend(missing.cloned());
    }

    /// The changes that bring the database up to memory.
    fn changes_ahead(&mut self) -> Vec<Change> {
        self.make_room();
        let clients = self.ahead.clients.iter();
        let clients = clients.filter_map(|id| self.clients.get(id));
        let clients = clients.map(|client| Change::PutClient(client.record.clone()));
        let projects = self.ahead.projects.iter();
        let projects = projects.filter_map(|id| self.projects.get(id));
        let projects = projects.map(|member| Change::PutProject(Box::new(member.record.clone())));
        clients.chain(projects).collect()
    }

    /// A project that is added again goes behind those that were added in its place.
    fn make_room(&mut self) {
        for id in &self.ahead.projects {
            let Some(position) = self.projects.get(id).map(|it| it.record.project.position) else {
                continue;
            };
            let mut others = self.projects.iter().filter(|(other, _)| *other != id);
            if others.any(|(_, other)| other.record.project.position == position) {
                let behind = self.next_position();
                if let Some(member) = self.projects.get_mut(id) {
                    member.record.project.position = behind;
                }
            }
        }
    }

    /// Where they came from, without which the next start would import the same file once more,
    /// over what was refreshed since.
    fn imports_ahead(&self) -> (Vec<ImportRecord>, Vec<ClientImportRecord>) {
        let ahead = &self.ahead;
        let imports = ahead
            .projects
            .iter()
            .filter_map(|id| self.imports.get(id))
            .flatten()
            .cloned();
        let client_imports = self.client_imports.iter();
        let client_imports = client_imports.filter(|it| ahead.clients.contains(&it.client_id));
        (imports.collect(), client_imports.cloned().collect())
    }

    /// Of what was `known`, that of which now nothing is stored. What is stored may be newer.
    fn lacking(
        &self,
        (imports, client_imports): (Vec<ImportRecord>, Vec<ClientImportRecord>),
    ) -> Vec<Change> {
        let imports = imports.into_iter().filter(|import| {
            let stored = self.imports.get(&import.project_id);
            self.projects.contains_key(&import.project_id)
                && !stored.is_some_and(|stored| stored.iter().any(|it| it.source == import.source))
        });
        let client_imports = client_imports.into_iter().filter(|import| {
            let mut stored = self.client_imports.iter();
            self.clients.contains_key(&import.client_id)
                && !stored
                    .any(|it| (&it.client_id, it.source) == (&import.client_id, import.source))
        });
        let imports = imports.map(Change::PutImport);
        imports
            .chain(client_imports.map(Change::PutClientImport))
            .collect()
    }
}

impl Pool {
    /// Makes the changes again that the database lacks.
    pub(super) async fn store_what_is_ahead(&self) {
        let is_ahead = |state: &State| {
            let ahead = &state.ahead;
            !ahead.projects.is_empty() || !ahead.clients.is_empty()
        };
        if !is_ahead(&self.state()) {
            // What could not be stored before may have been stored by another.
            self.tell_trouble(Asked::Again, None);
            return;
        }
        let made = self.change_again().await;
        if let Ok(changes @ 1..) = made {
            tracing::warn!(
                changes,
                "the database lacked what operators had changed last; it is stored again"
            );
        }
        self.tell_trouble(Asked::Again, made.err());
    }

    async fn change_again(&self) -> Result<usize, StoreError> {
        let known = self.state().imports_ahead();
        let mut changing = self.change_imports().await?;
        // What others have stored again meanwhile is not ahead any more.
        let changes = {
            let mut state = self.state();
            let mut changes = state.changes_ahead();
            changes.extend(state.lacking(known));
            changes
        };
        changing.commit(&changes).await?;
        let mut state = self.state();
        for change in &changes {
            match change {
                Change::PutImport(import) => state.put_import(import.clone()),
                Change::PutClientImport(import) => state.put_client_import(import.clone()),
                _ => {}
            }
        }
        state.ahead = Ahead::default();
        Ok(changes.len())
    }
}

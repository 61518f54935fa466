//! The demo's input: who there is, and which keys.

use std::path::{Path, PathBuf};

use model::{Name, Role};
use serde::Deserialize;

use crate::error::Error;
use crate::toml_text::explain;

/// A tenant's people and keys, as a file in `deploy/demo` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cast {
    pub(super) name: Name,
    pub(super) class: String,
    pub(super) policy: PathBuf,
    #[expect(dead_code, reason = "read for people; the founding takes the default")]
    admin_quorum: u8,
    person: Vec<Somebody>,
    workload: Vec<Somebody>,
    #[serde(rename = "key")]
    pub(super) keys: Vec<KeyInput>,
}

/// A person or workload.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Somebody {
    label: Name,
    roles: Vec<Role>,
}

/// A key to be issued.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyInput {
    pub(super) label: Name,
    pub(super) algorithm: String,
    pub(super) workload: String,
    pub(super) asset: String,
}

impl KeyInput {
    /// A key that nobody will sign for.
    pub(super) fn spare() -> Result<Self, Error> {
        let label = "spare".parse().map_err(|error| Error::usage(error, "tell the authors"))?;
        let text = |text: &str| text.to_owned();
        Ok(Self { label, algorithm: text("aes-256-gcm"), workload: text("general"), asset: text("nothing yet") })
    }
}

impl Cast {
    /// Reads a tenant's file. Paths in it are relative to the folder.
    pub(super) fn read(folder: &Path, name: &str) -> Result<Self, Error> {
        let path = folder.join(name);
        let advice = "see deploy/demo/README.md for what it must say";
        let text = std::fs::read_to_string(&path).map_err(|error| Error::file(&path, error, advice))?;
        let cast: Self = toml::from_str(&text).map_err(|error| Error::file(&path, explain(&text, &error), advice))?;
        Ok(Self { policy: folder.join(cast.policy), ..cast })
    }

    /// Everybody who needs a key.
    pub(super) fn everybody(&self) -> impl Iterator<Item = &Name> {
        self.person.iter().chain(&self.workload).map(|somebody| &somebody.label)
    }

    /// The first two admins.
    pub(super) fn admins(&self) -> Result<[&Name; 2], Error> {
        let mut admins = self.person.iter().filter(|person| person.roles.iter().any(Role::is_admin));
        match (admins.next(), admins.next()) {
            (Some(first), Some(second)) => Ok([&first.label, &second.label]),
            _ => Err(Error::usage(format!("`{}` has fewer than two admins", self.name), "add one")),
        }
    }

    /// Who has keys made and asks for their activation: the first who is no admin.
    pub(super) fn owner(&self) -> Result<&Name, Error> {
        let owner = self.person.iter().find(|person| !person.roles.iter().any(Role::is_admin));
        let missing = || Error::usage(format!("`{}` has nobody but admins", self.name), "add a person");
        owner.map(|person| &person.label).ok_or_else(missing)
    }

    /// Who is to be enrolled, as what, with which roles: everybody but the first admins.
    pub(super) fn enrolments(&self) -> Vec<(&Name, &'static str, &[Role])> {
        let people = self.person.iter().filter(|person| !person.roles.iter().any(Role::is_admin));
        let people = people.map(|person| (&person.label, "person", person.roles.as_slice()));
        people.chain(self.workload.iter().map(|work| (&work.label, "workload", work.roles.as_slice()))).collect()
    }
}

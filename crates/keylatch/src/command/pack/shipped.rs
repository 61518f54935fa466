//! The packs that come with the program, and packs in files.

use std::path::PathBuf;

use model::pack::Pack;

use super::is_path;
use crate::command::policy::Finding;
use crate::command::policy::check::unreadable;
use crate::error::Error;
use crate::toml_text::line_of;

/// The packs that come with the program: name and text.
pub const SHIPPED: [(&str, &str); 6] = [
    ("dora-2024-1774", include_str!("../../../../../deploy/packs/dora-2024-1774.toml")),
    ("ear-740-17", include_str!("../../../../../deploy/packs/ear-740-17.toml")),
    ("fips-140-3", include_str!("../../../../../deploy/packs/fips-140-3.toml")),
    ("gdpr-edpb-01-2020", include_str!("../../../../../deploy/packs/gdpr-edpb-01-2020.toml")),
    ("nis2-2024-2690", include_str!("../../../../../deploy/packs/nis2-2024-2690.toml")),
    ("pci-dss-4-0-1", include_str!("../../../../../deploy/packs/pci-dss-4-0-1.toml")),
];

/// A pack as it was found, with what is wrong with it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The file, or the name of a shipped pack.
    pub from: PathBuf,
    /// Whether it comes with the program.
    pub shipped: bool,
    /// The pack, where it reads.
    pub pack: Option<Pack>,
    /// What there is to mend.
    pub findings: Vec<Finding>,
}

impl Found {
    /// The pack, where nothing is to mend.
    pub fn whole(self) -> Result<Pack, Error> {
        match (self.pack, self.findings.first()) {
            (Some(pack), None) => Ok(pack),
            (_, Some(first)) => {
                let (more, line) = (self.findings.len() - 1, first.line.map(|line| format!(":{line}")));
                let what =
                    format!("{}{}: {} (and {more} more)", self.from.display(), line.unwrap_or_default(), first.what);
                Err(Error::failed(what, "mend what `keylatch pack check` names"))
            }
            (None, None) => Err(Error::file(&self.from, "it does not read", "see `keylatch pack check`")),
        }
    }
}

/// Every shipped pack.
pub fn all() -> impl Iterator<Item = Pack> {
    SHIPPED.iter().filter_map(|(_, text)| toml::from_str(text).ok())
}

/// The pack that is meant: a shipped one by its name, else a file's.
pub fn find(named: &str) -> Result<Found, Error> {
    if let Some((_, text)) = SHIPPED.iter().find(|(name, _)| *name == named) {
        return Ok(read(PathBuf::from(named), true, text));
    }
    let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    let advice = format!("name a TOML file, or one of these: {}", names.join(", "));
    if !is_path(named) {
        return Err(Error::usage(format!("no pack called `{named}` is shipped, and there is no such file"), advice));
    }
    let path = PathBuf::from(named);
    let text = std::fs::read_to_string(&path).map_err(|error| Error::file(&path, error, advice))?;
    Ok(read(path, false, &text))
}

fn read(from: PathBuf, shipped: bool, text: &str) -> Found {
    let (pack, findings) = match toml::from_str::<Pack>(text) {
        Ok(pack) => {
            let finding = |fault: lifecycle::policy::Fault| Finding {
                line: line_of(text, &fault.at),
                at: Some(fault.at),
                what: fault.what,
                advice: fault.advice.to_owned(),
                blocks: true,
            };
            let findings = lifecycle::gate::check(&pack).into_iter().map(finding).collect();
            (Some(pack), findings)
        }
        Err(error) => (None, vec![unreadable(text, &error)]),
    };
    Found { from, shipped, pack, findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_pack_is_called_what_it_says_and_holds_together() {
        for (name, _) in SHIPPED {
            assert_eq!(find(name).unwrap().whole().unwrap().name.as_str(), name);
        }
        assert_eq!(all().count(), SHIPPED.len());
    }
}

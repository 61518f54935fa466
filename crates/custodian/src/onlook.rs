//! Looking at what `stores.toml` describes, as anybody could who has its PINs and certificates: read only, beside a custodian
//! that runs or where none does. First contact with a store observes, and nothing else.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use keystore::inventory::{Inventory, Item};
pub use keystore_kmip::Verdict;
use keystore_pkcs11::Pin;
pub use keystore_pkcs11::TokenConfig;
use keystore_software::SoftwareStore;
use model::Name;

use crate::custody::Place;
use crate::further::{self, Further, FurtherStores, Pkcs11};
use crate::{SOFTWARE, custody};

/// A store, as somebody sees it who looks at it.
#[derive(Debug)]
pub struct StoreSeen {
    /// Its name.
    pub name: Name,
    /// What kind of store it is.
    pub kind: &'static str,
    /// Who does the uses, where that can be chosen.
    pub mode: Option<&'static str>,
    /// The algorithms of which it makes keys.
    pub algorithms: Vec<model::Algorithm>,
    /// What should be otherwise, with what to do.
    pub doubts: Vec<String>,
    /// What stands behind it.
    pub places: Vec<PlaceSeen>,
}

/// A token, a server, a folder.
#[derive(Debug)]
pub struct PlaceSeen {
    /// Which.
    pub place: String,
    /// What it says of itself.
    pub said: Option<String>,
    /// The keys there; or why they can't be seen.
    pub items: Result<Vec<Item>, String>,
}

/// Goes through all that the file describes. Blocks.
pub fn look(stores: &FurtherStores) -> Vec<StoreSeen> {
    stores.store.iter().map(|store| look_at(stores, store)).collect()
}

/// One token that no store has, or not yet. Blocks.
pub fn look_at_token(name: Name, module: &Path, token: TokenConfig) -> StoreSeen {
    let places = vec![token_seen(module, Ok(token))];
    StoreSeen { name, kind: "pkcs11", mode: None, algorithms: Vec::new(), doubts: Vec::new(), places }
}

/// The software store, where no custodian has it open. Blocks.
pub fn look_at_software(place: &Place) -> Option<StoreSeen> {
    let name: Name = SOFTWARE.parse().ok()?;
    let items = match SoftwareStore::open(&place.store(), name.clone(), place.masters()) {
        Ok(store) => listed(&store),
        Err(keystore_software::Error::InUse { .. }) => {
            Err("a custodian has it open, and every key in it is Keylatch's: `keylatch custody check`".to_owned())
        }
        Err(error) => Err(error.to_string()),
    };
    let places = vec![PlaceSeen { place: format!("folder {}", place.store().display()), said: None, items }];
    let (kind, algorithms) = ("software", model::Algorithm::ALL.to_vec());
    Some(StoreSeen { name, kind, mode: None, algorithms, doubts: Vec::new(), places })
}

/// Tries the side doors of a KMIP server with keys of its own, which are destroyed at once. Takes the store, so that no
/// custodian may run. Blocks.
///
/// # Errors
/// Where there is no such KMIP store, or it can't be opened.
pub fn doors(stores: &FurtherStores, name: &Name, folder: &Path) -> Result<Vec<keystore_kmip::DoorFinding>, String> {
    let found = stores.store.iter().find(|store| store.name() == name);
    let Some(Further::Kmip(kmip)) = found else { return Err(format!("stores.toml has no KMIP server `{name}`")) };
    let place = kmip.folder.as_ref().map_or_else(|| folder.join(name.as_str()), |own| stores.beside.join(own));
    let settings = further::settings(kmip, &stores.beside)?;
    let store = keystore_kmip::KmipStore::open(&place, name.clone(), &settings).map_err(|error| error.to_string())?;
    Ok(store.probe_side_doors())
}

/// How a door was found, in a word.
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Open => "open",
        Verdict::Closed => "closed",
        Verdict::NotTried => "not tried",
    }
}

fn look_at(stores: &FurtherStores, store: &Further) -> StoreSeen {
    let name = store.name().clone();
    let mut doubts: Vec<String> = loose(&stores.path).into_iter().collect();
    match store {
        Further::Pkcs11(store) => {
            doubts.extend(officers(store, &stores.beside));
            let module = stores.beside.join(&store.module);
            let tokens = [Some(&store.pre_active), Some(&store.active), store.placed.as_ref()];
            let tokens = tokens.into_iter().flatten().map(|token| further::token(token, &stores.beside));
            let places = tokens.map(|token| token_seen(&module, token)).collect();
            let mode = Some(if store.placed.is_some() { "placed" } else { "mediated" });
            StoreSeen { name, kind: "pkcs11", mode, algorithms: Vec::new(), doubts, places }
        }
        Further::Kmip(store) => {
            let settings = further::settings(store, &stores.beside);
            let onlooker = settings
                .and_then(|settings| keystore_kmip::Onlooker::new(&settings).map_err(|error| error.to_string()));
            let items = onlooker.and_then(|onlooker| listed(&onlooker));
            let places = vec![PlaceSeen { place: format!("KMIP {}", store.address), said: None, items }];
            let mode = Some(store.mode.name());
            StoreSeen { name, kind: "kmip", mode, algorithms: vec![model::Algorithm::Aes256Gcm], doubts, places }
        }
    }
}

fn token_seen(module: &Path, token: Result<TokenConfig, String>) -> PlaceSeen {
    let place = token.as_ref().map_or_else(Clone::clone, |token| format!("token {}", token.label));
    let onlooker =
        token.and_then(|token| keystore_pkcs11::Onlooker::new(module, token).map_err(|error| error.to_string()));
    match onlooker {
        Ok(onlooker) => {
            let said = onlooker.describe().map(|(what, mechanisms)| format!("{what}, {mechanisms} mechanisms")).ok();
            PlaceSeen { place, said, items: listed(&onlooker) }
        }
        Err(error) => PlaceSeen { place, said: None, items: Err(error) },
    }
}

fn listed(of: &impl Inventory) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    of.inventory(&mut |item| items.push(item)).map_err(|error| custody::causes(&error))?;
    Ok(items)
}

/// Whoever writes the file names the modules that are loaded into the custodian.
fn loose(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let said = || format!("{} can be written by others (mode {mode:o}): chmod go-w", path.display());
    (mode & 0o022 != 0).then(said)
}

/// A security officer's PIN is needed once.
fn officers(store: &Pkcs11, beside: &Path) -> Vec<String> {
    let files = [store.pre_active.officer_pin_file.as_ref(), store.active.officer_pin_file.as_ref()];
    let there = files.into_iter().flatten().map(|file| beside.join(file)).filter(|file| file.exists());
    there.map(|file| format!("{} is not needed again once the store is made: take it away", file.display())).collect()
}

/// Where a PIN is, as a command line names it: `file:PATH` or `env:NAME`.
///
/// # Errors
/// Where it is neither.
pub fn pin(named: &str) -> Result<Pin, String> {
    match named.split_once(':') {
        Some(("file", path)) => Ok(Pin::File(PathBuf::from(path))),
        Some(("env", variable)) => Ok(Pin::Variable(variable.to_owned())),
        _ => Err(format!("`{named}` says not where a PIN is: write file:PATH or env:NAME")),
    }
}

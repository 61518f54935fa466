//! The inventory of a server: every object that it shows to this client. Locate and Get Attributes, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use keystore::inventory::{Inventory, Item};
use model::Timestamp;
use model::key::KeyIdentity;

use crate::client::Client;
use crate::protocol::{self, Attributes, Operation, ServerState};
use crate::{Error, Settings, survey};

/// How the names of this program's own objects begin.
const OURS: &str = "keylatch/";

/// A server that is only looked at.
pub struct Onlooker {
    client: Client,
    address: String,
}

impl Onlooker {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// Where the certificate, the key or the authorities can't be read.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        Ok(Self { client: Client::new(settings)?, address: settings.address.clone() })
    }

    /// Goes through everything that the server shows.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn look(&self, visit: &mut dyn FnMut(Item)) -> Result<(), Error> {
        for object in survey::locate(&self.client)? {
            match self.client.call(Operation::GetAttributes, vec![protocol::identifier(&object)]) {
                Ok(payload) => visit(self.item(object, &Attributes::read(&payload))),
                // One that is gone by now is nobody's business.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn item(&self, object: String, attributes: &Attributes) -> Item {
        let names: Vec<&str> = attributes.names().collect();
        let number = |name| attributes.get(name).and_then(|value| value.parse::<i64>().ok());
        let seconds = number("Initial Date").or_else(|| number("Original Creation Date"));
        Item {
            place: format!("KMIP {}", self.address),
            label: names.first().map(|name| (*name).to_owned()).unwrap_or_default(),
            algorithm: algorithm(number("Cryptographic Algorithm"), number("Cryptographic Length")),
            state: attributes.state().map(state),
            usages: usages(number("Cryptographic Usage Mask").unwrap_or_default()),
            extractable: attributes.get("Extractable").and_then(|value| value.parse().ok()),
            identity: KeyIdentity::Unknown,
            made_at: seconds.and_then(|seconds| seconds.checked_mul(1000)).map(Timestamp::from_unix_millis),
            ours: names.iter().any(|name| name.starts_with(OURS)),
            object,
        }
    }
}

impl Inventory for Onlooker {
    fn inventory(&self, visit: &mut dyn FnMut(Item)) -> Result<(), keystore::Error> {
        Ok(self.look(visit)?)
    }
}

fn state(state: ServerState) -> String {
    format!("{state:?}")
}

/// KMIP 1.4, 9.1.3.2.13, as far as keys are met.
fn algorithm(code: Option<i64>, bits: Option<i64>) -> String {
    let families = BTreeMap::from([
        (1, "des"),
        (2, "3des"),
        (3, "aes"),
        (4, "rsa"),
        (5, "dsa"),
        (6, "ecdsa"),
        (7, "hmac-sha1"),
        (9, "hmac-sha256"),
        (0x0b, "hmac-sha512"),
        (0x0e, "ecdh"),
    ]);
    let family = code.and_then(|code| families.get(&code).copied());
    match (family, bits) {
        (Some("aes"), Some(256)) => "aes-256-gcm".to_owned(),
        (Some(family), Some(bits)) => format!("{family}-{bits}"),
        (Some(family), None) => family.to_owned(),
        (None, _) => "unknown".to_owned(),
    }
}

/// KMIP 1.4, 9.1.3.3.1.
fn usages(mask: i64) -> BTreeSet<String> {
    let bits = [
        "sign",
        "verify",
        "encrypt",
        "decrypt",
        "wrap",
        "unwrap",
        "export",
        "mac generate",
        "mac verify",
        "derive",
        "content commitment",
        "key agreement",
        "certificate sign",
        "crl sign",
    ];
    let on = bits.into_iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
    on.map(|(_, name)| name.to_owned()).collect()
}

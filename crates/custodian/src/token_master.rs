//! A master key in hardware: an AES key on a PKCS#11 token, under which the software store's keyring is.
//!
//! The key never leaves the token; the keyring's content key goes there to be wrapped and unwrapped, when the store is
//! opened, backed up or rotated. It is named by an RFC 7512 URI:
//!
//! ```text
//! pkcs11:token=keylatch%20master;object=master-2026?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/keylatch/pin
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use keystore_pkcs11::{Pin, TokenConfig, TokenKey};
use keystore_software::{Error, MasterKey, MasterKeyId, Provide};
use zeroize::Zeroizing;

const SCHEME: &str = "pkcs11:";

/// Where such a key is. Holds no secret.
#[derive(Clone, Debug)]
pub(crate) struct TokenMaster {
    uri: String,
    module: PathBuf,
    token: TokenConfig,
    object: String,
    locks: PathBuf,
}

impl TokenMaster {
    /// Reads a URI; `None` where it is of another kind. `locks` is where processes that use the token keep out of each
    /// other's way.
    pub(crate) fn parse(text: &str, locks: &Path) -> Option<Result<Self, String>> {
        text.starts_with(SCHEME).then(|| Self::read(text, locks))
    }

    fn read(text: &str, locks: &Path) -> Result<Self, String> {
        let wrong = |what: &str| {
            let form = "pkcs11:token=LABEL;object=LABEL?module-path=PATH&pin-source=file:PATH";
            format!("{what}: a master key on a token is {form}, or pin-source=env:KEYLATCH_NAME")
        };
        let rest = text.strip_prefix(SCHEME).unwrap_or(text);
        let (path, query) = rest.split_once('?').ok_or_else(|| wrong("it names no module"))?;
        let (mut token, mut object, mut module, mut pin) = (None, None, None, None);
        for attribute in path.split(';').chain(query.split('&')) {
            let (name, value) = attribute.split_once('=').ok_or_else(|| wrong("an attribute has no value"))?;
            let value = decoded(value).ok_or_else(|| wrong("a value is not percent-encoded UTF-8"))?;
            let place = match name {
                "token" => &mut token,
                "object" => &mut object,
                "module-path" => &mut module,
                "pin-source" => &mut pin,
                "type" if value == "secret-key" => continue,
                "pin-value" => return Err(wrong("a PIN is not written down there")),
                other => return Err(wrong(&format!("`{other}` is not understood"))),
            };
            if value.is_empty() || place.replace(value).is_some() {
                return Err(wrong(&format!("`{name}` is empty, or stands twice")));
            }
        }
        let absolute = |path: &str| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
        let pin = match pin.as_deref().and_then(|pin| pin.split_once(':')) {
            Some(("file", path)) => Pin::File(absolute(path).ok_or_else(|| wrong("the PIN's file is a whole path"))?),
            // Whatever begins so is kept from child processes.
            Some(("env", name)) if name.starts_with("KEYLATCH_") => Pin::Variable(name.to_owned()),
            _ => return Err(wrong("it does not say where the PIN is")),
        };
        let module = module.as_deref().and_then(absolute).ok_or_else(|| wrong("the module is a whole path"))?;
        let label = token.ok_or_else(|| wrong("it names no token"))?;
        let object = object.ok_or_else(|| wrong("it names no key"))?;
        let token = TokenConfig { label, pin };
        Ok(Self { uri: text.to_owned(), module, token, object, locks: locks.to_owned() })
    }

    fn failed(&self, error: &keystore_pkcs11::Error) -> Error {
        Error::MasterKey { from: self.to_string(), what: error.to_string() }
    }
}

/// A value of a URI's attribute (RFC 3986, 2.1).
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first == b'%' {
            let (digits, behind) = rest.split_first_chunk::<2>()?;
            let digits =
                std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = behind;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for TokenMaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl Provide for TokenMaster {
    fn load(&self) -> Result<Box<dyn MasterKey>, Error> {
        let key = TokenKey::find(&self.module, &self.locks, &self.token, &self.object)
            .map_err(|error| self.failed(&error))?;
        let hex: String = key.id().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let id = MasterKeyId::parse(&format!("token-{hex}"));
        let id = id.ok_or_else(|| Error::MasterKey { from: self.to_string(), what: "it has no id".to_owned() })?;
        Ok(Box::new(Loaded { at: self.clone(), key, id }))
    }
}

/// The key, at hand on its token.
struct Loaded {
    at: TokenMaster,
    key: TokenKey,
    id: MasterKeyId,
}

impl MasterKey for Loaded {
    fn id(&self) -> &MasterKeyId {
        &self.id
    }

    fn wrap(&self, aad: &[u8], key: &[u8; 32]) -> Result<Vec<u8>, Error> {
        self.key.encrypt(aad, key).map_err(|error| self.at.failed(&error))
    }

    fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<Option<Zeroizing<[u8; 32]>>, Error> {
        let key = self.key.decrypt(aad, wrapped).map_err(|error| self.at.failed(&error))?;
        Ok(key.and_then(|key| Some(Zeroizing::new(<[u8; 32]>::try_from(key.as_slice()).ok()?))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Result<TokenMaster, String>> {
        TokenMaster::parse(text, Path::new("/locks"))
    }

    #[test]
    fn a_uri_names_token_key_module_and_where_the_pin_is() {
        let text =
            "pkcs11:token=my%20token;object=master%3B1;type=secret-key?module-path=/lib/m.so&pin-source=file:/etc/pin";
        let master = parse(text).unwrap().unwrap();
        assert_eq!((master.token.label.as_str(), master.object.as_str()), ("my token", "master;1"));
        assert_eq!((master.module.as_path(), master.to_string()), (Path::new("/lib/m.so"), text.to_owned()));
        assert!(matches!(&master.token.pin, Pin::File(path) if path == Path::new("/etc/pin")));
        let env = parse("pkcs11:token=a;object=b?module-path=/m&pin-source=env:KEYLATCH_PIN").unwrap().unwrap();
        assert!(matches!(&env.token.pin, Pin::Variable(name) if name == "KEYLATCH_PIN"));
        assert!(parse("file:/etc/key").is_none());
    }

    #[test]
    fn rejects_uris_that_leave_something_out_or_say_a_pin() {
        for wrong in [
            "pkcs11:",
            "pkcs11:token=a;object=b",
            "pkcs11:token=a?module-path=/m&pin-source=file:/p",
            "pkcs11:object=b?module-path=/m&pin-source=file:/p",
            "pkcs11:token=a;object=b?pin-source=file:/p",
            "pkcs11:token=a;object=b?module-path=m&pin-source=file:/p",
            "pkcs11:token=a;object=b?module-path=/m",
            "pkcs11:token=a;object=b?module-path=/m&pin-source=file:p",
            "pkcs11:token=a;object=b?module-path=/m&pin-source=env:PIN",
            "pkcs11:token=a;object=b?module-path=/m&pin-value=1234",
            "pkcs11:token=a;token=b;object=b?module-path=/m&pin-source=file:/p",
            "pkcs11:token=;object=b?module-path=/m&pin-source=file:/p",
            "pkcs11:token=%zz;object=b?module-path=/m&pin-source=file:/p",
            "pkcs11:token=%f;object=b?module-path=/m&pin-source=file:/p",
            "pkcs11:token=%ff;object=b?module-path=/m&pin-source=file:/p",
            "pkcs11:token=a;object=b;slot-id=1?module-path=/m&pin-source=file:/p",
            "pkcs11:token=a;object=b;type=cert?module-path=/m&pin-source=file:/p",
        ] {
            let refused = parse(wrong).unwrap().unwrap_err();
            assert!(!refused.contains("1234"), "{refused}");
        }
    }
}

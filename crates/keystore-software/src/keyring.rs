//! The keyring: one file with all keys of a store that other things are under, wrapped under a master key.
//!
//! ```text
//! keylatch keyring v1
//! store <hex>            the store's id
//! master <id>            the master key that the envelope is under
//! envelope <base64>      the content key, wrapped by the master key
//! commitment <hex>       HKDF-SHA-256 of the content key: another key does not pass for it
//! keys <base64>          AES-256-GCM under a key derived from the content key; the lines above are bound to it
//! checksum <hex>         SHA-256 of the lines above, so that damage is not taken for a wrong key
//! ```
//!
//! `keys` has the seal key, then for each inventory, pre-active and active, how many wrapping keys there are and the keys,
//! the current one first. More than one are there while one takes the place of another.
//!
//! Every keyring that is written has a content key of its own. One file, put in the place of the one before by a rename, so
//! that whatever becomes of a change, all keys are under one master key.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use data_encoding::HEXLOWER;
use keystore::seal;
use model::event::Inventory;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::Error;
use crate::files::{self, KEYRING, KeyFile, Kind};
use crate::master::{MasterKey, MasterKeyId};
use crate::shelf::StoreId;
use crate::wrapping::{Key, Ring, Wrap, WrappingKeyId, derive, inventory_name, random_key};

/// A keyring is shorter than this.
pub(crate) const KEYRING_BYTES_MAX: usize = 8 * 1024;

const TITLE: &str = "keylatch keyring v1";
const INVENTORIES: [Inventory; 2] = [Inventory::PreActive, Inventory::Active];

/// Where a store's keyring is.
pub(crate) fn path(store: &Path) -> PathBuf {
    store.join(KEYRING)
}

/// A keyring in the clear.
pub(crate) struct Keyring {
    pub(crate) seal: Key,
    pub(crate) pre_active: Vec<Key>,
    pub(crate) active: Vec<Key>,
}

impl Keyring {
    /// New keys for a new store.
    pub(crate) fn generate() -> Result<Self, Error> {
        let seal = seal::SecretKey::generate(&mut rand_core::OsRng).to_bytes();
        Ok(Self { seal, pre_active: vec![random_key()?], active: vec![random_key()?] })
    }

    pub(crate) fn keys(&self, inventory: Inventory) -> &[Key] {
        match inventory {
            Inventory::PreActive => &self.pre_active,
            Inventory::Active => &self.active,
        }
    }

    /// Its wrapping keys of an inventory, ready for use.
    pub(crate) fn ring(&self, inventory: Inventory) -> Result<Arc<Ring>, Error> {
        Ring::of(inventory, self.keys(inventory)).ok_or(Error::Wrapping)
    }

    /// Whether keys are on their way from one wrapping key to another.
    pub(crate) fn is_rewrapping(&self) -> bool {
        self.pre_active.len() > 1 || self.active.len() > 1
    }

    /// Puts a new wrapping key in front of each inventory's.
    pub(crate) fn add_keys(&mut self) -> Result<(), Error> {
        self.pre_active.insert(0, random_key()?);
        self.active.insert(0, random_key()?);
        Ok(())
    }

    /// Lets go of all wrapping keys but the current ones.
    pub(crate) fn drop_retiring(&mut self) {
        self.pre_active.truncate(1);
        self.active.truncate(1);
    }

    /// Its file's text, under a master key.
    pub(crate) fn seal(&self, store: &StoreId, master: &dyn MasterKey) -> Result<Vec<u8>, Error> {
        let content = ContentKey(random_key()?);
        let mut text = format!("{TITLE}\nstore {}\nmaster {}\n", HEXLOWER.encode(store), master.id().as_str());
        let envelope = BASE64_STANDARD.encode(master.wrap(&envelope_aad(store), &content.0)?);
        text += &format!("envelope {envelope}\ncommitment {}\n", HEXLOWER.encode(&content.commitment()));
        let keys = content.wrap().wrap(text.as_bytes(), &self.encode())?;
        text += &format!("keys {}\n", BASE64_STANDARD.encode(keys));
        text += &format!("checksum {}\n", HEXLOWER.encode(&Sha256::digest(&text)));
        Ok(text.into_bytes())
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        // All the room at once: a buffer that grows leaves copies behind.
        let room = 32 * (1 + self.pre_active.len() + self.active.len()) + INVENTORIES.len();
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        bytes.extend_from_slice(self.seal.as_ref());
        for inventory in INVENTORIES {
            let keys = self.keys(inventory);
            bytes.push(u8::try_from(keys.len()).unwrap_or(u8::MAX));
            keys.iter().for_each(|key| bytes.extend_from_slice(key.as_ref()));
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (seal, mut rest) = bytes.split_first_chunk::<32>()?;
        let mut lists = [Vec::new(), Vec::new()];
        for list in &mut lists {
            let (count, mut keys) = rest.split_first()?;
            for _ in 0..*count {
                let (key, behind) = keys.split_first_chunk::<32>()?;
                list.push(Zeroizing::new(*key));
                keys = behind;
            }
            rest = keys;
        }
        let [pre_active, active] = lists;
        let whole = rest.is_empty() && !pre_active.is_empty() && !active.is_empty();
        whole.then(|| Self { seal: Zeroizing::new(*seal), pre_active, active })
    }
}

fn envelope_aad(store: &StoreId) -> Vec<u8> {
    [&b"keylatch keyring envelope v1 "[..], store].concat()
}

/// What the master key wraps.
pub(crate) struct ContentKey(Key);

impl ContentKey {
    fn commitment(&self) -> [u8; 32] {
        *derive(&self.0, b"keylatch keyring commitment v1")
    }

    fn wrap(&self) -> Wrap {
        let key: Key = derive(&self.0, b"keylatch keyring keys v1");
        Wrap::new(&key)
    }

    /// The key that a backup with this keyring is authenticated with.
    pub(crate) fn backup_key(&self) -> Key {
        derive(&self.0, b"keylatch custody backup v1")
    }
}

/// A keyring as its file has it.
pub(crate) struct Sealed {
    pub(crate) text: Vec<u8>,
    pub(crate) store: StoreId,
    pub(crate) master: MasterKeyId,
    path: PathBuf,
    envelope: Vec<u8>,
    commitment: Vec<u8>,
    keys: Vec<u8>,
}

impl Sealed {
    /// Reads a store's keyring. What is wrong with it shows here; whether the master key is at hand, in [`Sealed::open`].
    pub(crate) fn read(store: &Path) -> Result<Self, Error> {
        let path = path(store);
        files::check_file(&path, "put it back from a backup; without it no key of the store can be opened")?;
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        Self::parse(&path, text)
    }

    /// Reads its text; `path` is for errors.
    pub(crate) fn parse(path: &Path, text: Vec<u8>) -> Result<Self, Error> {
        let parsed = Self::try_parse(path, &text);
        let damaged = || Error::damaged(path, "it is no whole keyring: its checksum does not match");
        parsed.map(|parsed| Self { text, ..parsed }).ok_or_else(damaged)
    }

    fn try_parse(path: &Path, text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let at = text.rfind("checksum ")?;
        let (above, checksum) = text.split_at_checked(at)?;
        let checksum = checksum.strip_prefix("checksum ")?.strip_suffix('\n')?;
        if HEXLOWER.decode(checksum.as_bytes()).ok()? != Sha256::digest(above).as_slice() {
            return None;
        }
        let mut lines = above.strip_suffix('\n')?.split('\n');
        if lines.next()? != TITLE {
            return None;
        }
        let mut line = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let sealed = Self {
            text: Vec::new(),
            path: path.to_owned(),
            store: HEXLOWER.decode(line("store")?.as_bytes()).ok()?.try_into().ok()?,
            master: MasterKeyId::parse(line("master")?)?,
            envelope: BASE64_STANDARD.decode(line("envelope")?).ok()?,
            commitment: HEXLOWER.decode(line("commitment")?.as_bytes()).ok()?,
            keys: BASE64_STANDARD.decode(line("keys")?).ok()?,
        };
        lines.next().is_none().then_some(sealed)
    }

    /// Opens it, with the master key of its id.
    pub(crate) fn open(&self, master: &dyn MasterKey) -> Result<(Keyring, ContentKey), Error> {
        let forged = |what: &str| Error::damaged(&self.path, format!("{what}: somebody has changed it"));
        let content = master.unwrap(&envelope_aad(&self.store), &self.envelope)?;
        let content = ContentKey(content.ok_or_else(|| forged("its envelope does not open with its master key"))?);
        if self.commitment != content.commitment() {
            return Err(forged("its content key is not the one that it commits to"));
        }
        let bound = self.text.split(|byte| *byte == b'\n').take(5).map(|line| line.len() + 1).sum();
        let keys = content.wrap().unwrap(self.text.get(..bound).unwrap_or_default(), &self.keys);
        let keys = keys.ok_or_else(|| forged("its keys do not open"))?;
        let keyring = Keyring::decode(&keys).ok_or_else(|| forged("its keys do not read"))?;
        Ok((keyring, content))
    }
}

// === Stores from before there were keyrings: their keys lay beside what they wrap, in the clear ===

const SEAL_KEY: &str = "seal.key";
const WRAPPING_KEY: &str = "wrapping.key";

/// Whether a store is of that kind.
pub(crate) fn is_missing_but_keys_are_there(store: &Path) -> bool {
    !path(store).exists() && old_files(store).iter().any(|file| file.exists())
}

fn old_files(store: &Path) -> [PathBuf; 3] {
    let wrapping = |inventory| store.join(inventory_name(inventory)).join(WRAPPING_KEY);
    [store.join(SEAL_KEY), wrapping(Inventory::PreActive), wrapping(Inventory::Active)]
}

/// Reads their keys.
pub(crate) fn read_old(store: &Path) -> Result<Keyring, Error> {
    let [seal, pre_active, active] = old_files(store);
    let file = read_old_file(Kind::Seal, &seal)?;
    let public = seal::SecretKey::from_bytes(&file.key).map(|secret| BASE64_STANDARD.encode(secret.public()));
    if public.as_ref() != Some(&file.id) {
        return Err(Error::damaged(&seal, "the key does not go with its id"));
    }
    let wrapping = |inventory, path: &Path| {
        let file = read_old_file(Kind::Wrapping, path)?;
        if file.id != WrappingKeyId::of(inventory, &file.key).text(inventory) {
            return Err(Error::damaged(path, "the key does not go with its id, or is the other inventory's"));
        }
        Ok(vec![file.key])
    };
    Ok(Keyring {
        seal: file.key,
        pre_active: wrapping(Inventory::PreActive, &pre_active)?,
        active: wrapping(Inventory::Active, &active)?,
    })
}

fn read_old_file(kind: Kind, path: &Path) -> Result<KeyFile, Error> {
    KeyFile::read(kind, path, "put it back from a backup; without it the keys beside it cannot be opened")
}

/// Removes their key files, once the keyring has the keys. Repeatable; what the keyring has not is left, and said.
pub(crate) fn remove_old(store: &Path, keyring: &Keyring) -> Result<(), Error> {
    let [seal, pre_active, active] = old_files(store);
    let keys = [std::slice::from_ref(&keyring.seal), &keyring.pre_active, &keyring.active];
    for ((path, kind), keys) in
        [(seal, Kind::Seal), (pre_active, Kind::Wrapping), (active, Kind::Wrapping)].into_iter().zip(keys)
    {
        if fs::symlink_metadata(&path).is_err() {
            continue;
        }
        let file = read_old_file(kind, &path)?;
        if !keys.iter().any(|key| **key == *file.key) {
            return Err(Error::misplaced(&path, "the store has a keyring, and this key is not in it: move it away"));
        }
        files::remove(&path)?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::master::MasterKeys;
    use crate::master::tests::masters_of;

    /// Turns a store into one from before there were keyrings.
    pub(crate) fn make_old(store: &Path, masters: &MasterKeys) {
        let sealed = Sealed::read(store).unwrap();
        let keyring = sealed.open(&*masters.find(store, &sealed.master).unwrap()).unwrap().0;
        let [seal, pre_active, active] = old_files(store);
        let id = BASE64_STANDARD.encode(seal::SecretKey::from_bytes(&keyring.seal).unwrap().public());
        let write = |path: &Path, kind, id, key: &Key| {
            files::create_whole(path, &KeyFile { id, key: key.clone() }.text(kind)).unwrap();
        };
        write(&seal, Kind::Seal, id, &keyring.seal);
        for (path, inventory) in [(pre_active, Inventory::PreActive), (active, Inventory::Active)] {
            let key = &keyring.keys(inventory)[0];
            write(&path, Kind::Wrapping, WrappingKeyId::of(inventory, key).text(inventory), key);
        }
        fs::remove_file(super::path(store)).unwrap();
    }

    #[test]
    fn a_keyring_opens_with_its_master_key_alone_and_with_every_byte_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (masters, others) = (masters_of(folder.path(), "one"), masters_of(folder.path(), "other"));
        let (master, other) = (masters.first().unwrap(), others.first().unwrap());
        let mut keyring = Keyring::generate().unwrap();
        keyring.add_keys().unwrap();
        let (path, store) = (Path::new("keyring"), [9; 16]);
        let text = keyring.seal(&store, &*master).unwrap();
        assert!(text.len() < KEYRING_BYTES_MAX);
        let sealed = Sealed::parse(path, text.clone()).unwrap();
        assert_eq!((sealed.store, &sealed.master), (store, master.id()));
        let (again, _) = sealed.open(&*master).unwrap();
        assert_eq!(
            (&again.seal, &again.pre_active, &again.active),
            (&keyring.seal, &keyring.pre_active, &keyring.active)
        );
        assert!(matches!(sealed.open(&*other), Err(Error::Damaged { .. })), "opened by another key all the same");
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            assert!(matches!(Sealed::parse(path, changed), Err(Error::Damaged { .. })), "byte {at}");
            assert!(matches!(Sealed::parse(path, text[..at].to_vec()), Err(Error::Damaged { .. })), "cut at {at}");
        }
        assert_ne!(text, keyring.seal(&store, &*master).unwrap(), "no two keyrings are under one content key");
    }

    /// Whoever can write the file, and make its checksum right, still can't change a line of it.
    #[test]
    fn rejects_a_keyring_that_was_edited_with_its_checksum() {
        let folder = tempfile::tempdir().unwrap();
        let master = masters_of(folder.path(), "one").first().unwrap();
        let keyring = Keyring::generate().unwrap();
        let one = String::from_utf8(keyring.seal(&[9; 16], &*master).unwrap()).unwrap();
        let two = String::from_utf8(keyring.seal(&[8; 16], &*master).unwrap()).unwrap();
        let (one, two): (Vec<&str>, Vec<&str>) = (one.lines().collect(), two.lines().collect());
        for line in [1, 3, 4, 5] {
            let mut lines = one.clone();
            lines[line] = two[line];
            let above = lines[..6].join("\n") + "\n";
            let text = format!("{above}checksum {}\n", HEXLOWER.encode(&Sha256::digest(&above)));
            let sealed = Sealed::parse(Path::new("keyring"), text.into_bytes()).unwrap();
            assert!(matches!(sealed.open(&*master), Err(Error::Damaged { .. })), "{}", one[line]);
        }
    }
}

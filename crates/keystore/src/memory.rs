//! A key store in memory: the port at its plainest. For tests and simulations; it forgets everything when dropped, and
//! does not count encryptions.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::command::Sealed;
use model::event::{Inventory, Place};
use model::key::KeyIdentity;
use model::statement::Sealing;
use model::{Algorithm, Digest, KeyId, KeyState, Name, TenantId};
use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use crate::sealed::{self, Closed, Subject};
use crate::transition::{self, Step};
use crate::{
    Applied, Attestation, Entry, Error, Generated, Held, KeyStore, Material, Output, Permit, Proof, Refused, SealTo,
    Share, Use, seal,
};

/// The store. Everything random comes from the source it was given, so one seed replays it.
pub struct MemoryStore {
    name: Name,
    pre_active: Place,
    active: Place,
    seal: seal::SecretKey,
    inside: Mutex<Inside>,
}

struct Inside {
    rng: Box<dyn CryptoRngCore + Send>,
    keys: BTreeMap<(TenantId, KeyId), Key>,
}

struct Key {
    algorithm: Algorithm,
    command: Digest,
    identity: KeyIdentity,
    state: KeyState,
    /// Where it was before it came to this state.
    before: Option<Place>,
    /// Where it is, with what there is of it; `None` once destroyed.
    held: Option<(Place, Kept)>,
    /// How it was sealed, where it was.
    sealing: Option<Sealing>,
}

/// What there is of a key.
enum Kept {
    Open(Box<Material>),
    Sealed(Closed),
}

impl Kept {
    fn material(&self, key_id: KeyId) -> Result<&Material, Error> {
        match self {
            Self::Open(material) => Ok(material),
            Self::Sealed(_) => Err(Error::Sealed(key_id)),
        }
    }
}

impl Key {
    fn place(&self) -> Option<Place> {
        self.held.as_ref().map(|(place, _)| place.clone())
    }
}

impl MemoryStore {
    /// An empty store of this name; its inventories' wrapping keys are named `pre-active` and `active`.
    ///
    /// # Errors
    /// Those of [`Name`], which these are not.
    pub fn new(name: Name, mut rng: Box<dyn CryptoRngCore + Send>) -> Result<Self, model::id::Malformed> {
        let place = |inventory, name: &str| Ok(Place { inventory, wrapping_key: name.parse()? });
        Ok(Self {
            name,
            pre_active: place(Inventory::PreActive, "pre-active")?,
            active: place(Inventory::Active, "active")?,
            seal: seal::SecretKey::generate(&mut *rng),
            inside: Mutex::new(Inside { rng, keys: BTreeMap::new() }),
        })
    }

    /// The key, sealed as `to` says or not at all: one that is there, or a new one.
    fn born(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        algorithm: Algorithm,
        command: Digest,
        to: Option<&SealTo>,
    ) -> Result<(Generated, Option<Sealing>), Error> {
        let inside = &mut *self.inside();
        let wrapping_key = self.pre_active.wrapping_key.clone();
        if let Some(key) = inside.keys.get(&(tenant, key_id)) {
            if (key.algorithm, key.command, key.sealing.is_some()) != (algorithm, command, to.is_some()) {
                return Err(Error::Exists(key_id));
            }
            if transition::is_destroyed(key.state) {
                return Err(Error::State { key_id, state: key.state, refused: Refused::Generation });
            }
            return Ok((Generated { identity: key.identity.clone(), wrapping_key }, key.sealing.clone()));
        }
        let material = Material::generate(algorithm, &mut *inside.rng)?;
        let identity = material.identity();
        let subject = Subject { tenant, key_id, command };
        let closed = to.map(|to| sealed::close(&subject, &material.secret(), to, &mut *inside.rng)).transpose()?;
        let (kept, sealing) = match closed {
            Some((closed, sealing)) => (Kept::Sealed(closed), Some(sealing)),
            None => (Kept::Open(Box::new(material)), None),
        };
        let held = Some((self.pre_active.clone(), kept));
        let generated = Generated { identity: identity.clone(), wrapping_key };
        let (state, before) = (KeyState::PreActive, None);
        let key = Key { algorithm, command, identity, state, before, held, sealing: sealing.clone() };
        inside.keys.insert((tenant, key_id), key);
        Ok((generated, sealing))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Every change is made by one assignment or insertion, so a panic elsewhere leaves nothing half done.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryStore({})", self.name)
    }
}

impl KeyStore for MemoryStore {
    fn name(&self) -> &Name {
        &self.name
    }

    fn seal_key(&self) -> [u8; 32] {
        self.seal.public()
    }

    fn generate(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        algorithm: Algorithm,
        command: Digest,
    ) -> Result<Generated, Error> {
        self.born(tenant, key_id, algorithm, command, None).map(|(generated, _)| generated)
    }

    fn generate_sealed(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        algorithm: Algorithm,
        command: Digest,
        to: &SealTo,
    ) -> Result<(Generated, Sealing), Error> {
        let (generated, sealing) = self.born(tenant, key_id, algorithm, command, Some(to))?;
        Ok((generated, sealing.ok_or(Error::Exists(key_id))?))
    }

    fn unseal(&self, tenant: TenantId, key_id: KeyId, shares: &[Share]) -> Result<(), Error> {
        let mut inside = self.inside();
        let key = inside.keys.get_mut(&(tenant, key_id)).ok_or(Error::NotFound(key_id))?;
        transition::check_unsealing(key_id, key.state)?;
        let (Some(sealing), Some((_, kept))) = (&key.sealing, &mut key.held) else { return Ok(()) };
        if let Kept::Sealed(closed) = kept {
            let subject = Subject { tenant, key_id, command: key.command };
            let secret = sealed::open(&subject, sealing, closed, shares)?;
            let material = Material::from_secret(key.algorithm, &secret).filter(|one| one.identity() == key.identity);
            let another = || Error::Storage("what was sealed is another key".into());
            *kept = Kept::Open(Box::new(material.ok_or_else(another)?));
        }
        Ok(())
    }

    fn get(&self, tenant: TenantId, key_id: KeyId) -> Result<Option<Held>, Error> {
        Ok(self.inside().keys.get(&(tenant, key_id)).map(held))
    }

    fn apply(&self, tenant: TenantId, key_id: KeyId, state: KeyState) -> Result<Applied, Error> {
        let mut inside = self.inside();
        let key = inside.keys.get_mut(&(tenant, key_id)).ok_or(Error::NotFound(key_id))?;
        let step = transition::check_step(key_id, key.state, state)?;
        if step == Step::Move
            && let Some((_, kept)) = &key.held
        {
            kept.material(key_id)?;
        }
        if step != Step::Stay {
            key.before = key.place();
            key.state = state;
        }
        match step {
            Step::Stay | Step::Mark => {}
            Step::Move => key.held = key.held.take().map(|(_, kept)| (self.active.clone(), kept)),
            Step::Erase => key.held = None,
        }
        Ok(Applied { before: key.before.clone(), after: key.place() })
    }

    fn perform(&self, tenant: TenantId, key_id: KeyId, asked: &Use<'_>, permit: Permit) -> Result<Output, Error> {
        let inside = &mut *self.inside();
        let key = inside.keys.get(&(tenant, key_id)).ok_or(Error::NotFound(key_id))?;
        transition::check_use(key_id, key.state, asked.operation(), permit)?;
        let (_, kept) = key.held.as_ref().ok_or(Error::NotFound(key_id))?;
        kept.material(key_id)?.perform(tenant, key_id, asked, &mut *inside.rng)
    }

    fn prove(&self, tenant: TenantId, key_id: KeyId, challenge: &[u8]) -> Result<Proof, Error> {
        let inside = self.inside();
        let key = inside.keys.get(&(tenant, key_id)).ok_or(Error::NotFound(key_id))?;
        transition::check_proof(key_id, key.state)?;
        let (_, kept) = key.held.as_ref().ok_or(Error::NotFound(key_id))?;
        Proof::make(kept.material(key_id)?, tenant, key_id, challenge)
    }

    fn attest(&self, tenant: TenantId, key_id: KeyId) -> Result<Attestation, Error> {
        let inside = self.inside();
        let key = inside.keys.get(&(tenant, key_id)).ok_or(Error::NotFound(key_id))?;
        let material = key.held.as_ref().and_then(|(_, kept)| kept.material(key_id).ok());
        Ok(Attestation::of_files(self.name.clone(), held(key), material))
    }

    fn open(&self, sealed: &Sealed, info: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        seal::open(&self.seal, info, &[], sealed)
    }

    fn list(&self, tenant: Option<TenantId>, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<(), Error> {
        // Shown outside the lock, so that `visit` may call the store.
        let entries: Vec<Entry> = self
            .inside()
            .keys
            .iter()
            .filter(|((whose, _), _)| tenant.is_none_or(|tenant| tenant == *whose))
            .map(|(&(tenant, key_id), key)| Entry { tenant, key_id, held: held(key) })
            .collect();
        let _ = entries.into_iter().try_for_each(visit);
        Ok(())
    }
}

fn held(key: &Key) -> Held {
    Held { algorithm: key.algorithm, identity: key.identity.clone(), state: key.state, place: key.place() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{self, Subject, TestRng};

    impl Subject for MemoryStore {
        fn store(&self) -> &dyn KeyStore {
            self
        }

        /// What is in memory only can't be reopened: it goes on.
        fn reopen(&mut self) {}
    }

    #[test]
    fn passes_the_conformance_suite() {
        conformance::conformance(|| MemoryStore::new("memory".parse().unwrap(), Box::new(TestRng::new(7))).unwrap());
    }

    #[test]
    fn one_seed_gives_one_store() {
        let make = |seed| MemoryStore::new("memory".parse().unwrap(), Box::new(TestRng::new(seed))).unwrap();
        assert_eq!(make(1).seal_key(), make(1).seal_key());
        assert_ne!(make(1).seal_key(), make(2).seal_key());
    }
}

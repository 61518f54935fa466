//! Setting back: a key that somebody else has changed on its token, or has made copies of, is again what the index says.
//!
//! A key that was changed is replaced by a new object, made of it, as in every other change. What is destroyed besides was
//! seen, just before, to be the same key: over a message that nobody has seen, it gives the same proof as the key itself. A
//! check value would not do: who looks for another key with the same three bytes finds one.
//!
//! INVARIANT (not the last one): nothing is destroyed until the key's own object was recognised. Where it is missing or
//! another key, what else says that it is the key may be all that is left of it.

use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use keystore::{Error as PortError, Proof};
use model::event::Inventory;
use model::{KeyId, TenantId};

use crate::index::{self, Row};
use crate::lock::Mode;
use crate::object::{self, Object, ObjectId};
use crate::store::Pkcs11Store;
use crate::token::Work;
use crate::{Error, attest, proof};

impl Pkcs11Store {
    /// Brings a key back, as far as that can be done. Whether it is as it should be then, the survey says.
    pub(crate) fn bring_back(&self, tenant: TenantId, key_id: KeyId) -> Result<(), PortError> {
        let id = index::id(tenant, key_id);
        let _key = self.key_lock(&id);
        let mut row = self.known(tenant, key_id)?;
        self.settle(Some(&id))?;
        let message = proof::recognition()?;
        let Some(object) = row.object else {
            return Ok(self.destroy_copies(key_id, &Likeness { row: &row, message, proof: None })?);
        };
        if !self.single_out(&row, object, &message)? {
            return Ok(());
        }
        let Ok(said) = self.recognised(tenant, key_id, &row, object)? else { return Ok(()) };
        // A pre-active object can't be changed: one that is otherwise was put there by somebody who has the key in their hands.
        // Nor can one be made of it that is as it should be: copies can be copied (SoftHSM refuses to make them otherwise).
        let is_otherwise = !self.differences(tenant, key_id, &row, object, &said).is_empty();
        if is_otherwise && object.inventory == Inventory::Active {
            let with = object::restored(&row, &self.label(key_id), &said, self.placed.is_some());
            self.replace(&id, &mut row, with)?;
            self.settle(Some(&id))?;
        }
        let Some(object) = row.object else { return Ok(()) };
        self.place_anew(tenant, key_id, &row)?;
        let own = self.prove_object(row.algorithm, object, &row.identity, &message)?;
        Ok(self.destroy_copies(key_id, &Likeness { row: &row, message, proof: Some(own) })?)
    }

    /// Of several objects that have the name of the key's own, and are all the same key, leaves one. Answers whether there is
    /// one then. Where one of them is another key, or does not show which it is, all stay: the name would be destroyed, and
    /// all of its objects with it.
    fn single_out(&self, row: &Row, object: Object, message: &[u8]) -> Result<bool, Error> {
        let usages = object::usages(row.algorithm, row.state);
        self.token(object.inventory).work(Mode::Alone, |work| {
            let found = work.find(&[Attribute::Token(true), object.id.attribute()])?;
            if found.len() < 2 {
                return Ok(!found.is_empty());
            }
            let mut like = Likeness { row, message: message.to_vec(), proof: None };
            like.proof = found.first().and_then(|first| like.ask(work, *first));
            if !found.iter().all(|handle| like.has(work, *handle)) {
                return Ok(false);
            }
            let is_whole = |handle: &ObjectHandle| attest::say(work, *handle).is_ok_and(|said| said.usages == usages);
            let keep = found.iter().copied().find(is_whole).or(found.first().copied());
            for handle in found.into_iter().filter(|handle| Some(*handle) != keep) {
                self.destroy_copy(work, handle)?;
            }
            keep.into_iter().for_each(|keep| work.remember(object.id, keep));
            Ok(true)
        })
    }

    /// Destroys objects on both tokens that are a key: of those that say so, and of those that nobody knows.
    fn destroy_copies(&self, key_id: KeyId, like: &Likeness<'_>) -> Result<(), Error> {
        let label = Attribute::Label(self.label(key_id).into_bytes());
        for inventory in [Inventory::PreActive, Inventory::Active] {
            let own = like.row.object.filter(|own| own.inventory == inventory).map(|own| own.id);
            let unknown = self.unknown(self.look(inventory)?)?.into_iter().map(|seen| Attribute::Id(seen.id));
            for searched in unknown.chain([label.clone()]) {
                self.token(inventory).work(Mode::Alone, |work| {
                    for handle in work.find(&[Attribute::Token(true), searched.clone()])? {
                        if !is_named(work, handle, own)? && like.has(work, handle) {
                            self.destroy_copy(work, handle)?;
                        }
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    pub(crate) fn destroy_copy(&self, work: &Work<'_>, handle: ObjectHandle) -> Result<(), Error> {
        let destroy = || work.session.destroy_object(handle).map_err(work.failed("destroying a copy of a key"));
        self.index.steps.run(destroy)
    }
}

/// What shows that an object is a key.
struct Likeness<'a> {
    row: &'a Row,
    message: Vec<u8>,
    /// What the key itself answers to the message; `None` where it is destroyed: then only a pair is still known, by its
    /// public half.
    proof: Option<Proof>,
}

impl Likeness<'_> {
    fn ask(&self, work: &Work<'_>, handle: ObjectHandle) -> Option<Proof> {
        proof::shown(work, self.row.algorithm, handle, &self.message)
    }

    fn has(&self, work: &Work<'_>, handle: ObjectHandle) -> bool {
        let Some(shown) = self.ask(work, handle) else { return false };
        let same = match shown {
            // Signatures differ each time.
            Proof::Signature(_) => true,
            Proof::Mac { .. } => self.proof.as_ref() == Some(&shown),
        };
        same && proof::fits(&shown, self.row.algorithm, &self.row.identity, &self.message)
    }
}

fn is_named(work: &Work<'_>, handle: ObjectHandle, own: Option<ObjectId>) -> Result<bool, Error> {
    let named = work.session.get_attributes(handle, &[AttributeType::Id]).map_err(work.failed("asking for a name"))?;
    Ok(own.is_some_and(|own| named.contains(&own.attribute())))
}

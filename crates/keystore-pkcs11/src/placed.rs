//! Placed mode: every active key is also on a third token, under an application's own PIN, where the application uses it
//! itself. Activation and resumption put it there; suspension, deactivation, compromise and destruction take it away.
//!
//! It gets there as keys get to the active token: wrapped under a transport key that the security officer trusts, which only
//! wraps, and unwrapped by its other half, which only unwraps. There it can be neither changed nor copied, so what is taken
//! away is gone, as far as the token keeps its word.
//!
//! INVARIANT (the row decides): a key is placed if and only if its row says that it is active. Each step bears repetition, so
//! a change that was cut short is completed when it is asked for again, or when the store is opened.

use std::collections::BTreeSet;

use cryptoki::error::Error as Pkcs11Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use keystore::Proof;
use keystore::attestation::Usage;
use model::{Algorithm, KeyId, KeyState, TenantId};
use rand_core::{OsRng, RngCore as _};
use zeroize::Zeroizing;

use crate::index::{self, Id, Placed, PlacedMeta, Row};
use crate::lock::Mode;
use crate::object::{self, Object, ObjectId};
use crate::store::Pkcs11Store;
use crate::survey::Finding;
use crate::token::{Token, Work};
use crate::{Error, attest, pair, proof};

impl Pkcs11Store {
    fn mode(&self) -> Option<(&Token, &PlacedMeta)> {
        self.placed.as_ref().zip(self.index.meta.placed.as_ref())
    }

    /// Puts an active key on the application's token, if it is not there.
    pub(crate) fn place(&self, id: &Id, key_id: KeyId, row: &Row) -> Result<(), Error> {
        let (Some((token, meta)), Some(from)) = (self.mode(), row.object) else { return Ok(()) };
        let noted = self.index.placed(id)?;
        if noted.is_some_and(|noted| noted.made) {
            return Ok(());
        }
        let object = noted.map_or_else(ObjectId::random, |noted| Ok(noted.object))?;
        if noted.is_none() {
            self.index.note_placed(id, Some(Placed { object, made: false }))?;
        }
        let wrapped = self.wrap_onward(meta, from.id)?;
        let question = self.question(row, from)?;
        let template = object::placed(row, object, &self.label(key_id));
        self.index.steps.run(|| {
            token.work(Mode::Alone, |work| {
                work.destroy(object)?;
                work.on(meta.transport_in, "placing a key", |transport| {
                    let key = work.session.unwrap_key(&Mechanism::AesKeyWrapPad, transport, &wrapped, &template)?;
                    if question.is_answered(work, key) {
                        return Ok(());
                    }
                    work.session.destroy_object(key)?;
                    Err(Pkcs11Error::InvalidValue)
                })
            })
        })?;
        self.index.note_placed(id, Some(Placed { object, made: true }))
    }

    /// Takes a key from the application's token, if it is there. Nothing is written before that: halting comes first. One that
    /// is taken away and stays noted, because of a crash, and is active after all, is found by the survey.
    pub(crate) fn withdraw(&self, id: &Id) -> Result<(), Error> {
        let Some((token, _)) = self.mode() else { return Ok(()) };
        let Some(noted) = self.index.placed(id)? else { return Ok(()) };
        self.index.steps.run(|| token.work(Mode::Alone, |work| work.destroy(noted.object)))?;
        self.index.note_placed(id, None)
    }

    /// Completes what was cut short.
    pub(crate) fn settle_placed(&self) -> Result<(), Error> {
        if self.mode().is_none() {
            return Ok(());
        }
        let mut keys = Vec::new();
        self.index.walk(None, |tenant, key_id, row| {
            let noted = self.index.placed(&index::id(tenant, key_id))?;
            let is_settled = match (row.state == KeyState::Active, noted) {
                (true, Some(noted)) => noted.made,
                (false, noted) => noted.is_none(),
                (true, None) => false,
            };
            keys.extend((!is_settled).then_some((tenant, key_id, row)));
            Ok(true)
        })?;
        for (tenant, key_id, row) in keys {
            let id = index::id(tenant, key_id);
            match row.state {
                KeyState::Active => self.place(&id, key_id, &row)?,
                _ => self.withdraw(&id)?,
            }
        }
        Ok(())
    }

    /// An active key, wrapped under the transport key that leads to the application's token.
    fn wrap_onward(&self, meta: &PlacedMeta, from: ObjectId) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.active.work(Mode::Shared, |work| {
            let transport = work.handle_of(meta.transport_out)?;
            work.on(from, "wrapping a key", |key| {
                work.session.wrap_key(&Mechanism::AesKeyWrapPad, transport, key).map(Zeroizing::new)
            })
        })
    }

    /// What only this key answers, as the store's own object answers it.
    fn question<'a>(&self, row: &'a Row, own: Object) -> Result<Question<'a>, Error> {
        let mut block = [0; 16];
        OsRng.try_fill_bytes(&mut block).map_err(Error::Random)?;
        let answer =
            match row.algorithm {
                Algorithm::Aes256Gcm => Some(self.in_passing(row.algorithm, own, |work, key| {
                    work.session.encrypt(&Mechanism::AesEcb, key, &block)
                })?),
                _ => None,
            };
        Ok(Question { row, block, answer })
    }

    // === The survey of the application's token. Its other objects are nobody's business. ===

    /// Objects that say that they are keys of this store.
    pub(crate) fn look_placed(&self) -> Result<Vec<PlacedSeen>, Error> {
        let Some((token, meta)) = self.mode() else { return Ok(Vec::new()) };
        token.work(Mode::Shared, |work| {
            let mut seen = Vec::new();
            for handle in work.find(&[Attribute::Token(true), Attribute::Sensitive(true)])? {
                let named = work.session.get_attributes(handle, &[AttributeType::Id, AttributeType::Label]);
                // One that is gone by now is nobody's business either.
                let (Ok(named), Ok(said)) = (named, attest::say(work, handle)) else { continue };
                let (mut id, mut label) = (Vec::new(), Vec::new());
                for attribute in named {
                    match attribute {
                        Attribute::Id(of) => id = of,
                        Attribute::Label(of) => label = of,
                        _ => {}
                    }
                }
                let label = String::from_utf8_lossy(&label).into_owned();
                let says = label.strip_prefix(&self.label_prefix()).and_then(|key_id| key_id.parse().ok());
                if id != meta.transport_in.0 {
                    seen.extend(says.map(|says_it_is| PlacedSeen { id, says_it_is, usages: said.usages }));
                }
            }
            Ok(seen)
        })
    }

    /// What is wrong with a key on the application's token. Nobody changes the key meanwhile.
    pub(crate) fn examine_placed(&self, tenant: TenantId, key_id: KeyId, row: &Row) -> Result<Option<Finding>, Error> {
        let (Some((token, _)), Some(own), KeyState::Active) = (self.mode(), row.object, row.state) else {
            return Ok(None);
        };
        let Some(noted) = self.index.placed(&index::id(tenant, key_id))?.filter(|noted| noted.made) else {
            return Ok(None);
        };
        let question = self.question(row, own)?;
        let wanted = object::usages(row.algorithm, row.state);
        let is_there = token.work(Mode::Shared, |work| {
            let found = work.find(&[Attribute::Token(true), noted.object.attribute()])?;
            let [handle] = found[..] else { return Ok(false) };
            let is_whole = attest::say(work, handle).is_ok_and(|said| {
                let kept = said.protection.sensitive && !said.protection.extractable && !said.protection.modifiable;
                said.usages == wanted && kept
            });
            Ok(is_whole && question.is_answered(work, handle))
        })?;
        Ok((!is_there).then_some(Finding::NotPlaced { tenant, key_id }))
    }

    /// What says that it is a key of this store, and was not put there by it.
    pub(crate) fn find_unplaced(&self, seen: Vec<PlacedSeen>, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let Some((token, _)) = self.mode().filter(|_| !seen.is_empty()) else { return Ok(()) };
        let mut known = BTreeSet::new();
        // What is made meanwhile is noted before; what goes is not there any more, unless it could not be taken away.
        self.index.walk(None, |tenant, key_id, row| {
            let noted = self.index.placed(&index::id(tenant, key_id))?;
            known.extend(noted.filter(|_| row.state == KeyState::Active).map(|noted| noted.object.0.to_vec()));
            Ok(true)
        })?;
        for PlacedSeen { id, says_it_is, usages } in seen {
            let of_name = [Attribute::Token(true), Attribute::Id(id.clone())];
            if !known.contains(&id) && !token.work(Mode::Shared, |work| work.find(&of_name))?.is_empty() {
                findings.push(Finding::StillPlaced { object: data_encoding::HEXLOWER.encode(&id), says_it_is, usages });
            }
        }
        Ok(())
    }

    // === Setting back ===

    /// Places a key anew where it is not as it should be, and destroys what is this key and was not put there.
    pub(crate) fn place_anew(&self, tenant: TenantId, key_id: KeyId, row: &Row) -> Result<(), Error> {
        let (Some((token, _)), Some(own)) = (self.mode(), row.object) else { return Ok(()) };
        let id = index::id(tenant, key_id);
        if self.examine_placed(tenant, key_id, row)?.is_some() {
            // Under another name: what has this one may be somebody else's.
            let placed = Placed { object: ObjectId::random()?, made: false };
            self.index.note_placed(&id, Some(placed))?;
        }
        match row.state {
            KeyState::Active => self.place(&id, key_id, row)?,
            _ => self.withdraw(&id)?,
        }
        let noted = self.index.placed(&id)?.map(|noted| noted.object.attribute());
        let question = self.question(row, own)?;
        let label = Attribute::Label(self.label(key_id).into_bytes());
        token.work(Mode::Alone, |work| {
            for handle in work.find(&[Attribute::Token(true), label.clone()])? {
                let asked = work.session.get_attributes(handle, &[AttributeType::Id]);
                let named = asked.map_err(work.failed("asking for a name"))?;
                let is_ours = noted.as_ref().is_some_and(|noted| named.contains(noted));
                if !is_ours && question.is_answered(work, handle) {
                    self.destroy_copy(work, handle)?;
                }
            }
            Ok(())
        })
    }
}

/// An object on the application's token that says that it is a key of this store.
pub(crate) struct PlacedSeen {
    id: Vec<u8>,
    says_it_is: KeyId,
    usages: BTreeSet<Usage>,
}

/// What only one key answers. An object that is placed can't be copied, so it is asked as it is, with the flags it has.
struct Question<'a> {
    row: &'a Row,
    block: [u8; 16],
    /// Of a secret key: the block, encrypted. A pair is known by its public half.
    answer: Option<Vec<u8>>,
}

impl Question<'_> {
    fn is_answered(&self, work: &Work<'_>, handle: ObjectHandle) -> bool {
        match &self.answer {
            Some(answer) => {
                let given = work.session.encrypt(&Mechanism::AesEcb, handle, &self.block);
                given.is_ok_and(|given| given == *answer)
            }
            None => {
                let (message, algorithm) = ([RECOGNITION, &self.block].concat(), self.row.algorithm);
                let given = pair::sign(&work.session, algorithm, handle, &pair::digest(algorithm, &message));
                given.is_ok_and(|given| proof::fits(&Proof::Signature(given), algorithm, &self.row.identity, &message))
            }
        }
    }
}

/// How what a placed pair signs begins: it is nothing else.
const RECOGNITION: &[u8] = b"keylatch recognises a key that it has placed ";

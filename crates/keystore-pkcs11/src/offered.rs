//! Which algorithms the tokens offer. AES-256-GCM and ECDSA P-256 every pair of tokens has that a store is made on; of the
//! others those whose mechanisms are there, and a key of which has gone all the way: made on the pre-active token, wrapped,
//! unwrapped on the active one, and seen to sign what its public half verifies. It lives in sessions only.
//!
//! Not Ed25519: what is signed are digests, as Ed25519ph, and SoftHSM answers a request for that with a *pure* signature. Not
//! RSAES-OAEP: SoftHSM has it with SHA-1 alone. Tests show both. Nor lattice keys, for which it has no mechanism.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use keystore::Proof;
use model::Algorithm;

use crate::index::Meta;
use crate::lock::Mode;
use crate::object::{self, ObjectId};
use crate::pair::Way;
use crate::token::Token;
use crate::{Error, pair, proof};

/// Asks the tokens. RSA is tried with the smaller keys: the larger ones take seconds to make, and each is tried at its birth.
pub(crate) fn ask(pre_active: &Token, active: &Token, meta: &Meta) -> Result<Vec<Algorithm>, Error> {
    let tokens = Tokens { pre_active, active, meta };
    let mut offered = vec![Algorithm::Aes256Gcm, Algorithm::EcdsaP256];
    for (tried, larger) in [(Algorithm::EcdsaP384, None), (Algorithm::RsaPss3072, Some(Algorithm::RsaPss4096))] {
        if tokens.have(tried)? && tokens.try_out(tried)? {
            offered.push(tried);
            if let Some(larger) = larger
                && tokens.have(larger)?
            {
                offered.push(larger);
            }
        }
    }
    Ok(offered)
}

pub(crate) struct Tokens<'a> {
    pub(crate) pre_active: &'a Token,
    pub(crate) active: &'a Token,
    pub(crate) meta: &'a Meta,
}

impl Tokens<'_> {
    /// Whether their mechanisms are there.
    fn have(&self, algorithm: Algorithm) -> Result<bool, Error> {
        let Some(way) = Way::of(algorithm) else { return Ok(false) };
        Ok(self.pre_active.has_for(&way.generate, way.bits)? && self.active.has_for(&way.sign, way.bits)?)
    }

    pub(crate) fn try_out(&self, algorithm: Algorithm) -> Result<bool, Error> {
        match self.go_all_the_way(algorithm) {
            // What the tokens say no to is not offered; tokens that are away say nothing.
            Err(Error::Token { .. }) => {
                self.pre_active.has(&[])?;
                self.active.has(&[])?;
                Ok(false)
            }
            outcome => outcome,
        }
    }

    /// Whether a key that has gone all the way signs what its public half verifies.
    fn go_all_the_way(&self, algorithm: Algorithm) -> Result<bool, Error> {
        let failed = "trying out an algorithm";
        let mut template = object::born(algorithm, ObjectId::random()?, "keylatch tries out an algorithm");
        template.retain(|attribute| *attribute != Attribute::Token(true));
        template.push(Attribute::Token(false));
        let (identity, wrapped) = self.pre_active.work(Mode::Shared, |work| {
            let transport = work.handle_of(self.meta.transport_out)?;
            let made = pair::generate(&work.session, algorithm, &template);
            let (identity, key) = made.map_err(work.failed(failed))?;
            let wrapped = work.session.wrap_key(&Mechanism::AesKeyWrapPad, transport, key);
            work.session.destroy_object(key).map_err(work.failed(failed))?;
            Ok((identity, zeroize::Zeroizing::new(wrapped.map_err(work.failed(failed))?)))
        })?;
        let message = proof::recognition()?;
        let digest = pair::digest(algorithm, &message);
        let template = object::passing_through(algorithm);
        let signature = self.active.work(Mode::Shared, |work| {
            work.on(self.meta.transport_in, failed, |transport| {
                let key = work.session.unwrap_key(&Mechanism::AesKeyWrapPad, transport, &wrapped, &template)?;
                let signature = pair::sign(&work.session, algorithm, key, &digest);
                work.session.destroy_object(key)?;
                signature
            })
        })?;
        Ok(proof::fits(&Proof::Signature(signature), algorithm, &identity, &message))
    }
}

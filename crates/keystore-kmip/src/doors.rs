//! Side doors: the ways past Activate that the protocol has, tried on keys made for it and destroyed at once.
//!
//! What is found is the server's behaviour towards *this client's identity*. What it allows others is in its own access
//! rules; `docs/kmip-store.md` says what to ask of them.

use model::KeyState;
use rand_core::{OsRng, RngCore as _};
use zeroize::Zeroizing;

use crate::protocol::{self, MAY_DERIVE, MAY_SIGN, Operation, Reason, ServerState};
use crate::store::USAGE_MASK;
use crate::ttlv::{Item, Value};
use crate::{Error, KmipStore, naming};

/// A way past Activate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// Create with an Activation Date in the past: born active.
    ActivationDateAtCreate,
    /// Register with an Activation Date in the past: the same for a key from outside.
    ActivationDateAtRegister,
    /// Modify Attribute of the Activation Date of a pre-active key.
    ActivationDateByModify,
    /// Add Attribute of an Activation Date to a pre-active key.
    ActivationDateByAdd,
    /// Modify Attribute of the State itself.
    StateByModify,
    /// Encrypt with a pre-active key.
    UseBeforeActivation,
    /// Derive Key, by encryption, from a pre-active key: a use under another name. The keys of this store may not derive,
    /// so it is open to keys that others make.
    DeriveBeforeActivation,
    /// Get of a pre-active key: its bytes, to be used anywhere.
    GetBeforeActivation,
    /// Get of an active key by who may use it: who may use may take away.
    UseImpliesExport,
}

impl Door {
    /// Every door, in the order in which they are tried.
    pub const ALL: [Self; 9] = [
        Self::ActivationDateAtCreate,
        Self::ActivationDateAtRegister,
        Self::ActivationDateByModify,
        Self::ActivationDateByAdd,
        Self::StateByModify,
        Self::UseBeforeActivation,
        Self::DeriveBeforeActivation,
        Self::GetBeforeActivation,
        Self::UseImpliesExport,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::ActivationDateAtCreate => "activation-date-at-create",
            Self::ActivationDateAtRegister => "activation-date-at-register",
            Self::ActivationDateByModify => "activation-date-by-modify",
            Self::ActivationDateByAdd => "activation-date-by-add",
            Self::StateByModify => "state-by-modify",
            Self::UseBeforeActivation => "use-before-activation",
            Self::DeriveBeforeActivation => "derive-before-activation",
            Self::GetBeforeActivation => "get-before-activation",
            Self::UseImpliesExport => "use-implies-export",
        }
    }
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Of what kind the keys are with which a door is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// AES-256, as this store makes them.
    SecretKey,
    /// The private half of an RSA pair. This store makes none; others on the server may.
    PrivateKey,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::SecretKey, Self::PrivateKey];
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::SecretKey => "secret-key",
            Self::PrivateKey => "private-key",
        })
    }
}

/// How a door was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server refused, or took it and it had no effect.
    Closed,
    /// It works.
    Open,
    /// It could not be tried.
    NotTried,
}

/// What was found at a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorFinding {
    /// Which.
    pub door: Door,
    /// To keys of what kind.
    pub kind: Kind,
    /// How it is.
    pub verdict: Verdict,
    /// What the server said, or what it did.
    pub said: String,
    /// Objects made for it that could not be destroyed, by the server's identifiers; they are named as throw-aways.
    pub left: Vec<String>,
}

/// One door's trial: what was made for it.
struct Trial<'a> {
    store: &'a KmipStore,
    door: Door,
    kind: Kind,
    made: Vec<String>,
}

/// What a trial comes to: whether the door is open, and what was seen.
type Tried = Result<(bool, String), Error>;

/// An Activation Date long past.
const LONG_AGO: i64 = 1;
const ACTIVATION_DATE: &str = "Activation Date";

impl KmipStore {
    /// Tries every side door with keys of its own, which are destroyed at once, and says which the server leaves open.
    ///
    /// For an operator, when a server is set up or upgraded: it makes some thirty objects. Keys of tenants are not touched.
    ///
    /// # Errors
    /// None by itself: what could not be tried is a finding.
    pub fn probe_side_doors(&self) -> Vec<DoorFinding> {
        let trials = Kind::ALL.into_iter().flat_map(|kind| Door::ALL.map(|door| (door, kind)));
        trials.map(|(door, kind)| Trial { store: self, door, kind, made: Vec::new() }.find()).collect()
    }
}

impl Trial<'_> {
    fn find(mut self) -> DoorFinding {
        let (verdict, said) = match self.attempt() {
            Ok((true, said)) => (Verdict::Open, said),
            Ok((false, said)) => (Verdict::Closed, said),
            Err(error) => (Verdict::NotTried, error.to_string()),
        };
        let destroyed = |object: &String| self.store.bring(object, KeyState::Destroyed).is_ok();
        let left = self.made.iter().filter(|object| !destroyed(object)).cloned().collect();
        DoorFinding { door: self.door, kind: self.kind, verdict, said, left }
    }

    fn attempt(&mut self) -> Tried {
        match self.door {
            Door::ActivationDateAtCreate => {
                let (operation, payload) = match self.kind {
                    Kind::SecretKey => (Operation::Create, protocol::create(&self.name(), USAGE_MASK, vec![past()])),
                    Kind::PrivateKey => {
                        (Operation::CreateKeyPair, protocol::create_pair(&self.name(), MAY_SIGN, vec![past()]))
                    }
                };
                self.born_with_a_date(operation, payload)
            }
            Door::ActivationDateAtRegister => {
                let payload = match self.kind {
                    Kind::SecretKey => protocol::register(&self.name(), USAGE_MASK, &random()?, vec![past()]),
                    Kind::PrivateKey => {
                        protocol::register_private(&self.name(), MAY_SIGN, &self.private_key()?, vec![past()])
                    }
                };
                self.born_with_a_date(Operation::Register, payload)
            }
            Door::ActivationDateByModify => self.changed(Operation::ModifyAttribute, past()),
            Door::ActivationDateByAdd => self.changed(Operation::AddAttribute, past()),
            Door::StateByModify => {
                const ACTIVE: u32 = 2;
                self.changed(Operation::ModifyAttribute, protocol::attribute("State", Value::Enumeration(ACTIVE)))
            }
            Door::UseBeforeActivation => {
                let object = self.make()?;
                let (operation, payload) = self.a_use(&object)?;
                self.tried(operation, payload)
            }
            Door::DeriveBeforeActivation => {
                let object = self.make_for(MAY_DERIVE)?;
                let name = format!("{}-derived", self.name());
                let payload = match self.kind {
                    Kind::SecretKey => protocol::derive_by_encryption(&object, &name, &[0; 16], &[0; 16]),
                    Kind::PrivateKey => protocol::derive_by_hmac(&object, &name, &[0; 16]),
                };
                self.tried(Operation::DeriveKey, payload)
            }
            Door::GetBeforeActivation => {
                let object = self.make()?;
                self.tried(Operation::Get, vec![protocol::identifier(&object)])
            }
            Door::UseImpliesExport => {
                let object = self.make()?;
                self.store.client.call(Operation::Activate, vec![protocol::identifier(&object)])?;
                let (operation, payload) = self.a_use(&object)?;
                self.store.client.call(operation, payload)?;
                self.tried(Operation::Get, vec![protocol::identifier(&object)])
            }
        }
    }

    fn name(&self) -> String {
        naming::throw_away(keystore::KeyStore::name(self.store), &self.store.instance, self.door.name())
    }

    /// A pre-active key that may do what keys of its kind are for.
    fn make(&mut self) -> Result<String, Error> {
        self.make_for(match self.kind {
            Kind::SecretKey => USAGE_MASK,
            Kind::PrivateKey => MAY_SIGN,
        })
    }

    fn make_for(&mut self, mask: i32) -> Result<String, Error> {
        let made = match self.kind {
            Kind::SecretKey => vec![self.store.create_object(&self.name(), mask)?],
            // By the server's own rules: what `operation_policy` says is of secret keys.
            Kind::PrivateKey => {
                let operation = Operation::CreateKeyPair;
                let payload = protocol::create_pair(&self.name(), mask, Vec::new());
                made_by(operation, &self.store.client.call(operation, payload)?)?
            }
        };
        self.made.extend(made.iter().cloned());
        Ok(made.into_iter().next().unwrap_or_default())
    }

    /// The private half of a throw-away pair, in PKCS #8.
    fn private_key(&mut self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let operation = Operation::Get;
        let object = self.make()?;
        let answer = self.store.client.call(operation, vec![protocol::identifier(&object)])?;
        protocol::private_key_of(&answer).ok_or(Error::Garbage { operation, what: "no private key" })
    }

    /// What a key of this kind is for.
    fn a_use(&self, object: &str) -> Result<(Operation, Vec<Item>), Error> {
        Ok(match self.kind {
            Kind::SecretKey => (Operation::Encrypt, protocol::encrypt(object, &random()?, b"", b"probe")),
            Kind::PrivateKey => (Operation::Sign, protocol::sign(object, b"probe")),
        })
    }

    /// Whether the server does it, and with what words it refuses. A request that it can't read, and a failure for which it
    /// has no reason, are no refusals: the door was not tried.
    fn tried(&mut self, operation: Operation, payload: Vec<Item>) -> Tried {
        match self.store.client.call(operation, payload) {
            Ok(answer) => {
                if operation.makes_objects() {
                    self.made.extend(made_by(operation, &answer)?);
                }
                Ok((true, format!("{operation} was done")))
            }
            Err(error @ Error::Refused { reason: Reason::InvalidMessage | Reason::GeneralFailure, .. }) => Err(error),
            Err(Error::Refused { reason, said, .. }) => {
                Ok((false, format!("{operation} was refused ({reason}): {said}")))
            }
            Err(error) => Err(error),
        }
    }

    fn born_with_a_date(&mut self, operation: Operation, payload: Vec<Item>) -> Tried {
        let before = self.made.len();
        let (born, said) = self.tried(operation, payload)?;
        let Some(object) = self.made.get(before).filter(|_| born) else { return Ok((false, said)) };
        self.look(object)
    }

    fn changed(&mut self, operation: Operation, attribute: Item) -> Tried {
        let object = self.make()?;
        let (done, said) = self.tried(operation, vec![protocol::identifier(&object), attribute])?;
        if done { self.look(&object) } else { Ok((false, said)) }
    }

    /// A date that was taken counts, even where the key is not active yet: nobody says when the server looks at it.
    fn look(&self, object: &str) -> Tried {
        let attributes = self.store.attributes(object)?.unwrap_or_default();
        let date = attributes.get(ACTIVATION_DATE);
        let state = attributes.state().map_or_else(|| "without a state".to_owned(), |state| state.to_string());
        let open = date.is_some() || attributes.state() != Some(ServerState::PreActive);
        let date = if date.is_some() { "with" } else { "without" };
        Ok((open, format!("the server took it: the key is {state}, {date} an activation date")))
    }
}

fn past() -> Item {
    protocol::date_attribute(ACTIVATION_DATE, LONG_AGO)
}

/// The objects that an answer says were made: the key, and the public half of a pair.
fn made_by(operation: Operation, answer: &Item) -> Result<Vec<String>, Error> {
    match operation {
        Operation::CreateKeyPair => {
            let garbage = Error::Garbage { operation, what: "no two unique identifiers" };
            protocol::identifiers_of_pair(answer).map(Vec::from).ok_or(garbage)
        }
        _ => protocol::identifier_of(operation, answer).map(|object| vec![object]),
    }
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).map_err(Error::Random)?;
    Ok(bytes)
}

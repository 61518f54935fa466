//! Side doors: the ways past Activate that the protocol has, tried on keys made for it and destroyed at once.
//!
//! What is found is the server's behaviour towards *this client's identity*. What it allows others is in its own access
//! rules; `docs/kmip-store.md` says what to ask of them.

use model::KeyState;
use rand_core::{OsRng, RngCore as _};

use crate::protocol::{self, MAY_DERIVE, Operation, Reason, ServerState};
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
    /// For an operator, when a server is set up or upgraded: it makes a dozen objects. Keys of tenants are not touched.
    ///
    /// # Errors
    /// None by itself: what could not be tried is a finding.
    pub fn probe_side_doors(&self) -> Vec<DoorFinding> {
        Door::ALL.map(|door| Trial { store: self, door, made: Vec::new() }.find()).into()
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
        DoorFinding { door: self.door, verdict, said, left }
    }

    fn attempt(&mut self) -> Tried {
        match self.door {
            Door::ActivationDateAtCreate => {
                let payload = protocol::create(&self.name(), USAGE_MASK, vec![past()]);
                self.born_with_a_date(Operation::Create, payload)
            }
            Door::ActivationDateAtRegister => {
                let payload = protocol::register(&self.name(), USAGE_MASK, &random()?, vec![past()]);
                self.born_with_a_date(Operation::Register, payload)
            }
            Door::ActivationDateByModify => self.changed(Operation::ModifyAttribute, past()),
            Door::ActivationDateByAdd => self.changed(Operation::AddAttribute, past()),
            Door::StateByModify => {
                const ACTIVE: u32 = 2;
                self.changed(Operation::ModifyAttribute, protocol::attribute("State", Value::Enumeration(ACTIVE)))
            }
            Door::UseBeforeActivation => {
                let object = self.make(USAGE_MASK)?;
                self.tried(Operation::Encrypt, protocol::encrypt(&object, &[0; 12], b"", b"probe"))
            }
            Door::DeriveBeforeActivation => {
                let object = self.make(MAY_DERIVE)?;
                let name = format!("{}-derived", self.name());
                let payload = protocol::derive_by_encryption(&object, &name, &[0; 16], &[0; 16]);
                self.tried(Operation::DeriveKey, payload)
            }
            Door::GetBeforeActivation => {
                let object = self.make(USAGE_MASK)?;
                self.tried(Operation::Get, vec![protocol::identifier(&object)])
            }
            Door::UseImpliesExport => {
                let object = self.make(USAGE_MASK)?;
                self.store.client.call(Operation::Activate, vec![protocol::identifier(&object)])?;
                self.store.client.call(Operation::Encrypt, protocol::encrypt(&object, &random()?, b"", b"probe"))?;
                self.tried(Operation::Get, vec![protocol::identifier(&object)])
            }
        }
    }

    fn name(&self) -> String {
        naming::throw_away(keystore::KeyStore::name(self.store), &self.store.instance, self.door.name())
    }

    /// A pre-active key.
    fn make(&mut self, mask: i32) -> Result<String, Error> {
        let object = self.store.create_object(&self.name(), mask)?;
        self.made.push(object.clone());
        Ok(object)
    }

    /// Whether the server does it, and with what words it refuses. A request that it can't read, and a failure for which it
    /// has no reason, are no refusals: the door was not tried.
    fn tried(&mut self, operation: Operation, payload: Vec<Item>) -> Tried {
        match self.store.client.call(operation, payload) {
            Ok(answer) => {
                if operation.makes_objects() {
                    self.made.push(protocol::identifier_of(operation, &answer)?);
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
        let (born, said) = self.tried(operation, payload)?;
        let Some(object) = self.made.last().filter(|_| born) else { return Ok((false, said)) };
        self.look(object)
    }

    fn changed(&mut self, operation: Operation, attribute: Item) -> Tried {
        let object = self.make(USAGE_MASK)?;
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

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).map_err(Error::Random)?;
    Ok(bytes)
}

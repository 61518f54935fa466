use std::fmt;

use model::{Algorithm, KeyId, KeyState, Name, key::Operation};

/// Why a key store did not do what was asked. No variant and no message carries key material, plaintext or a data key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store has never had this key.
    #[error("there is no key `{0}` in this store")]
    NotFound(KeyId),
    /// The key id was given to another command, or to another algorithm under the same one.
    #[error("key `{0}` was generated for another command")]
    Exists(KeyId),
    /// The key's state, as the store has it, does not allow this.
    #[error("key `{key_id}` is {state}: {refused}")]
    State {
        /// The key.
        key_id: KeyId,
        /// The state that the store has for it.
        state: KeyState,
        /// What was asked.
        refused: Refused,
    },
    /// The store makes no keys of this algorithm ([`crate::KeyStore::algorithms`]).
    #[error("the store `{store}` has no {algorithm}: ask for a key of another algorithm, or in another store")]
    AlgorithmNotOffered {
        /// The store.
        store: Name,
        /// What was asked.
        algorithm: Algorithm,
    },
    /// The store makes no sealed keys ([`crate::KeyStore::generate_sealed`]).
    #[error(
        "the store `{0}` does not offer sealed keys: ask for a key in another store, or under a rule without `sealed`"
    )]
    SealingNotOffered(Name),
    /// The key is sealed: it was not opened with its shares.
    #[error("key `{0}` is sealed: it opens with its approvers' shares alone")]
    Sealed(KeyId),
    /// Fewer shares than it takes are the key's own. What is none of its shares is not counted.
    #[error("key `{key_id}` takes {threshold} shares to open, and {good} of those brought are its own")]
    SharesMissing {
        /// The key.
        key_id: KeyId,
        /// How many are.
        good: usize,
        /// How many it takes.
        threshold: u8,
    },
    /// Keys of this algorithm never do this operation.
    #[error("an {algorithm} key does not {operation}")]
    OperationNotAllowed {
        /// The key's algorithm.
        algorithm: Algorithm,
        /// What was asked.
        operation: Operation,
    },
    /// An input is larger than a use takes.
    #[error("the input is too large: at most 4 KiB of data, and of additional data, are taken")]
    TooLarge,
    /// An input has the wrong length or form; says which is wanted.
    #[error("the input does not fit: {0}")]
    InvalidInput(&'static str),
    /// The ciphertext was not made by this key for this tenant, purpose and additional data, or was changed.
    #[error("the data does not decrypt under this key")]
    CiphertextInvalid,
    /// The sealed bytes were not sealed to this key with these binding parameters, or were changed.
    #[error("the sealed data does not open")]
    SealedInvalid,
    /// The key has encrypted as often as it may ([`crate::ciphertext::ENCRYPTIONS_MAX`]). It still decrypts; a successor
    /// is due.
    #[error("key `{0}` has encrypted as often as an AES-GCM key may")]
    Exhausted(KeyId),
    /// The store itself failed. Whether the change was made is not known: ask again, every operation bears repetition.
    #[error("the key store failed: {0}")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a key's state did not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A use.
    Use(Operation),
    /// Bringing it to this state.
    Transition(KeyState),
    /// A proof of possession.
    Proof,
    /// Generating it again.
    Generation,
    /// Opening it, sealed.
    Unsealing,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Use(operation) => write!(f, "it does not {operation} in that state"),
            Self::Transition(state) => write!(f, "it cannot become {state} (SP 800-57 part 1, section 7)"),
            Self::Proof => f.write_str("possession is proved in pre-activation and while active only"),
            Self::Unsealing => f.write_str("it is opened in pre-activation only"),
            Self::Generation => f.write_str("its id is not given out again"),
        }
    }
}

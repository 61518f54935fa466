//! One suite, every backend: what the contract of [`KeyStore`] promises, tried.
//!
//! A crate that holds a store implements [`Subject`] for it and calls [`conformance`] in a test. The whole suite runs
//! twice: once straight through, once with the store closed and opened again between any two steps.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test suite: it panics where a store fails it")]

use std::ops::ControlFlow;

use model::event::{Inventory, Place};
use model::key::{KeyIdentity, Operation};
use model::people::SealingKey;
use model::{Algorithm, Digest, Fingerprint, KeyId, KeyState, TenantId};
use rand_core::{CryptoRng, RngCore};
use sha2::Digest as _;

use crate::material::{PublicKey, check_operation};
use crate::transition::{self, Step};
use crate::{Entry, Error, Held, KeyStore, Output, Permit, Proof, Refused, SealTo, Share, Use, seal, sealed};

/// A store on the bench.
pub trait Subject {
    /// The store.
    fn store(&self) -> &dyn KeyStore;

    /// Closes it and opens it again, as a restart does.
    fn reopen(&mut self);
}

/// Runs the suite. `make` gives a store that is new and empty. Every store has AES-256-GCM; of the other algorithms those
/// are tried that it offers.
///
/// # Panics
/// Where the store fails.
pub fn conformance<S: Subject>(make: impl Fn() -> S) {
    for restarts in [false, true] {
        for case in [
            keys_are_born_pre_active,
            generation_is_repeatable_and_an_id_is_given_out_once,
            allows_the_steps_of_sp_800_57_and_no_other,
            refuses_use_in_every_state_but_active,
            does_only_the_operations_of_the_algorithm,
            encrypts_and_decrypts,
            wraps_and_unwraps,
            unwraps_what_anybody_wrapped,
            refuses_ciphertexts_that_are_not_its_own,
            signs_and_verifies,
            proves_possession_before_activation,
            a_proof_is_no_signature_of_a_digest,
            opens_what_is_sealed_to_it,
            attests_what_it_has,
            makes_keys_of_its_own_algorithms_only,
            lists_every_key,
            knows_nothing_of_unknown_keys,
            inventories_are_apart,
            seals_keys_where_it_offers_that,
        ] {
            case(&mut Bench { subject: Box::new(make()), restarts, keys: 0 });
        }
    }
}

/// Two of three shares open a sealed key. Until then nothing can be done with it but end it; afterwards it is a key like any.
/// A store that does not offer it says so.
fn seals_keys_where_it_offers_that(bench: &mut Bench<'_>) {
    let holders: Vec<seal::SecretKey> = (1..4).map(|seed| seal::SecretKey::generate(&mut TestRng::new(seed))).collect();
    let whose = |number: u8| Fingerprint::from_bytes([number; 32]);
    let key_of = |secret: &seal::SecretKey| SealingKey::from_bytes(&secret.public()).unwrap();
    let to = (1..).zip(&holders).map(|(number, secret)| (whose(number), key_of(secret))).collect();
    let to = SealTo { threshold: 2, to };
    let first = bench.unused_id();
    let any = bench.any();
    if let Err(Error::SealingNotOffered(_)) =
        bench.store().generate_sealed(tenant(), first, any, command_of(first), &to)
    {
        assert!(matches!(bench.store().unseal(tenant(), first, &[]), Err(Error::SealingNotOffered(_))));
        assert_eq!(bench.store().get(tenant(), first).unwrap(), None);
        return;
    }
    for algorithm in bench.algorithms() {
        let key_id = bench.unused_id();
        let command = command_of(key_id);
        let born = bench.store().generate_sealed(tenant(), key_id, algorithm, command, &to).unwrap();
        let (generated, sealing) = &born;
        assert_eq!((sealing.threshold, sealing.shares.len()), (2, 3));
        let fewer = SealTo { threshold: 2, to: to.to.iter().take(2).copied().collect() };
        let again = bench.store().generate_sealed(tenant(), key_id, algorithm, command, &fewer).unwrap();
        assert_eq!(again, born, "the same command gives the same shares, whoever else could have one now");
        let plain = bench.store().generate(tenant(), key_id, algorithm, command);
        assert!(matches!(plain, Err(Error::Exists(_))), "{plain:?}");

        let subject = sealed::Subject { tenant: tenant(), key_id, command };
        let opened = |at: usize| {
            let (held, number) = (sealing.shares.get(at).unwrap(), u8::try_from(at + 1).unwrap());
            let info = subject.share_info(held.to, number, sealing.threshold);
            Share::new(number, &seal::open(holders.get(at).unwrap(), &info, &[], &held.share).unwrap()).unwrap()
        };
        let is_sealed = |result: Result<(), Error>| assert!(matches!(result, Err(Error::Sealed(_))), "{result:?}");
        is_sealed(bench.store().apply(tenant(), key_id, KeyState::Active).map(drop));
        is_sealed(bench.store().prove(tenant(), key_id, &[7; 32]).map(drop));
        assert_eq!(bench.store().attest(tenant(), key_id).unwrap().identity, generated.identity);
        let foreign = Share::new(2, &[7; 32]).unwrap();
        for few in [vec![], vec![opened(0)], vec![opened(0), opened(0)], vec![opened(0), foreign.clone()]] {
            let refused = bench.store().unseal(tenant(), key_id, &few);
            assert!(matches!(refused, Err(Error::SharesMissing { threshold: 2, .. })), "{refused:?}");
            is_sealed(bench.store().apply(tenant(), key_id, KeyState::Active).map(drop));
        }
        bench.store().unseal(tenant(), key_id, &[foreign, opened(2), opened(0)]).unwrap();
        bench.store().unseal(tenant(), key_id, &[]).unwrap();
        assert_eq!(bench.held(key_id).state, KeyState::PreActive, "opened is not activated");
        let again = bench.store().generate_sealed(tenant(), key_id, algorithm, command, &to).unwrap();
        assert_eq!(again, born);
        bench.store().apply(tenant(), key_id, KeyState::Active).unwrap();
        bench.store().unseal(tenant(), key_id, &[]).unwrap();
        assert_eq!(bench.store().attest(tenant(), key_id).unwrap().identity, generated.identity);
        bench.store().prove(tenant(), key_id, &[7; 32]).unwrap();
        let again = bench.store().generate_sealed(tenant(), key_id, algorithm, command, &to).unwrap();
        assert_eq!(again, born);
        bench.store().apply(tenant(), key_id, KeyState::Destroyed).unwrap();
    }
    // Ended without ever having been opened.
    for (way, opens) in [(KeyState::Destroyed, false), (KeyState::Compromised, false)] {
        let key_id = bench.unused_id();
        bench.store().generate_sealed(tenant(), key_id, any, command_of(key_id), &to).unwrap();
        bench.store().apply(tenant(), key_id, way).unwrap();
        assert_eq!(bench.store().unseal(tenant(), key_id, &[]).is_ok(), opens, "{way}");
        if way == KeyState::Compromised {
            bench.store().apply(tenant(), key_id, KeyState::DestroyedCompromised).unwrap();
        }
        assert_eq!(bench.held(key_id).place, None);
    }
    let plain = bench.generate(any);
    let refused = bench.store().generate_sealed(tenant(), plain, any, command_of(plain), &to);
    assert!(matches!(refused, Err(Error::Exists(_))), "{refused:?}");
    bench.store().unseal(tenant(), plain, &[]).unwrap();
    let unknown = bench.unused_id();
    assert!(matches!(bench.store().unseal(tenant(), unknown, &[]), Err(Error::NotFound(_))));
    for wrong in [SealTo { threshold: 1, ..to.clone() }, SealTo { threshold: 4, ..to }] {
        let key_id = bench.unused_id();
        let refused = bench.store().generate_sealed(tenant(), key_id, any, command_of(key_id), &wrong);
        assert!(matches!(refused, Err(Error::InvalidInput(_))), "{refused:?}");
        assert_eq!(bench.store().get(tenant(), key_id).unwrap(), None);
    }
}

/// A subject, with what the cases need around it.
struct Bench<'a> {
    subject: Box<dyn Subject + 'a>,
    restarts: bool,
    keys: u64,
}

fn tenant() -> TenantId {
    TenantId::from_bytes([0x11; 32])
}

fn other_tenant() -> TenantId {
    TenantId::from_bytes([0x22; 32])
}

impl Bench<'_> {
    /// The store, after a restart where this run has them.
    fn store(&mut self) -> &dyn KeyStore {
        if self.restarts {
            self.subject.reopen();
        }
        self.subject.store()
    }

    fn algorithms(&self) -> Vec<Algorithm> {
        self.subject.store().algorithms().to_vec()
    }

    /// Those that every state and way is tried with, and the ways for each. RSA keys take long to generate: of these the
    /// smaller ones, without restarts, by the ways that most keys go.
    fn kinds(&self) -> Vec<(Algorithm, &'static [&'static [KeyState]])> {
        let of = |algorithm: Algorithm| match algorithm {
            Algorithm::RsaPss4096 | Algorithm::RsaOaep4096 => None,
            Algorithm::RsaPss3072 | Algorithm::RsaOaep3072 => {
                (!self.restarts).then_some((algorithm, WAYS.get(..4).unwrap_or_default()))
            }
            _ => Some((algorithm, WAYS.as_slice())),
        };
        self.algorithms().into_iter().filter_map(of).collect()
    }

    fn signing(&self) -> Vec<Algorithm> {
        self.algorithms().into_iter().filter(|algorithm| algorithm.digest_bytes().is_some()).collect()
    }

    /// One, where it does not matter which: a key pair where there are any.
    fn any(&self) -> Algorithm {
        let offered = self.algorithms();
        if offered.contains(&Algorithm::EcdsaP256) { Algorithm::EcdsaP256 } else { Algorithm::Aes256Gcm }
    }

    fn unused_id(&mut self) -> KeyId {
        self.keys += 1;
        format!("01930000-0000-7000-8000-{:012x}", self.keys).parse().unwrap()
    }

    /// A new key.
    fn generate(&mut self, algorithm: Algorithm) -> KeyId {
        let key_id = self.unused_id();
        self.store().generate(tenant(), key_id, algorithm, command_of(key_id)).unwrap();
        key_id
    }

    /// A new key, brought along a way.
    fn bring(&mut self, algorithm: Algorithm, way: &[KeyState]) -> KeyId {
        let key_id = self.generate(algorithm);
        for state in way {
            self.store().apply(tenant(), key_id, *state).unwrap();
        }
        key_id
    }

    fn active(&mut self, algorithm: Algorithm) -> KeyId {
        self.bring(algorithm, &[KeyState::Active])
    }

    fn held(&mut self, key_id: KeyId) -> Held {
        self.store().get(tenant(), key_id).unwrap().unwrap()
    }

    fn perform(&mut self, key_id: KeyId, asked: &Use<'_>) -> Result<Output, Error> {
        self.store().perform(tenant(), key_id, asked, Permit::WhileActive)
    }

    fn encrypt(&mut self, key_id: KeyId, plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
        match self.perform(key_id, &Use::Encrypt { plaintext, aad }) {
            Ok(Output::Ciphertext(ciphertext)) => ciphertext,
            other => panic!("no ciphertext: {other:?}"),
        }
    }

    fn decrypt(&mut self, key_id: KeyId, ciphertext: &[u8], aad: &[u8]) -> Result<Vec<u8>, Error> {
        match self.perform(key_id, &Use::Decrypt { ciphertext, aad })? {
            Output::Plaintext(plaintext) => Ok(plaintext.to_vec()),
            other => panic!("no plaintext: {other:?}"),
        }
    }

    fn wrap(&mut self, key_id: KeyId) -> ([u8; 32], Vec<u8>) {
        match self.perform(key_id, &Use::Wrap) {
            Ok(Output::Wrapped { data_key, wrapped }) => (*data_key, wrapped),
            other => panic!("no data key: {other:?}"),
        }
    }

    fn sign(&mut self, key_id: KeyId, digest: &[u8]) -> Vec<u8> {
        match self.perform(key_id, &Use::Sign { digest }) {
            Ok(Output::Signature(signature)) => signature,
            other => panic!("no signature: {other:?}"),
        }
    }

    fn verify(&mut self, key_id: KeyId, digest: &[u8], signature: &[u8]) -> bool {
        match self.perform(key_id, &Use::Verify { digest, signature }) {
            Ok(Output::Verified(verified)) => verified,
            other => panic!("not judged: {other:?}"),
        }
    }

    fn list(&mut self, tenant: Option<TenantId>) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut visit = |entry| {
            entries.push(entry);
            ControlFlow::Continue(())
        };
        self.store().list(tenant, &mut visit).unwrap();
        entries
    }
}

fn command_of(key_id: KeyId) -> Digest {
    Digest::of(key_id.as_bytes())
}

fn public_key(identity: &KeyIdentity) -> PublicKey {
    let KeyIdentity::PublicKey(der) = identity else { panic!("not a public key: {identity}") };
    PublicKey::from_spki(&der.0).unwrap()
}

/// A digest of the length that the algorithm signs.
fn digest(algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
    match algorithm.digest_bytes() {
        Some(64) => sha2::Sha512::digest(message).to_vec(),
        Some(48) => sha2::Sha384::digest(message).to_vec(),
        _ => sha2::Sha256::digest(message).to_vec(),
    }
}

/// Every operation, with inputs of the right form.
fn every_use(algorithm: Algorithm) -> [(Operation, Vec<u8>); 6] {
    let digest = digest(algorithm, b"");
    [
        (Operation::Encrypt, b"plaintext".to_vec()),
        (Operation::Decrypt, b"ciphertext".to_vec()),
        (Operation::Sign, digest.clone()),
        (Operation::Verify, digest),
        (Operation::Wrap, Vec::new()),
        (Operation::Unwrap, b"wrapped".to_vec()),
    ]
}

fn as_use(operation: Operation, input: &[u8]) -> Use<'_> {
    match operation {
        Operation::Encrypt => Use::Encrypt { plaintext: input, aad: b"" },
        Operation::Decrypt => Use::Decrypt { ciphertext: input, aad: b"" },
        Operation::Sign => Use::Sign { digest: input },
        Operation::Verify => Use::Verify { digest: input, signature: b"signature" },
        Operation::Wrap => Use::Wrap,
        Operation::Unwrap => Use::Unwrap { wrapped: input },
    }
}

/// Ways from birth, such that every state is reached, and a compromised key by two.
const WAYS: [&[KeyState]; 9] = [
    &[],
    &[KeyState::Active],
    &[KeyState::Active, KeyState::Suspended],
    &[KeyState::Active, KeyState::Deactivated],
    &[KeyState::Active, KeyState::Compromised],
    &[KeyState::Compromised],
    &[KeyState::Active, KeyState::Destroyed],
    &[KeyState::Destroyed],
    &[KeyState::Compromised, KeyState::DestroyedCompromised],
];

// === Birth ===

fn keys_are_born_pre_active(bench: &mut Bench<'_>) {
    for algorithm in bench.algorithms() {
        let key_id = bench.unused_id();
        let generated = bench.store().generate(tenant(), key_id, algorithm, command_of(key_id)).unwrap();
        let held = bench.held(key_id);
        assert_eq!(held.algorithm, algorithm);
        assert_eq!(held.state, KeyState::PreActive);
        assert_eq!(held.identity, generated.identity);
        let place = Place { inventory: Inventory::PreActive, wrapping_key: generated.wrapping_key };
        assert_eq!(held.place, Some(place));
        assert!(held.identity.fits(algorithm), "{algorithm} has {}", held.identity);
        if algorithm.spki().is_some() {
            assert_eq!(public_key(&held.identity).identity(), held.identity, "{algorithm}");
        }
    }
}

fn generation_is_repeatable_and_an_id_is_given_out_once(bench: &mut Bench<'_>) {
    let (algorithm, key_id) = (bench.any(), bench.unused_id());
    let other = Algorithm::ALL.into_iter().find(|other| *other != algorithm).unwrap();
    let command = command_of(key_id);
    let first = bench.store().generate(tenant(), key_id, algorithm, command).unwrap();
    let stranger = Digest::of(b"another command");
    for state in [KeyState::PreActive, KeyState::Active, KeyState::Suspended] {
        bench.store().apply(tenant(), key_id, state).unwrap();
        assert_eq!(bench.store().generate(tenant(), key_id, algorithm, command).unwrap(), first, "{state}");
        assert_eq!(bench.held(key_id).state, state, "generating again changes nothing");
        let refused = bench.store().generate(tenant(), key_id, algorithm, stranger);
        assert!(matches!(refused, Err(Error::Exists(id)) if id == key_id), "{state}: {refused:?}");
        let refused = bench.store().generate(tenant(), key_id, other, command);
        assert!(matches!(refused, Err(Error::Exists(_))), "{state}: {refused:?}");
    }
    bench.store().apply(tenant(), key_id, KeyState::Destroyed).unwrap();
    let refused = bench.store().generate(tenant(), key_id, algorithm, command);
    assert!(matches!(refused, Err(Error::State { refused: Refused::Generation, .. })), "{refused:?}");
    let refused = bench.store().generate(tenant(), key_id, algorithm, stranger);
    assert!(matches!(refused, Err(Error::Exists(_))), "{refused:?}");

    let elsewhere = bench.store().generate(other_tenant(), key_id, algorithm, command).unwrap();
    assert_ne!(elsewhere.identity, first.identity, "another tenant's key of the same id is another key");
    let born_destroyed = bench.bring(algorithm, &[KeyState::Destroyed]);
    let refused = bench.store().generate(tenant(), born_destroyed, algorithm, command_of(born_destroyed));
    assert!(matches!(refused, Err(Error::State { refused: Refused::Generation, .. })), "{refused:?}");
}

// === States ===

fn allows_the_steps_of_sp_800_57_and_no_other(bench: &mut Bench<'_>) {
    let algorithm = bench.any();
    for way in WAYS {
        for to in KeyState::ALL {
            let key_id = bench.bring(algorithm, way);
            let was = bench.held(key_id);
            let Some(step) = transition::step(was.state, to) else {
                let refused = bench.store().apply(tenant(), key_id, to);
                let said = matches!(&refused, Err(Error::State { state, refused: Refused::Transition(wanted), .. })
                    if (*state, *wanted) == (was.state, to));
                assert!(said, "{way:?} to {to}: {refused:?}");
                assert_eq!(bench.held(key_id), was, "a refused step changes nothing");
                continue;
            };
            let answer = bench.store().apply(tenant(), key_id, to).unwrap();
            let is = bench.held(key_id);
            assert_eq!((is.state, is.algorithm, &is.identity), (to, was.algorithm, &was.identity));
            assert_eq!(answer.after, is.place, "{way:?} to {to}");
            if step != Step::Stay {
                assert_eq!(answer.before, was.place, "{way:?} to {to}");
            }
            match step {
                Step::Stay | Step::Mark => assert_eq!(is.place, was.place, "{way:?} to {to}"),
                Step::Move => assert_eq!(is.place.clone().unwrap().inventory, Inventory::Active),
                Step::Erase => assert_eq!(is.place, None),
            }
            assert_eq!(bench.store().apply(tenant(), key_id, to).unwrap(), answer, "{way:?} to {to}, again");
            assert_eq!(bench.held(key_id), is);
        }
    }
}

fn refuses_use_in_every_state_but_active(bench: &mut Bench<'_>) {
    for (algorithm, ways) in bench.kinds() {
        for way in ways {
            let key_id = bench.bring(algorithm, way);
            let state = bench.held(key_id).state;
            for (operation, input) in every_use(algorithm) {
                if check_operation(algorithm, operation).is_err() {
                    continue;
                }
                for permit in [Permit::WhileActive, Permit::OldDataToo] {
                    let outcome = bench.store().perform(tenant(), key_id, &as_use(operation, &input), permit);
                    let refused = matches!(&outcome, Err(Error::State { state: was, refused: Refused::Use(asked), .. })
                        if (*was, *asked) == (state, operation));
                    let allowed = transition::check_use(key_id, state, operation, permit).is_ok();
                    assert_eq!(refused, !allowed, "{algorithm} {state} {operation} {permit:?}: {outcome:?}");
                }
            }
        }
    }
    let key_id = bench.active(Algorithm::Aes256Gcm);
    let ciphertext = bench.encrypt(key_id, b"old data", b"");
    bench.store().apply(tenant(), key_id, KeyState::Suspended).unwrap();
    assert!(matches!(bench.decrypt(key_id, &ciphertext, b""), Err(Error::State { .. })));
    bench.store().apply(tenant(), key_id, KeyState::Active).unwrap();
    assert_eq!(bench.decrypt(key_id, &ciphertext, b"").unwrap(), b"old data", "resumed");
    bench.store().apply(tenant(), key_id, KeyState::Deactivated).unwrap();
    let asked = Use::Decrypt { ciphertext: &ciphertext, aad: b"" };
    let old = bench.store().perform(tenant(), key_id, &asked, Permit::OldDataToo).unwrap();
    assert!(matches!(old, Output::Plaintext(plaintext) if **plaintext == *b"old data"));
}

fn inventories_are_apart(bench: &mut Bench<'_>) {
    let key_id = bench.generate(Algorithm::Aes256Gcm);
    let born = bench.held(key_id).place.unwrap();
    let moved = bench.store().apply(tenant(), key_id, KeyState::Active).unwrap();
    assert_eq!(moved.before.as_ref(), Some(&born));
    let now = moved.after.unwrap();
    assert_eq!((born.inventory, now.inventory), (Inventory::PreActive, Inventory::Active));
    assert_ne!(born.wrapping_key, now.wrapping_key, "each inventory has a wrapping key of its own");
    for way in WAYS {
        let key_id = bench.bring(Algorithm::Aes256Gcm, way);
        let held = bench.held(key_id);
        if let Some(place) = held.place {
            assert!(transition::fits(place.inventory, held.state), "{way:?}");
        }
        assert_eq!(bench.list(Some(tenant())).iter().filter(|entry| entry.key_id == key_id).count(), 1, "{way:?}");
    }
}

// === Use ===

fn does_only_the_operations_of_the_algorithm(bench: &mut Bench<'_>) {
    for algorithm in bench.algorithms() {
        let key_id = bench.active(algorithm);
        for (operation, input) in every_use(algorithm) {
            let outcome = bench.perform(key_id, &as_use(operation, &input));
            let not_its_own = matches!(&outcome, Err(Error::OperationNotAllowed { algorithm: of, operation: asked })
                if (*of, *asked) == (algorithm, operation));
            assert_eq!(not_its_own, check_operation(algorithm, operation).is_err(), "{algorithm} {operation}");
        }
    }
}

fn encrypts_and_decrypts(bench: &mut Bench<'_>) {
    let key_id = bench.active(Algorithm::Aes256Gcm);
    let long = vec![7; model::command::USE_BYTES_MAX];
    for (plaintext, aad) in [(&b""[..], &b""[..]), (b"hush", b"aad"), (&long, &long)] {
        let ciphertext = bench.encrypt(key_id, plaintext, aad);
        assert_eq!(bench.decrypt(key_id, &ciphertext, aad).unwrap(), plaintext);
        assert_ne!(bench.encrypt(key_id, plaintext, aad), ciphertext, "every nonce is new");
    }
    let too_long = vec![7; model::command::USE_BYTES_MAX + 1];
    for (plaintext, aad) in [(&too_long[..], &b""[..]), (b"", &too_long)] {
        let refused = bench.perform(key_id, &Use::Encrypt { plaintext, aad });
        assert!(matches!(refused, Err(Error::TooLarge)), "{refused:?}");
    }
}

fn wraps_and_unwraps(bench: &mut Bench<'_>) {
    let key_id = bench.active(Algorithm::Aes256Gcm);
    let (data_key, wrapped) = bench.wrap(key_id);
    let unwrapped = bench.perform(key_id, &Use::Unwrap { wrapped: &wrapped }).unwrap();
    assert!(matches!(unwrapped, Output::DataKey(again) if *again == data_key));
    assert_ne!(bench.wrap(key_id).0, data_key, "every data key is new");
    assert!(!wrapped.windows(8).any(|window| data_key.starts_with(window)), "wrapped is not in the clear");

    let as_data = bench.decrypt(key_id, &wrapped, b"");
    assert!(matches!(as_data, Err(Error::CiphertextInvalid)), "a data key is not read out as data");
    let data = bench.encrypt(key_id, &data_key, b"");
    let as_key = bench.perform(key_id, &Use::Unwrap { wrapped: &data });
    assert!(matches!(as_key, Err(Error::CiphertextInvalid)), "data is not taken for a data key");
}

fn refuses_ciphertexts_that_are_not_its_own(bench: &mut Bench<'_>) {
    let key_id = bench.active(Algorithm::Aes256Gcm);
    let ciphertext = bench.encrypt(key_id, b"hush", b"aad");
    let wrapped = bench.wrap(key_id).1;
    // With a restart before each, one bit a byte would take minutes and tell no more.
    let stride = if bench.restarts { 7 } else { 1 };
    for at in (0..ciphertext.len()).step_by(stride) {
        let changed: Vec<u8> = ciphertext.iter().enumerate().map(|(i, byte)| byte ^ u8::from(i == at)).collect();
        assert!(matches!(bench.decrypt(key_id, &changed, b"aad"), Err(Error::CiphertextInvalid)), "byte {at}");
    }
    for at in (0..wrapped.len()).step_by(stride) {
        let changed: Vec<u8> = wrapped.iter().enumerate().map(|(i, byte)| byte ^ u8::from(i == at)).collect();
        let refused = bench.perform(key_id, &Use::Unwrap { wrapped: &changed });
        assert!(matches!(refused, Err(Error::CiphertextInvalid)), "byte {at}");
    }
    for cut in (0..ciphertext.len()).step_by(stride) {
        let shorter: Vec<u8> = ciphertext.iter().copied().take(cut).collect();
        assert!(matches!(bench.decrypt(key_id, &shorter, b"aad"), Err(Error::CiphertextInvalid)), "cut at {cut}");
    }
    let longer = [&ciphertext[..], b"x"].concat();
    assert!(matches!(bench.decrypt(key_id, &longer, b"aad"), Err(Error::CiphertextInvalid)));
    assert!(matches!(bench.decrypt(key_id, &ciphertext, b""), Err(Error::CiphertextInvalid)), "other aad");

    let other = bench.active(Algorithm::Aes256Gcm);
    assert!(matches!(bench.decrypt(other, &ciphertext, b"aad"), Err(Error::CiphertextInvalid)), "another key");
    bench.store().generate(other_tenant(), key_id, Algorithm::Aes256Gcm, command_of(key_id)).unwrap();
    bench.store().apply(other_tenant(), key_id, KeyState::Active).unwrap();
    let asked = Use::Decrypt { ciphertext: &ciphertext, aad: b"aad" };
    let refused = bench.store().perform(other_tenant(), key_id, &asked, Permit::WhileActive);
    assert!(matches!(refused, Err(Error::CiphertextInvalid)), "another tenant's key of the same id");
    assert_eq!(bench.decrypt(key_id, &ciphertext, b"aad").unwrap(), b"hush");
}

/// Whoever has the public key wraps a data key, with no word to the store; the store unwraps it while the key is active.
fn unwraps_what_anybody_wrapped(bench: &mut Bench<'_>) {
    let wrapping = |algorithm: &Algorithm| algorithm.spki().is_some() && algorithm.digest_bytes().is_none();
    for algorithm in bench.algorithms().into_iter().filter(wrapping) {
        let key_id = bench.active(algorithm);
        let public = public_key(&bench.held(key_id).identity);
        let Ok(Some(Output::Wrapped { data_key, wrapped })) = public.wrap(&mut TestRng::new(4)) else {
            panic!("{algorithm} wraps nothing")
        };
        let by_store = bench.wrap(key_id);
        for (data_key, wrapped) in [(*data_key, wrapped), by_store] {
            let unwrapped = bench.perform(key_id, &Use::Unwrap { wrapped: &wrapped });
            assert!(matches!(unwrapped, Ok(Output::DataKey(unwrapped)) if *unwrapped == data_key), "{algorithm}");
            let stranger = bench.active(algorithm);
            let unwrapped = bench.perform(stranger, &Use::Unwrap { wrapped: &wrapped });
            // ML-KEM gives another key there, and no error (FIPS 203, 6.3: implicit rejection).
            let other = match &unwrapped {
                Ok(Output::DataKey(other)) => algorithm == Algorithm::MlKem768 && **other != data_key,
                other => matches!(other, Err(Error::CiphertextInvalid)),
            };
            assert!(other, "{algorithm}: {unwrapped:?}");
            let cut = bench.perform(key_id, &Use::Unwrap { wrapped: wrapped.get(1..).unwrap() });
            assert!(matches!(cut, Err(Error::CiphertextInvalid)), "{algorithm}: {cut:?}");
        }
    }
}

fn signs_and_verifies(bench: &mut Bench<'_>) {
    for algorithm in bench.signing() {
        let key_id = bench.active(algorithm);
        let public = public_key(&bench.held(key_id).identity);
        let (signed, other) = (digest(algorithm, b"this"), digest(algorithm, b"that"));
        let signature = bench.sign(key_id, &signed);
        assert!(public.verifies(&signed, &signature), "{algorithm}: the public key says so too");
        assert!(!public.verifies(&other, &signature));
        assert!(bench.verify(key_id, &signed, &signature));
        assert!(!bench.verify(key_id, &other, &signature));
        let stranger = bench.active(algorithm);
        assert!(!bench.verify(stranger, &signed, &signature), "{algorithm}: another key's signature");
        for bad in [&b""[..], b"nonsense", &[0; 64], &[&signature[..], b"x"].concat()] {
            assert!(!bench.verify(key_id, &signed, bad), "{algorithm}");
        }
        for wrong in [&b""[..], &[1; 31], &[1; 33], &[1; 47], &[1; 49], &[1; 63], &[1; 65]] {
            let refused = bench.perform(key_id, &Use::Sign { digest: wrong });
            assert!(matches!(refused, Err(Error::InvalidInput(_))), "{algorithm}: {} bytes", wrong.len());
        }
    }
}

// === Proof, sealing, listing ===

fn proves_possession_before_activation(bench: &mut Bench<'_>) {
    for (algorithm, ways) in bench.kinds() {
        for way in ways {
            let key_id = bench.bring(algorithm, way);
            let Held { identity, state, .. } = bench.held(key_id);
            let (challenge, other) = ([7; 32], [8; 32]);
            let outcome = bench.store().prove(tenant(), key_id, &challenge);
            if !matches!(state, KeyState::PreActive | KeyState::Active) {
                assert!(matches!(outcome, Err(Error::State { refused: Refused::Proof, .. })), "{algorithm} {state}");
                continue;
            }
            let proof = outcome.unwrap();
            match (&proof, &identity) {
                (Proof::Mac { check_value, .. }, _) => {
                    assert!(matches!(algorithm, Algorithm::Aes256Gcm | Algorithm::MlKem768), "{algorithm}");
                    assert_eq!(*check_value, identity.check_value());
                    assert!(!proof.verify(&identity, tenant(), key_id, &challenge).unwrap(), "nobody can");
                }
                (Proof::Signature(_), KeyIdentity::PublicKey(_)) => {
                    let stranger = bench.generate(algorithm);
                    assert!(proof.verify(&identity, tenant(), key_id, &challenge).unwrap());
                    assert!(!proof.verify(&identity, tenant(), key_id, &other).unwrap(), "another challenge");
                    assert!(!proof.verify(&identity, tenant(), stranger, &challenge).unwrap(), "another key id");
                    assert!(!proof.verify(&identity, other_tenant(), key_id, &challenge).unwrap(), "another tenant");
                }
                _ => panic!("{algorithm}: {proof:?} for {identity}"),
            }
            assert_ne!(bench.store().prove(tenant(), key_id, &other).unwrap(), proof, "the challenge counts");
            for length in [0, 15, 65] {
                let refused = bench.store().prove(tenant(), key_id, &vec![7; length]);
                assert!(matches!(refused, Err(Error::InvalidInput(_))), "{length}");
            }
        }
    }
}

fn a_proof_is_no_signature_of_a_digest(bench: &mut Bench<'_>) {
    for algorithm in bench.signing() {
        let key_id = bench.active(algorithm);
        let public = public_key(&bench.held(key_id).identity);
        // A challenge that is itself what a document's signature would be over.
        let challenge = digest(algorithm, b"a contract");
        let Ok(Proof::Signature(proof)) = bench.store().prove(tenant(), key_id, &challenge) else { panic!("no proof") };
        assert!(!public.verifies(&challenge, &proof), "{algorithm}");
        assert!(!bench.verify(key_id, &challenge, &proof), "{algorithm}");
        let hashed_again = digest(algorithm, &challenge);
        assert!(!public.verifies(&hashed_again, &proof), "{algorithm}");
    }
    if !bench.algorithms().contains(&Algorithm::Ed25519) {
        return;
    }
    // Ed25519 signs digests in another mode, so not even the digest of the very message proved is signed by a proof.
    let key_id = bench.active(Algorithm::Ed25519);
    let message = crate::possession::message(tenant(), key_id, &[7; 32]).unwrap();
    let Ok(Proof::Signature(proof)) = bench.store().prove(tenant(), key_id, &[7; 32]) else { panic!("no proof") };
    assert!(!bench.verify(key_id, &digest(Algorithm::Ed25519, &message), &proof));
}

fn attests_what_it_has(bench: &mut Bench<'_>) {
    for (algorithm, ways) in bench.kinds() {
        for way in ways {
            let key_id = bench.bring(algorithm, way);
            let held = bench.held(key_id);
            let attested = bench.store().attest(tenant(), key_id).unwrap();
            let said = Held {
                algorithm: attested.algorithm,
                identity: attested.identity.clone(),
                state: attested.state,
                place: attested.place.clone(),
            };
            assert_eq!(said, held, "{algorithm} {way:?}");
            assert_eq!(attested.store, *bench.store().name());
            assert_eq!(attested.protection.is_some(), held.place.is_some(), "{algorithm} {way:?}");
            match held.state {
                KeyState::Active => assert!(!attested.usages.is_empty(), "{algorithm}"),
                KeyState::Deactivated => assert!(attested.usages.iter().all(|usage| usage.processes_only())),
                _ => assert!(attested.usages.is_empty(), "{algorithm} {way:?}: {:?}", attested.usages),
            }
            assert_eq!(bench.store().attest(tenant(), key_id).unwrap(), attested, "asking changes nothing");
        }
    }
}

fn makes_keys_of_its_own_algorithms_only(bench: &mut Bench<'_>) {
    let offered = bench.algorithms();
    for algorithm in Algorithm::ALL {
        let key_id = bench.unused_id();
        let outcome = bench.store().generate(tenant(), key_id, algorithm, command_of(key_id));
        if offered.contains(&algorithm) {
            outcome.unwrap();
            continue;
        }
        let refused =
            matches!(&outcome, Err(Error::AlgorithmNotOffered { algorithm: asked, .. }) if *asked == algorithm);
        assert!(refused, "{algorithm}: {outcome:?}");
        assert_eq!(bench.store().get(tenant(), key_id).unwrap(), None, "asking leaves nothing behind");
    }
}

fn opens_what_is_sealed_to_it(bench: &mut Bench<'_>) {
    let rng = &mut TestRng::new(3);
    let key = bench.store().seal_key();
    let sealed = seal::seal(&key, b"info", b"", b"hush", rng).unwrap();
    assert_eq!(**bench.store().open(&sealed, b"info").unwrap(), *b"hush");
    assert_eq!(bench.store().seal_key(), key, "it is the same for the store's life");
    let refused = bench.store().open(&sealed, b"other");
    assert!(matches!(refused, Err(Error::SealedInvalid)));
    let mut changed = sealed;
    changed.ciphertext.0.reverse();
    assert!(matches!(bench.store().open(&changed, b"info"), Err(Error::SealedInvalid)));
    let with_aad = seal::seal(&key, b"info", b"aad", b"hush", rng).unwrap();
    assert!(matches!(bench.store().open(&with_aad, b"info"), Err(Error::SealedInvalid)));
    let stranger = seal::SecretKey::generate(rng).public();
    let elsewhere = seal::seal(&stranger, b"info", b"", b"hush", rng).unwrap();
    assert!(matches!(bench.store().open(&elsewhere, b"info"), Err(Error::SealedInvalid)));
}

fn lists_every_key(bench: &mut Bench<'_>) {
    assert_eq!(bench.list(None), [], "a new store is empty");
    let algorithm = bench.any();
    let mut keys: Vec<KeyId> = WAYS.into_iter().map(|way| bench.bring(algorithm, way)).collect();
    let elsewhere = bench.unused_id();
    bench.store().generate(other_tenant(), elsewhere, Algorithm::Aes256Gcm, command_of(elsewhere)).unwrap();
    keys.sort();
    let wanted: Vec<Entry> =
        keys.iter().map(|key_id| Entry { tenant: tenant(), key_id: *key_id, held: bench.held(*key_id) }).collect();
    assert_eq!(bench.list(Some(tenant())), wanted, "in order, destroyed ones too");
    let all = bench.list(None);
    assert_eq!(all.len(), wanted.len() + 1);
    assert!(all.is_sorted_by_key(|entry| (entry.tenant, entry.key_id)));
    assert_eq!(bench.list(Some(TenantId::from_bytes([0x33; 32]))), []);

    let mut seen = 0;
    let mut stop_at_two = |_| {
        seen += 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    bench.store().list(None, &mut stop_at_two).unwrap();
    assert_eq!(seen, 2, "it stops when told");
}

fn knows_nothing_of_unknown_keys(bench: &mut Bench<'_>) {
    let known = bench.active(Algorithm::Aes256Gcm);
    let unknown = bench.unused_id();
    for (tenant, key_id) in [(tenant(), unknown), (other_tenant(), known)] {
        assert_eq!(bench.store().get(tenant, key_id).unwrap(), None);
        for state in KeyState::ALL {
            let refused = bench.store().apply(tenant, key_id, state);
            assert!(matches!(refused, Err(Error::NotFound(id)) if id == key_id), "{state}: {refused:?}");
        }
        for (operation, input) in every_use(Algorithm::Aes256Gcm) {
            let refused = bench.store().perform(tenant, key_id, &as_use(operation, &input), Permit::OldDataToo);
            assert!(matches!(refused, Err(Error::NotFound(_))), "{operation}: {refused:?}");
        }
        assert!(matches!(bench.store().prove(tenant, key_id, &[7; 32]), Err(Error::NotFound(_))));
        assert!(matches!(bench.store().attest(tenant, key_id), Err(Error::NotFound(_))));
        assert_eq!(bench.store().get(tenant, key_id).unwrap(), None, "asking leaves nothing behind");
    }
}

// === A random source for tests ===

/// A reproducible source: SHA-256 of a seed and a counter. For tests and simulations only: who knows the seed knows
/// all.
#[derive(Clone, Debug)]
pub struct TestRng {
    seed: u64,
    counter: u64,
}

impl TestRng {
    /// The source of this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }
}

impl RngCore for TestRng {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            self.counter += 1;
            let block = sha2::Sha256::digest([self.seed.to_le_bytes(), self.counter.to_le_bytes()].concat());
            chunk.iter_mut().zip(block).for_each(|(byte, random)| *byte = random);
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for TestRng {}

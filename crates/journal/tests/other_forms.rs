//! Bytes that say the same in a form that only some readers take: refused, so that all readers agree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ed25519_dalek::{Signer as _, SigningKey};
use journal::command::{KeyInHand, SignedCommand};
use journal::{Authentic, Chain, Record, Ring, sshsig};
use model::authority::NAMESPACE;
use model::dsse::{self, Envelope};
use model::people::{PublicKey, ServiceRole};
use model::text::Base64;

const TENANT: &str = "ADVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCZW22";

fn key() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey::ed25519(key.verifying_key().as_bytes())
}

fn record(payload: &str) -> Record {
    let sig = key().sign(&dsse::pae(dsse::EVENT, payload.as_bytes()));
    let signature = format!("{} {}", public(&key()).fingerprint(), BASE64_STANDARD.encode(sig.to_bytes()));
    Record { signature, payload: payload.to_owned().into() }
}

/// SPEC: "payload: a CloudEvents 1.0 JSON object"; "its top-level members are exactly these". serde's derived readers take
/// an array for a struct.
#[test]
fn a_payload_that_is_an_array_and_no_object_is_void() {
    let (signer, zeros) = (public(&key()).fingerprint(), "0".repeat(64));
    let payload = format!(
        r#"["1.0","01930000-0000-7000-8000-000000001001","//keylatch/approver/1","dev.keylatch.policy.adopted.v1","{TENANT}","2026-11-23T17:00:01.000Z","application/json","{TENANT}","00000000000000000001","{zeros}","{signer}",{{"name":"acme"}}]"#
    );
    let ring = Ring::of_keys([(ServiceRole::Approver, public(&key()))]).unwrap();
    let record = record(&payload);
    let opened = Authentic::open(&record, &ring);
    let mut chain = Chain::new(TENANT.parse().unwrap());
    assert!(chain.admit(&record, opened.as_ref()).is_err(), "an array stands as an event");
}

/// The same in commands, statements and envelopes.
#[test]
fn a_command_that_is_an_array_is_refused() {
    let payload = format!(
        r#"["01930000-0000-7000-8000-0000000000aa","{TENANT}","key.suspend","01930000-0000-7000-8000-000000000001",[["test","why not"]],"2026-11-23T17:00:00.000Z","2026-11-23T17:15:00.000Z"]"#
    );
    let hand = KeyInHand::new(key());
    let mut envelope =
        Envelope { payload: Base64(payload.into_bytes()), payload_type: dsse::COMMAND.to_owned(), signatures: vec![] };
    journal::command::cosign(&mut envelope, &hand).unwrap();
    assert!(SignedCommand::open(envelope.clone()).is_err(), "an array is taken as a command");
}

#[test]
fn an_envelope_that_is_an_array_is_refused() {
    assert!(model::json::read::<Envelope>(br#"["e30=","x",[["k","AAAA"]]]"#).is_err());
    assert!(
        model::json::read::<Envelope>(br#"{"payload":"e30=","payloadType":"x","signatures":[["k","AAAA"]]}"#).is_err()
    );
}

#[test]
fn an_authority_statement_that_is_an_array_is_refused() {
    let fingerprint = public(&SigningKey::from_bytes(&[1; 32])).fingerprint();
    let payload = format!(r#"["{fingerprint}",1,1,[],[],"2026-01-01T00:00:00.000Z"]"#).into_bytes();
    let sig = sshsig::sign(&SigningKey::from_bytes(&[1; 32]), NAMESPACE, &dsse::pae(dsse::AUTHORITY, &payload));
    let signatures = vec![dsse::Signature { keyid: fingerprint.to_string(), sig: Base64(sig) }];
    let envelope = Envelope { payload: Base64(payload), payload_type: dsse::AUTHORITY.to_owned(), signatures };
    assert!(journal::authority::open(&envelope, fingerprint).is_err(), "an array is taken as a statement");
}

fn ssh(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&u32::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat()).collect()
}

fn p256_sshsig(point: &[u8], extra_zeros: usize, message: &[u8]) -> Vec<u8> {
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;
    use sha2::{Digest as _, Sha256, Sha512};
    let key = p256::ecdsa::SigningKey::from_slice(&[5; 32]).unwrap();
    let blob = ssh(&[b"ecdsa-sha2-nistp256", b"nistp256", point]);
    let body = [b"SSHSIG".to_vec(), ssh(&[b"ns", b"", b"sha512", &Sha512::digest(message)])].concat();
    let signature: p256::ecdsa::Signature = key.sign_prehash(&Sha256::digest(&body)).unwrap();
    let (r, s) = signature.split_bytes();
    let mpint = |n: &[u8]| {
        let n: Vec<u8> = n.iter().copied().skip_while(|byte| *byte == 0).collect();
        let zeros = if extra_zeros > 0 { extra_zeros } else { usize::from(n[0] & 0x80 != 0) };
        [vec![0; zeros], n].concat()
    };
    // With one zero too many where the high bit is not set, or none where it is.
    let (r, s) = if extra_zeros == 99 {
        (r.iter().copied().skip_while(|b| *b == 0).collect(), s.iter().copied().skip_while(|b| *b == 0).collect())
    } else {
        (mpint(&r), mpint(&s))
    };
    let inner = ssh(&[b"ecdsa-sha2-nistp256", &ssh(&[&r, &s])]);
    [b"SSHSIG".to_vec(), 1u32.to_be_bytes().to_vec(), ssh(&[&blob, b"ns", b"", b"sha512", &inner])].concat()
}

/// "an approval can be checked with stock ssh-keygen" (design, wire-format): what OpenSSH refuses must be refused here, or a
/// signer can approve and later show that the signature is "bad". OpenSSH takes uncompressed points only, and one private
/// key must not have two fingerprints ("is or was enrolled" is asked of the fingerprint).
#[test]
fn a_compressed_p256_point_is_refused() {
    let key = p256::ecdsa::SigningKey::from_slice(&[5; 32]).unwrap();
    let (long, short) = (key.verifying_key().to_encoded_point(false), key.verifying_key().to_encoded_point(true));
    assert!(sshsig::verify(&p256_sshsig(long.as_bytes(), 0, b"m"), "ns", b"m").is_ok(), "the test is wrong");
    assert!(sshsig::verify(&p256_sshsig(short.as_bytes(), 0, b"m"), "ns", b"m").is_err(), "compressed point taken");
}

/// A passkey's signature over `message`, with this origin, client data (`CHALLENGE` stands for the challenge) and flags.
fn passkey(origin: &[u8], client_data: &str, flags: u8, extensions: &[u8], reserved: &[u8]) -> bool {
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;
    use sha2::{Digest as _, Sha256, Sha512};
    let key = p256::ecdsa::SigningKey::from_slice(&[5; 32]).unwrap();
    let point = key.verifying_key().to_encoded_point(false);
    let blob = ssh(&[b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", point.as_bytes(), b"ssh:"]);
    let body = [b"SSHSIG".to_vec(), ssh(&[b"ns", b"", b"sha512", &Sha512::digest(b"m")])].concat();
    let challenge = data_encoding::BASE64URL_NOPAD.encode(&body);
    let client_data = client_data.replace("CHALLENGE", &challenge);
    let counter = 7u32.to_be_bytes();
    let signed =
        [&Sha256::digest(b"ssh:")[..], &[flags], &counter, extensions, &Sha256::digest(&client_data)[..]].concat();
    let signature: p256::ecdsa::Signature = key.sign_prehash(&Sha256::digest(&signed)).unwrap();
    let (r, s) = signature.split_bytes();
    let mpint = |n: &[u8]| [vec![0; usize::from(n[0] & 0x80 != 0)], n.to_vec()].concat();
    let (r, s) = (mpint(&r), mpint(&s));
    let inner = [
        ssh(&[b"webauthn-sk-ecdsa-sha2-nistp256@openssh.com", &ssh(&[&r, &s])]),
        vec![flags],
        counter.to_vec(),
        ssh(&[origin, client_data.as_bytes(), extensions]),
    ]
    .concat();
    let parts = ssh(&[&blob, b"ns", reserved, b"sha512", &inner]);
    let sshsig = [b"SSHSIG".to_vec(), 1u32.to_be_bytes().to_vec(), parts].concat();
    sshsig::verify(&sshsig, "ns", b"m").is_ok()
}

/// As OpenSSH has it (`ssh-ecdsa-sk.c`): the client data begins in the one way that browsers write it, and with the origin
/// that stands beside it, which nobody signed by itself.
#[test]
fn a_passkeys_client_data_begins_as_browsers_write_it() {
    const GOOD: &str =
        r#"{"type":"webauthn.get","challenge":"CHALLENGE","origin":"https://a.example","crossOrigin":false}"#;
    let origin = b"https://a.example";
    assert!(passkey(origin, GOOD, 0x01, b"", b""));
    assert!(passkey(origin, GOOD, 0x05, b"", b""), "verified, too");
    assert!(passkey(origin, GOOD, 0x81, b"\xa0", b""), "with extensions");
    for (origin, client_data, flags, extensions, reserved) in [
        (&b"https://b.example"[..], GOOD, 0x01, &b""[..], &b""[..]),
        (b"https://a", GOOD, 0x01, b"", b""),
        (b"https://a.example\",\"crossOrigin", GOOD, 0x01, b"", b""),
        (origin, GOOD, 0x00, b"", b""),
        (origin, GOOD, 0x41, b"", b""),
        (origin, GOOD, 0x81, b"", b""),
        (origin, GOOD, 0x01, b"\xa0", b""),
        (origin, GOOD, 0x01, b"", b"x"),
        (origin, &GOOD.replace("{\"type", "{ \"type"), 0x01, b"", b""),
        (origin, &GOOD.replace("webauthn.get", "webauthn.create"), 0x01, b"", b""),
        (origin, &GOOD.replace("CHALLENGE", "CHALLENGE="), 0x01, b"", b""),
        (origin, r#"{"challenge":"CHALLENGE","type":"webauthn.get","origin":"https://a.example"}"#, 0x01, b"", b""),
    ] {
        assert!(!passkey(origin, client_data, flags, extensions, reserved), "{client_data} {flags:x} {reserved:?}");
    }
}

/// RFC 4251 mpints have one form; OpenSSH refuses negative ones and needless zeros.
#[test]
fn a_p256_signature_in_another_form_is_refused() {
    let point = p256::ecdsa::SigningKey::from_slice(&[5; 32]).unwrap().verifying_key().to_encoded_point(false);
    // Search a message whose r or s has the high bit set: without its zero it is a negative number.
    for n in 0..20u8 {
        let canonical = p256_sshsig(point.as_bytes(), 0, &[n]);
        let bare = p256_sshsig(point.as_bytes(), 99, &[n]);
        if canonical != bare {
            assert!(sshsig::verify(&bare, "ns", &[n]).is_err(), "a negative mpint is taken");
            return;
        }
    }
    panic!("no such message");
}

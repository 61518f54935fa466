//! Signatures, and the port's suite on the log in memory.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::task::{Context, Poll, Waker};

use data_encoding::BASE64;
use ed25519_dalek::SigningKey;
use journal::memory::MemoryJournal;
use journal::sshsig::{self, Error};

/// Drives a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the log in memory never waits"),
    }
}

#[test]
fn the_log_in_memory_keeps_the_contract() {
    let tenant = "ADVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCZW22".parse().unwrap();
    now(journal::conformance::suite(&MemoryJournal::default(), tenant));
}

#[test]
fn a_signature_binds_key_namespace_and_message() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let signature = sshsig::sign(&key, "keylatch-command", b"message");
    let signed = sshsig::verify(&signature, "keylatch-command", b"message").unwrap();
    assert_eq!(signed.key.as_ed25519(), Some(*key.verifying_key().as_bytes()));
    assert_eq!(sshsig::verify(&signature, "keylatch-command", b"massage"), Err(Error::Invalid));
    let other = sshsig::verify(&signature, "keylatch-authority", b"message");
    assert_eq!(other, Err(Error::Namespace("keylatch-command".into())));
    for at in 0..signature.len() {
        let mut flipped = signature.clone();
        flipped[at] ^= 1;
        assert!(sshsig::verify(&flipped, "keylatch-command", b"message").is_err(), "byte {at}");
        assert!(sshsig::verify(&signature[..at], "keylatch-command", b"message").is_err(), "cut at {at}");
    }
    assert!(sshsig::verify(&[signature, vec![0]].concat(), "keylatch-command", b"message").is_err());
}

/// Made with OpenSSH 9.2: `ssh-keygen -t ecdsa -b 256`, `ssh-keygen -Y sign -n keylatch-command` over `message`.
#[test]
fn takes_a_p256_signature_of_openssh() {
    let signature = BASE64.decode(P256_SSHSIG.as_bytes()).unwrap();
    let signed = sshsig::verify(&signature, "keylatch-command", b"message").unwrap();
    assert_eq!(signed.key.to_string(), P256_KEY);
    assert_eq!(signed.token, None);
    assert_eq!(sshsig::verify(&signature, "keylatch-command", b"other"), Err(Error::Invalid));
}

const P256_KEY: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBNFSrjNLHaKNs3W7bw45ztoiDltfbY71TFbdR9i7tnoM3qKpqdOjfZON8W2t1vEnOxPHhlBlhMBqIrZABCqvefk=";
const P256_SSHSIG: &str = "U1NIU0lHAAAAAQAAAGgAAAATZWNkc2Etc2hhMi1uaXN0cDI1NgAAAAhuaXN0cDI1NgAAAEEE0VKuM0sdoo2zdbtvDjnO2iIOW19tjvVMVt1H2Lu2egzeoqmp06N9k43xba3W8Sc7E8eGUGWEwGoitkAEKq95+QAAABBrZXlsYXRjaC1jb21tYW5kAAAAAAAAAAZzaGE1MTIAAABkAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAABJAAAAIQDLd6KM1P8kH+pgdZ5r2XvEXJaQqKbuzBD/38cFDyMR5wAAACBvOYUq6MSEPKiB3DVwBi8oZqGb0C8T3TAOcppIy2QUBQ==";

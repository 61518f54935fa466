//! What a use through the store costs beside the bare operation of the same library, with a key that is in memory: one thread.
//!
//! ```sh
//! cargo run --release -p keystore-software --example software_gate
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "it measures")]

#[path = "../../keystore/measure/cost.rs"]
mod cost;

use aes_gcm::aead::Aead as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use keystore::{KeyStore as _, Permit, Use};
use keystore_software::{MasterKeys, SoftwareStore};
use model::{Algorithm, Digest, KeyId, KeyState, TenantId};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;

use crate::cost::compare;

fn main() {
    // On a disk, because the store's commits wait for it.
    let folder = tempfile::tempdir().unwrap();
    let masters = MasterKeys::own(folder.path().join("master"));
    let store = SoftwareStore::create(&folder.path().join("store"), "software".parse().unwrap(), &masters).unwrap();
    cost::head();
    let key = Aes256Gcm::new(&[7; 32].into());
    for bytes in [32, 4096] {
        let key_id = bring(&store, bytes, Algorithm::Aes256Gcm);
        let plaintext = vec![7; bytes];
        let mut count = 0_u64;
        let bare = || {
            count += 1;
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&count.to_be_bytes());
            key.encrypt(&nonce.into(), &plaintext[..]).unwrap();
        };
        compare(&format!("AES-256-GCM encrypt, {bytes}"), bare, || {
            perform(&store, key_id, &Use::Encrypt { plaintext: &plaintext, aad: &[] });
        });
    }
    let key_id = bring(&store, 1, Algorithm::EcdsaP256);
    let (key, digest) = (SigningKey::from_slice(&[7; 32]).unwrap(), [7; 32]);
    let bare = || {
        let _: p256::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
    };
    compare("ECDSA P-256 sign, 32", bare, || perform(&store, key_id, &Use::Sign { digest: &digest }));
}

fn perform(store: &SoftwareStore, key_id: KeyId, asked: &Use<'_>) {
    store.perform(tenant(), key_id, asked, Permit::WhileActive).unwrap();
}

/// An active key of this number.
fn bring(store: &SoftwareStore, number: usize, algorithm: Algorithm) -> KeyId {
    let key_id: KeyId = format!("01930000-0000-7000-8000-{number:012x}").parse().unwrap();
    store.generate(tenant(), key_id, algorithm, Digest::of(b"command")).unwrap();
    store.apply(tenant(), key_id, KeyState::Active).unwrap();
    key_id
}

fn tenant() -> TenantId {
    TenantId::from_bytes([7; 32])
}

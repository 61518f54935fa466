//! What a use through the store costs beside the bare operation of the server, with the same key and over the same client:
//! PyKMIP, one thread.
//!
//! ```sh
//! export KEYLATCH_TEST_PYTHONPATH=$(cargo xtask python-packages)
//! cargo run --release -p keystore-kmip --example kmip_gate
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "it measures")]
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "what the crate and its tests need of the modules besides"
)]

#[path = "../../keystore/measure/cost.rs"]
mod cost;

// The crate's own client, which is not in its interface, and its tests' server.
#[path = "../src/client.rs"]
mod client;
#[path = "../src/error.rs"]
mod error;
#[path = "../src/files.rs"]
mod files;
#[path = "../src/protocol.rs"]
mod protocol;
#[path = "../src/tests/server.rs"]
mod server;
#[path = "../src/settings.rs"]
mod settings;
#[path = "../src/ttlv.rs"]
mod ttlv;

use keystore::{KeyStore as _, Permit, Use};
use keystore_kmip::KmipStore;
use model::{Algorithm, Digest, KeyId, KeyState, TenantId};

use crate::client::Client;
use crate::error::Error;
use crate::protocol::Operation;
use crate::server::Server;
use crate::settings::{Mode, Settings};

/// The server takes milliseconds, in which thousands of times would be minutes.
const TIMES: usize = 1_000;

fn main() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let (store, client) = (create(&server, folder.path()), Client::new(&server.settings()).unwrap());
    cost::head_over(TIMES);
    for bytes in [32, 4096] {
        let (key_id, object) = bring(&store, bytes);
        let plaintext = vec![7; bytes];
        let mut count = 0_u64;
        let bare = || {
            count += 1;
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&count.to_be_bytes());
            client.call(Operation::Encrypt, protocol::encrypt(&object, &nonce, &[], &plaintext)).unwrap();
        };
        cost::compare_over(TIMES, &format!("AES-256-GCM encrypt, {bytes}"), bare, || {
            store
                .perform(tenant(), key_id, &Use::Encrypt { plaintext: &plaintext, aad: &[] }, Permit::WhileActive)
                .unwrap();
        });
    }
}

fn create(server: &Server, folder: &std::path::Path) -> KmipStore {
    let Settings { address, server_name, authorities, certificate, key, patience, .. } = server.settings();
    let settings = keystore_kmip::Settings {
        address,
        server_name,
        authorities,
        certificate,
        key,
        login: None,
        mode: keystore_kmip::Mode::Mediated,
        operation_policy: None,
        patience,
    };
    let (folder, name) = (folder.join("store"), "kmip".parse().unwrap());
    KmipStore::create(&folder, &name).unwrap();
    KmipStore::open(&folder, name, &settings).unwrap()
}

/// An active key of this number, and where it is on the server.
fn bring(store: &KmipStore, number: usize) -> (KeyId, String) {
    let key_id: KeyId = format!("01930000-0000-7000-8000-{number:012x}").parse().unwrap();
    store.generate(tenant(), key_id, Algorithm::Aes256Gcm, Digest::of(b"command")).unwrap();
    store.apply(tenant(), key_id, KeyState::Active).unwrap();
    (key_id, store.on_the_server(tenant(), key_id).unwrap().object)
}

fn tenant() -> TenantId {
    TenantId::from_bytes([7; 32])
}

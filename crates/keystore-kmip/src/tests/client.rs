//! The line to the server: who is let in, what is never waited for without end, what is made of nonsense.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use keystore::KeyStore as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::{Error, Login, Password};

/// What the server's failure is, below the port.
fn inside<T: std::fmt::Debug>(outcome: Result<T, PortError>) -> Error {
    match outcome {
        Err(PortError::Storage(error)) => *error.downcast().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_was_restarted_is_used_again() {
    let mut server = Server::start();
    let bench = Bench::with(server.settings());
    let key_id = bench.bring(1, &[KeyState::Active]);
    bench.encrypt(key_id).unwrap();
    server.stop();
    assert!(matches!(inside(bench.encrypt(key_id)), Error::Unreachable { .. }));
    // Halting needs no server.
    bench.store().apply(tenant(), key_id, KeyState::Suspended).unwrap();
    server.start_again();
    bench.store().apply(tenant(), key_id, KeyState::Active).unwrap();
    bench.encrypt(key_id).unwrap();
    // With a kept connection from before the restart.
    server.stop();
    server.start_again();
    bench.encrypt(key_id).unwrap();
    bench.generate(2);
}

#[test]
fn only_the_right_certificates_are_let_in() {
    let server = shared();
    let with = |settings: Settings| Bench::with(settings).store().server();
    let right = server.settings();
    with(right.clone()).unwrap();
    let strange_server = Settings { authorities: server.path("another-ca.pem"), ..right.clone() };
    assert!(matches!(with(strange_server), Err(Error::Unreachable { .. })), "a server of another authority");
    let strange_name = Settings { server_name: "elsewhere".to_owned(), ..right.clone() };
    assert!(matches!(with(strange_name), Err(Error::Unreachable { .. })), "a server of another name");
    let stranger = Settings { certificate: server.path("stranger.pem"), key: server.path("stranger.key"), ..right };
    let refused = with(stranger);
    assert!(matches!(refused, Err(Error::Unreachable { .. } | Error::Broken { .. })), "{refused:?}");
}

#[test]
fn secrets_that_others_can_reach_or_that_are_none_are_refused() {
    let server = shared();
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str, mode| {
        let path = folder.path().join(file);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let key = std::fs::read_to_string(server.path("client.key")).unwrap();
    let login = |password| Some(Login { username: "ann".to_owned(), password });
    let right = server.settings();
    let with = |settings: &Settings| crate::client::Client::new(settings).map(drop);
    with(&right).unwrap();
    with(&Settings { login: login(Password::File(write("password", "hush\n", 0o600))), ..right.clone() }).unwrap();
    with(&Settings { login: login(Password::Environment("PATH".to_owned())), ..right.clone() }).unwrap();

    let refused = [
        Settings { key: write("loose.key", &key, 0o644), ..right.clone() },
        Settings { key: write("no.key", "hush", 0o600), ..right.clone() },
        Settings { key: folder.path().join("missing"), ..right.clone() },
        Settings { key: server.path("stranger.key"), ..right.clone() },
        Settings { authorities: write("empty.pem", "", 0o644), ..right.clone() },
        Settings { login: login(Password::File(write("loose", "hush", 0o640))), ..right.clone() },
        Settings { login: login(Password::Environment("KEYLATCH_NO_SUCH_VARIABLE".to_owned())), ..right },
    ];
    for settings in refused {
        let error = with(&settings).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hush") && !key.lines().any(|line| shown.contains(line)), "{shown}");
        assert!(
            matches!(error, Error::LooseMode { .. } | Error::Tls { .. } | Error::Damaged { .. }),
            "{settings:?}: {shown}"
        );
    }
}

/// A name and a password go with each request; PyKMIP takes them and goes by the certificate.
#[test]
fn a_login_goes_with_every_request() {
    let server = shared();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "hush").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let login = Some(Login { username: "ann".to_owned(), password: Password::File(path) });
    let bench = Bench::with(Settings { login, ..server.settings() });
    let key_id = bench.bring(1, &[KeyState::Active]);
    bench.encrypt(key_id).unwrap();
    assert!(!format!("{:?} {:?}", bench.store(), bench.settings).contains("hush"));
}

// === Servers that are none ===

/// Answers the first request on its one connection with whatever `answer` writes.
fn impostor(answer: impl FnOnce(&mut dyn Peer) + Send + 'static) -> (Settings, Arc<Server>, JoinHandle<()>) {
    let server = shared();
    let chain = CertificateDer::pem_file_iter(server.path("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(server.path("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), tcp);
        let mut header = [0; 8];
        stream.read_exact(&mut header).unwrap();
        let mut rest = vec![0; crate::ttlv::message_bytes(header).unwrap()];
        stream.read_exact(&mut rest).unwrap();
        answer(&mut stream);
    });
    (Settings { address, ..server.settings() }, server, thread)
}

trait Peer: std::io::Read + std::io::Write {}

impl Peer for StreamOwned<ServerConnection, TcpStream> {}

#[test]
fn nonsense_is_an_error() {
    use crate::protocol::tag;
    let refusal = tag::RESPONSE_MESSAGE
        .structure([tag::BATCH_ITEM.structure([tag::RESULT_STATUS.enumeration(1)])])
        .to_bytes()
        .unwrap();
    let another = tag::RESPONSE_MESSAGE
        .structure([tag::BATCH_ITEM.structure([tag::OPERATION.enumeration(4711), tag::RESULT_STATUS.enumeration(0)])]);
    let another = another.to_bytes().unwrap().to_vec();
    let answers: [(Vec<u8>, bool); 7] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), false),
        (b"\x42\x00\x7b\x01\xff\xff\xff\xf8".to_vec(), false),
        (b"\x42\x00\x7b\x01\x00\x00\x00\x09 nonsense".to_vec(), false),
        (b"\x42\x00\x7b\x01\x00\x00\x00\x08\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), false),
        (b"\x42\x00\x7b\x01\x00\x00\x00\x00".to_vec(), false),
        (another, false),
        (refusal.to_vec(), true),
    ];
    for (bytes, is_refusal) in answers {
        let shown = format!("{bytes:02x?}");
        let (settings, _server, thread) = impostor(move |peer| peer.write_all(&bytes).unwrap());
        let outcome = Bench::with(settings).store().server();
        thread.join().unwrap();
        assert_eq!(matches!(outcome, Err(Error::Refused { .. })), is_refusal, "{shown}: {outcome:?}");
        assert!(is_refusal || matches!(outcome, Err(Error::Garbage { .. })), "{shown}: {outcome:?}");
    }
}

/// It sends something now and then, and would hold us for ever.
#[test]
fn a_server_that_dawdles_is_not_waited_for() {
    let (settings, _server, thread) = impostor(|peer| {
        let _ = peer.write_all(b"\x42\x00\x7b").and_then(|()| peer.flush());
        // Until the other side has had enough.
        let _ = peer.read(&mut [0]);
    });
    let bench = Bench::with(Settings { patience: Duration::from_millis(500), ..settings });
    let Err(Error::Broken { source, .. }) = bench.store().server() else { panic!("it was waited for") };
    assert_eq!(source.kind(), std::io::ErrorKind::TimedOut);
    thread.join().unwrap();
}

/// It takes the connection, and never says a word of TLS.
#[test]
fn a_listener_that_is_silent_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = shared();
    let address = listener.local_addr().unwrap().to_string();
    let bench = Bench::with(Settings { address, patience: Duration::from_millis(500), ..server.settings() });
    let outcome = bench.store().server();
    assert!(matches!(outcome, Err(Error::Unreachable { .. })), "{outcome:?}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

    /// Whatever is well-formed and no answer is an error or an answer, for every operation, and nothing panics.
    #[test]
    fn any_message_is_an_answer_or_an_error(bytes: Vec<u8>, status in 0..3_u32, operation in 0..0x30_u32, text: String) {
        use crate::protocol::{self, Attributes, tag};
        let payload = tag::RESPONSE_PAYLOAD.structure([
            tag::ATTRIBUTE.structure([tag::ATTRIBUTE_NAME.text(&text), tag::ATTRIBUTE_VALUE.bytes(&bytes)]),
            tag::UNIQUE_IDENTIFIER.bytes(&bytes),
            tag::SYMMETRIC_KEY.structure([tag::KEY_BLOCK.bytes(&bytes)]),
        ]);
        let message = tag::RESPONSE_MESSAGE.structure([tag::BATCH_ITEM.structure([
            tag::OPERATION.enumeration(operation),
            tag::RESULT_STATUS.enumeration(status),
            tag::RESULT_MESSAGE.text(&text),
            payload,
        ])]);
        for asked in [crate::Operation::Get, crate::Operation::GetAttributes, crate::Operation::Create] {
            if let Ok(payload) = protocol::answer(asked, message.clone()) {
                proptest::prop_assert_eq!((status, operation), (0, asked as u32));
                proptest::prop_assert!(protocol::identifier_of(asked, &payload).is_err());
                proptest::prop_assert!(protocol::key_of(&payload).is_none());
                proptest::prop_assert_eq!(Attributes::read(&payload).state(), None);
            }
        }
    }
}

//! PyKMIP's own server, as a child process, with certificates made for it.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tempfile::TempDir;

use crate::{Mode, Settings};

/// Starts the server on a port that is free (or on the one given), and says which. When its input ends, because the test
/// is over or was killed, it ends with all that it has started.
const LAUNCHER: &str = r#"
import logging, os, signal, sys, threading

def end_with_the_test():
    while os.read(0, 1): pass
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=end_with_the_test, daemon=True).start()

from kmip.services.server.server import KmipServer

folder, port = sys.argv[1], int(sys.argv[2])
of = lambda name: os.path.join(folder, name)
server = KmipServer(
    hostname="127.0.0.1", certificate_path=of("server.pem"), key_path=of("server.key"), ca_path=of("ca.pem"),
    auth_suite="TLS1.2", config_path=None, log_path=of("server.log"), policy_path=folder, enable_tls_client_auth=True,
    logging_level="WARNING", database_path=of("keys.db"))
server.config.settings["port"] = port
server.start()
server.policy_monitor.join()
server._socket.listen(64)
print(server._socket.getsockname()[1], flush=True)
server.serve()
"#;

/// For placed keys: everybody may use them (PyKMIP goes by the rule for Get), the custodian alone changes them. And for keys
/// that nobody gets.
const POLICY: &str = r#"{"placed": {"preset": {"SYMMETRIC_KEY": {
    "GET": "ALLOW_ALL", "GET_ATTRIBUTES": "ALLOW_ALL", "LOCATE": "ALLOW_ALL", "MODIFY_ATTRIBUTE": "ALLOW_OWNER",
    "ACTIVATE": "ALLOW_OWNER", "REVOKE": "ALLOW_OWNER", "DESTROY": "ALLOW_OWNER"}}},
    "closed": {"preset": {"SYMMETRIC_KEY": {
    "GET": "DISALLOW_ALL", "GET_ATTRIBUTES": "ALLOW_OWNER", "LOCATE": "ALLOW_OWNER", "DESTROY": "ALLOW_OWNER"}}}}"#;

/// Who the custodian is to the server. PyKMIP goes by the common name.
const CUSTODIAN: &str = "custodian";

pub(super) struct Server {
    pub(super) folder: TempDir,
    pub(super) port: u16,
    child: Child,
}

impl Server {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_certificates(folder.path());
        std::fs::write(folder.path().join("policy.json"), POLICY).unwrap();
        let (child, port) = launch(folder.path(), 0);
        Self { folder, port, child }
    }

    pub(super) fn stop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port, with the same keys.
    pub(super) fn start_again(&mut self) {
        (self.child, _) = launch(self.folder.path(), self.port);
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(super) fn settings(&self) -> Settings {
        settings(self.folder.path(), self.port)
    }

    /// PyKMIP's own client, with the custodian's identity: what somebody does behind its back.
    pub(super) fn behind_our_back(&self, does: &str) -> String {
        self.python("client", does)
    }

    /// PyKMIP's own client, with an application's identity.
    pub(super) fn application(&self, does: &str) -> String {
        self.python("application", does)
    }

    fn python(&self, identity: &str, does: &str) -> String {
        let prelude = format!(
            "from kmip.pie.client import ProxyKmipClient\n\
             from kmip import enums\n\
             import sqlite3\n\
             database = lambda: sqlite3.connect({:?})\n\
             client = ProxyKmipClient('127.0.0.1', {}, cert={:?}, key={:?}, ca={:?}, ssl_version='PROTOCOL_TLSv1_2', \
             config_file='/dev/null')\n",
            self.path("keys.db"),
            self.port,
            self.path(&format!("{identity}.pem")),
            self.path(&format!("{identity}.key")),
            self.path("ca.pem"),
        );
        let output = python().args(["-c", &format!("{prelude}{does}")]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// The custodian's, with the server that has this folder and port.
pub(super) fn settings(folder: &Path, port: u16) -> Settings {
    Settings {
        address: format!("127.0.0.1:{port}"),
        server_name: "localhost".to_owned(),
        authorities: folder.join("ca.pem"),
        certificate: folder.join("client.pem"),
        key: folder.join("client.key"),
        login: None,
        mode: Mode::Mediated,
        operation_policy: None,
        patience: Duration::from_secs(60),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn python() -> Command {
    let packages = std::env::var_os("KEYLATCH_TEST_PYTHONPATH").expect(
        "the KMIP server is a Python package: run `cargo xtask test`, or set KEYLATCH_TEST_PYTHONPATH to what `cargo xtask python-packages` prints",
    );
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", packages);
    python
}

fn launch(folder: &Path, port: u16) -> (Child, u16) {
    let mut python = python();
    python.args(["-c", LAUNCHER]).arg(folder).arg(port.to_string());
    let log = std::fs::File::create(folder.join("launcher.log")).unwrap();
    python.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
    let mut child = python.spawn().expect("can't run python3: install it");
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let port = said.trim().parse().unwrap_or_else(|_| {
        panic!("PyKMIP's server did not start: {}", std::fs::read_to_string(folder.join("launcher.log")).unwrap())
    });
    (child, port)
}

// === Certificates ===

/// An authority, the server, the custodian, an application, and a stranger that another authority vouches for.
fn make_certificates(folder: &Path) {
    let authority = authority("ca");
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    certify(folder, "server", "localhost", ExtendedKeyUsagePurpose::ServerAuth, &authority);
    certify(folder, "client", CUSTODIAN, ExtendedKeyUsagePurpose::ClientAuth, &authority);
    certify(folder, "application", "application", ExtendedKeyUsagePurpose::ClientAuth, &authority);
    let another = self::authority("another ca");
    std::fs::write(folder.join("another-ca.pem"), another.pem()).unwrap();
    certify(folder, "stranger", CUSTODIAN, ExtendedKeyUsagePurpose::ClientAuth, &another);
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn certify(
    folder: &Path,
    file: &str,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
    authority: &CertifiedIssuer<'static, KeyPair>,
) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.insert_extended_key_usage(usage);
    std::fs::write(folder.join(format!("{file}.pem")), params.signed_by(&key, authority).unwrap().pem()).unwrap();
    let path = folder.join(format!("{file}.key"));
    std::fs::write(&path, key.serialize_pem()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

//! Questions to those outside, over HTTP: one POST, one answer, with bounds on both its time and its length.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long an answer may take, from the first thing to the last.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks. Blocks: to be called off the async threads.
#[derive(Debug)]
pub(crate) struct Http {
    agent: Agent,
}

/// What was answered: the status, and the body where it is not longer than it may be.
pub(crate) type Answered = Result<(u16, Vec<u8>), String>;

impl Http {
    /// Trusts whom this machine trusts.
    pub(crate) fn new() -> Self {
        let found = rustls_native_certs::load_native_certs();
        if !found.errors.is_empty() {
            tracing::warn!(errors = ?found.errors, "some of the certificates that this machine trusts can't be read");
        }
        Self::trusting(&found.certs)
    }

    fn trusting(roots: &[CertificateDer<'static>]) -> Self {
        let roots = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(PATIENCE))
            // An answer is an answer: who is asked does not send us elsewhere.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("keylatch/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent() }
    }

    /// Posts, and reads at most so many bytes.
    pub(crate) fn post(&self, url: &str, content_type: &str, body: &[u8], max_bytes: u64) -> Answered {
        let answer = self.agent.post(url).header("Content-Type", content_type).send(body);
        let mut answer = answer.map_err(|error| format!("{url} does not answer: {error}"))?;
        let status = answer.status().as_u16();
        let read = answer.body_mut().with_config().limit(max_bytes).read_to_vec();
        Ok((status, read.map_err(|error| format!("{url} answers {status}, and then: {error}"))?))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;
    use std::path::Path;
    use std::process::Command;

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::*;

    /// Answers one request with these bytes, in a thread of its own, over whatever `wrap` makes of the connection.
    fn answering(answer: Vec<u8>, tls: Option<Arc<rustls::ServerConfig>>) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Whoever asked may hang up at any time: that is what some of these tests are about.
            let _ = match tls {
                None => serve(&mut stream, &answer),
                Some(config) => {
                    let mut connection = rustls::ServerConnection::new(config).unwrap();
                    serve(&mut rustls::Stream::new(&mut connection, &mut stream), &answer)
                }
            };
        });
        format!("{scheme}://localhost:{port}/where")
    }

    fn serve(stream: &mut (impl std::io::Read + std::io::Write), answer: &[u8]) -> std::io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"question") {
            let mut some = [0; 1024];
            match stream.read(&mut some)? {
                0 => return Ok(()),
                count => request.extend_from_slice(&some[..count]),
            }
        }
        stream.write_all(answer)?;
        stream.flush()
    }

    fn http(status: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nLocation: http://elsewhere.example/\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    fn ask(url: &str) -> Answered {
        Http::trusting(&[]).post(url, "text/plain", b"question", 100)
    }

    #[test]
    fn every_status_is_an_answer_and_none_leads_elsewhere() {
        for status in [200, 302, 409, 422, 500] {
            let url = answering(http(&format!("{status} So"), b"answer"), None);
            assert_eq!(ask(&url), Ok((status, b"answer".to_vec())));
        }
    }

    #[test]
    fn what_is_too_long_or_no_answer_is_an_error() {
        for (answer, said) in [
            (http("200 OK", &[b'x'; 101]), "answers 200"),
            (b"nothing of HTTP\r\n\r\n".to_vec(), "does not answer"),
            (Vec::new(), "does not answer"),
        ] {
            let error = ask(&answering(answer, None)).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        assert!(ask(&format!("http://{closed}")).unwrap_err().contains("does not answer"));
    }

    fn openssl(dir: &Path, arguments: &str) {
        let output = Command::new("openssl").current_dir(dir).args(arguments.split(' ')).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    const CONFIGURATION: &str = "\
[req]
distinguished_name = dn
x509_extensions = tls
prompt = no
[dn]
CN = localhost
[tls]
subjectAltName = DNS:localhost
basicConstraints = critical,CA:FALSE
";

    #[test]
    fn https_is_for_those_whose_certificate_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tls.cnf"), CONFIGURATION).unwrap();
        openssl(
            dir.path(),
            "req -x509 -config tls.cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key.pem -out cert.pem",
        );
        let cert = CertificateDer::from_pem_file(dir.path().join("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(dir.path().join("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![cert.clone()], key).unwrap());
        let url = answering(http("200 OK", b"answer"), Some(config.clone()));
        let answered = Http::trusting(&[cert]).post(&url, "text/plain", b"question", 100);
        assert_eq!(answered, Ok((200, b"answer".to_vec())));
        let error = ask(&answering(http("200 OK", b"answer"), Some(config))).unwrap_err();
        assert!(error.contains("does not answer"), "{error}");
    }
}

//! Certificates: made from the verified history, checked by the program and by Python with openssl.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use keylatch::command::certificate::{CertificateArgs, certify};
use keylatch::{Screen, Show as _};
use model::Algorithm;

use crate::memory::Platform;
use crate::requests::{active, born};
use crate::{json, keylatch, stdout};

struct Made {
    folder: tempfile::TempDir,
    root: String,
}

impl Made {
    fn text(&self) -> String {
        fs::read_to_string(self.folder.path().join("weights.json")).unwrap()
    }

    /// A copy in which this stands in the place of that.
    fn with(&self, that: &str, this: &str) -> std::path::PathBuf {
        let (text, path) = (self.text(), self.folder.path().join("touched.json"));
        assert!(text.contains(that), "{that} is not in the certificate");
        fs::write(&path, text.replacen(that, this, 1)).unwrap();
        path
    }

    fn verify(&self, path: &Path) -> Output {
        keylatch(self.folder.path(), &["verify", &path.display().to_string(), "--root", &self.root])
    }

    fn by_python(&self, path: &Path, root: &str) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/certificate/verify_certificate.py");
        Command::new("python3").arg(script).arg(path).arg(root).output().expect("python3")
    }

    /// Both say the same of this file: whether it holds, and something of why.
    #[track_caller]
    fn both(&self, path: &Path, holds: bool, said: &str) {
        let code = Some(i32::from(!holds));
        let ours = self.verify(path);
        assert_eq!(ours.status.code(), code, "{}", stdout(&ours));
        let theirs = self.by_python(path, &self.root);
        assert_eq!(theirs.status.code(), code, "{theirs:?}");
        for output in [ours, theirs] {
            assert!(stdout(&output).contains(said), "{said} is not in {}", stdout(&output));
        }
    }
}

async fn made() -> Made {
    let platform = Platform::new();
    active(&platform, "weights", Algorithm::Aes256Gcm).await;
    platform.with(|inside| inside.scenario.run("checkpoint => checkpoint.signed"));
    let folder = tempfile::tempdir().unwrap();
    let out = Some(folder.path().join("weights.json"));
    let args = CertificateArgs { key: "weights".to_owned(), out };
    let written = certify(&args, &mut platform.reader(), &mut Screen::silent()).await.unwrap();
    assert!(written.to_people().contains("keylatch verify"));
    assert!(certify(&args, &mut platform.reader(), &mut Screen::silent()).await.is_err(), "nothing is overwritten");
    Made { folder, root: written.report.root.to_string() }
}

#[tokio::test]
async fn a_certificate_is_checked_by_the_program_and_without_it() {
    let made = made().await;
    let whole = made.folder.path().join("weights.json");
    made.both(&whole, true, "it holds");
    let shown = stdout(&made.verify(&whole));
    for wanted in ["approved", "sam", "lou", "not checked", "what became of the key afterwards"] {
        assert!(shown.contains(wanted), "{wanted} is not in\n{shown}");
    }
    let path = whole.display().to_string();
    let machine = keylatch(made.folder.path(), &["--json", "verify", &path, "--root", &made.root]);
    assert_eq!(json(&machine)["certificate"]["approvals"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_touched_certificate_holds_for_neither() {
    let made = made().await;
    for (that, this) in [
        ("\"format\": \"keylatch.dev/certificate/v1\"", "\"format\": \"keylatch.dev/certificate/v2\""),
        ("keylatch.dev/A", "keylatch.dev/B"),
        ("\"index\": 0", "\"index\": 1"),
    ] {
        made.both(&made.with(that, this), false, "it does not hold");
    }
    let text = made.text();
    // The first path that has a hash, and the last signature.
    let path = text.split("\"path\": [\n").nth(1).unwrap().split('"').nth(1).unwrap().to_owned();
    made.both(&made.with(&path, &format!("AAAA{}", &path[4..])), false, "it does not hold");
    let signature = text.rsplit("\"sig\": \"").next().unwrap().split('"').next().unwrap().to_owned();
    made.both(&made.with(&signature, &format!("AAAA{}", &signature[4..])), false, "it does not hold");
    let strange = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let whole = made.folder.path().join("weights.json");
    assert_eq!(made.by_python(&whole, strange).status.code(), Some(1));
    let ours = keylatch(made.folder.path(), &["verify", &whole.display().to_string(), "--root", strange]);
    assert_eq!(ours.status.code(), Some(1));
}

#[tokio::test]
async fn there_is_no_certificate_before_activation() {
    let platform = Platform::new();
    born(&platform, "weights", Algorithm::Aes256Gcm).await;
    let folder = tempfile::tempdir().unwrap();
    let args = CertificateArgs { key: "weights".to_owned(), out: Some(folder.path().join("weights.json")) };
    let error = certify(&args, &mut platform.reader(), &mut Screen::silent()).await.unwrap_err();
    assert!(error.to_string().contains("never activated"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

//! Using keys on files, whole: through the platform's rules and a key store.

use keylatch::command::key::operate::{Operation, operate};
use keylatch::command::usage::{DecryptArgs, EncryptArgs, SignArgs, VerifyArgs, decrypt, encrypt, sign, verify};
use keylatch::error::Exit;
use keylatch::{Error, Screen};
use model::{Algorithm, ProblemType};

use crate::memory::Platform;
use crate::requests::{active, born, reason, yes};

fn silent() -> Screen {
    Screen::silent()
}

#[tokio::test]
async fn a_file_goes_in_and_comes_out_and_no_other_key_opens_it() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    active(&platform, "weights", Algorithm::Aes256Gcm).await;
    active(&platform, "other", Algorithm::Aes256Gcm).await;
    let app = platform.ready("app").await;
    let at = |name: &str| folder.path().join(name);
    let plain: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(at("in"), &plain).unwrap();
    let to = EncryptArgs { file: at("in"), output: at("sealed"), key: "weights".into(), force: false };
    assert_eq!(encrypt(&app, &mut silent(), &to).await.unwrap().bytes, 200_000);
    assert!(encrypt(&app, &mut silent(), &to).await.unwrap_err().advice().contains("--force"));

    let from = DecryptArgs { file: at("sealed"), output: at("out"), key: None, force: false };
    decrypt(&app, &mut silent(), &from).await.unwrap();
    assert_eq!(std::fs::read(at("out")).unwrap(), plain);
    let other = DecryptArgs { key: Some("other".into()), output: at("no"), ..from.clone() };
    assert_eq!(decrypt(&app, &mut silent(), &other).await.unwrap_err().exit(), Exit::Usage);

    let mut sealed = std::fs::read(at("sealed")).unwrap();
    for (at_byte, exit) in
        [(150_000, Exit::Refused), (100, Exit::Refused), (58, Exit::Refused), (10, Exit::Usage), (0, Exit::Refused)]
    {
        sealed[at_byte] ^= 1;
        std::fs::write(at("touched"), &sealed).unwrap();
        sealed[at_byte] ^= 1;
        let touched = DecryptArgs { file: at("touched"), output: at("no"), ..from.clone() };
        let error = decrypt(&app, &mut silent(), &touched).await.unwrap_err();
        assert_eq!(error.exit(), exit, "byte {at_byte}: {error}");
        assert!(!at("no").exists());
    }
    sealed.truncate(150_000);
    std::fs::write(at("cut"), &sealed).unwrap();
    let cut = DecryptArgs { file: at("cut"), output: at("no"), ..from };
    assert!(decrypt(&app, &mut silent(), &cut).await.unwrap_err().to_string().contains("changed or cut off"));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "no half-written file is left behind: {left:?}");
}

#[tokio::test]
async fn keys_are_used_while_they_are_active_and_by_who_may() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("in"), "hush").unwrap();
    born(&platform, "weights", Algorithm::Aes256Gcm).await;
    let to = EncryptArgs { file: at("in"), output: at("sealed"), key: "weights".into(), force: true };
    let refused = |error: Error| match error {
        Error::Refused(problem) => problem.kind().unwrap(),
        other => panic!("{other:?}"),
    };
    let app = platform.ready("app").await;
    assert_eq!(refused(encrypt(&app, &mut silent(), &to).await.unwrap_err()), ProblemType::KeyNotActive);

    active(&platform, "second", Algorithm::Aes256Gcm).await;
    let to = EncryptArgs { key: "second".into(), ..to };
    let kim = platform.ready("kim").await;
    assert_eq!(refused(encrypt(&kim, &mut silent(), &to).await.unwrap_err()), ProblemType::RoleMissing);
    let app = platform.ready("app").await;
    encrypt(&app, &mut silent(), &to).await.unwrap();

    let mut opa = platform.ready("opa").await;
    operate(&mut opa, &mut silent(), Operation::Deactivate, "second", reason("over").into(), &yes()).await.unwrap();
    assert_eq!(refused(encrypt(&app, &mut silent(), &to).await.unwrap_err()), ProblemType::KeyNotActive);
    let from = DecryptArgs { file: at("sealed"), output: at("out"), key: None, force: false };
    decrypt(&app, &mut silent(), &from).await.expect("old data can still be read");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_a_moment_behind_is_waited_for() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    platform.with(|inside| inside.faults.custodian_sleeps = true);
    active(&platform, "weights", Algorithm::Aes256Gcm).await;
    let file = folder.path().join("in");
    std::fs::write(&file, "hush").unwrap();
    let app = platform.ready("app").await;
    let to = EncryptArgs { file, output: folder.path().join("out"), key: "weights".into(), force: false };
    let wakes = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        platform.with(|inside| {
            inside.faults.custodian_sleeps = false;
            inside.settle();
        });
    };
    let mut screen = silent();
    let (done, ()) = tokio::join!(encrypt(&app, &mut screen, &to), wakes);
    done.unwrap();
}

#[tokio::test]
async fn files_are_signed_and_signatures_verified() {
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
        active(&platform, "release", algorithm).await;
        let (file, app) = (folder.path().join("release.tar"), platform.ready("app").await);
        std::fs::write(&file, "bytes").unwrap();
        let args = SignArgs { file: file.clone(), output: None, key: "release".into(), force: false };
        let made = sign(&app, &mut silent(), &args).await.unwrap();
        assert_eq!(made.output, folder.path().join("release.tar.sig"));
        let check =
            VerifyArgs { file: file.clone(), signature: made.output.clone(), key: "release".into(), local: false };
        assert!(verify(&app, &mut silent(), &check).await.unwrap().valid);
        let nobody = platform.ready("kim").await;
        let local = VerifyArgs { local: true, ..check.clone() };
        assert!(verify(&nobody, &mut silent(), &local).await.unwrap().valid, "anybody can check it");

        platform.with(|inside| inside.faults.lies = true);
        let lied = verify(&app, &mut silent(), &check).await.unwrap_err();
        assert_eq!(lied.exit(), Exit::Refused, "the custodian's word alone counts for nothing");
        platform.with(|inside| inside.faults.lies = false);
        std::fs::write(&file, "other").unwrap();
        assert!(!verify(&app, &mut silent(), &check).await.unwrap().valid);
    }
}

#[tokio::test]
async fn a_secret_key_signs_nothing() {
    let (platform, folder) = (Platform::new(), tempfile::tempdir().unwrap());
    active(&platform, "weights", Algorithm::Aes256Gcm).await;
    let file = folder.path().join("in");
    std::fs::write(&file, "x").unwrap();
    let args = SignArgs { file, output: None, key: "weights".into(), force: false };
    let error = sign(&platform.ready("app").await, &mut silent(), &args).await.unwrap_err();
    assert_eq!(error.to_problem().kind(), Some(ProblemType::OperationNotAllowed));
}

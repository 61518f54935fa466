//! What somebody does on the server behind our back, with PyKMIP's own client or in its database, and what of it is seen.

use std::collections::BTreeMap;

use KeyState::{Active, Deactivated, Destroyed, PreActive, Suspended};
use keystore::KeyStore as _;

use super::*;
use crate::{Finding, ServerState};

impl Bench {
    /// The server's identifier of a key.
    fn object(&self, key_id: KeyId) -> String {
        self.store().on_the_server(tenant(), key_id).unwrap().object
    }

    /// What a survey says of one key.
    pub(super) fn findings(&self, of: KeyId) -> Vec<Finding> {
        let about = |finding: &Finding| match finding {
            Finding::Unknown { .. } => false,
            Finding::Orphan { subject, .. }
            | Finding::Missing { subject, .. }
            | Finding::StateDiffers { subject, .. }
            | Finding::AttributeDiffers { subject, .. }
            | Finding::Unfinished { subject, .. } => subject.key_id == of,
        };
        let survey = self.store().survey_of(|id| id.key_id == of).unwrap();
        survey.findings.into_iter().filter(about).collect()
    }
}

#[test]
fn what_was_done_here_is_as_it_should_be() {
    let server = Server::start();
    let bench = Bench::with(server.settings());
    let ways: [&[KeyState]; 6] =
        [&[], &[Active], &[Active, Suspended], &[Active, Deactivated], &[KeyState::Compromised], &[Destroyed]];
    for (way, number) in ways.iter().zip(1..) {
        bench.bring(number, way);
    }
    let survey = bench.store().survey().unwrap();
    assert_eq!(survey.findings, []);
    assert_eq!((survey.matched, survey.seen), (6, 5), "the destroyed one is gone from the server");
}

#[test]
fn an_activation_behind_our_back_is_found() {
    let server = shared();
    let bench = Bench::new();
    let key_id = bench.generate(1);
    let object = bench.object(key_id);
    server.behind_our_back(&format!("with client: client.activate('{object}')"));

    let [finding] = &bench.findings(key_id)[..] else { panic!("not found") };
    assert!(finding.is_shadow_activation());
    assert!(matches!(finding, Finding::StateDiffers { recorded: PreActive, found: Some(ServerState::Active), .. }));
    assert!(matches!(bench.encrypt(key_id), Err(PortError::State { .. })), "it stays refused here");
    // And it can be shut: what the chain says of a key that others have used.
    bench.store().apply(tenant(), key_id, KeyState::Compromised).unwrap();
    assert_eq!(bench.findings(key_id), []);
}

#[test]
fn other_changes_behind_our_back_are_found() {
    let server = shared();
    let bench = Bench::new();
    let [revoked, destroyed, moved, widened] = [1, 2, 3, 4].map(|number| bench.bring(number, &[Active]));
    let objects = [revoked, destroyed, moved, widened].map(|key_id| bench.object(key_id));
    let [on_revoked, on_destroyed, on_moved, on_widened] = &objects;
    server.behind_our_back(&format!(
        "revoke = lambda id: client.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, id)\n\
         with client:\n    \
             revoke('{on_revoked}')\n    \
             revoke('{on_destroyed}')\n    \
             client.destroy('{on_destroyed}')\n\
         with database() as db:\n    \
             db.execute('update managed_objects set initial_date = 7 where uid = {on_moved}')\n    \
             db.execute('update crypto_objects set cryptographic_usage_mask = 524 where uid = {on_widened}')\n"
    ));

    let found = bench.findings(revoked);
    assert!(
        matches!(&found[..], [Finding::StateDiffers { recorded: Active, found: Some(ServerState::Deactivated), .. }]),
        "{found:?}"
    );
    let found = bench.findings(destroyed);
    assert!(matches!(&found[..], [Finding::Missing { recorded: Active, .. }]), "{found:?}");
    let found = bench.findings(moved);
    let [Finding::AttributeDiffers { attribute, found, .. }] = &found[..] else { panic!("{found:?}") };
    assert_eq!((attribute.as_str(), &found[..]), ("Initial Date", &["7".to_owned()][..]));
    let found = bench.findings(widened);
    let [Finding::AttributeDiffers { attribute, recorded, found, .. }] = &found[..] else { panic!("{found:?}") };
    assert_eq!(attribute, "Cryptographic Usage Mask");
    assert_eq!((&recorded[..], &found[..]), (&["12".to_owned()][..], &["524".to_owned()][..]));

    // What somebody ended there can't be brought to life again; the error says so, and destroying it settles it.
    let refused =
        bench.store().apply(tenant(), revoked, Suspended).and_then(|_| bench.store().apply(tenant(), revoked, Active));
    let Err(PortError::Storage(error)) = refused else { panic!("{refused:?}") };
    assert!(matches!(error.downcast_ref(), Some(crate::Error::Astray { .. })), "{error}");
    for key_id in [revoked, destroyed] {
        bench.store().apply(tenant(), key_id, Destroyed).unwrap();
        assert_eq!(bench.findings(key_id), []);
    }
}

#[test]
fn a_key_that_was_exchanged_on_the_server_is_not_used_for_a_proof() {
    let server = shared();
    let bench = Bench::new();
    let key_id = bench.generate(1);
    let object = bench.object(key_id);
    server.behind_our_back(&format!(
        "with database() as db: db.execute('update managed_objects set value = zeroblob(32) where uid = {object}')"
    ));
    let refused = bench.store().prove(tenant(), key_id, &[7; 32]);
    let Err(PortError::Storage(error)) = refused else { panic!("{refused:?}") };
    assert!(matches!(error.downcast_ref(), Some(crate::Error::AnotherKey(id)) if *id == key_id), "{error}");
}

#[test]
fn strangers_are_told_and_left_alone() {
    let server = shared();
    let bench = Bench::new();
    let key_id = bench.generate(1);
    let object = server.behind_our_back(
        "with client: print(client.create(enums.CryptographicAlgorithm.AES, 256, name='somebody else\\'s'))",
    );
    let survey = bench.store().survey().unwrap();
    let strangers: BTreeMap<_, _> = survey
        .findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Unknown { object, names, state } => Some((object.as_str(), (names.as_slice(), *state))),
            _ => None,
        })
        .collect();
    let names = ["somebody else's".to_owned()];
    assert_eq!(strangers.get(object.as_str()), Some(&(&names[..], Some(ServerState::PreActive))));
    for not_an_orphan in [object.as_str(), &bench.object(key_id), "no such object"] {
        let refused = bench.store().discard(not_an_orphan);
        assert!(matches!(refused, Err(crate::Error::NoOrphan(_))), "{not_an_orphan}: {refused:?}");
    }
    bench.store().on_the_server(tenant(), key_id).unwrap();
}

/// An index that was put back from a backup does not know the keys that came after it; the server's names do.
#[test]
fn keys_that_the_index_has_lost_are_orphans_with_their_names() {
    let mut bench = Bench::new();
    bench.store = None;
    std::fs::copy(bench.path().join("index.redb"), bench.folder.path().join("backup")).unwrap();
    bench.restart();
    let (pre_active, active) = (bench.generate(1), bench.bring(2, &[Active]));
    bench.store = None;
    std::fs::copy(bench.folder.path().join("backup"), bench.path().join("index.redb")).unwrap();
    bench.restart();

    let [Finding::Orphan { subject, state: Some(ServerState::PreActive) }] = &bench.findings(pre_active)[..] else {
        panic!("not told")
    };
    assert_eq!(subject.tenant, tenant());
    bench.store().discard(&subject.object).unwrap();
    assert_eq!(bench.findings(pre_active), []);
    let [finding @ Finding::Orphan { subject, .. }] = &bench.findings(active)[..] else { panic!("not told") };
    assert!(finding.is_shadow_activation(), "nothing here knows of its activation");
    assert!(bench.store().discard(&subject.object).is_err(), "what may be in use is not destroyed");
}

#[test]
fn an_attestation_is_the_servers_own_words() {
    let bench = Bench::new();
    let key_id = bench.bring(1, &[Active]);
    let attestation = bench.store().on_the_server(tenant(), key_id).unwrap();
    assert!(attestation.server.contains("PyKMIP"), "{}", attestation.server);
    let of = |name| attestation.attributes.get(name);
    assert_eq!((of("Cryptographic Length"), of("Cryptographic Usage Mask")), (Some("256"), Some("12")));
    assert_eq!(attestation.attributes.state(), Some(ServerState::Active));
    assert_eq!(of("Activation Date"), None, "PyKMIP keeps none");
    assert!(of("Name").unwrap().contains(&key_id.to_string()));
    assert!(matches!(bench.store().on_the_server(tenant(), key(99)), Err(PortError::NotFound(_))));
}

/// Whoever only looks sees keys of ours and of others, with what the server says of them, and leaves them as they are.
#[test]
fn an_inventory_shows_what_others_made_and_touches_nothing() {
    let server = Server::start();
    let bench = Bench::with(server.settings());
    bench.bring(1, &[Active]);
    server.behind_our_back("with client: client.create(enums.CryptographicAlgorithm.AES, 128, name='legacy')");
    let before = bench.store().survey().unwrap();
    let look = || {
        let mut items = Vec::new();
        crate::Onlooker::new(&server.settings()).unwrap().look(&mut |item| items.push(item)).unwrap();
        items.sort_by(|a, b| a.label.cmp(&b.label));
        items
    };
    let items = look();
    let [own, legacy] = items.as_slice() else { panic!("{items:?}") };
    assert!(own.ours && !legacy.ours);
    assert_eq!((own.algorithm.as_str(), own.state.as_deref()), ("aes-256-gcm", Some("Active")));
    assert_eq!((legacy.label.as_str(), legacy.algorithm.as_str()), ("legacy", "aes-128"));
    assert_eq!(legacy.state.as_deref(), Some("PreActive"));
    // PyKMIP's client asks for both, whatever it is told.
    assert_eq!(legacy.usages.iter().map(String::as_str).collect::<Vec<_>>(), ["decrypt", "encrypt"]);
    assert!(legacy.made_at.is_some());
    assert_eq!(look(), items);
    assert_eq!(bench.store().survey().unwrap(), before);
}

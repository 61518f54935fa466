//! The side doors of the real PyKMIP 0.11: which it leaves open.

use super::*;
use crate::{Door, Finding, Kind, Verdict};

#[test]
fn pykmip_leaves_these_doors_open() {
    let bench = Bench::new();
    let found = bench.store().probe_side_doors();
    let verdicts_of = |kind| {
        let of_kind = found.iter().filter(move |finding| finding.kind == kind);
        of_kind.map(|finding| (finding.door, finding.verdict)).collect::<Vec<_>>()
    };
    let wanted = [
        (Door::ActivationDateAtCreate, Verdict::Closed),
        (Door::ActivationDateAtRegister, Verdict::Closed),
        (Door::ActivationDateByModify, Verdict::Closed),
        // It has no Add Attribute, and so can't even read the request.
        (Door::ActivationDateByAdd, Verdict::NotTried),
        (Door::StateByModify, Verdict::Closed),
        (Door::UseBeforeActivation, Verdict::Closed),
        (Door::DeriveBeforeActivation, Verdict::Open),
        (Door::GetBeforeActivation, Verdict::Open),
        (Door::UseImpliesExport, Verdict::Open),
    ];
    for kind in Kind::ALL {
        assert_eq!(verdicts_of(kind), wanted, "{kind}: {found:#?}");
    }
    for finding in &found {
        assert!(!finding.said.is_empty() && finding.left.is_empty(), "{finding:?}");
    }
    let left = bench.store().survey().unwrap().findings;
    let ours = |finding: &Finding| {
        let instance = &bench.store().instance;
        matches!(finding, Finding::Unknown { names, .. } if names.iter().any(|name| name.contains(instance)))
    };
    assert!(!left.iter().any(ours), "throw-away keys are thrown away: {left:?}");
}

/// A door that could not be tried is not called closed.
#[test]
fn a_server_that_is_away_has_no_doors() {
    let mut server = Server::start();
    let bench = Bench::with(server.settings());
    server.stop();
    let found = bench.store().probe_side_doors();
    assert!(found.iter().all(|finding| finding.verdict == Verdict::NotTried), "{found:?}");
    assert_eq!(found.len(), Door::ALL.len() * Kind::ALL.len());
    server.start_again();
}

/// Why the store makes no key pairs: what the port promises of their uses, this server does not do. The day this fails, they
/// may be offered.
#[test]
fn pykmip_neither_signs_a_digest_nor_decrypts_with_a_private_key() {
    let said = shared().behind_our_back(
        r"
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, utils
from kmip.pie.exceptions import KmipOperationFailure
RSA, SHA_256 = enums.CryptographicAlgorithm.RSA, enums.HashingAlgorithm.SHA_256
mask = enums.CryptographicUsageMask
how = lambda method: {'cryptographic_algorithm': RSA, 'padding_method': method, 'hashing_algorithm': SHA_256}
digest = b'' * 32
with client:
    public, private = client.create_key_pair(
        RSA, 3072, public_usage_mask=[mask.ENCRYPT], private_usage_mask=[mask.SIGN, mask.DECRYPT])
    client.activate(private)
    signature = client.sign(digest, private, how(enums.PaddingMethod.PSS))
    key = serialization.load_der_public_key(client.get(public).value)
    ways = {
        'a digest': (32, utils.Prehashed(hashes.SHA256())),
        'a message, with a salt of 32 bytes': (32, hashes.SHA256()),
        'a message, with the longest salt': (padding.PSS.MAX_LENGTH, hashes.SHA256()),
    }
    for what, (salt, hashed) in ways.items():
        try:
            key.verify(signature, digest, padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashed)
            print('signed', what)
        except InvalidSignature: pass
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    try: client.decrypt(key.encrypt(digest, oaep), private, how(enums.PaddingMethod.OAEP)); print('decrypted')
    except KmipOperationFailure as refused: print(refused.reason.name)
    client.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, private)
    for made in (public, private): client.destroy(made)
",
    );
    assert_eq!(said, "signed a message, with the longest salt\nPERMISSION_DENIED");
}

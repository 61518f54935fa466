//! Time stamps (RFC 3161) of checkpoints: the question, and what must stand in an answer before it is kept.
//!
//! The authority's signature is not checked here. Whoever relies on a stamp has the authority's certificate and does, with
//! `openssl ts -verify`.

use der::asn1::AnyRef;
use der::oid::ObjectIdentifier;
use der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _};
use rand_core::{OsRng, RngCore as _};
use sha2::{Digest as _, Sha256};

/// What a question is posted as.
pub(crate) const CONTENT_TYPE: &str = "application/timestamp-query";
/// The longest answer that is kept, in bytes: room for a chain of certificates.
pub(crate) const ANSWER_BYTES_MAX: u64 = 32 * 1024;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// DER of: version 1; SHA-256, without parameters but for the NULL that all write; 32 bytes follow.
const VERSION_AND_ALGORITHM: [u8; 22] = [
    0x02, 0x01, 0x01, 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// A question about a text: give me a stamp for its SHA-256, with this nonce, and with your certificate.
#[derive(Debug)]
pub(crate) struct Question {
    hash: [u8; 32],
    nonce: [u8; 8],
}

impl Question {
    pub(crate) fn about(text: &str) -> Self {
        let mut nonce = [0; 8];
        OsRng.fill_bytes(&mut nonce);
        // A positive integer of eight bytes.
        if let Some(first) = nonce.first_mut() {
            *first = *first & 0x7f | 0x40;
        }
        Self { hash: Sha256::digest(text).into(), nonce }
    }

    /// The DER of a TimeStampReq. No part is longer than 127 bytes, so every length is one byte.
    pub(crate) fn to_der(&self) -> Vec<u8> {
        let mut body = VERSION_AND_ALGORITHM.to_vec();
        body.extend_from_slice(&self.hash);
        body.extend_from_slice(&[0x02, 0x08]);
        body.extend_from_slice(&self.nonce);
        body.extend_from_slice(&[0x01, 0x01, 0xff]);
        let mut question = vec![0x30, u8::try_from(body.len()).unwrap_or_default()];
        question.extend(body);
        question
    }

    /// Checks that an answer (a TimeStampResp) grants a stamp, and that the stamp is for this text and this question.
    pub(crate) fn check(&self, answer: &[u8]) -> Result<(), String> {
        let wrong = |what: &str| format!("the answer is no time stamp for what was asked: {what}");
        let info = granted(answer).map_err(|why| wrong(&why))?;
        let info = parts(&info).ok_or_else(|| wrong("its content does not read"))?;
        let info =
            info.first().and_then(|info| parts(info.value())).ok_or_else(|| wrong("its content does not read"))?;
        let imprint = info.get(2).and_then(|imprint| parts(imprint.value())).unwrap_or_default();
        let algorithm = imprint.first().and_then(|algorithm| parts(algorithm.value())).unwrap_or_default();
        let is_sha_256 = algorithm.first().is_some_and(|oid| is(oid, &SHA_256));
        if !is_sha_256 || imprint.get(1).is_none_or(|hash| hash.value() != self.hash) {
            return Err(wrong("it is over another hash"));
        }
        // Behind version, policy, hash, serial number and time; of what may follow, only the nonce is an integer.
        let nonce = info.iter().skip(5).find(|part| part.tag() == Tag::Integer);
        if nonce.is_none_or(|nonce| nonce.value() != self.nonce) {
            return Err(wrong("it has another nonce"));
        }
        Ok(())
    }
}

/// The DER of what was stamped (a TSTInfo), where a stamp was granted.
fn granted(answer: &[u8]) -> Result<Vec<u8>, String> {
    let unread = || "it does not read".to_owned();
    let answer = parts(answer).and_then(|answer| parts(answer.first()?.value())).ok_or_else(unread)?;
    let status = answer.first().and_then(|status| parts(status.value())).ok_or_else(unread)?;
    let status = status.first().map(|status| status.value()).unwrap_or_default();
    // 0 granted, 1 granted with changes.
    if ![[0], [1]].iter().any(|granted| status == granted) {
        return Err(format!("it was not granted (status {status:?})"));
    }
    let token = answer.get(1).and_then(|token| parts(token.value())).ok_or_else(unread)?;
    let signed = explicit(&token, &SIGNED_DATA).and_then(|signed| parts(signed.value())).ok_or_else(unread)?;
    let content = signed.get(2).and_then(|content| parts(content.value())).ok_or_else(unread)?;
    let info = explicit(&content, &TST_INFO).filter(|info| info.tag() == Tag::OctetString).ok_or_else(unread)?;
    Ok(info.value().to_vec())
}

/// Of a type and its value behind an explicit tag: the value, where it is of this type.
fn explicit<'a>(typed: &[AnyRef<'a>], wanted: &ObjectIdentifier) -> Option<AnyRef<'a>> {
    let [oid, value, ..] = typed else { return None };
    if !is(oid, wanted) {
        return None;
    }
    parts(value.value())?.into_iter().next()
}

fn is(oid: &AnyRef<'_>, wanted: &ObjectIdentifier) -> bool {
    oid.tag() == Tag::ObjectIdentifier && oid.value() == wanted.as_bytes()
}

/// The elements, one after the other, that these bytes are.
fn parts(bytes: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(bytes).ok()?;
    let mut parts = Vec::new();
    while !reader.is_finished() {
        parts.push(AnyRef::decode(&mut reader).ok()?);
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Authority;

    const TEXT: &str = "keylatch.example/tenant/acme\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n";

    #[test]
    fn openssl_stamps_what_is_asked_and_verifies_what_is_kept() {
        let authority = Authority::start();
        let question = Question::about(TEXT);
        let answer = authority.stamp(&question.to_der());
        assert!((answer.len() as u64) < ANSWER_BYTES_MAX);
        assert_eq!(question.check(&answer), Ok(()));
        assert!(authority.verifies(TEXT, &answer));
        assert!(!authority.verifies(&TEXT.replace("\n8\n", "\n9\n"), &answer), "another text is not what was stamped");
    }

    #[test]
    fn an_answer_to_another_question_is_not_kept() {
        let authority = Authority::start();
        let question = Question::about(TEXT);
        let answer = authority.stamp(&question.to_der());
        assert!(Question::about(TEXT).check(&answer).unwrap_err().contains("nonce"));
        assert!(Question { hash: [1; 32], ..question }.check(&answer).unwrap_err().contains("hash"));
        // A refusal: SHA-512 is not among what this authority takes.
        let mut refused = question.to_der();
        let oid = refused.windows(9).position(|window| window == SHA_256.as_bytes()).unwrap();
        refused[oid + 8] = 0x03;
        assert!(question.check(&authority.stamp(&refused)).unwrap_err().contains("not granted"));
        for end in 0..answer.len() {
            assert!(question.check(&answer[..end]).is_err(), "cut at {end}");
        }
        assert!(question.check(b"<html>").is_err());
    }
}

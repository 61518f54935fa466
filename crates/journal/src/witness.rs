//! How a witness is asked to cosign a checkpoint, and what it answers (C2SP tlog-witness, `add-checkpoint`). Words only:
//! who sends them is the exporter.

use data_encoding::BASE64;

use crate::merkle::Hash;
use crate::note::{Error, Note, NoteKey, NoteSignature};
use crate::tlog_proof::number;

/// The most hashes that a question may have.
pub const PROOF_MAX: usize = 63;

/// What is posted to `<url>/add-checkpoint`: the checkpoint, and the proof that it continues the one of size `old`, which
/// the witness cosigned last. Where it never did, `old` is 0 and the proof is empty.
pub fn add_checkpoint(old: u64, proof: &[Hash], checkpoint: &Note) -> String {
    let proof: String = proof.iter().take(PROOF_MAX).map(|hash| BASE64.encode(hash) + "\n").collect();
    format!("old {old}\n{proof}\n{checkpoint}")
}

/// What a witness answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200: it has cosigned. The lines are to be checked with [`cosignatures`].
    Cosigned(String),
    /// 409: the last that it cosigned has this size, and not the one that was said. Where it is the size of the checkpoint
    /// itself, the witness knows it with another root.
    StandsAt(u64),
    /// 404: it has not been told of this log.
    UnknownLog,
    /// 403: it has not been told of the key that signed the checkpoint.
    UnknownKey,
    /// 422: the proof does not hold for what it has cosigned.
    NotConsistent,
    /// 400: it does not read what it was sent.
    NotRead,
    /// Anything else, with its status.
    Other(u16),
}

impl Answer {
    /// Reads an HTTP answer.
    pub fn read(status: u16, body: &[u8]) -> Self {
        let text = std::str::from_utf8(body).ok();
        match (status, text) {
            (200, Some(lines)) => Self::Cosigned(lines.to_owned()),
            (409, Some(size)) => match size.strip_suffix('\n').and_then(number) {
                Some(size) => Self::StandsAt(size),
                None => Self::Other(status),
            },
            (404, _) => Self::UnknownLog,
            (403, _) => Self::UnknownKey,
            (422, _) => Self::NotConsistent,
            (400, _) => Self::NotRead,
            _ => Self::Other(status),
        }
    }
}

/// The cosignatures of one witness among the lines that it answered. Lines of other keys are passed over.
///
/// # Errors
/// [`Error::Unsigned`] where there is none; [`Error::False`] and [`Error::Malformed`] where the answer is no answer.
pub fn cosignatures(checkpoint: &Note, lines: &str, witness: &NoteKey) -> Result<Vec<NoteSignature>, Error> {
    let mut answered = Note::new(checkpoint.text())?;
    answered.add(lines)?;
    if answered.verify(std::slice::from_ref(witness))?.iter().all(|verified| verified.time.is_none()) {
        return Err(Error::Unsigned(witness.to_string()));
    }
    Ok(answered.signatures().iter().filter(|signature| signature.is_of(witness)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::note::{Checkpoint, Kind};

    fn seed(first: u8) -> SigningKey {
        SigningKey::from_bytes(&std::array::from_fn(|place| first + place as u8))
    }

    fn checkpoint() -> Note {
        let checkpoint = Checkpoint { origin: "keylatch.example/tenant/acme".into(), size: 8, root: [7; 32] };
        Note::parse(&checkpoint.sign(&seed(0))).unwrap()
    }

    #[test]
    fn a_question_says_old_size_proof_and_checkpoint() {
        let note = checkpoint();
        assert_eq!(add_checkpoint(0, &[], &note), format!("old 0\n\n{note}"));
        let proof = [[0; 32], [255; 32]];
        let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let ones = "//////////////////////////////////////////8=";
        assert_eq!(add_checkpoint(5, &proof, &note), format!("old 5\n{zeros}\n{ones}\n\n{note}"));
    }

    #[test]
    fn answers_are_read_by_their_status() {
        let check = |status, body: &str, answer| assert_eq!(Answer::read(status, body.as_bytes()), answer, "{body}");
        check(200, "lines", Answer::Cosigned("lines".into()));
        check(409, "20852014\n", Answer::StandsAt(20_852_014));
        check(409, "0\n", Answer::StandsAt(0));
        check(404, "who?", Answer::UnknownLog);
        check(403, "", Answer::UnknownKey);
        check(422, "", Answer::NotConsistent);
        check(400, "", Answer::NotRead);
        for size in ["", "7", "07\n", "-7\n", "7\n\n", "18446744073709551616\n"] {
            check(409, size, Answer::Other(409));
        }
        for status in [100, 201, 204, 301, 429, 500, 503] {
            check(status, "7\n", Answer::Other(status));
        }
        assert_eq!(Answer::read(200, &[0xff]), Answer::Other(200));
    }

    #[test]
    fn only_the_witness_own_lines_are_taken_and_only_good_ones() {
        let note = checkpoint();
        let witness = NoteKey::new("witness.example/w1", Kind::Cosignature, seed(0x20).verifying_key()).unwrap();
        let own = note.cosignature("witness.example/w1", 1_795_451_400, &seed(0x20)).to_string();
        let other = note.cosignature("witness.example/w2", 1_795_451_400, &seed(0x40)).to_string();
        let taken = cosignatures(&note, &format!("{other}{own}"), &witness).unwrap();
        assert_eq!(taken.iter().map(ToString::to_string).collect::<String>(), own);
        let of_other_text = Note::new("else\n").unwrap().cosignature("witness.example/w1", 1, &seed(0x20)).to_string();
        assert_eq!(cosignatures(&note, &of_other_text, &witness), Err(Error::False("witness.example/w1".into())));
        for none in ["", other.as_str()] {
            assert!(matches!(cosignatures(&note, none, &witness), Err(Error::Unsigned(_))), "{none}");
        }
        for wrong in ["ok\n", own.trim_end(), &format!("{own}\n"), &own.repeat(2).replace('\n', "\n\n")] {
            assert!(matches!(cosignatures(&note, wrong, &witness), Err(Error::Malformed(_))), "{wrong}");
        }
    }
}

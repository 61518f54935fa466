//! Signed notes: a text, and signature lines below it.

use std::fmt;

use data_encoding::BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey};

use super::key::{self, Kind, NoteKey};
use super::{Checkpoint, Error, KeyId};

/// The most signature lines that a note may have. C2SP asks for 16 at least.
pub const SIGNATURES_MAX: usize = 64;
/// The longest note, in bytes: room for as many signatures of the long kinds.
pub const NOTE_BYTES_MAX: usize = 512 * 1024;

/// What signature lines begin with.
const DASH: &str = "\u{2014} ";

/// A note that was read. Who signed it is not known before [`Note::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// A signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    id: KeyId,
    /// As the kind of the key has it.
    signature: Vec<u8>,
}

/// A signature that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<'a> {
    /// Whose.
    pub key: &'a NoteKey,
    /// Of a cosignature: when, in seconds since 1970, by the cosigner's clock.
    pub time: Option<u64>,
}

impl Note {
    /// A text that nobody has signed yet.
    ///
    /// # Errors
    /// [`Error::Malformed`] where it can't be a note's.
    pub fn new(text: &str) -> Result<Self, Error> {
        check_characters(text)?;
        if !text.ends_with('\n') {
            return Err(Error::Malformed("its text does not end with a line feed"));
        }
        Ok(Self { text: text.to_owned(), signatures: Vec::new() })
    }

    /// Reads a note. Signatures of whatever kind may stand in it.
    pub fn parse(note: &str) -> Result<Self, Error> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(Error::Malformed("it is too long"));
        }
        // The text may have empty lines as well: the last one ends it.
        let middle =
            note.rfind("\n\n").ok_or(Error::Malformed("there is no empty line between text and signatures"))?;
        let (text, lines) = note.split_at_checked(middle + 1).ok_or(Error::Malformed("it ends too early"))?;
        let mut parsed = Self::new(text)?;
        parsed.add(lines.strip_prefix('\n').unwrap_or_default())?;
        if parsed.signatures.is_empty() {
            return Err(Error::Malformed("there is no signature"));
        }
        Ok(parsed)
    }

    /// The text, with the line feed at its end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, in order.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds signature lines, each ended by a line feed. Those that are there already are passed over; nothing is known of
    /// them before [`Note::verify`].
    pub fn add(&mut self, lines: &str) -> Result<(), Error> {
        check_characters(lines)?;
        for line in lines.split_inclusive('\n') {
            let signature = NoteSignature::parse(line)?;
            if self.signatures.contains(&signature) {
                continue;
            }
            if self.signatures.len() == SIGNATURES_MAX {
                return Err(Error::Malformed("it has too many signatures"));
            }
            self.signatures.push(signature);
        }
        Ok(())
    }

    /// Signs as a log does.
    #[must_use]
    pub fn signed(mut self, name: &str, key: &SigningKey) -> Self {
        self.signatures.push(NoteSignature::of_log(name, &self.text, key));
        self
    }

    /// The line that a witness adds to this checkpoint, at a time in seconds since 1970. It says that this is the largest
    /// tree that the witness has seen, and that it continues all before.
    pub fn cosignature(&self, name: &str, time: u64, key: &SigningKey) -> NoteSignature {
        let id = key::id(name, Kind::Cosignature, &key.verifying_key());
        let signature = key.sign(&cosigned(time, &self.text)).to_bytes();
        let signature = [time.to_be_bytes().as_slice(), &signature].concat();
        NoteSignature { name: name.to_owned(), id, signature }
    }

    /// The signatures of these keys, once each, in the note's order. Those of others are passed over.
    ///
    /// # Errors
    /// [`Error::False`] where a signature in the name of one of the keys does not hold: then nothing in the note counts.
    pub fn verify<'a>(&self, keys: &'a [NoteKey]) -> Result<Vec<Verified<'a>>, Error> {
        let mut verified: Vec<Verified<'a>> = Vec::new();
        for signature in &self.signatures {
            let is_its = |key: &&NoteKey| key.name() == signature.name && key.id() == signature.id;
            for key in keys.iter().filter(is_its) {
                let time = signature.check(key, &self.text).ok_or_else(|| Error::False(key.name().to_owned()))?;
                if !verified.iter().any(|other| other.key == key) {
                    verified.push(Verified { key, time });
                }
            }
        }
        Ok(verified)
    }

    /// The checkpoint that the text is. Lines below the first three are passed over.
    pub fn checkpoint(&self) -> Result<Checkpoint, Error> {
        let lines_are_full = !self.text.split_terminator('\n').any(str::is_empty);
        let checkpoint = Checkpoint::parse(&self.text).filter(|_| lines_are_full);
        checkpoint.ok_or(Error::Malformed("its text is no checkpoint: origin, size and base64 root, a line each"))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| signature.fmt(f))
    }
}

impl NoteSignature {
    /// A log's signature of a text.
    pub(super) fn of_log(name: &str, text: &str, key: &SigningKey) -> Self {
        let id = key::id(name, Kind::Ed25519, &key.verifying_key());
        Self { name: name.to_owned(), id, signature: key.sign(text.as_bytes()).to_bytes().to_vec() }
    }

    fn parse(line: &str) -> Result<Self, Error> {
        let wrong = Error::Malformed("a signature line is not of the form: dash, name, base64, with spaces between");
        let rest = line.strip_suffix('\n').and_then(|line| line.strip_prefix(DASH));
        let (name, base64) = rest.and_then(|rest| rest.split_once(' ')).ok_or(wrong.clone())?;
        let blob = BASE64.decode(base64.as_bytes()).map_err(|_| wrong.clone())?;
        match blob.split_first_chunk() {
            Some((id, signature)) if key::is_name(name) && !signature.is_empty() => {
                Ok(Self { name: name.to_owned(), id: *id, signature: signature.to_vec() })
            }
            _ => Err(wrong),
        }
    }

    /// The name that it was made under. That it was, is not known before the note is verified.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it says that it is this key's.
    pub fn is_of(&self, key: &NoteKey) -> bool {
        self.name == key.name() && self.id == key.id()
    }

    /// The time of a cosignature, where it is this key's and holds; for any other kind, nothing within.
    fn check(&self, key: &NoteKey, text: &str) -> Option<Option<u64>> {
        let (time, signature) = match key.kind() {
            Kind::Ed25519 => (None, self.signature.as_slice()),
            Kind::Cosignature => {
                let (time, signature) = self.signature.split_first_chunk()?;
                (Some(u64::from_be_bytes(*time)).filter(|time| *time <= i64::MAX as u64), signature)
            }
        };
        let message = match (key.kind(), time) {
            (Kind::Ed25519, _) => text.as_bytes().to_vec(),
            (Kind::Cosignature, time) => cosigned(time?, text),
        };
        key.key().verify_strict(&message, &Signature::from_slice(signature).ok()?).ok()?;
        Some(time)
    }
}

impl fmt::Display for NoteSignature {
    /// The line, with its line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = [self.id.as_slice(), &self.signature].concat();
        writeln!(f, "{DASH}{} {}", self.name, BASE64.encode(&blob))
    }
}

/// What a witness signs.
fn cosigned(time: u64, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}

fn check_characters(text: &str) -> Result<(), Error> {
    let has_control = text.bytes().any(|byte| byte < b' ' && byte != b'\n');
    if has_control { Err(Error::Malformed("it has control characters")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The note and the key of the signed-note specification.
    const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const LINE: &str = "\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    const TEXT: &str = "This is an example message.\n";

    /// A checkpoint with its log's signature and a witness's, made with the test seeds 00..1f and 20..3f by an independent
    /// implementation.
    const CHECKPOINT: &str = "keylatch.example/tenant/acme\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n\n\u{2014} keylatch.example/tenant/acme xhGB0QRz2KxVO1R4GukanAC5FaezbZeKT4qGBZuC1lCZxm3l6Mc4yHO5+8gUZ8E81Gurj/bSu6mG+mi3snhgoJE4aww=\n\u{2014} witness.example/w1 IDJKvgAAAABrBGoIfF3ggFkP/A1LvwBXUK6y1efknUYz6I6ZdAQpmEDwCRSdsbCd1NZ0KDF+ZP1L3rx3BiHX4kuNqKkM0dS3gm7BDg==\n";
    const LOG: &str = "keylatch.example/tenant/acme+c61181d1+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
    const WITNESS: &str = "witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X";

    fn key(text: &str) -> NoteKey {
        text.parse().unwrap()
    }

    fn seed(first: u8) -> SigningKey {
        SigningKey::from_bytes(&std::array::from_fn(|place| first + place as u8))
    }

    fn names(note: &str, keys: &[NoteKey]) -> Result<Vec<(String, Option<u64>)>, Error> {
        let verified = |verified: Verified<'_>| (verified.key.name().to_owned(), verified.time);
        Ok(Note::parse(note)?.verify(keys)?.into_iter().map(verified).collect())
    }

    #[test]
    fn the_note_of_the_specification_holds() {
        let note = format!("{TEXT}\n{LINE}");
        assert_eq!(names(&note, &[key(KEY)]), Ok(vec![("example.com/foo".to_owned(), None)]));
        assert_eq!(Note::parse(&note).unwrap().to_string(), note);
        assert_eq!(key(KEY).to_string(), KEY);
    }

    #[test]
    fn a_witness_cosigns_as_c2sp_says() {
        let time = 1_795_451_400;
        let keys = [key(LOG), key(WITNESS)];
        let both =
            vec![("keylatch.example/tenant/acme".to_owned(), None), ("witness.example/w1".to_owned(), Some(time))];
        assert_eq!(names(CHECKPOINT, &keys), Ok(both));
        let text = Note::parse(CHECKPOINT).unwrap().text().to_owned();
        let mut note = Note::new(&text).unwrap().signed("keylatch.example/tenant/acme", &seed(0));
        let line = note.cosignature("witness.example/w1", time, &seed(0x20));
        note.add(&line.to_string()).unwrap();
        note.add(&line.to_string()).unwrap();
        assert_eq!(note.to_string(), CHECKPOINT);
        assert_eq!(keys.each_ref().map(ToString::to_string), [LOG, WITNESS]);
        assert_eq!(note.checkpoint().unwrap().size, 8);
    }

    #[test]
    fn signatures_of_others_are_passed_over_and_a_false_one_of_a_known_key_voids_all() {
        let (log, witness) = (key(LOG), key(WITNESS));
        let one = |name: &str, time| Ok(vec![(name.to_owned(), time)]);
        assert_eq!(names(CHECKPOINT, std::slice::from_ref(&log)), one(log.name(), None));
        assert_eq!(names(CHECKPOINT, std::slice::from_ref(&witness)), one(witness.name(), Some(1_795_451_400)));
        assert_eq!(names(CHECKPOINT, &[key(KEY)]), Ok(vec![]));
        // The same name with another key, and the same key under another name, are others.
        let renamed = NoteKey::new("witness.example/w2", Kind::Cosignature, *witness.key()).unwrap();
        let other = NoteKey::new("witness.example/w1", Kind::Cosignature, seed(9).verifying_key()).unwrap();
        let plain = NoteKey::new("witness.example/w1", Kind::Ed25519, *witness.key()).unwrap();
        assert_eq!(names(CHECKPOINT, &[renamed, other, plain]), Ok(vec![]));
        let both = [log, witness];
        for (from, to, whose) in [
            ("\n8\n", "\n9\n", LOG),
            ("xhGB0QRz", "xhGB0QRy", LOG),
            // A bit of the time, a bit of the signature, a time that is too large.
            ("IDJKvgAAAABrBGoI", "IDJKvgAAAABrBGoJ", WITNESS),
            ("gm7BDg==", "gm7BDw==", WITNESS),
            ("IDJKvgAAAABr", "IDJKvoAAAABr", WITNESS),
        ] {
            let touched = CHECKPOINT.replace(from, to);
            assert_ne!(touched, CHECKPOINT);
            assert_eq!(names(&touched, &both), Err(Error::False(key(whose).name().to_owned())), "{touched}");
        }
        // A false one behind a good one of the same key.
        let twice = CHECKPOINT.replace("gm7BDg==\n", "gm7BDg==\n\u{2014} witness.example/w1 IDJKvgAAAABrBGoIfF3g\n");
        assert_eq!(names(&twice, &both), Err(Error::False("witness.example/w1".into())));
    }

    #[test]
    fn what_is_no_note_is_not_read() {
        let note = format!("{TEXT}\n{LINE}");
        for wrong in [
            String::new(),
            TEXT.to_owned(),
            LINE.to_owned(),
            format!("{TEXT}\n"),
            format!("\n{LINE}"),
            format!("{TEXT}{LINE}"),
            note.trim_end().to_owned(),
            format!("{note}\n"),
            format!("{note}\n\n"),
            format!("{note} "),
            note.replace('\u{2014}', "-"),
            note.replace("\u{2014} ", "\u{2014}"),
            note.replace("\u{2014} ", "\u{2014}  "),
            note.replace("example.com/foo", "example.com+foo"),
            note.replace("example.com/foo", "example.com\u{a0}foo"),
            note.replace("example.com/foo ", ""),
            note.replace("aQM=", "aQM"),
            note.replace("aQM=", "aQN="),
            note.replace("aQM=", "aQM= "),
            note.replace("This", "Th\tis"),
            note.replace('\n', "\r\n"),
            format!("{TEXT}\n\u{2014} example.com/foo Uw2QOg==\n"),
            format!("{}\n{LINE}", TEXT.repeat(NOTE_BYTES_MAX / TEXT.len())),
        ] {
            assert!(matches!(Note::parse(&wrong), Err(Error::Malformed(_))), "{wrong:?}");
        }
        // An empty line in the text is the text's.
        let with_empty = Note::parse(&format!("one\n\ntwo\n\n{LINE}")).unwrap();
        assert_eq!(with_empty.text(), "one\n\ntwo\n");
        assert!(with_empty.checkpoint().is_err());
    }

    #[test]
    fn sixteen_signatures_and_more_are_read_and_too_many_are_not() {
        let line = |number: usize| LINE.replace("example.com/foo", &format!("other.example/{number}"));
        let with = |count: usize| format!("{TEXT}\n{}{LINE}", (1..count).map(line).collect::<String>());
        for count in [16, SIGNATURES_MAX] {
            assert_eq!(names(&with(count), &[key(KEY)]).unwrap().len(), 1);
        }
        assert!(Note::parse(&with(SIGNATURES_MAX + 1)).is_err());
    }

    #[test]
    fn keys_that_were_touched_are_refused() {
        for wrong in [
            "",
            "example.com/foo",
            "example.com/foo+530d903a",
            "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/bar+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+BOkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+BukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2l",
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv",
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k ",
            "example com+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        ] {
            assert!(wrong.parse::<NoteKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_checkpoint_may_have_lines_of_its_logs_own() {
        let extended = CHECKPOINT.replace("Qyg=\n", "Qyg=\nextension\n");
        let note = Note::parse(&extended).unwrap();
        assert_eq!(note.checkpoint().unwrap().size, 8);
        assert_eq!(note.verify(&[key(LOG)]), Err(Error::False(key(LOG).name().to_owned())), "it is signed, too");
        for wrong in ["x\n8\n", "x\n08\nAA==\n", "x\n8\nAA==\n"] {
            let note = Note::new(wrong).unwrap();
            assert!(note.checkpoint().is_err(), "{wrong}");
        }
    }
}

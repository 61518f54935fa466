//! `events.jsonl`: one DSSE envelope an event, in order. Payload and signature are the bytes of the log: live, replayed
//! and exported events are the same.

use journal::Record;
use model::dsse::{self, Signature};
use model::text::Base64;
use serde::{Deserialize, Serialize};

/// One line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Line {
    /// The event's exact bytes.
    pub payload: Base64,
    /// The payload type of an event.
    pub payload_type: String,
    /// The service's raw Ed25519 signature, named by its fingerprint. Empty where the header was not in canonical form.
    pub signatures: Vec<Signature>,
    /// The value of the signature header, where it was not in canonical form: it is part of the event's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
}

/// A line that is not one of an export.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not the JSON of a DSSE envelope.
    #[error("not a DSSE envelope: {0}")]
    Json(#[from] serde_json::Error),
    /// Something else in an envelope.
    #[error("the payload type is `{0}`, not that of an event")]
    PayloadType(String),
    /// Neither one signature nor a header.
    #[error("it has {0} signatures and no header; an event has one")]
    Signatures(usize),
    /// A header beside which signatures say something else, or a signature that is none.
    #[error("its signature is not written as an export writes it")]
    Form,
}

/// An event as a line, without line feed.
pub fn to_line(record: &Record) -> String {
    serde_json::to_string(&line_of(record)).unwrap_or_default()
}

/// An event as an envelope.
pub fn line_of(record: &Record) -> Line {
    let signature = canonical(&record.signature);
    Line {
        payload: Base64(record.payload.to_vec()),
        payload_type: dsse::EVENT.to_owned(),
        header: signature.is_none().then(|| record.signature.clone()),
        signatures: signature.into_iter().collect(),
    }
}

/// A line as an event.
pub fn from_line(line: &[u8]) -> Result<Record, Malformed> {
    record_of(model::json::read(line)?)
}

/// An envelope as an event.
pub fn record_of(line: Line) -> Result<Record, Malformed> {
    if line.payload_type != dsse::EVENT {
        return Err(Malformed::PayloadType(line.payload_type));
    }
    let signature = match (line.header, line.signatures.as_slice()) {
        // What everybody reads is `signatures`: a header stands only where these can't say the same.
        (Some(header), _) if canonical(&header).is_some() => return Err(Malformed::Form),
        (Some(header), _) => header,
        (None, [signature]) => {
            let header = format!("{} {}", signature.keyid, signature.sig);
            canonical(&header).ok_or(Malformed::Form).map(|_| header)?
        }
        (None, signatures) => return Err(Malformed::Signatures(signatures.len())),
    };
    Ok(Record { signature, payload: line.payload.0.into() })
}

/// The header's parts, where writing them again gives the header.
fn canonical(header: &str) -> Option<Signature> {
    let (keyid, sig) = header.split_once(' ')?;
    let signature = Signature { keyid: keyid.to_owned(), sig: sig.parse().ok()? };
    let fits = keyid.parse::<model::Fingerprint>().is_ok() && format!("{keyid} {}", signature.sig) == header;
    fits.then_some(signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn round_trip(signature: &str, has_header: bool) {
        let record = Record { signature: signature.to_owned(), payload: "{}".into() };
        let line = to_line(&record);
        assert_eq!(line.contains("\"header\""), has_header, "{line}");
        assert_eq!(from_line(line.as_bytes()).unwrap().hash(), record.hash());
    }

    #[test]
    fn every_header_survives_whatever_it_is() {
        round_trip("SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w AQI=", false);
        round_trip("SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w AQI", true);
        round_trip("SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w  AQI=", true);
        round_trip("SHA256:Lh3d AQI=", true);
        round_trip("", true);
    }

    /// A line is believed by what everybody sees in it.
    #[test]
    fn rejects_a_header_that_signatures_could_have_said() {
        let header = "SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w AQI=";
        let line = |header: &str| {
            let (payload_type, other) = (dsse::EVENT, r#"{"keyid":"SHA256:other","sig":"AAAA"}"#);
            format!(r#"{{"payload":"e30=","payloadType":"{payload_type}","signatures":[{other}],"header":"{header}"}}"#)
        };
        assert!(from_line(line(header).as_bytes()).is_err());
        assert_eq!(from_line(line("x").as_bytes()).unwrap().signature, "x");
    }

    #[test]
    fn rejects_lines_that_are_no_events() {
        let array = format!(r#"["e30=","{}",[],"x"]"#, dsse::EVENT);
        let keyid = format!(
            r#"{{"payload":"e30=","payloadType":"{}","signatures":[{{"keyid":"x y","sig":""}}]}}"#,
            dsse::EVENT
        );
        for line in ["", "{}", "null", r#"{"payload":"e30=","payloadType":"x","signatures":[]}"#, &array, &keyid] {
            assert!(from_line(line.as_bytes()).is_err(), "{line}");
        }
    }
}

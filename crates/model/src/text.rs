//! Short text that people choose: names that machines compare, sentences that people read, and bytes in base64.

use std::fmt;
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::Malformed;

/// A name that machines compare: 1 to 64 of `A-Z a-z 0-9 . _ -`, a letter or digit first. Case counts.
///
/// Names label people, roles, rules, stores, workloads, places. A tenant chooses labels that are no personal data.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"))]
pub struct Name(String);

impl Name {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let fits = (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let wanted = "a name: 1 to 64 letters, digits, `.`, `_` or `-`, a letter or digit first";
        fits.then(|| Self(text.to_owned())).ok_or_else(|| Malformed::new(text, wanted))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl TryFrom<String> for Name {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

/// A sentence for people: 1 to 500 characters on one line, without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("minLength" = 1, "maxLength" = 500))]
pub struct Text(String);

impl Text {
    /// The sentence.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Text {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let fits = !text.trim().is_empty() && text.chars().count() <= 500 && !text.chars().any(char::is_control);
        let wanted = "a sentence: 1 to 500 characters on one line, not blank";
        fits.then(|| Self(text.to_owned())).ok_or_else(|| Malformed::new(text, wanted))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl TryFrom<String> for Text {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<Text> for String {
    fn from(text: Text) -> String {
        text.0
    }
}

/// Bytes, as canonical padded standard base64 in JSON.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("contentEncoding" = "base64"))]
pub struct Base64(pub Vec<u8>);

impl FromStr for Base64 {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        BASE64_STANDARD.decode(text).map(Self).map_err(|_| Malformed::new(text, "bytes in padded standard base64"))
    }
}

impl fmt::Display for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl fmt::Debug for Base64 {
    /// The length only: what is in here may be long, or nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl TryFrom<String> for Base64 {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<Base64> for String {
    fn from(bytes: Base64) -> String {
        bytes.to_string()
    }
}

impl AsRef<[u8]> for Base64 {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_carry_subject_or_path_syntax() {
        for good in ["a", "key-owner", "EU", "v1.2_x", &"a".repeat(64)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "a*", "a>", "a/b", "é", &"a".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sentences_are_one_line() {
        for good in ["why not", "für é 鍵"] {
            assert!(good.parse::<Text>().is_ok(), "{good}");
        }
        for bad in ["", "   ", "a\nb", "a\u{1b}[31m", &"a".repeat(501)] {
            assert!(bad.parse::<Text>().is_err(), "{bad}");
        }
    }

    #[test]
    fn base64_has_one_form() {
        assert_eq!("AQI=".parse(), Ok(Base64(vec![1, 2])));
        for bad in ["AQI", "AQJ=", "AQ_-", "A Q I="] {
            assert!(bad.parse::<Base64>().is_err(), "{bad}");
        }
    }
}

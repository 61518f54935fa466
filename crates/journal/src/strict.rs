//! Strict JSON: the one dialect in which events, commands and statements are written.
//!
//! Integers only, within ±(2^53-1), without exponent or minus zero; no duplicate members at any depth, escapes resolved;
//! no lone surrogates; UTF-8 without a byte order mark; depth at most 32. What passes here reads the same in every
//! language. One pass, and nothing is built: typed parsing follows on bytes that are known to be harmless.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// How deep objects and arrays may nest. The outermost is depth 1.
pub const DEPTH_MAX: u8 = 32;
/// The largest magnitude of a number: 2^53-1, which every JSON reader can hold.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Bytes that are not strict JSON: what is wrong, and where.
#[derive(Debug, thiserror::Error)]
#[error("not strict JSON: {0}")]
pub struct Malformed(#[from] serde_json::Error);

/// Passes bytes that are one strict JSON value and nothing else.
pub fn check(bytes: &[u8]) -> Result<(), Malformed> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    Value { depth: 0 }.deserialize(&mut json)?;
    Ok(json.end()?)
}

/// The same for bytes that must be an object.
pub fn check_object(bytes: &[u8]) -> Result<(), Malformed> {
    check(bytes)?;
    if bytes.trim_ascii_start().starts_with(b"{") {
        return Ok(());
    }
    Err(Malformed(serde_json::Error::custom("an object is wanted")))
}

/// A value inside `depth` objects and arrays.
#[derive(Clone, Copy)]
struct Value {
    depth: u8,
}

impl Value {
    fn inside<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > DEPTH_MAX { Err(E::custom("nested deeper than 32")) } else { Ok(Self { depth }) }
    }
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a strict JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        if number > INTEGER_MAX { Err(E::custom("an integer over 2^53-1")) } else { Ok(()) }
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        self.visit_u64(number.unsigned_abs())
    }

    /// The parser takes whatever has a fraction or an exponent, minus zero, and what does not fit 64 bits for a float.
    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        Err(E::custom("a number that is not a plain integer within 2^53-1"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let item = self.inside()?;
        while items.next_element_seed(item)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let value = self.inside()?;
        let mut names = Names::default();
        while let Some(name) = members.next_key_seed(Member)? {
            if !names.insert(name) {
                return Err(A::Error::custom("a duplicate member"));
            }
            members.next_value_seed(value)?;
        }
        Ok(())
    }
}

/// A member's name, borrowed where it has no escapes.
struct Member;

impl<'de> DeserializeSeed<'de> for Member {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Cow<'de, str>, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Member {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// The names seen in one object: compared one by one while they are few, hashed once they are many.
#[derive(Default)]
struct Names<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    const FEW: usize = 24;

    /// Whether the name is new.
    fn insert(&mut self, name: Cow<'de, str>) -> bool {
        if self.few.len() < Self::FEW {
            let new = !self.few.contains(&name);
            self.few.push(name);
            return new;
        }
        !self.few.contains(&name) && self.many.insert(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn accepts(json: &str) {
        assert!(check(json.as_bytes()).is_ok(), "refused {json}");
    }

    #[track_caller]
    fn rejects(json: impl AsRef<[u8]>) {
        assert!(check(json.as_ref()).is_err(), "took {}", String::from_utf8_lossy(json.as_ref()));
    }

    #[test]
    fn numbers_are_plain_integers_that_every_reader_holds() {
        accepts("9007199254740991");
        accepts("-9007199254740991");
        accepts("0");
        rejects("9007199254740992");
        rejects("-9007199254740992");
        rejects("18446744073709551616");
        rejects("1.0");
        rejects("1e3");
        rejects("1E0");
        rejects("-0");
        rejects("01");
        rejects("+1");
        rejects("NaN");
        rejects("Infinity");
    }

    #[test]
    fn members_are_unique_at_any_depth_and_however_written() {
        accepts(r#"{"a":{"a":1},"b":{"a":1}}"#);
        rejects(r#"{"a":1,"a":1}"#);
        rejects(r#"{"a":1,"\u0061":1}"#);
        rejects(r#"[{"x":[{"b":1,"b":2}]}]"#);
        let many: Vec<String> = (0..100).map(|i| format!(r#""m{i}":0"#)).collect();
        accepts(&format!("{{{}}}", many.join(",")));
        rejects(format!("{{{},\"m7\":1}}", many.join(",")));
        rejects(format!("{{{},\"m77\":1}}", many.join(",")));
    }

    #[test]
    fn nesting_ends_at_32() {
        accepts(&format!("{}{}", "[".repeat(32), "]".repeat(32)));
        rejects(format!("{}{}", "[".repeat(33), "]".repeat(33)));
        rejects(format!("{}{}", r#"{"a":"#.repeat(33), "}".repeat(33)));
        rejects("[".repeat(100_000));
    }

    #[test]
    fn an_object_is_an_object() {
        for (json, passes) in [("{}", true), (" \r\n\t{}", true), ("[]", false), ("\"{}\"", false), ("{", false)] {
            assert_eq!(check_object(json.as_bytes()).is_ok(), passes, "{json}");
        }
    }

    #[test]
    fn text_is_utf8_without_tricks() {
        accepts(r#""é 鍵 \u00e9 \ud83d\ude00""#);
        rejects(r#""\ud800""#);
        rejects(r#"{"\ud800":1}"#);
        rejects(r#""\ud800\u0041""#);
        rejects(b"\"\xff\"");
        rejects(b"\xef\xbb\xbf{}");
        rejects("\"a\nb\"");
        rejects("{} {}");
        rejects("");
        rejects("'a'");
        rejects("[1,]");
    }
}

//! TTLV, the encoding of KMIP messages (KMIP 1.4, section 9.1): tag, type, length, value, padded to eight bytes.
//!
//! Reading is total: any bytes give an item or [`Malformed`], with memory bounded by the bytes given and nesting by
//! [`DEPTH_MAX`]. What is read may be key material, so byte and text values are zeroized when dropped, and `Debug` shows
//! no value at all.

use std::fmt;

use zeroize::Zeroizing;

/// How deep structures nest, at most. The deepest that this store reads is seven.
pub(crate) const DEPTH_MAX: usize = 16;

/// Tag, type and length.
pub(crate) const HEADER_BYTES: usize = 8;

/// What an item is called: three bytes (KMIP 1.4, section 9.1.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tag(pub(crate) u32);

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06x}", self.0)
    }
}

/// A tag with its value.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) tag: Tag,
    pub(crate) value: Value,
}

/// The values that KMIP 1.x has.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Structure(Vec<Item>),
    Integer(i32),
    LongInteger(i64),
    /// Big-endian two's complement, a multiple of eight bytes.
    BigInteger(Zeroizing<Vec<u8>>),
    Enumeration(u32),
    Boolean(bool),
    Text(Zeroizing<String>),
    Bytes(Zeroizing<Vec<u8>>),
    /// Seconds since 1970.
    DateTime(i64),
    /// Seconds.
    Interval(u32),
}

/// Bytes that are no TTLV; says what is wrong with them, never what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.tag, self.value)
    }
}

impl fmt::Debug for Value {
    /// The type only: values may be keys or passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Structure(items) => f.debug_list().entries(items).finish(),
            value => write!(f, "(type {})", value.type_code()),
        }
    }
}

// === Making ===

impl Tag {
    pub(crate) fn of(self, value: Value) -> Item {
        Item { tag: self, value }
    }

    pub(crate) fn structure(self, items: impl IntoIterator<Item = Item>) -> Item {
        self.of(Value::Structure(items.into_iter().collect()))
    }

    pub(crate) fn integer(self, value: i32) -> Item {
        self.of(Value::Integer(value))
    }

    pub(crate) fn enumeration(self, value: u32) -> Item {
        self.of(Value::Enumeration(value))
    }

    pub(crate) fn text(self, value: &str) -> Item {
        self.of(Value::Text(Zeroizing::new(value.to_owned())))
    }

    pub(crate) fn bytes(self, value: &[u8]) -> Item {
        self.of(Value::Bytes(Zeroizing::new(value.to_vec())))
    }
}

// === Looking into ===

impl Item {
    /// What a structure holds; nothing in any other value.
    pub(crate) fn items(&self) -> &[Item] {
        match &self.value {
            Value::Structure(items) => items,
            _ => &[],
        }
    }

    /// Every item of this tag right below.
    pub(crate) fn all(&self, tag: Tag) -> impl Iterator<Item = &Item> {
        self.items().iter().filter(move |item| item.tag == tag)
    }

    /// The first item of this tag right below.
    pub(crate) fn get(&self, tag: Tag) -> Option<&Item> {
        self.all(tag).next()
    }

    /// The same along a path of tags.
    pub(crate) fn at(&self, path: &[Tag]) -> Option<&Item> {
        path.iter().try_fold(self, |item, tag| item.get(*tag))
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        match &self.value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn as_enumeration(&self) -> Option<u32> {
        match self.value {
            Value::Enumeration(value) => Some(value),
            _ => None,
        }
    }
}

// === Writing ===

impl Value {
    fn type_code(&self) -> u8 {
        match self {
            Self::Structure(_) => 1,
            Self::Integer(_) => 2,
            Self::LongInteger(_) => 3,
            Self::BigInteger(_) => 4,
            Self::Enumeration(_) => 5,
            Self::Boolean(_) => 6,
            Self::Text(_) => 7,
            Self::Bytes(_) => 8,
            Self::DateTime(_) => 9,
            Self::Interval(_) => 10,
        }
    }
}

impl Item {
    /// Its bytes.
    ///
    /// # Errors
    /// [`Malformed`] where a value is longer than the length field can say.
    pub(crate) fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        // The room is there beforehand: a buffer that grows leaves copies behind.
        let mut out = Zeroizing::new(Vec::with_capacity(self.encoded_bytes()));
        self.write(&mut out)?;
        Ok(out)
    }

    fn encoded_bytes(&self) -> usize {
        HEADER_BYTES
            + match &self.value {
                Value::Structure(items) => items.iter().map(Self::encoded_bytes).sum(),
                Value::Text(text) => padded(text.len()),
                Value::Bytes(bytes) | Value::BigInteger(bytes) => padded(bytes.len()),
                _ => 8,
            }
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let [_, tag @ ..] = self.tag.0.to_be_bytes();
        out.extend(tag);
        out.push(self.value.type_code());
        match &self.value {
            Value::Structure(items) => {
                let length = items.iter().map(Self::encoded_bytes).sum();
                write_length(length, out)?;
                items.iter().try_for_each(|item| item.write(out))
            }
            Value::Integer(value) => write_padded(&value.to_be_bytes(), out),
            Value::Enumeration(value) | Value::Interval(value) => write_padded(&value.to_be_bytes(), out),
            Value::LongInteger(value) | Value::DateTime(value) => write_padded(&value.to_be_bytes(), out),
            Value::Boolean(value) => write_padded(&u64::from(*value).to_be_bytes(), out),
            Value::Text(text) => write_padded(text.as_bytes(), out),
            Value::Bytes(bytes) | Value::BigInteger(bytes) => write_padded(bytes, out),
        }
    }
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}

fn write_length(length: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let length = u32::try_from(length).map_err(|_| Malformed("a value is too long for KMIP"))?;
    out.extend(length.to_be_bytes());
    Ok(())
}

fn write_padded(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    write_length(value.len(), out)?;
    out.extend(value);
    out.resize(padded(out.len()), 0);
    Ok(())
}

// === Reading ===

impl Item {
    /// Reads one item that is all of `bytes`.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let (item, rest) = read(bytes, DEPTH_MAX)?;
        if rest.is_empty() { Ok(item) } else { Err(Malformed("something follows the message")) }
    }
}

/// How many bytes follow a header, the padding included.
///
/// # Errors
/// [`Malformed`] for the header of anything but a structure of whole items.
pub(crate) fn message_bytes(header: [u8; HEADER_BYTES]) -> Result<usize, Malformed> {
    let [_, _, _, 1, length @ ..] = header else { return Err(Malformed("a message that is no structure")) };
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| Malformed("a message is too long"))?;
    if length.is_multiple_of(8) { Ok(length) } else { Err(Malformed("a structure of a length that no items have")) }
}

fn read(bytes: &[u8], depth: usize) -> Result<(Item, &[u8]), Malformed> {
    const SHORT: Malformed = Malformed("an item is cut short");
    let (&[a, b, c, kind, ref length @ ..], rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(SHORT)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| SHORT)?;
    let (value, rest) = rest.split_at_checked(length).ok_or(SHORT)?;
    let (padding, rest) = rest.split_at_checked(padded(length) - length).ok_or(SHORT)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(Malformed("padding that is not zero"));
    }
    let tag = Tag(u32::from_be_bytes([0, a, b, c]));
    Ok((tag.of(read_value(kind, value, depth)?), rest))
}

fn read_value(kind: u8, bytes: &[u8], depth: usize) -> Result<Value, Malformed> {
    Ok(match kind {
        1 => Value::Structure(read_items(bytes, depth)?),
        2 => Value::Integer(i32::from_be_bytes(fixed(bytes)?)),
        3 => Value::LongInteger(i64::from_be_bytes(fixed(bytes)?)),
        4 if bytes.len().is_multiple_of(8) => Value::BigInteger(Zeroizing::new(bytes.to_vec())),
        5 => Value::Enumeration(u32::from_be_bytes(fixed(bytes)?)),
        6 => match u64::from_be_bytes(fixed(bytes)?) {
            0 => Value::Boolean(false),
            1 => Value::Boolean(true),
            _ => return Err(Malformed("a boolean that is neither")),
        },
        7 => {
            let text = std::str::from_utf8(bytes).map_err(|_| Malformed("a text that is not UTF-8"))?;
            Value::Text(Zeroizing::new(text.to_owned()))
        }
        8 => Value::Bytes(Zeroizing::new(bytes.to_vec())),
        9 => Value::DateTime(i64::from_be_bytes(fixed(bytes)?)),
        10 => Value::Interval(u32::from_be_bytes(fixed(bytes)?)),
        _ => return Err(Malformed("an item of an unknown type")),
    })
}

fn read_items(mut bytes: &[u8], depth: usize) -> Result<Vec<Item>, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed("structures that nest too deep"))?;
    let mut items = Vec::new();
    while !bytes.is_empty() {
        let (item, rest) = read(bytes, depth)?;
        items.push(item);
        bytes = rest;
    }
    Ok(items)
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Malformed> {
    bytes.try_into().map_err(|_| Malformed("a value of the wrong length"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAG: Tag = Tag(0x42_0020);

    /// The examples of KMIP 1.4, section 9.1.2, byte for byte, both ways.
    #[test]
    fn the_examples_of_the_specification_are_these_bytes() {
        let examples: [(Value, &[u8]); 9] = [
            (Value::Integer(8), b"\x42\x00\x20\x02\0\0\0\x04\0\0\0\x08\0\0\0\0"),
            (Value::LongInteger(123_456_789_000_000_000), b"\x42\x00\x20\x03\0\0\0\x08\x01\xb6\x9b\x4b\xa5\x74\x92\0"),
            (Value::Enumeration(255), b"\x42\x00\x20\x05\0\0\0\x04\0\0\0\xff\0\0\0\0"),
            (Value::Boolean(true), b"\x42\x00\x20\x06\0\0\0\x08\0\0\0\0\0\0\0\x01"),
            (
                Value::Text(Zeroizing::new("Hello World".to_owned())),
                b"\x42\x00\x20\x07\0\0\0\x0bHello World\0\0\0\0\0",
            ),
            (Value::Bytes(Zeroizing::new(vec![1, 2, 3])), b"\x42\x00\x20\x08\0\0\0\x03\x01\x02\x03\0\0\0\0\0"),
            (Value::DateTime(0x47da_67f8), b"\x42\x00\x20\x09\0\0\0\x08\0\0\0\0\x47\xda\x67\xf8"),
            (Value::Interval(864_000), b"\x42\x00\x20\x0a\0\0\0\x04\0\x0d\x2f\0\0\0\0\0"),
            (
                Value::Structure(vec![Tag(0x42_0004).enumeration(254), Tag(0x42_0005).integer(255)]),
                b"\x42\x00\x20\x01\0\0\0\x20\x42\0\x04\x05\0\0\0\x04\0\0\0\xfe\0\0\0\0\x42\0\x05\x02\0\0\0\x04\0\0\0\xff\0\0\0\0",
            ),
        ];
        for (value, bytes) in examples {
            let item = TAG.of(value);
            assert_eq!(item.to_bytes().unwrap()[..], *bytes, "{item:?}");
            assert_eq!(Item::from_bytes(bytes).unwrap(), item);
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let good = TAG.structure([TAG.text("abc")]).to_bytes().unwrap();
        for cut in 0..good.len() {
            assert!(Item::from_bytes(&good[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Item::from_bytes(&[&good[..], &[0]].concat()).is_err(), "a byte too many");
        for at in 20..24 {
            let mut changed = good.to_vec();
            changed[at] = 1;
            let again = Item::from_bytes(&changed);
            assert!(again.is_err() || again.unwrap().at(&[TAG]).unwrap().as_text() != Some("abc"), "byte {at}");
        }
        let nested = (0..DEPTH_MAX + 1).fold(TAG.integer(1), |item, _| TAG.structure([item]));
        assert_eq!(Item::from_bytes(&nested.to_bytes().unwrap()), Err(Malformed("structures that nest too deep")));
    }

    #[test]
    fn no_value_shows_itself() {
        let item = TAG.structure([TAG.bytes(b"a key"), TAG.text("a password"), TAG.integer(4711)]);
        let shown = format!("{item:?}");
        assert!(!["key", "password", "4711", "97"].iter().any(|secret| shown.contains(secret)), "{shown}");
    }

    fn any_item() -> impl Strategy<Value = Item> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(Value::Integer),
            any::<i64>().prop_map(Value::LongInteger),
            any::<u32>().prop_map(Value::Enumeration),
            any::<bool>().prop_map(Value::Boolean),
            any::<String>().prop_map(|text| Value::Text(Zeroizing::new(text))),
            any::<Vec<u8>>().prop_map(|bytes| Value::Bytes(Zeroizing::new(bytes))),
            any::<i64>().prop_map(Value::DateTime),
            any::<u32>().prop_map(Value::Interval),
        ];
        let item = |value: BoxedStrategy<Value>| (0..0x100_0000_u32, value).prop_map(|(tag, value)| Tag(tag).of(value));
        item(leaf.boxed()).prop_recursive(5, 64, 8, move |inner| {
            item(prop::collection::vec(inner, 0..8).prop_map(Value::Structure).boxed())
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(item in any_item()) {
            let bytes = item.to_bytes().unwrap();
            prop_assert_eq!(bytes.len(), item.encoded_bytes());
            prop_assert_eq!(Item::from_bytes(&bytes).unwrap(), item);
        }

        #[test]
        fn any_bytes_give_an_item_or_an_error(bytes: Vec<u8>) {
            let _ = Item::from_bytes(&bytes);
        }

        /// Bytes that begin well go deeper than bytes at random.
        #[test]
        fn any_damage_gives_an_item_or_an_error(item in any_item(), at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
            let mut bytes = item.to_bytes().unwrap().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Ok(read) = Item::from_bytes(&bytes) {
                prop_assert_eq!(&read.to_bytes().unwrap()[..], &bytes[..], "what is read is what was written");
            }
        }
    }
}

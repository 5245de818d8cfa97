//! Keys: an encoding of tuples whose byte order is the order of the tuples.
//!
//! It is the subset of FoundationDB's tuple layer (its `design/tuple.md`) that fdbray's records need, so that
//! other tools can read them: byte strings (`01`), text (`02`), integers (`0c` to `1c`) and versionstamps (`33`).
//!
//! ```
//! use fdbray_worker::control::store::key::Key;
//! let member = Key::new().str("demo").str("member").u64(7);
//! assert!(member.as_ref() < Key::new().str("demo").str("member").u64(300).as_ref());
//! ```

use std::fmt;

const BYTES: u8 = 0x01;
const TEXT: u8 = 0x02;
const ZERO: u8 = 0x14;
const STAMP: u8 = 0x33;
/// Stands for a zero byte within bytes and text: `00` becomes `00 ff`.
const ESCAPE: u8 = 0xff;

/// A tuple, encoded. Grows by one element per call; also a prefix of all tuples that begin with its elements.
#[derive(Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

impl Clone for Key {
    /// With room for the elements that are appended to most clones, so that it grows but once.
    fn clone(&self) -> Self {
        let mut copy = Vec::with_capacity(self.0.len() + 56);
        copy.extend_from_slice(&self.0);
        Key(copy)
    }
}

impl Key {
    /// The empty tuple.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends text.
    pub fn str(mut self, text: &str) -> Self {
        self.escaped(TEXT, text.as_bytes());
        self
    }

    /// Appends bytes.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.escaped(BYTES, bytes);
        self
    }

    /// Appends an unsigned integer.
    pub fn u64(mut self, n: u64) -> Self {
        let bytes = n.to_be_bytes();
        let skip = n.leading_zeros() as usize / 8;
        self.0.push(ZERO + (8 - skip) as u8);
        self.0.extend_from_slice(&bytes[skip..]);
        self
    }

    /// Appends a signed integer. Equal numbers encode equally, signed or not.
    pub fn i64(mut self, n: i64) -> Self {
        if n >= 0 {
            return self.u64(n as u64);
        }
        // Negative numbers are stored as their ones' complement in as few bytes as their size needs.
        let size = n.unsigned_abs();
        let skip = size.leading_zeros() as usize / 8;
        self.0.push(ZERO - (8 - skip) as u8);
        self.0.extend_from_slice(&(!size).to_be_bytes()[skip..]);
        self
    }

    /// Appends a versionstamp that is known.
    pub fn stamp(mut self, stamp: Stamp) -> Self {
        self.0.push(STAMP);
        self.0.extend_from_slice(&stamp.version);
        self.0.extend_from_slice(&stamp.user.to_be_bytes());
        self
    }

    /// Ends the key with the versionstamp that its transaction will get; `user` tells apart several of one transaction.
    pub fn next_stamp(mut self, user: u16) -> StampedKey {
        self.0.push(STAMP);
        let offset = self.0.len();
        self.0.extend_from_slice(&[ESCAPE; 10]);
        self.0.extend_from_slice(&user.to_be_bytes());
        StampedKey { bytes: self.0, offset }
    }

    /// First (included) and last (excluded) key of the tuples that begin with this one and are longer.
    pub fn children(&self) -> (Vec<u8>, Vec<u8>) {
        let mut begin = self.0.clone();
        let mut end = self.0.clone();
        begin.push(0x00);
        end.push(ESCAPE);
        (begin, end)
    }

    /// The elements of an encoded tuple.
    pub fn elements(mut key: &[u8]) -> Result<Vec<Element>, KeyError> {
        let mut elements = Vec::new();
        while let Some((&code, rest)) = key.split_first() {
            let (element, rest) = Element::decode(code, rest)?;
            elements.push(element);
            key = rest;
        }
        Ok(elements)
    }

    fn escaped(&mut self, code: u8, bytes: &[u8]) {
        self.0.push(code);
        for &byte in bytes {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(ESCAPE);
            }
        }
        self.0.push(0);
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Key> for Vec<u8> {
    fn from(key: Key) -> Vec<u8> {
        key.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Key::elements(&self.0) {
            Ok(elements) => f.debug_list().entries(elements).finish(),
            Err(_) => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

/// A key with a place for ten bytes that only the commit knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampedKey {
    pub(crate) bytes: Vec<u8>,
    pub(crate) offset: usize,
}

impl StampedKey {
    /// The key once its transaction committed with `version`.
    pub fn complete(mut self, version: [u8; 10]) -> Vec<u8> {
        self.bytes[self.offset..self.offset + 10].copy_from_slice(&version);
        self.bytes
    }
}

/// The place of a commit in the order of all commits, and a number within the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Eight bytes of commit version, two of position in its batch, big endian.
    pub version: [u8; 10],
    /// Chosen by the transaction.
    pub user: u16,
}

/// One element of a decoded tuple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// A byte string.
    Bytes(Vec<u8>),
    /// Text.
    Str(String),
    /// An integer from -2^63 to 2^64 - 1.
    Int(i128),
    /// A complete versionstamp.
    Stamp(Stamp),
}

impl Element {
    /// The unsigned integer, if it is one.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Element::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    fn decode(code: u8, rest: &[u8]) -> Result<(Element, &[u8]), KeyError> {
        match code {
            BYTES => unescape(rest).map(|(bytes, rest)| (Element::Bytes(bytes), rest)),
            TEXT => {
                let (bytes, rest) = unescape(rest)?;
                Ok((Element::Str(String::from_utf8(bytes).map_err(|_| KeyError::Text)?), rest))
            }
            STAMP => {
                let (stamp, rest) = rest.split_first_chunk::<12>().ok_or(KeyError::Short)?;
                let [version @ .., high, low] = *stamp;
                Ok((Element::Stamp(Stamp { version, user: u16::from_be_bytes([high, low]) }), rest))
            }
            0x0c..=0x1c => {
                let len = code.abs_diff(ZERO) as usize;
                let (digits, rest) = rest.split_at_checked(len).ok_or(KeyError::Short)?;
                let size = digits.iter().fold(0_i128, |n, &digit| n << 8 | i128::from(digit));
                let n = if code < ZERO { size - ((1_i128 << (8 * len)) - 1) } else { size };
                if n < i64::MIN.into() { Err(KeyError::Number) } else { Ok((Element::Int(n), rest)) }
            }
            code => Err(KeyError::Code(code)),
        }
    }
}

/// Bytes that are no key of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key ends within an element.
    #[error("the key ends in the middle of an element; it was not written by fdbray or was cut off")]
    Short,
    /// Text that is not UTF-8.
    #[error("the key holds text that is not UTF-8; it was not written by fdbray")]
    Text,
    /// A number below -2^63.
    #[error("the key holds a number below -2^63; it was not written by fdbray")]
    Number,
    /// An element of a kind that is not in the subset.
    #[error("the key holds an element of the unknown kind {0:#04x}; a newer fdbray may have written it")]
    Code(u8),
}

/// The smallest key that is greater than every key with this prefix. `None` when there is none (`ff ff ..`).
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

fn unescape(bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), KeyError> {
    let mut text = Vec::new();
    let mut at = 0;
    loop {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(0), Some(&ESCAPE)) => {
                text.push(0);
                at += 2;
            }
            (Some(0), _) => return Ok((text, &bytes[at + 1..])),
            (Some(&byte), _) => {
                text.push(byte);
                at += 1;
            }
            (None, _) => return Err(KeyError::Short),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_sort_as_numbers_and_decode_to_themselves() {
        let numbers = [i64::MIN, -70_000, -256, -255, -1, 0, 1, 255, 256, 70_000, i64::MAX];
        let keys: Vec<Key> = numbers.iter().map(|&n| Key::new().i64(n)).collect();
        assert!(keys.is_sorted());
        for (key, n) in keys.iter().zip(numbers) {
            assert_eq!(Key::elements(key.as_ref()), Ok(vec![Element::Int(n.into())]));
        }
        assert!(Key::new().u64(u64::MAX) > Key::new().i64(i64::MAX));
        assert_eq!(Key::elements(Key::new().u64(u64::MAX).as_ref()).unwrap()[0].as_u64(), Some(u64::MAX));
    }

    #[test]
    fn tuples_sort_by_element_even_with_zero_bytes_inside() {
        let keys = [
            Key::new().bytes(b"").str("z"),
            Key::new().bytes(b"\0").str("a"),
            Key::new().bytes(b"\0\xff"),
            Key::new().bytes(b"a").u64(1),
            Key::new().bytes(b"a\0"),
            Key::new().bytes(b"b"),
            Key::new().str("a"),
        ];
        assert!(keys.is_sorted());
        let decoded = Key::elements(keys[2].as_ref());
        assert_eq!(decoded, Ok(vec![Element::Bytes(b"\0\xff".to_vec())]));
    }

    #[test]
    fn encoding_equals_that_of_foundationdb() {
        // Examples of FoundationDB's own design/tuple.md.
        assert_eq!(Key::new().bytes(b"foo\x00bar").as_ref(), b"\x01foo\x00\xffbar\x00");
        assert_eq!(Key::new().str("F\u{d4}O\u{0}bar").as_ref(), b"\x02F\xc3\x94O\x00\xffbar\x00");
        assert_eq!(Key::new().i64(-5_551_212).as_ref(), b"\x11\xabK\x93");
    }

    #[test]
    fn a_completed_stamp_decodes_and_children_enclose_longer_tuples_only() {
        let log = Key::new().str("log");
        let key = log.clone().next_stamp(3).complete([7; 10]);
        assert_eq!(Key::elements(&key).unwrap()[1], Element::Stamp(Stamp { version: [7; 10], user: 3 }));
        assert_eq!(key, Vec::from(log.clone().stamp(Stamp { version: [7; 10], user: 3 })));
        let (begin, end) = log.children();
        assert!(begin <= key && key < end);
        assert!(log.as_ref() < &begin[..] && Key::new().str("log2").as_ref() > &end[..]);
    }

    #[test]
    fn any_bytes_decode_to_what_encodes_to_them_or_to_an_error() {
        let mut state = 1_u64;
        for _ in 0..20_000 {
            // Xorshift; mostly bytes that mean something.
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            let likely = [0x00, 0x01, 0x02, 0x0c, 0x13, 0x14, 0x15, 0x1c, 0x33, 0xff, b'a'];
            let len = next() % 24;
            let bytes: Vec<u8> = (0..len).map(|_| likely[next() as usize % likely.len()]).collect();
            let Ok(elements) = Key::elements(&bytes) else { continue };
            let key = elements.iter().fold(Key::new(), |key, element| match element {
                Element::Bytes(bytes) => key.bytes(bytes),
                Element::Str(text) => key.str(text),
                Element::Int(n) if *n < 0 => key.i64(*n as i64),
                Element::Int(n) => key.u64(*n as u64),
                Element::Stamp(stamp) => key.stamp(*stamp),
            });
            // Not byte for byte: numbers may have been padded.
            assert_eq!(Key::elements(key.as_ref()), Ok(elements));
        }
    }

    #[test]
    fn foreign_bytes_are_errors() {
        assert_eq!(Key::elements(b"\x02abc"), Err(KeyError::Short));
        assert_eq!(Key::elements(b"\x02\xff\x00"), Err(KeyError::Text));
        assert_eq!(Key::elements(b"\x99"), Err(KeyError::Code(0x99)));
        assert_eq!(Key::elements(b"\x16\x01"), Err(KeyError::Short));
        assert_eq!(after_prefix(b"a\xff"), Some(b"b".to_vec()));
        assert_eq!(after_prefix(b"\xff"), None);
    }
}

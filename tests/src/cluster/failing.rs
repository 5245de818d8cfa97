//! The remote functions of the tests that fail: with errors, panics and values that do not travel.

use fdbray::{Error, remote};
use serde::{Deserialize, Serialize};
use std::{fmt, io};

/// An error that can travel.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// Why.
    pub code: u16,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with code {}", self.code)
    }
}

impl std::error::Error for Refused {}

/// Fails with its own error type.
#[remote]
pub fn refuses(code: u16) -> Result<i64, Refused> {
    if code == 0 { Ok(0) } else { Err(Refused { code }) }
}

/// Fails as the standard library does.
#[remote]
pub fn reads(path: &str) -> io::Result<String> {
    std::fs::read_to_string(path)
}

/// Fails with a chain of causes.
#[remote]
pub async fn anyhow_chain() -> anyhow::Result<u8> {
    use anyhow::Context;
    Err(Refused { code: 4 }).context("the till is closed").context("the order was not placed")
}

/// Fails with a text.
#[remote]
pub fn says_no() -> Result<(), String> {
    Err("just no".to_owned())
}

/// What a panic carries.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Load {
    /// `panic!("text")`
    Str,
    /// `panic!("{}", ..)`
    Text,
    /// `panic_any(42)`
    Number,
    /// Something whose drop panics again.
    Bomb,
}

/// Panics.
#[remote]
pub fn panics(load: Load) -> u8 {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("again");
        }
    }
    match load {
        Load::Str => panic!("a plain text"),
        Load::Text => panic!("a text with {}", 42),
        Load::Number => std::panic::panic_any(42_u8),
        Load::Bomb => std::panic::panic_any(Bomb),
    }
}

/// The same, async and after a while.
#[remote]
pub async fn panics_async(load: Load) -> u8 {
    tokio::task::yield_now().await;
    panics(load)
}

/// Fails in its first attempts.
#[remote]
pub fn fails_until(attempt: u32) -> Result<u32, Refused> {
    match fdbray::task::current().map(|task| task.attempt) {
        Some(now) if now >= attempt => Ok(now),
        now => Err(Refused { code: u16::try_from(now.unwrap_or(0)).unwrap_or(u16::MAX) }),
    }
}

/// A value that encodes and cannot be decoded again.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OneWay(pub u8);

impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(OneWay(0)),
            _ => Err(serde::de::Error::custom("only 0 is accepted here")),
        }
    }
}

/// Takes and gives a value that may not be decodable.
#[remote]
pub fn one_way(value: OneWay) -> OneWay {
    value
}

/// Gives a value that may not be decodable.
#[remote]
pub fn one_way_back(code: u8) -> OneWay {
    OneWay(code)
}

/// A value that can never be encoded.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct NoWay;

impl Serialize for NoWay {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("this stays here"))
    }
}

/// Takes a value that can never be encoded.
#[remote]
pub fn no_way(_value: NoWay) {}

/// Gives a value that can never be encoded.
#[remote]
pub fn no_way_back() -> NoWay {
    NoWay
}

/// Whether a result is this error of this function's.
pub fn is_refused<T>(result: &fdbray::Result<T>, code: u16) -> bool {
    match result {
        Err(Error::Application(e)) => {
            e.clone().downcast::<Refused>().is_ok_and(|refused| refused.code == code)
        }
        _ => false,
    }
}

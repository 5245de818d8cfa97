//! What a remote function returned as its error, as it travels.

use super::{Passed, display::write_passed};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fmt;

/// The error that a remote function returned: its text and chain of causes always, itself when it is serializable.
#[derive(Clone, Serialize, Deserialize)]
pub struct ApplicationError {
    function: String,
    type_name: String,
    chain: Vec<String>,
    value: Option<Vec<u8>>,
    pub(super) passed: Passed,
}

impl ApplicationError {
    /// Of an error of type `type_name`, whose encoding is `value` when it can travel.
    pub fn new(type_name: &str, error: &dyn std::error::Error, value: Option<Vec<u8>>) -> Self {
        ApplicationError {
            function: String::new(),
            type_name: type_name.to_owned(),
            chain: std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect(),
            value,
            passed: Passed::default(),
        }
    }

    /// Names the function that returned it, unless it is named already.
    #[must_use]
    pub fn of_function(mut self, function: &str) -> Self {
        if self.function.is_empty() {
            self.function = function.to_owned();
        }
        self
    }

    /// Whether the error was an `E`, sent whole.
    pub fn is<E: DeserializeOwned + 'static>(&self) -> bool {
        self.value.is_some() && self.type_name == std::any::type_name::<E>()
    }

    /// The error itself, or `self` when it is no `E` or came as text only.
    pub fn downcast<E: DeserializeOwned + 'static>(self) -> Result<E, Self> {
        match &self.value {
            Some(value) if self.is::<E>() => postcard::from_bytes(value).map_err(|_| self),
            _ => Err(self),
        }
    }

    /// The function that returned the error; empty when it was made outside one.
    pub fn function(&self) -> &str {
        &self.function
    }

    /// The error's message and those of its causes, outermost first.
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        self.chain.iter().map(String::as_str)
    }
}

impl fmt::Display for ApplicationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = "";
        for (i, text) in self.chain.iter().enumerate() {
            // Errors that print their source in their own message would say everything twice.
            if i == 0 {
                f.write_str(text)?;
            } else if !last.ends_with(text.as_str()) {
                write!(f, ": {text}")?;
            }
            last = text;
        }
        write_passed(f, &self.passed.0)
    }
}

impl fmt::Debug for ApplicationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.function.is_empty() {
            write!(f, "`{}` failed: ", self.function)?;
        }
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ApplicationError {}

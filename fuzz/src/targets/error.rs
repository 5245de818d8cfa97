//! The error of the public API, as it comes from another process.

use crate::Target;
use fdbray_worker::error::Error;
use serde::{Deserialize, Serialize};

pub(crate) const TARGETS: &[Target] = &[Target { name: "error", decode: error, corpus: error_corpus }];

/// An [`Error`], which is displayed and downcast.
pub fn error(bytes: &[u8]) {
    let Ok(error) = postcard::from_bytes::<Error>(bytes) else { return };
    let _ = (error.to_string(), format!("{error:?}"), error.retryable(), error.passed().len());
    if let Error::Application(error) = error {
        let _ = error.is::<Odd>();
        let _ = error.downcast::<Odd>();
    }
}

/// An error of an application's own.
#[derive(Debug, Serialize, Deserialize)]
struct Odd(String);

impl std::fmt::Display for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "odd: {}", self.0)
    }
}

impl std::error::Error for Odd {}

fn error_corpus() -> Vec<Vec<u8>> {
    let errors = [
        Error::application(Odd("number".into())),
        Error::control("a message").passed_to("app::add"),
        Error::encode("argument 1 of app::add", "a message").passed_to("app::add").passed_to("app::sub"),
        Error::decode("argument 1 of app::add", "a message"),
        Error::Shutdown,
    ];
    errors.iter().map(|error| postcard::to_stdvec(error).expect("errors can be encoded")).collect()
}

//! For the tests of durable futures: remote functions, what drivers do, and a look at the store.

mod api;
mod functions;
mod look;
mod measure;
mod places;
mod scenarios;

pub use functions::*;
pub use look::Look;
pub use scenarios::scenario;

//! For the tests of whole clusters: remote functions, programs that are run to their end, and waits that end.

mod data;
mod failing;
mod functions;
mod run;
mod scenarios;

pub use crate::crash::{App, Cluster, all_gone, children, eventually, is_alive, send, within};
pub use data::*;
pub use failing::*;
pub use functions::*;
pub use run::{Ended, Run};
pub use scenarios::{kind, scenario};

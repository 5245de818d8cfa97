//! The shared truth of a cluster: an ordered, transactional store and, above it, one folder per kind of record.
//!
//! [`store`] is the key-value trait and its engines; [`members`] is who takes part in the cluster; [`durable`] are the
//! futures that the cluster owns.

pub mod durable;
pub mod members;
pub mod store;

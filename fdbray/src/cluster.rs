//! Looking at the cluster: who is in it, and which durable futures there are.
//!
//! ```no_run
//! # async fn f() -> fdbray::Result<()> {
//! use fdbray::cluster::{self, Filter, Stage};
//!
//! for member in cluster::members()?.values() {
//!     println!("{} {:?} {:?}", member.id, member.role, member.addresses);
//! }
//! let failed = Filter { state: Some(Stage::Failed), ..Filter::default() };
//! let mut after = None;
//! loop {
//!     let page = cluster::durable_futures(failed.clone(), after, 100).await?;
//!     for future in page.futures {
//!         println!("{} {} {:?}", future.id, future.function, future.error);
//!     }
//!     after = page.next;
//!     if after.is_none() {
//!         break;
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub use fdbray_worker::runtime::durable::{
    ActorInfo, Filter, FutureInfo, FuturePage, Member, MemberCapacity, Role, Stage, UnschedulableShape,
    actors, list as durable_futures, members, unschedulable,
};

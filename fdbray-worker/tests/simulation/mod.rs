//! Many cores on a seeded virtual network and clock in one thread, running random programs under faults.
//!
//! [`run`] plays one seed and checks the invariants that `check` lists. The same seed always plays the same way.
//!
//! | file | |
//! |---|---|
//! | `plan`, `plan_actors`, `writer` | random programs, and what each of their futures must become |
//! | `expect` | which errors each future may end with, given the faults of the world |
//! | `scenario` | how many processes, how large, on which network, with which faults |
//! | `world`, `events` | processes, the clock, what happens |
//! | `effects` | what the effects of a core do |
//! | `net` | connections: made, broken, resumed, refused; sessions: begun and ended |
//! | `faults` | crashes, pauses, cuts, late joiners |
//! | `exec` | the executor: threads, batches, tasks that wait |
//! | `interpret`, `wait` | one task: the steps of its program, and what it waits for |
//! | `value` | the bytes of arguments and values |
//! | `check` | the invariants |
//! | `actors` | those of actors: order, exclusivity, ends |
//! | `lasting` | those of actors with checkpoints: each call once |

mod actors;
mod check;
mod effects;
mod events;
mod exec;
mod expect;
mod faults;
mod interpret;
mod lasting;
mod net;
mod plan;
mod plan_actors;
mod random;
mod scenario;
mod value;
mod wait;
mod world;
mod writer;

pub use world::run;

//! Every decoder, on valid messages, on broken ones made of them, and on random bytes.
//!
//! A failure prints the bytes and how to run it again; `FUZZ_INPUTS=10000000 cargo test --release -p fuzz` goes on for
//! longer.

use fuzz::{Settings, memory::Watched, targets};

#[global_allocator]
static WATCHED: Watched = Watched;

fn run(name: &str) {
    let target = targets::all().into_iter().find(|target| target.name == name);
    fuzz::run(&target.unwrap_or_else(|| panic!("there is no target {name}")), Settings::from_env());
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*

        #[test]
        fn every_target_has_a_test() {
            let names: Vec<_> = targets::all().iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

tests! {
    cluster_url
    member_records
    durable_records
    store_keys
    core_messages
    core_checkpoints
    error
    arguments
    net_bulk
    net_frames
    net_hello
    flat_values
}

//! Another program: it lacks some of `app`'s remote functions, has one of its own, and one that differs.

use fdbray::{Error, remote};
use std::process::ExitCode;

/// `app`'s is of other types.
#[remote(name = "tests::differs")]
fn differs(x: String) -> String {
    x
}

/// `app`'s is the same.
#[remote(name = "tests::same")]
fn same(x: i64) -> i64 {
    x + 1
}

/// `app` has none.
#[remote(name = "tests::only_in_other")]
fn only_in_other() -> i64 {
    1
}

#[fdbray::main]
async fn main() -> ExitCode {
    println!("driver {}", std::process::id());
    let calls: [(&str, fdbray::Result<i64>); 3] = [
        ("same", same::remote(1).await),
        ("differs", differs::remote("text").await.map(|text| text.len() as i64)),
        ("only_in_other", only_in_other::remote().await),
    ];
    for (name, result) in calls {
        match result {
            Ok(value) => println!("{name}: {value}"),
            Err(error) => println!("{name}: {} {error}", kind(&error)),
        }
    }
    ExitCode::SUCCESS
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::NotRegistered { .. } => "NotRegistered",
        Error::Incompatible { .. } => "Incompatible",
        Error::Unschedulable { .. } => "Unschedulable",
        _ => "another error:",
    }
}

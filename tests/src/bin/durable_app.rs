//! The program that the tests of durable futures run: `durable_app SCENARIO ..`.

#[fdbray::main]
async fn main() -> fdbray::Result<()> {
    fdbray_tests::durable::scenario().await
}

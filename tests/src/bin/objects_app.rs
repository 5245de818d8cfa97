//! The driver and the workers of the tests of full memory. What the driver does is told by its arguments.

#[fdbray::main]
async fn main() -> fdbray::Result<()> {
    fdbray_tests::crash::show_logs();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    fdbray_tests::objects::spilling::play(&words).await
}

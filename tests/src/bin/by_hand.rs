//! A program whose `main` is written by hand, in the way that its first argument names.

use fdbray::Config;
use fdbray_tests::cluster::add;

fn main() -> fdbray::Result<()> {
    let way = std::env::args().nth(1).unwrap_or_default();
    match way.as_str() {
        "run" => Config::from_env()?.workers(2).cpus(1.0).run(async || {
            println!("driver: {}", add::remote(1, 2).await?);
            Ok(())
        })?,
        "start" => {
            let driver = Config::new().cpus(1.0).start()?;
            println!("driver: {}", add::remote(1, 2).wait()?);
            driver.stop();
            println!("after: {}", add::remote(1, 2).wait().unwrap_err());
            println!("again: {}", Config::new().start().unwrap_err());
            Ok(())
        }
        "own runtime" => {
            let _driver = Config::new().cpus(1.0).start()?;
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            println!("driver: {}", runtime.block_on(async { add::remote(1, 2).await })?);
            Ok(())
        }
        "without" => {
            println!("without: {}", add::remote(1, 2).wait().unwrap_err());
            println!("without: {}", fdbray::put(&1).unwrap_err());
            Ok(())
        }
        // A worker that cannot serve ends where it would have become one.
        _ => {
            match Config::new().start() {
                Ok(_) => println!("driver"),
                Err(e) => println!("driver's error: {e}"),
            }
            Ok(())
        }
    }
}

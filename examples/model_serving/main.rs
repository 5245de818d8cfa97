//! Model serving: scanned sheets of handwritten digits are decoded by tasks, batched by a router, and read by replicas of a
//! model.
//!
//! ```text
//! client --PNG--> preprocess (tasks) --tensor, 576 KiB---------------------+
//!    |                                                                     | read in place
//!    +---the tensor's future--> Router (actor) --batches of futures--> Model (actors)
//! ```
//!
//! `cargo run --release --example model_serving` measures throughput and latency with 1 to 4 replicas, in two ways: by
//! reference, where the router is given the tensors' futures and passes these on, so that only the model touches a tensor;
//! and by value, where the tensors go through the router. That is the whole difference: one parameter is a
//! `RemoteFuture<Tensor>` or a `Tensor`.
//!
//! On one host both are about as fast: 1,300 to 2,000 sheets a second on two cores. There a value is read in shared memory,
//! so that to pass it on costs the router one copy, and a reference costs the model a question to the process that has the
//! tensor. Between hosts a value would go over the network twice. Replicas help while there are cores for them: on two,
//! decoding and one or two models take both.
//!
//! The input is real, and so is the answer: the digits were written by hand (`fdbray_examples::digits`), PNG files are made
//! of a fifth that is held out, and decoded, and the program says which share of them was read right. The model is a
//! network of 9,610 parameters, which a task trains first, in a second. It is no ONNX file, since we found no crate that
//! ships one for an engine in Rust, and the engine (`tract-onnx`) alone takes seven minutes of a core to build, for a
//! program that is about what happens around a model.

mod load;
mod model;
mod router;
mod sheet;

use fdbray::{Config, prelude::*};
use fdbray_examples::digits::Digits;
use load::{Measured, Way, load};
use model::{Model, train};
use router::Router;
use sheet::{preprocess, scan};
use std::{process::ExitCode, sync::Arc, time::Duration};

const USAGE: &str = "\
Serves a model with fdbray, and measures that.

usage: model_serving [--clients N] [--batch N] [--millis N] [--quick]

  --clients N  requests under way at once (default 32)
  --batch N    most sheets in a batch (default 8)
  --millis N   how long a batch waits for more of them (default 2)
  --quick      measure for a short time

With FDBRAY_CLUSTER set, it joins that cluster; `model_serving --worker --cluster URL` is one of its workers.";

/// Worker processes of a private cluster, of one CPU each.
const WORKERS: usize = 3;
const REPLICAS: usize = 4;

fn main() -> fdbray::Result<ExitCode> {
    // What `#[fdbray::main]` does, but for the workers: without a word it starts one, and nothing would have to pass
    // from process to process.
    Config::from_env()?.workers(WORKERS).cpus(1.0).run(serve)?
}

async fn serve() -> fdbray::Result<ExitCode> {
    let options = match Options::parse() {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => {
            eprintln!("model_serving: {error}; see --help");
            return Ok(ExitCode::from(2));
        }
    };
    let (_, held_out) = Digits::load();
    let scans = Arc::new(scan(&held_out, 32).map_err(Error::application)?);
    // The models are made with it when it is there: nobody waits for it here, nor is it ever here.
    let parameters = train::remote(20);

    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    println!("{} clients on {cores} cores, batches of up to {}", options.clients, options.batch);
    println!("                         sheets/s   p50 ms   p95 ms   p99 ms   mean batch   digits read right");
    for replicas in 1..=REPLICAS {
        let replicas: Vec<_> = (0..replicas).map(|_| Model::remote(&parameters)).collect();
        for way in [Way::ByReference, Way::ByValue] {
            let router = Router::remote(&replicas, options.batch, options.millis);
            // Not measured: whoever meets for the first time shows the other its memory.
            load(&router, &scans, way, options.clients, options.time / 4).await?;
            let before = router.routed().await?;
            let measured = load(&router, &scans, way, options.clients, options.time).await?;
            let after = router.routed().await?;
            let batch = (after.1 - before.1) as f64 / (after.0 - before.0).max(1) as f64;
            println!("{}", row(replicas.len(), way, &measured, batch));
        }
    }
    refuse(&parameters).await?;
    Ok(ExitCode::SUCCESS)
}

fn row(replicas: usize, way: Way, measured: &Measured, batch: f64) -> String {
    let way = match way {
        Way::ByReference => "by reference",
        Way::ByValue => "by value",
    };
    let replicas = if replicas == 1 { "1 replica,".to_owned() } else { format!("{replicas} replicas,") };
    let [p50, p95, p99] = [50, 95, 99].map(|percent| measured.percentile(percent).as_secs_f64() * 1e3);
    let right = measured.right as f64 / measured.digits.max(1) as f64 * 100.0;
    let throughput = measured.throughput();
    format!(
        "{replicas:11} {way:12} {throughput:8.0} {p50:8.1} {p95:8.1} {p99:8.1} {batch:12.1} {right:17.1} %"
    )
}

/// What one client does wrong is that client's error, in whatever batch it was.
async fn refuse(parameters: &RemoteFuture<Slab<f32>>) -> fdbray::Result<()> {
    let router = Router::remote(vec![Model::remote(parameters)], 8, 2);
    match router.read(preprocess::remote(b"not a picture")).await {
        Err(Error::Application(error)) => println!("as it should: {error}"),
        other => println!("that was not to be expected: {other:?}"),
    }
    Ok(())
}

struct Options {
    clients: usize,
    batch: usize,
    millis: u64,
    time: Duration,
}

impl Options {
    /// `None` where help is asked for.
    fn parse() -> Result<Option<Self>, pico_args::Error> {
        let mut args = pico_args::Arguments::from_env();
        if args.contains(["-h", "--help"]) {
            return Ok(None);
        }
        let options = Options {
            clients: args.opt_value_from_str("--clients")?.unwrap_or(32),
            batch: args.opt_value_from_str("--batch")?.unwrap_or(8),
            millis: args.opt_value_from_str("--millis")?.unwrap_or(2),
            time: Duration::from_millis(if args.contains("--quick") { 200 } else { 1_000 }),
        };
        match args.finish().first() {
            Some(other) => Err(pico_args::Error::ArgumentParsingFailed {
                cause: format!("there is no option `{}`", other.display()),
            }),
            None => Ok(Some(options)),
        }
    }
}

//! Methods and constructors of actors, run through their generated entry points.
use fdbray::prelude::*;
use serde::{Deserialize, Serialize};

pub struct Counter(i64);
#[actor]
impl Counter {
    /// Starts.
    #[actor(cpus = 1, max_restarts = 3)]
    pub fn new(start: i64) -> Self {
        Counter(start)
    }
    pub async fn open(path: &str) -> std::io::Result<Self> {
        let _ = std::fs::read(path)?;
        Ok(Counter(1))
    }
    pub fn add(&mut self, k: i64) -> i64 {
        self.0 += k;
        self.0
    }
    #[actor(concurrency = 8)]
    pub fn get(&self) -> i64 {
        self.0
    }
    pub async fn flush(&mut self, text: &str) -> Result<usize, std::io::Error> {
        tokio::task::yield_now().await;
        self.0 += 1;
        Ok(text.len())
    }
    pub fn merge(&mut self, other: CounterHandle) -> CounterHandle {
        other
    }
    pub fn r#type(&self) -> u8 {
        1
    }
    pub fn into_inner(self) -> i64 {
        self.0
    }
    fn local(&self) {}
}
fn go() {
    let c = Counter::remote(0);
    let _a = c.add(1);
    let _b: RemoteFuture<usize> = c.flush("x");
    let _ = c.merge(&c);
    let _ = c.merge(c.clone());
    let _d = Counter::options().cpus(1).max_restarts(3).remote_open("x");
    let _ = async {
        c.ready().await?;
        c.stop().await?;
        c.kill().await
    };
}

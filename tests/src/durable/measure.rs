//! How fast durable futures are, roughly.

use super::add;
use std::time::Instant;

pub(super) async fn rate(count: i64) -> fdbray::Result<()> {
    add::remote(0, 0).await?;
    let started = Instant::now();
    let all: Vec<_> = add::map((0..count).map(|n| (n, 1)));
    let ended = fdbray::settle(all).await;
    let took = started.elapsed().as_secs_f64();
    assert!(ended.iter().all(Result::is_ok));
    println!("{:.0} futures/s", count as f64 / took);
    Ok(())
}

pub(super) async fn latency(count: i64) -> fdbray::Result<()> {
    let mut took = Vec::new();
    for n in 0..count {
        let started = Instant::now();
        add::remote(n, 1).await?;
        took.push(started.elapsed().as_secs_f64() * 1e6);
    }
    took.sort_by(f64::total_cmp);
    println!("{:.0} us", took[took.len() / 2]);
    Ok(())
}

//! Moves the clock, does what is due, and clears up after processes whose death nobody saw.

use crate::control::durable::{Durable, DurableError};
use crate::id::ProcessId;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A tick.
const TICK: Duration = Duration::from_secs(1);
/// How often those look at the clock who do not move it.
const LOOK: Duration = Duration::from_secs(3);
/// How often it is looked for what the dead left behind, about.
const CLEAR: Duration = Duration::from_secs(30);

/// Runs until this process is no member any more, which it hears from others.
pub(super) async fn run(durable: Durable, me: ProcessId) {
    let mut keeper = Keeper { durable, seen: None, moves: false };
    // Not all at once.
    let offset = Duration::from_millis(me.get() % 1000);
    let mut clear_at = Instant::now();
    loop {
        if let Err(error) = keeper.look().await {
            // What was not seen is not counted.
            keeper.seen = None;
            tracing::debug!(%error, "the clock could not be read");
        }
        if Instant::now() >= clear_at {
            clear_at = Instant::now() + CLEAR + offset * 10;
            if let Err(error) = keeper.clear().await {
                tracing::debug!(%error, "what the dead left behind is cleared up later");
            }
        }
        sleep(if keeper.moves { TICK } else { LOOK + offset }).await;
    }
}

struct Keeper {
    durable: Durable,
    /// Where the clock was at the last look.
    seen: Option<u64>,
    /// Whether it was this process that moved it last. It goes on with that; the others look less often.
    moves: bool,
}

impl Keeper {
    async fn look(&mut self) -> Result<(), DurableError> {
        let Some(seen) = self.seen else {
            self.seen = Some(self.durable.now().await?);
            return Ok(());
        };
        if !self.moves {
            let now = self.durable.now().await?;
            if now != seen {
                self.seen = Some(now);
                return Ok(());
            }
        }
        let tick = self.durable.tick(seen).await?;
        self.seen = Some(tick.now);
        self.moves = tick.moved;
        if tick.due {
            self.durable.sweep().await?;
        }
        Ok(())
    }

    async fn clear(&self) -> Result<(), DurableError> {
        for process in self.durable.left_behind().await? {
            self.durable.recover(process).await?;
        }
        if self.moves {
            self.durable.forget_shapes().await?;
        }
        Ok(())
    }
}

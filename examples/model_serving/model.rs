//! The model: a network that a task trains, and the actors that keep it where it is used.

use crate::sheet::{self, DIGITS, SIDE, Tensor};
use fdbray::prelude::*;
use fdbray_examples::{digits::Digits, network, random::Random};

/// The digits of a sheet, row by row.
pub type Reading = Vec<u8>;

/// Learns from the digits that are not held out. What it gives goes from here to the models, and never to the driver.
#[remote]
pub fn train(epochs: usize) -> Slab<f32> {
    let (digits, _) = Digits::load();
    let (mut parameters, mut random) = (network::initial(7), Random::new(8));
    for _ in 0..epochs {
        for batch in random.order(digits.len()).chunks(16) {
            let gradient = network::gradient(&parameters, &digits.pick(batch));
            network::descend(&mut parameters, &gradient.slope, 0.1);
        }
    }
    Slab::from(parameters)
}

/// One replica: reads batches of sheets, one batch at a time.
pub struct Model {
    parameters: Slab<f32>,
}

#[actor]
impl Model {
    /// It has no state that could be lost, so that it is simply made again when its worker dies.
    #[actor(max_restarts = 3)]
    pub fn new(parameters: Slab<f32>) -> Self {
        Model { parameters }
    }

    /// Sheets that came in the message. Reading changes nothing: it may be done again.
    #[actor(concurrency = 1, retries = 3)]
    pub fn read(&self, sheets: Vec<Tensor>) -> Vec<Reading> {
        sheets.iter().map(|sheet| read(&self.parameters, sheet)).collect()
    }

    /// Sheets by reference: handles come in the message, and the sheets are read where they lie. One that there is none of
    /// fails by itself.
    #[actor(concurrency = 1, retries = 3)]
    pub async fn read_there(
        &self,
        sheets: Vec<RemoteFuture<Tensor>>,
    ) -> fdbray::Result<Vec<fdbray::Result<Reading>>> {
        // All at once: each is a question to the process that keeps the sheet, and one after the other they would take
        // longer than reading.
        let sheets = fdbray::settle(sheets).await;
        let parameters = self.parameters.clone();
        // Async methods of a worker share few threads, and this one computes.
        let read = move || sheets.into_iter().map(|sheet| Ok(read(&parameters, &sheet?))).collect();
        tokio::task::spawn_blocking(read).await.map_err(Error::application)
    }
}

fn read(parameters: &[f32], sheet: &Tensor) -> Reading {
    assert_eq!(sheet.len(), SIDE * SIDE, "`preprocess` makes them of one size");
    (0..DIGITS).map(|n| network::read(parameters, &sheet::digit(sheet, n))).collect()
}

//! Sheets of handwritten digits: as a client scans them, and as a model wants them.

use fdbray::prelude::*;
use fdbray_examples::{
    digits::{self, Digits},
    random::Random,
};
use png::{BitDepth, ColorType, Decoder, Encoder};
use serde::{Deserialize, Serialize};
use std::io::Cursor;

/// Digits on a sheet, across and down.
pub const ACROSS: usize = 16;
/// Digits on a sheet.
pub const DIGITS: usize = ACROSS * ACROSS;
/// Pixels of the picture for one of the data set, across and down.
const ZOOM: usize = 3;
/// Pixels of the picture on a side.
pub const SIDE: usize = ACROSS * digits::SIDE * ZOOM;

/// What the model reads: [`SIDE`] times [`SIDE`] numbers, 0 for paper and 1 for the darkest ink. They take 576 KiB.
pub type Tensor = Slab<f32>;

/// What a client has: a scanned sheet, and what is on it, to see how much of it was read.
pub struct Scan {
    /// A grey picture.
    pub png: Blob,
    /// Row by row.
    pub digits: Vec<u8>,
}

/// Why a picture cannot be read. It is serializable, so the client gets it as it is.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub enum PictureError {
    /// It is no PNG file, or a damaged one.
    #[error("the picture cannot be decoded: {0}")]
    Broken(String),
    /// It does not show a sheet.
    #[error("a sheet is a grey picture of {SIDE} by {SIDE} pixels, with 8 bits each")]
    NoSheet,
    /// There is no memory for it.
    #[error(transparent)]
    Memory(#[from] Error),
}

/// Fills sheets with some of the digits, and scans them in light that is never the same.
pub fn scan(digits: &Digits, count: usize) -> Result<Vec<Scan>, png::EncodingError> {
    let mut random = Random::new(6);
    let mut scan = || {
        let which: Vec<usize> = (0..DIGITS).map(|_| random.below(digits.len())).collect();
        let (paper, ink) = (200 + random.below(56), random.below(80));
        let digits = digits.pick(&which);
        let png = encode(&paint(&digits, paper as f32, ink as f32))?;
        Ok(Scan { png: Blob::from(png), digits: digits.labels })
    };
    (0..count).map(|_| scan()).collect()
}

/// The stateless part of the pipeline: decodes a picture and takes the light out of it. It writes where the models read.
#[remote]
pub fn preprocess(png: &[u8]) -> Result<Tensor, PictureError> {
    let grey = decode(png)?;
    let (ink, paper) = grey.iter().fold((255, 0), |(ink, paper), grey| (ink.min(*grey), paper.max(*grey)));
    let range = f32::from((paper - ink).max(1));
    let mut memory = fdbray::buffer(grey.len() * size_of::<f32>())?;
    for (number, grey) in bytemuck::cast_slice_mut(&mut memory).iter_mut().zip(grey) {
        *number = f32::from(paper - grey) / range;
    }
    Ok(Tensor::try_from(memory.seal()).map_err(Error::application)?)
}

/// The image of one digit of a sheet, as the network knows it.
pub fn digit(sheet: &[f32], n: usize) -> [f32; digits::PIXELS] {
    let (left, top) = (n % ACROSS * digits::SIDE, n / ACROSS * digits::SIDE);
    std::array::from_fn(|pixel| {
        let (x, y) = (left + pixel % digits::SIDE, top + pixel / digits::SIDE);
        let rows = sheet.chunks_exact(SIDE).skip(y * ZOOM).take(ZOOM);
        let ink: f32 = rows.flat_map(|row| &row[x * ZOOM..][..ZOOM]).sum();
        ink / (ZOOM * ZOOM) as f32
    })
}

fn paint(digits: &Digits, paper: f32, ink: f32) -> Vec<u8> {
    let pixel = |at: usize| {
        let (x, y) = (at % SIDE / ZOOM, at / SIDE / ZOOM);
        let which = y / digits::SIDE * ACROSS + x / digits::SIDE;
        let dark = digits.image(which)[y % digits::SIDE * digits::SIDE + x % digits::SIDE];
        (paper - (paper - ink) * dark).round() as u8
    };
    (0..SIDE * SIDE).map(pixel).collect()
}

fn encode(grey: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut png = Vec::new();
    let mut encoder = Encoder::new(&mut png, SIDE as u32, SIDE as u32);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(grey)?;
    writer.finish()?;
    Ok(png)
}

fn decode(png: &[u8]) -> Result<Vec<u8>, PictureError> {
    let broken = |e: png::DecodingError| PictureError::Broken(e.to_string());
    let mut reader = Decoder::new(Cursor::new(png)).read_info().map_err(broken)?;
    // Before any memory is taken for what the file says that it is.
    let info = reader.info();
    let sheet = (SIDE as u32, SIDE as u32, ColorType::Grayscale, BitDepth::Eight);
    if (info.width, info.height, info.color_type, info.bit_depth) != sheet {
        return Err(PictureError::NoSheet);
    }
    let mut grey = vec![0; SIDE * SIDE];
    reader.next_frame(&mut grey).map_err(broken)?;
    Ok(grey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_is_a_picture_of_a_whole_sheet() {
        let (_, held_out) = Digits::load();
        for scan in scan(&held_out, 3).unwrap() {
            let grey = decode(&scan.png).unwrap();
            assert_eq!(grey.len(), SIDE * SIDE);
            assert_eq!(scan.digits.len(), DIGITS);
        }
    }

    #[fdbray::test(workers = 1, cpus = 1)]
    async fn light_does_not_matter() {
        let (_, held_out) = Digits::load();
        let which: Vec<usize> = (0..DIGITS).collect();
        let written = held_out.pick(&which);
        for (paper, ink) in [(255.0, 0.0), (200.0, 79.0)] {
            let png = encode(&paint(&written, paper, ink)).unwrap();
            let sheet = preprocess::remote(png).await.unwrap();
            for n in 0..DIGITS {
                let difference = written.image(n).iter().zip(digit(&sheet, n)).map(|(a, b)| (a - b).abs());
                assert!(difference.fold(0.0, f32::max) < 0.01, "digit {n}");
            }
        }
    }

    #[fdbray::test(workers = 1, cpus = 1)]
    async fn who_sends_no_sheet_is_told_so() {
        let refused = async |png: &[u8]| match preprocess::remote(png).await {
            Err(Error::Application(error)) => error.downcast::<PictureError>().unwrap(),
            other => panic!("{other:?}"),
        };
        assert!(matches!(refused(b"no picture").await, PictureError::Broken(_)));
        let (_, held_out) = Digits::load();
        let whole = scan(&held_out, 1).unwrap().remove(0).png;
        assert!(matches!(refused(&whole[..whole.len() / 2]).await, PictureError::Broken(_)));
        let mut small = Vec::new();
        let mut writer = Encoder::new(&mut small, 1, 1).write_header().unwrap();
        writer.write_image_data(&[0]).unwrap();
        writer.finish().unwrap();
        assert!(matches!(refused(&small).await, PictureError::NoSheet));
    }
}

//! Record batches of Apache Arrow.

use crate::{Blob, buffer};
use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::{reader::StreamDecoder, writer::StreamEncoder};
use arrow_schema::ArrowError;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::ops::Deref;

/// A `RecordBatch` of the crate `arrow-array`, version 60, as an argument, a result or a field: with the feature `arrow`.
///
/// It travels as a stream of Arrow's IPC format, with one batch in it: encoding copies the columns once, to where they
/// are passed on from; the columns of one that was decoded lie in what arrived. Any other serializer gets the same bytes.
///
/// ```
/// use arrow_array::{Int64Array, RecordBatch, cast::AsArray, types::Int64Type};
/// use fdbray::{Batch, prelude::*};
///
/// #[remote]
/// fn total(batch: &Batch) -> i64 {
///     batch.column(0).as_primitive::<Int64Type>().values().iter().sum()
/// }
///
/// let column: arrow_array::ArrayRef = std::sync::Arc::new(Int64Array::from(vec![1, 2, 3]));
/// let batch = Batch::from(RecordBatch::try_from_iter([("n", column)])?);
/// assert_eq!(total(&batch), 6); // or `total::remote(&batch).await?`
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Batch(RecordBatch);

impl Batch {
    /// The record batch.
    pub fn into_inner(self) -> RecordBatch {
        self.0
    }

    /// The stream with this batch.
    fn write(&self) -> Result<Blob, String> {
        let written = || {
            let mut encoder = StreamEncoder::try_new(&self.0.schema())?;
            let mut pieces = encoder.encode(&self.0)?;
            pieces.extend(encoder.finish()?);
            Ok(pieces)
        };
        let pieces: Vec<Buffer> = written().map_err(|error: ArrowError| error.to_string())?;
        let len = pieces.iter().map(Buffer::len).sum();
        let mut memory = buffer(len).map_err(|error| error.to_string())?;
        let mut rest = &mut memory[..];
        for piece in &pieces {
            let (place, after) = rest.split_at_mut(piece.len());
            place.copy_from_slice(piece);
            rest = after;
        }
        Ok(memory.seal())
    }

    /// The batch of a stream, whose columns lie in it.
    fn read(stream: Blob) -> Result<Self, String> {
        let mut bytes = Buffer::from(Bytes::from(stream));
        let batch = StreamDecoder::new().decode(&mut bytes).map_err(|error| error.to_string())?;
        batch.map(Batch).ok_or_else(|| "there is no record batch".to_owned())
    }
}

impl From<RecordBatch> for Batch {
    fn from(batch: RecordBatch) -> Self {
        Batch(batch)
    }
}

impl From<Batch> for RecordBatch {
    fn from(batch: Batch) -> Self {
        batch.0
    }
}

impl Deref for Batch {
    type Target = RecordBatch;
    fn deref(&self) -> &RecordBatch {
        &self.0
    }
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.write().map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Batch::read(Blob::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{decode, encode, encode_described};
    use arrow_array::{ArrayRef, DictionaryArray, Float64Array, StringArray, types::Int32Type};
    use fdbray_worker::{exec::Source, payload::Payload};
    use std::sync::Arc;

    fn batch(rows: usize) -> Batch {
        let numbers: Float64Array = (0..rows).map(|i| (i % 7 > 0).then_some(i as f64)).collect();
        let texts: StringArray = (0..rows).map(|i| Some(format!("row {i}"))).collect();
        let kinds: DictionaryArray<Int32Type> = (0..rows).map(|i| ["a", "b"].get(i % 3).copied()).collect();
        let columns = [
            ("numbers", Arc::new(numbers) as ArrayRef),
            ("texts", Arc::new(texts)),
            ("kinds", Arc::new(kinds)),
        ];
        Batch(RecordBatch::try_from_iter(columns).unwrap())
    }

    fn back(payload: &Payload) -> Batch {
        decode(payload, || Source::Here).unwrap()
    }

    #[test]
    fn batches_come_back_whatever_their_size_and_encoding() {
        for rows in [0, 1, 10, 100_000] {
            let batch = batch(rows);
            assert_eq!(back(&encode(&batch).unwrap().payload), batch);
            assert_eq!(back(&encode_described(&batch).unwrap().payload), batch);
            let part = Batch(batch.slice(rows / 2, rows / 4));
            assert_eq!(back(&encode(&part).unwrap().payload), part);
        }
        let json = serde_json::to_string(&batch(3)).unwrap();
        assert_eq!(serde_json::from_str::<Batch>(&json).unwrap(), batch(3));
    }

    #[test]
    fn the_columns_of_what_was_decoded_lie_in_what_arrived() {
        let encoded = encode(&("a table", batch(100_000))).unwrap();
        let [stream] = encoded.payload.buffers() else { panic!("{:?}", encoded.payload) };
        let (_, copy): (String, Batch) = decode(&encoded.payload, || Source::Here).unwrap();
        let mut looked = 0;
        for column in copy.columns() {
            let data = column.to_data();
            for buffer in data.buffers().iter().chain(data.nulls().map(|n| n.buffer())) {
                assert!(stream.as_ptr_range().contains(&buffer.as_ptr()), "a column was copied");
                looked += 1;
            }
        }
        assert!(looked >= 5, "{looked} buffers");
    }

    #[test]
    fn what_is_no_stream_is_an_error() {
        let whole: Blob = batch(10).write().unwrap();
        for len in [0, 1, 7, 100, whole.len() / 2] {
            assert!(Batch::read(whole.slice(..len)).is_err(), "{len} bytes");
        }
        assert!(Batch::read(vec![0xff; 1000].into()).is_err());
    }
}

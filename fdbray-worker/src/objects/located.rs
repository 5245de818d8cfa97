//! A value as one process tells it to another of its host: small pieces as they are, the others by where they are.

use super::{Arena, Location, PeerArena, ViewError, keep::SMALL};
use crate::payload::Payload;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A value whose large pieces lie in its sender's arena.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    form: Form,
    /// The first is the head, or all there is.
    pieces: Vec<Piece>,
}

/// Which kind of payload a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Form {
    Plain,
    Described,
    /// With buffers beside it.
    Parts,
}

impl Form {
    pub(super) fn of(value: &Payload) -> Self {
        match value {
            Payload::Parts(_) => Form::Parts,
            Payload::Described(_) => Form::Described,
            Payload::InPlace(..) | Payload::Shared(_) => Form::Plain,
        }
    }

    /// The value of these pieces: its head, or all there is, and its buffers. None if this form has no buffers.
    pub(super) fn assemble(self, head: Bytes, buffers: Vec<Bytes>) -> Option<Payload> {
        match self {
            Form::Parts => Some(Payload::in_parts(head, buffers)),
            _ if !buffers.is_empty() => None,
            Form::Described => Some(Payload::Described(head)),
            Form::Plain => Some(Payload::from(head)),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Piece {
    Here(Vec<u8>),
    At(Location),
}

/// Why a located value is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocatedError {
    /// A piece is not in the peer's arena.
    #[error(transparent)]
    View(#[from] ViewError),
    /// It has no pieces, or too many.
    #[error("the peer named an object without its bytes; both processes need the same version of fdbray")]
    Pieces,
}

impl Located {
    /// Tells where `value` is; nothing, when a piece that is not small is elsewhere than in `arena`. Whoever tells a
    /// peer has to hold the value until the peer is done with it.
    pub fn of(value: &Payload, arena: &Arena) -> Option<Self> {
        let piece = |bytes: &[u8]| match bytes.len() {
            ..=SMALL => Some(Piece::Here(bytes.to_vec())),
            _ => arena.locate(bytes).map(Piece::At),
        };
        let all = std::iter::once(value.head()).chain(value.buffers().iter().map(|buffer| &buffer[..]));
        Some(Located { form: Form::of(value), pieces: all.map(piece).collect::<Option<_>>()? })
    }

    /// The value, viewed in `arena`, which is its sender's. `unpin` runs when nobody needs any of its pieces any more,
    /// or at once when there is no value.
    ///
    /// # Errors
    /// The peer sent nonsense.
    pub fn view(
        self,
        arena: &PeerArena,
        unpin: impl FnOnce() + Send + Sync + 'static,
    ) -> Result<Payload, LocatedError> {
        // All views hold it, and the last one to go takes it along.
        let pin = Arc::new(Pin(Some(Box::new(unpin))));
        let mut pieces = self.pieces.into_iter().map(|piece| match piece {
            Piece::Here(bytes) => Ok(Bytes::from(bytes)),
            Piece::At(location) => {
                let pin = pin.clone();
                Ok(arena.view(location, move || drop(pin))?.into())
            }
        });
        let head = pieces.next().ok_or(LocatedError::Pieces)??;
        let buffers: Vec<Bytes> = pieces.collect::<Result<_, LocatedError>>()?;
        self.form.assemble(head, buffers).ok_or(LocatedError::Pieces)
    }
}

/// Runs when it is dropped.
struct Pin(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(unpin) = self.0.take() {
            unpin();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Offset, Options};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn arena() -> Arena {
        Arena::new(Options { limit: 4 << 20, reserve: 0, low_water: 0, background: false })
    }

    fn viewed(located: Located, peer: &PeerArena, ended: &Arc<AtomicUsize>) -> Result<Payload, LocatedError> {
        let ended = ended.clone();
        located.view(peer, move || _ = ended.fetch_add(1, Ordering::SeqCst))
    }

    #[test]
    fn a_value_is_viewed_where_it_lies_until_the_last_piece_is_dropped() {
        let (arena, ended) = (arena(), Arc::new(AtomicUsize::new(0)));
        let peer = PeerArena::map(arena.read_only_fd().unwrap()).unwrap();
        let buffers = vec![Bytes::from(vec![1; 70_000]), Bytes::from(vec![2; 80_000])];
        for value in [
            Payload::in_parts(Bytes::from_static(b"head"), buffers),
            Payload::Shared(vec![3; 100_000].into()),
            Payload::Described(vec![4; 100_000].into()),
            Payload::copy_from(b"small"),
        ] {
            let value = arena.keep(&value).unwrap();
            let located = Located::of(&value, &arena).unwrap();
            let bytes = postcard::to_stdvec(&located).unwrap();
            let view = viewed(postcard::from_bytes(&bytes).unwrap(), &peer, &ended).unwrap();
            assert_eq!((view.contiguous(), view.is_described()), (value.contiguous(), value.is_described()));
            let last = view.buffers().last().cloned().unwrap_or_else(|| view.head_bytes());
            drop(view);
            let views = if last.len() > SMALL { 0 } else { 1 };
            assert_eq!(ended.swap(0, Ordering::SeqCst), views);
            drop(last);
            assert_eq!(ended.swap(0, Ordering::SeqCst), 1 - views);
        }
        assert_eq!(arena.stats().blocks, 0);
    }

    #[test]
    fn what_is_not_in_the_arena_is_not_told() {
        assert_eq!(Located::of(&Payload::Shared(vec![3; 100_000].into()), &arena()), None);
    }

    #[test]
    fn nonsense_is_an_error_and_the_pin_ends() {
        let (peer, ended) =
            (PeerArena::map(arena().read_only_fd().unwrap()).unwrap(), Arc::new(AtomicUsize::new(0)));
        let outside = Location { offset: Offset(u64::MAX), len: 5000, generation: 0 };
        let nonsense = [
            Located { form: Form::Plain, pieces: vec![] },
            Located { form: Form::Plain, pieces: vec![Piece::Here(vec![1]), Piece::Here(vec![1])] },
            Located { form: Form::Parts, pieces: vec![Piece::Here(vec![1]), Piece::At(outside)] },
        ];
        for (n, located) in nonsense.into_iter().enumerate() {
            viewed(located, &peer, &ended).unwrap_err();
            assert_eq!(ended.load(Ordering::SeqCst), n + 1);
        }
    }
}

//! The arguments of one attempt, as the function's entry point reads them.

use crate::{
    core::checkpoint::state_in,
    error::{Error, Result},
    handle::Handle,
    payload::{Encoded, Payload},
    registry::{Function, Output},
};
use bytes::Bytes;
use std::{any::Any, fmt, sync::Arc};

/// An argument of a call that is being made.
#[derive(Debug)]
pub enum Argument {
    /// A value.
    Value(Encoded),
    /// The value that a future will have.
    Future(Handle),
    /// The same, of a call whose arguments are described, with what describes the value.
    ToDescribe(Handle, fn(&Handle, &Payload) -> Result<Encoded, String>),
    /// A value that could not be encoded: the call fails with this error.
    Failed(Error),
}

/// The arguments of one attempt, read one after the other.
///
/// On the wire each argument is a length as a varint and its bytes; length zero stands for the next of the values
/// that the call got from futures, and a length `n + 1` for `n` bytes.
pub struct Input {
    function: &'static Function,
    bytes: Payload,
    at: usize,
    futures: std::vec::IntoIter<Payload>,
    source: Source,
    state: Option<State>,
    checkpoint: Option<Box<Bytes>>,
}

impl Input {
    /// The arguments in `bytes`, with the values of those that were futures.
    pub fn new(function: &'static Function, bytes: Payload, futures: Vec<Payload>, source: Source) -> Self {
        Input { function, bytes, at: 0, futures: futures.into_iter(), source, state: None, checkpoint: None }
    }

    /// The same, for a method of the actor that has this state.
    #[must_use]
    pub fn of_actor(self, state: Option<State>) -> Self {
        Input { state, ..self }
    }

    /// The same, for a constructor that makes an actor from this checkpoint.
    #[must_use]
    pub fn from_checkpoint(self, checkpoint: Option<Box<Bytes>>) -> Self {
        Input { checkpoint, ..self }
    }

    /// The state that the actor which is made here has saved, if it is to be made from that rather than from arguments.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the checkpoint is damaged.
    pub fn saved(&self) -> Result<Option<Bytes>> {
        let Some(checkpoint) = &self.checkpoint else { return Ok(None) };
        let state = state_in(checkpoint).map_err(|e| Error::checkpoint((self.function.name)(), e))?;
        Ok(Some(state))
    }

    /// Saves the state of the lasting actor that is called.
    ///
    /// # Errors
    /// What saving it gives; [`Error::Control`] if the actor is none that has checkpoints.
    pub fn save(&self) -> Output {
        let Some(state) = &self.state else {
            let actor = (self.function.name)().to_owned();
            let why = "its state is gone".to_owned();
            return Err(Error::ActorEnded { actor, why, passed: Default::default() });
        };
        match state.save {
            Some(save) => save(&*state.value),
            None => Err(Error::control(
                "this actor has no checkpoints: implement `fdbray::Checkpoint` for its type, and write \
                 `#[actor(checkpoint)]` on its impl block",
            )),
        }
    }

    /// The state of the actor whose method is called.
    ///
    /// # Errors
    /// [`Error::ActorEnded`] if it has none of this type any more.
    pub fn actor<T: Send + Sync + 'static>(&self) -> Result<Arc<T>> {
        let state = self.state.clone().and_then(|state| state.value.downcast().ok());
        state.ok_or_else(|| {
            let actor = (self.function.name)().to_owned();
            Error::ActorEnded { actor, why: "its state is gone".to_owned(), passed: Default::default() }
        })
    }

    /// The bytes of the next argument.
    ///
    /// # Errors
    /// [`Error::Decode`] when there are fewer than the function has parameters, or the bytes are damaged.
    pub fn next(&mut self, name: &str) -> Result<Payload> {
        let missing =
            || Error::decode(format!("argument `{name}` of `{}`", (self.function.name)()), "it is missing");
        let (length, used) = varint(&self.bytes.head()[self.at..]).ok_or_else(missing)?;
        self.at += used;
        let rest = self.bytes.len() - self.at;
        if length == 0 {
            return self.futures.next().ok_or_else(missing);
        }
        let length = usize::try_from(length - 1).ok().filter(|n| *n <= rest).ok_or_else(missing)?;
        let from = self.at;
        self.at += length;
        Ok(self.bytes.slice(from..self.at))
    }

    /// The function that is called.
    pub fn function(&self) -> &'static Function {
        self.function
    }

    /// What keeps the futures inside the arguments alive while they are decoded.
    pub fn source(&self) -> &Source {
        &self.source
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input of `{}`, {} bytes", (self.function.name)(), self.bytes.len())
    }
}

/// What an actor is, without its type.
#[derive(Clone, Debug)]
pub struct State {
    /// Its value.
    pub value: Arc<dyn Any + Send + Sync>,
    /// What saves it, if it has checkpoints.
    pub save: Option<Save>,
}

/// Gives what is to be kept of a state.
pub type Save = fn(&(dyn Any + Send + Sync)) -> Output;

/// Where encoded bytes came from, which keeps the futures inside them alive until they are registered here.
#[derive(Clone, Debug)]
pub enum Source {
    /// The arguments of a task that runs in this process.
    Task(u64),
    /// The value of a future.
    Object(Handle),
    /// This very process encoded them and still holds what is in them.
    Here,
}

/// Appends `n` as a varint (LEB128, as postcard does).
pub(crate) fn push_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A varint at the start of `bytes`, and how many bytes it takes.
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut n = 0_u64;
    for (i, b) in bytes.iter().enumerate().take(10) {
        n |= u64::from(b & 0x7f).checked_shl(7 * i as u32)?;
        if b & 0x80 == 0 {
            return Some((n, i + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_come_back_and_unended_ones_are_refused() {
        for n in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            push_varint(&mut out, n);
            assert_eq!(varint(&out), Some((n, out.len())));
            assert_eq!(varint(&out[..out.len() - 1]), None);
        }
        assert_eq!(varint(&[0xff; 12]), None);
    }
}

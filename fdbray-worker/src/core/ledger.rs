//! What a lasting actor has answered to whom. Kept with its state, so that a call that is sent again is answered and not
//! run.

use super::message::Raw;
use crate::{error::Error, id::ProcessId, payload::Payload};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap};

/// Answers by caller and ticket: those that their callers may not have yet.
#[derive(Default)]
pub(super) struct Ledger(BTreeMap<ProcessId, BTreeMap<u64, Entry>>);

/// An answer.
#[derive(Clone)]
pub(super) struct Entry {
    /// How often the state had been changed then, by this very call for the last time.
    pub at: u64,
    /// Nanoseconds that it ran.
    pub ran: u64,
    pub answer: Result<Payload, Error>,
}

/// An answer on the wire.
#[derive(Serialize, Deserialize)]
pub(super) struct Said<'a> {
    ticket: u64,
    ran: u64,
    #[serde(borrow)]
    answer: Answer<'a>,
}

#[derive(Serialize, Deserialize)]
enum Answer<'a> {
    Value(#[serde(borrow)] Raw<'a>),
    /// In the form in which a value with buffers is written down.
    Flat(#[serde(borrow)] Cow<'a, [u8]>),
    Failed(Cow<'a, Error>),
}

/// Bytes of an answer are none.
pub(super) struct NoAnswer;

impl Ledger {
    pub fn get(&self, caller: ProcessId, ticket: u64) -> Option<&Entry> {
        self.0.get(&caller)?.get(&ticket)
    }

    pub fn add(&mut self, caller: ProcessId, ticket: u64, entry: Entry) {
        self.0.entry(caller).or_default().insert(ticket, entry);
    }

    /// The caller has all answers below this ticket, and will not ask again.
    pub fn forget_below(&mut self, caller: ProcessId, ticket: u64) {
        let Some(answers) = self.0.get_mut(&caller) else { return };
        while let Some(first) = answers.first_entry().filter(|first| *first.key() < ticket) {
            first.remove();
        }
    }

    /// The caller will not ask any more.
    pub fn forget(&mut self, caller: ProcessId) {
        self.0.remove(&caller);
    }

    pub fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// For the wire.
    pub fn said(&self) -> Vec<(ProcessId, Vec<Said<'_>>)> {
        fn said<'a>((ticket, entry): (&u64, &'a Entry)) -> Said<'a> {
            let answer = match &entry.answer {
                Ok(value @ Payload::Parts(_)) => Answer::Flat(Cow::Owned(value.contiguous().into())),
                Ok(value) => Answer::Value(Raw(value.head())),
                Err(error) => Answer::Failed(Cow::Borrowed(error)),
            };
            Said { ticket: *ticket, ran: entry.ran, answer }
        }
        self.0.iter().map(|(caller, answers)| (*caller, answers.iter().map(said).collect())).collect()
    }

    /// From the wire.
    pub fn of(said: &[(ProcessId, Vec<Said<'_>>)]) -> Result<Self, NoAnswer> {
        let mut ledger = Ledger::default();
        for (caller, answers) in said {
            for Said { ticket, ran, answer } in answers {
                let answer = match answer {
                    Answer::Value(bytes) => Ok(Payload::copy_from(bytes.0)),
                    Answer::Flat(bytes) => {
                        let bytes = Bytes::copy_from_slice(bytes);
                        Ok(Payload::from_flat(bytes).map_err(|_| NoAnswer)?)
                    }
                    Answer::Failed(error) => Err(Error::clone(error)),
                };
                ledger.add(*caller, *ticket, Entry { at: 0, ran: *ran, answer });
            }
        }
        Ok(ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_back_from_the_wire_whatever_they_are() {
        let (one, other) = (ProcessId::new(1).unwrap(), ProcessId::new(2).unwrap());
        let parts = Payload::in_parts(Bytes::from_static(b"head"), vec![Bytes::from(vec![7; 100_000])]);
        let answers = [
            (one, 1, Ok(Payload::copy_from(b"small"))),
            (one, 3, Ok(Payload::copy_from(&[5; 1_000]))),
            (other, 1, Ok(parts)),
            (other, 2, Err(Error::control("no"))),
        ];
        let mut ledger = Ledger::default();
        for (caller, ticket, answer) in answers.clone() {
            ledger.add(caller, ticket, Entry { at: 9, ran: 5, answer });
        }
        let bytes = postcard::to_stdvec(&ledger.said()).unwrap();
        let back = Ledger::of(&postcard::from_bytes::<Vec<_>>(&bytes).unwrap()).ok().unwrap();
        assert_eq!(back.len(), 4);
        for (caller, ticket, answer) in answers {
            let entry = back.get(caller, ticket).unwrap();
            assert_eq!((entry.at, entry.ran), (0, 5));
            match (&entry.answer, answer) {
                (Ok(is), Ok(was)) => {
                    assert_eq!((is.head(), is.buffers()), (was.head(), was.buffers()));
                }
                (Err(is), Err(was)) => assert_eq!(is.to_string(), was.to_string()),
                _ => panic!("an answer has become another"),
            }
        }
    }

    #[test]
    fn what_a_caller_has_is_forgotten_and_nothing_else() {
        let (one, other) = (ProcessId::new(1).unwrap(), ProcessId::new(2).unwrap());
        let mut ledger = Ledger::default();
        for ticket in 1..=4 {
            for caller in [one, other] {
                ledger.add(caller, ticket, Entry { at: 1, ran: 1, answer: Ok(Payload::copy_from(b"")) });
            }
        }
        ledger.forget_below(one, 3);
        assert!(ledger.get(one, 2).is_none() && ledger.get(one, 3).is_some());
        ledger.forget(other);
        assert_eq!(ledger.len(), 2);
    }
}

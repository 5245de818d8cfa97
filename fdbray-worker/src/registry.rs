//! The table of remote functions that were linked into this binary.

use crate::{
    error::{Error, Result},
    exec::Input,
    options::{Checkpoints, Defaults},
    payload::Encoded,
    template::Template,
};
use std::{fmt, future::Future, hash::Hasher, pin::Pin, sync::OnceLock};

/// A remote function as `#[remote]` describes it, in a static.
pub struct Function {
    /// Its stable name: the path of the function, unless the attribute names another.
    pub name: fn() -> &'static str,
    /// The types of its parameters and its result.
    pub signature: fn() -> &'static str,
    /// Where it stands.
    pub file: &'static str,
    /// Where it stands.
    pub line: u32,
    /// How it is run.
    pub entry: Entry,
    /// What it is to an actor, if anything.
    pub role: Role,
    /// What the attribute said.
    pub options: Defaults,
    /// Calls without options of their own.
    pub template: OnceLock<Template>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str((self.name)())
    }
}

/// How a function is run: its arguments come as bytes, so does its result.
#[derive(Clone, Copy)]
pub enum Entry {
    /// On a thread of the pool.
    Sync(fn(Input) -> Output),
    /// On the async executor.
    Async(fn(Input) -> OutputFuture),
}

/// What a function is to an actor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Nothing: it is a function.
    #[default]
    Function,
    /// It makes one: its entry installs the state with [`crate::actors::install`].
    Constructor,
    /// A method that may run beside others of its kind, so many at once.
    Shared(u32),
    /// A method that runs alone.
    Exclusive,
    /// A method that runs alone, and is the last.
    Stop,
    /// It saves the state of a lasting actor, beside methods that share it.
    Checkpoint,
}

/// What the core knows of a function of a type with checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting {
    /// When they are taken.
    pub checkpoints: Checkpoints,
    /// Whether it may wait for something in the middle.
    pub waits: bool,
}

impl Role {
    /// Whether it is called on an actor.
    pub fn is_method(self) -> bool {
        !matches!(self, Role::Function | Role::Constructor)
    }
}

/// An encoded result, or why there is none.
pub type Output = Result<Encoded, Error>;

/// The body of an async remote function.
pub type OutputFuture = Pin<Box<dyn Future<Output = Output> + Send>>;

/// What `inventory` collects.
pub struct Registered(pub &'static Function);
inventory::collect!(Registered);

/// The functions of this binary, sorted by name: on the wire between equal binaries a function is its place here.
pub struct Registry {
    functions: Vec<&'static Function>,
    fingerprint: u64,
}

impl Registry {
    /// Collects what was linked in.
    ///
    /// # Errors
    /// Two functions of one name: [`Error::Incompatible`] with both places.
    pub fn collect() -> Result<Self> {
        Self::of(inventory::iter::<Registered>.into_iter().map(|r| r.0).collect())
    }

    /// A registry of `functions`.
    ///
    /// # Errors
    /// As [`Registry::collect`].
    pub fn of(mut functions: Vec<&'static Function>) -> Result<Self> {
        functions.sort_by_key(|f| ((f.name)(), f.file, f.line));
        if let Some(pair) = functions.windows(2).find(|p| (p[0].name)() == (p[1].name)()) {
            return Err(Error::Incompatible {
                message: format!(
                    "two remote functions are named `{}`: {}:{} and {}:{}; give one of them another name with \
                     `#[remote(name = \"..\")]`",
                    (pair[0].name)(),
                    pair[0].file,
                    pair[0].line,
                    pair[1].file,
                    pair[1].line
                ),
            });
        }
        let mut hash = StableHasher::default();
        for f in &functions {
            hash.write((f.name)().as_bytes());
            hash.write_u64(signature_hash((f.signature)()));
        }
        Ok(Registry { fingerprint: hash.finish(), functions })
    }

    /// A hash of all names and signatures.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The function at `index`.
    pub fn get(&self, index: u32) -> Option<&'static Function> {
        self.functions.get(index as usize).copied()
    }

    /// The place of `function`, if it is one of these.
    pub fn index_of(&self, function: &Function) -> Option<u32> {
        let name = (function.name)();
        self.functions.binary_search_by_key(&name, |f| (f.name)()).ok().map(|i| i as u32)
    }

    /// Name and signature hash of each function, sorted by name; what processes compare.
    pub fn listing(&self) -> Vec<(String, u64)> {
        self.functions.iter().map(|f| ((f.name)().to_owned(), signature_hash((f.signature)()))).collect()
    }

    /// What each function is called between binaries that differ: a hash of name and signature.
    pub fn names(&self) -> Vec<u64> {
        self.functions.iter().map(|f| function_hash((f.name)(), signature_hash((f.signature)()))).collect()
    }

    /// What each of them is to an actor.
    pub fn roles(&self) -> Vec<Role> {
        self.functions.iter().map(|f| f.role).collect()
    }

    /// What is to be known of those that belong to types with checkpoints.
    pub fn lasting(&self) -> Vec<Option<Lasting>> {
        let lasting = |f: &&'static Function| {
            let waits = matches!(f.entry, Entry::Async(_));
            f.options.checkpoints.map(|checkpoints| Lasting { checkpoints, waits })
        };
        self.functions.iter().map(lasting).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.functions.iter().map(|f| (f.name)())).finish()
    }
}

/// Says how two listings differ, for a person; `None` when they do not.
pub fn difference(ours: &[(String, u64)], theirs: &[(String, u64)]) -> Option<String> {
    let find = |list: &[(String, u64)], name: &str| list.iter().find(|f| f.0 == name).map(|f| f.1);
    let (mut only_here, mut other_types) = (Vec::new(), Vec::new());
    for (name, signature) in ours {
        match find(theirs, name) {
            None => only_here.push(name.as_str()),
            Some(other) if other != *signature => other_types.push(name.as_str()),
            Some(_) => {}
        }
    }
    let only_there = theirs.iter().map(|(name, _)| name.as_str()).filter(|name| find(ours, name).is_none());
    let said = [
        (other_types, "other parameters or another result"),
        (only_here, "only in this process"),
        (only_there.collect(), "only in the other process"),
    ];
    let said: Vec<_> = said.into_iter().filter(|(names, _)| !names.is_empty()).map(some_of).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// The first few names and what is the matter with them.
fn some_of((names, what): (Vec<&str>, &str)) -> String {
    const SAID: usize = 5;
    let few: Vec<_> = names.iter().take(SAID).map(|name| format!("`{name}`")).collect();
    match names.len().checked_sub(SAID).filter(|more| *more > 0) {
        Some(more) => format!("{what}: {} and {more} more", few.join(", ")),
        None => format!("{what}: {}", few.join(", ")),
    }
}

/// A hash of a signature that is the same in every build.
pub fn signature_hash(signature: &str) -> u64 {
    let mut hash = StableHasher::default();
    hash.write(signature.as_bytes());
    hash.finish()
}

/// What a function is called where binaries may differ: its name and its signature's hash, hashed.
pub fn function_hash(name: &str, signature: u64) -> u64 {
    let mut hash = StableHasher::default();
    hash.write(name.as_bytes());
    hash.write(&signature.to_le_bytes());
    hash.finish()
}

/// FNV-1a (Fowler, Noll, Vo): stable over builds and machines, which the standard library's hashers do not promise.
pub(crate) struct StableHasher(u64);

impl Default for StableHasher {
    fn default() -> Self {
        StableHasher(0xcbf2_9ce4_8422_2325)
    }
}

impl fmt::Write for StableHasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        Hasher::write(self, text.as_bytes());
        Ok(())
    }
}

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(of: &[(&str, u64)]) -> Vec<(String, u64)> {
        of.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect()
    }

    #[test]
    fn a_difference_names_each_function_that_differs() {
        let said = difference(&listing(&[("a", 1), ("b", 1)]), &listing(&[("b", 2), ("c", 1)])).unwrap();
        assert_eq!(
            said,
            "other parameters or another result: `b`; only in this process: `a`; only in the other process: `c`"
        );
        assert_eq!(difference(&listing(&[("a", 1)]), &listing(&[("a", 1)])), None);
    }
}

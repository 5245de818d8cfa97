//! A library with remote functions under the strictest lints: expansions must not set off any. See [`add()`],
//! [`fn@add`] and [`enum@add`].

#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    private_interfaces,
    private_bounds,
    single_use_lifetimes,
    non_local_definitions,
    trivial_casts,
    trivial_numeric_casts,
    elided_lifetimes_in_paths,
    let_underscore_drop,
    unnameable_types,
    unused_results,
    unused_lifetimes,
    unused_macro_rules,
    redundant_lifetimes,
    explicit_outlives_requirements,
    absolute_paths_not_starting_with_crate,
    ambiguous_negative_literals,
    non_ascii_idents,
    unit_bindings,
    variant_size_differences,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
// The workspace's list of methods is for the core, which does no I/O.
#![allow(clippy::disallowed_methods)]
#![forbid(unsafe_code)]

use fdbray::prelude::*;

/// Adds.
///
/// More text.
#[remote]
#[must_use]
pub fn add(x: i64, y: i64) -> i64 {
    x + y
}

/// Loads.
///
/// # Errors
/// Always.
#[remote(cpus = 2, resources(tpu = 1))]
pub async fn load(name: &str, parts: &[f32]) -> Result<Vec<String>, LoadError> {
    std::future::ready(()).await;
    if parts.is_empty() { Err(LoadError) } else { Ok(vec![name.into()]) }
}

/// Why not.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct LoadError;

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no")
    }
}

impl std::error::Error for LoadError {}

/// Reads.
///
/// # Errors
/// Where there is no such file.
#[remote]
pub fn read(path: String) -> std::io::Result<Blob> {
    std::fs::read(path).map(Blob::from)
}

/// Returns nothing, takes nothing.
#[remote]
pub fn nothing() {}

/// Nothing else than a [`Result`].
///
/// # Errors
/// Never.
#[remote]
pub fn only_errors() -> fdbray::Result<()> {
    Ok(())
}

/// Takes many.
#[remote]
#[must_use]
#[expect(clippy::too_many_arguments, clippy::many_single_char_names)]
pub fn many(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> [u8; 8] {
    [a, b, c, d, e, f, g, h]
}

/// Does not look at what it takes, which has its own name and those of what is generated.
#[remote]
pub fn ignore(_first: u8, _: u8, ignore: u8, options: u8, calls: u8) {
    let _ = (ignore, options, calls);
}

/// Is old.
#[remote]
#[deprecated = "use `add`"]
#[must_use]
pub fn old(x: u8) -> u8 {
    x
}

/// Is hidden.
#[doc(hidden)]
#[remote]
pub fn hidden() {}

#[remote]
pub(crate) fn private(x: u8) -> u8 {
    x
}

/// Uses the private ones.
#[must_use]
pub fn used() -> RemoteFuture<u8> {
    #[remote]
    fn inner(x: &Small) -> u8 {
        x.n
    }
    inner::remote(Small { n: private(module::twice(1)) })
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Small {
    n: u8,
}

mod module {
    use fdbray::prelude::*;

    #[remote]
    pub(super) fn twice(x: u8) -> u8 {
        2 * x
    }

    #[remote]
    pub(super) fn unused(r#type: u8) -> u8 {
        r#type
    }
}

/// Uses the rest.
#[must_use]
pub fn go() -> Vec<RemoteFuture<u8>> {
    module::unused::map([private::remote(1), module::twice::remote(2)])
}

/// Counts.
#[derive(Debug)]
pub struct Counter {
    n: i64,
}

#[actor]
impl Counter {
    /// Starts.
    #[must_use]
    #[actor(cpus = 0.5, max_restarts = 3)]
    pub fn new(n: i64) -> Self {
        Counter { n }
    }

    /// Opens.
    ///
    /// # Errors
    /// Where there is no such file.
    pub async fn open(path: &str) -> std::io::Result<Self> {
        std::future::ready(()).await;
        let bytes = std::fs::read(path)?;
        Ok(Counter { n: i64::from(bytes[0]) })
    }

    /// Adds `k`: see [`get`](Self::get).
    pub fn add(&mut self, k: i64) -> i64 {
        self.n += k;
        self.n
    }

    /// What it is.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.n
    }

    /// Writes.
    ///
    /// # Errors
    /// Where it cannot.
    #[actor(retries = 2)]
    pub async fn flush(&mut self, path: &str) -> Result<(), std::io::Error> {
        std::future::ready(()).await;
        std::fs::write(path, self.n.to_string())
    }

    /// Whether this is another.
    #[must_use]
    pub fn same(&self, other: CounterHandle, ready: u8, options: u8) -> bool {
        drop(other);
        self.n > 0 && ready == options
    }

    /// Is old.
    #[deprecated = "use `get`"]
    #[must_use]
    pub fn old(&self) -> i64 {
        self.n
    }

    /// Is hidden.
    #[doc(hidden)]
    pub fn hidden(&mut self) {}

    /// Not here.
    #[cfg(target_os = "windows")]
    pub fn none(&mut self, a: NoSuchType) {}

    /// By value: local.
    #[must_use]
    pub fn into_inner(self) -> i64 {
        self.n
    }
}

mod narrow {
    use fdbray::prelude::*;

    pub(super) struct Small {
        n: u8,
    }

    #[actor]
    impl Small {
        pub(super) fn new(n: u8) -> Self {
            Small { n }
        }
        pub(super) fn ready(&self) -> u8 {
            self.n
        }
        pub(super) async fn both(&self, other: SmallHandle) -> fdbray::Result<u8> {
            Ok(other.ready().await? + self.local())
        }
        fn local(&self) -> u8 {
            self.n
        }
    }
}

/// Has private actors whose functions are `pub`.
#[allow(unreachable_pub)]
pub mod bank {
    use fdbray::prelude::*;

    struct Bank {
        key: Key,
    }

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Key(u8);

    #[actor]
    impl Bank {
        pub fn new(key: Key) -> Self {
            Bank { key }
        }
        pub fn change(&mut self, key: Key) -> Key {
            std::mem::replace(&mut self.key, key)
        }
    }

    struct Till(u8);

    #[actor(pub(super))]
    impl Till {
        pub fn new(key: &Key) -> Self {
            Till(key.0)
        }
        pub fn take(&self, key: &Key) -> Key {
            Key(self.0 + key.0)
        }
        pub fn unused(&self, r#type: u8) -> u8 {
            self.0 + r#type
        }
    }

    /// Uses both.
    #[must_use]
    pub fn changed() -> impl Sized {
        let till = Till::remote(Key(1));
        (Bank::options().cpus(1).remote(Key(1)).change(till.take(Key(2))), till)
    }
}

/// Uses them.
///
/// # Errors
/// When the actors have ended.
pub async fn actors() -> fdbray::Result<bool> {
    struct Inner(u8);
    #[actor]
    #[allow(unreachable_pub)]
    impl Inner {
        pub fn new() -> Self {
            Inner(1)
        }
        pub fn count(&mut self) -> u8 {
            self.0
        }
    }
    let small = narrow::Small::remote(Inner::remote().count());
    ActorHandle::ready(&small).await?;
    let both = small.both(small.clone()).await?;
    let counter: CounterHandle = Counter::remote_open("path");
    let options: CounterOptions = Counter::options().max_restarts(1);
    let other = options.remote(counter.add(i64::from(both)));
    counter.flush("path").await?;
    let same = counter.same(&other, 1, 2).await?;
    other.stop().await?;
    counter.kill().await?;
    Ok(same)
}

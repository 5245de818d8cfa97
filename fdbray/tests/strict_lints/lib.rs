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

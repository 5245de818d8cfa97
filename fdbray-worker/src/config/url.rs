//! Cluster URLs: which control plane, and which cluster in it.

use crate::control::store::lmdb::Sync;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The cluster's name when a URL gives none.
const DEFAULT_CLUSTER: &str = "default";
const LONGEST_NAME: usize = 64;

/// Where a cluster keeps its shared truth. Displays as what it parses from.
///
/// ```
/// use fdbray_worker::config::ClusterUrl;
/// let url: ClusterUrl = "lmdb:///var/lib/app?cluster=demo&sync=full".parse().unwrap();
/// assert_eq!(url.cluster, "demo");
/// assert_eq!(url.to_string(), "lmdb:///var/lib/app?cluster=demo&sync=full");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClusterUrl {
    /// The store.
    pub engine: Engine,
    /// The cluster's name in it.
    pub cluster: String,
}

/// A store, as a URL names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// `lmdb:///directory`: the processes of one machine.
    Lmdb {
        /// The directory.
        path: PathBuf,
        /// What a commit waits for.
        sync: Sync,
    },
    /// `fdb:///cluster/file`: a FoundationDB cluster.
    FoundationDb {
        /// FoundationDB's cluster file.
        cluster_file: PathBuf,
    },
}

impl ClusterUrl {
    /// The URL of a store in a directory.
    pub fn lmdb(path: impl Into<PathBuf>, cluster: impl Into<String>, sync: Sync) -> Self {
        ClusterUrl { engine: Engine::Lmdb { path: path.into(), sync }, cluster: cluster.into() }
    }
}

impl FromStr for ClusterUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let error = |what| UrlError { url: text.to_owned(), what };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| error(What::NoScheme))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !path.starts_with('/') {
            return Err(error(What::RelativePath));
        }
        let path = PathBuf::from(decode(path).ok_or_else(|| error(What::Escape))?);
        let mut cluster = DEFAULT_CLUSTER.to_owned();
        let mut sync = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("cluster", name)) if is_name(name) => cluster = name.to_owned(),
                Some(("cluster", name)) => return Err(error(What::Name(name.to_owned()))),
                Some(("sync", "full")) => sync = Some(Sync::Full),
                Some(("sync", "meta")) => sync = Some(Sync::Meta),
                Some(("sync", "none")) => sync = Some(Sync::None),
                Some(("sync", value)) => return Err(error(What::Sync(value.to_owned()))),
                _ => return Err(error(What::Parameter(pair.to_owned()))),
            }
        }
        let engine = match scheme {
            "lmdb" => Engine::Lmdb { path, sync: sync.unwrap_or_default() },
            "fdb" if sync.is_some() => return Err(error(What::Parameter("sync".into()))),
            "fdb" => Engine::FoundationDb { cluster_file: path },
            scheme => return Err(error(What::Scheme(scheme.to_owned()))),
        };
        Ok(ClusterUrl { engine, cluster })
    }
}

impl fmt::Display for ClusterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.engine {
            Engine::Lmdb { path, sync } => {
                write!(f, "lmdb://{}?cluster={}", encode(path), self.cluster)?;
                if *sync == Sync::default() { Ok(()) } else { write!(f, "&sync={}", sync.as_str()) }
            }
            Engine::FoundationDb { cluster_file } => {
                write!(f, "fdb://{}?cluster={}", encode(cluster_file), self.cluster)
            }
        }
    }
}

/// A text that is no cluster URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{url}` is not a cluster URL: {what}. It should look like lmdb:///var/lib/app?cluster=demo or \
         fdb:///etc/foundationdb/fdb.cluster?cluster=demo"
)]
pub struct UrlError {
    /// The text.
    pub url: String,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum What {
    #[error("it does not begin with lmdb:// or fdb://")]
    NoScheme,
    #[error("there is no control plane `{0}`, only lmdb and fdb")]
    Scheme(String),
    #[error("its path is not absolute; three slashes begin one, as in lmdb:///tmp/demo")]
    RelativePath,
    #[error("a % in its path is not followed by two hexadecimal digits, or it is not UTF-8")]
    Escape,
    #[error("`{0}` is no name of a cluster, which is up to 64 letters, digits, `-`, `_` and `.`")]
    Name(String),
    #[error("sync is `{0}`, but it can be full, meta or none")]
    Sync(String),
    #[error("`{0}` is none of its parameters, which are cluster=NAME and, for lmdb, sync=full|meta|none")]
    Parameter(String),
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(fits)
}

fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        bytes.push(if byte == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            rest = tail;
            let digits =
                std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|d| d.is_ascii_hexdigit()))?;
            u8::from_str_radix(digits, 16).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

fn encode(path: &std::path::Path) -> String {
    let mut text = String::new();
    for c in path.to_string_lossy().chars() {
        match c {
            '%' | '?' | '#' | '&' | '\'' | '"' => text.push_str(&format!("%{:02X}", u32::from(c))),
            c if c.is_ascii() && (c.is_ascii_whitespace() || c.is_ascii_control()) => {
                text.push_str(&format!("%{:02X}", u32::from(c)));
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_display_as_what_they_parse_from() {
        for text in [
            "lmdb:///var/lib/app?cluster=demo",
            "lmdb:///var/lib/app?cluster=demo&sync=none",
            "fdb:///etc/foundationdb/fdb.cluster?cluster=demo",
            "lmdb:///with%20space/and%3Fmark?cluster=a-b_c.1",
        ] {
            assert_eq!(text.parse::<ClusterUrl>().unwrap().to_string(), text);
        }
        let url: ClusterUrl = "lmdb:///tmp/x".parse().unwrap();
        assert_eq!(url, ClusterUrl::lmdb("/tmp/x", "default", Sync::Meta));
    }

    #[test]
    fn wrong_urls_say_what_is_wrong_and_how_they_should_look() {
        for (text, part) in [
            ("/tmp/x", "does not begin with"),
            ("redis:///x", "`redis`"),
            ("lmdb://tmp/x", "not absolute"),
            ("lmdb://", "not absolute"),
            ("lmdb:///x?cluster=", "no name of a cluster"),
            ("lmdb:///x?cluster=a b", "`a b`"),
            ("lmdb:///x?sync=maybe", "`maybe`"),
            ("lmdb:///x?colour=red", "`colour=red`"),
            ("lmdb:///x%zz", "hexadecimal"),
            ("fdb:///x?sync=full", "`sync`"),
        ] {
            let error = text.parse::<ClusterUrl>().unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("lmdb:///var/lib/app?cluster=demo"), "{error}");
        }
    }
}

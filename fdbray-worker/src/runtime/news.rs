//! What processes tell each other beside the core's messages, over sessions that stand. None of it is repeated.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Something that wants no answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum News {
    /// There is something in your inbox. A hint, quicker than the watch on its bell.
    Mail,
}

impl News {
    pub fn encode(&self) -> Bytes {
        // Numbers and names can be encoded; and news of nothing are no harm.
        postcard::to_stdvec(self).unwrap_or_default().into()
    }

    /// Nothing, if a later version says more.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

//! What only FoundationDB can show.

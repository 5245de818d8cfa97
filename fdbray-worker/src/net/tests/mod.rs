//! The network between two processes, over real sockets.

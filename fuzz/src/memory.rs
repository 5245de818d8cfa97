//! Watches how much memory a decoder asks for: a length in a message must not decide it.

#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// What a decoder may ask for at once on `input` bytes: room for values that are larger in memory than on the wire,
/// and for a first guess of an empty buffer.
pub fn allowed(input: usize) -> usize {
    (1 << 20) + 64 * input
}

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// The largest allocation that this thread asked for since this was called last; 0 where [`Watched`] is not in use.
pub fn reset() -> usize {
    LARGEST.with(|largest| largest.replace(0))
}

/// The system's allocator, which notes the largest request of each thread.
#[derive(Debug)]
pub struct Watched;

fn note(size: usize) {
    // A thread that is going away has no such value any more, and nobody who would ask for it.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
}

// SAFETY: every request goes to the system's allocator unchanged; a note in a thread-local `Cell` without a destructor
// neither allocates nor unwinds.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as the caller promises to us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as the caller promises to us.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises to us.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as the caller promises to us.
        unsafe { System.realloc(at, layout, size) }
    }
}

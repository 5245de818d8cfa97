//! Tells valgrind, in tests, which bytes of a mapping are somebody's. To it a mapping is one piece of memory, in which it
//! would see neither a read beyond a block's end nor one of a block that was freed. Elsewhere this does nothing.
#![cfg_attr(test, allow(unsafe_code))]

use std::ptr::NonNull;

/// From here on these bytes may be read and written.
pub(super) fn lend(at: NonNull<u8>, len: usize) {
    request(MAKE_MEM_DEFINED, at, len);
}

/// From here on these bytes are nobody's: valgrind reports who touches them.
pub(super) fn take_back(at: NonNull<u8>, len: usize) {
    request(MAKE_MEM_NOACCESS, at, len);
}

#[cfg(all(test, target_arch = "x86_64"))]
fn request(request: u64, at: NonNull<u8>, len: usize) {
    let request = [request, at.addr().get() as u64, len as u64, 0, 0, 0];
    // SAFETY: valgrind's client request (`valgrind/valgrind.h`): valgrind looks for these instructions, and reads the six
    // words that `rax` points to, which live until then. To a processor they do nothing: the rotations add up to 128 bits,
    // which is two whole turns of `rdi`, and the exchange is of a register with itself; the flags count as changed.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") request.as_ptr(),
            inout("rdx") 0_u64 => _,
            options(nostack),
        );
    }
}

#[cfg(not(all(test, target_arch = "x86_64")))]
fn request(_request: u64, _at: NonNull<u8>, _len: usize) {}

/// Of memcheck's requests (`valgrind/memcheck.h`), the first and the third.
const MAKE_MEM_NOACCESS: u64 = (b'M' as u64) << 24 | (b'C' as u64) << 16;
const MAKE_MEM_DEFINED: u64 = MAKE_MEM_NOACCESS + 2;

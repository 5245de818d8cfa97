//! Which executable this process runs, as a number that equal builds share.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    sync::OnceLock,
};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// A hash that stands for the contents of the running executable: of the identifier that the linker computed over it
/// when there is one (a few microseconds), else of the contents. Computed once.
///
/// # Errors
/// The executable cannot be read.
pub fn build_id() -> io::Result<u64> {
    static ID: OnceLock<u64> = OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(*id);
    }
    // Opened by this name it is the running file, also after another was put in its place.
    let mut file = File::open("/proc/self/exe")?;
    let id = match linker_id(&mut file)? {
        Some(id) => id,
        None => contents_hash(&mut file)?,
    };
    Ok(*ID.get_or_init(|| id))
}

/// The hash of an ELF file's GNU build id, with the file's length.
fn linker_id(file: &mut (impl Read + Seek)) -> io::Result<Option<u64>> {
    let len = file.seek(SeekFrom::End(0))?;
    let Some(head) = read_at(file, 0, 64)? else { return Ok(None) };
    // Little-endian ELF64; see elf(5).
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return Ok(None);
    }
    let (table, entry, count) = (uint(&head, 32, 8), uint(&head, 54, 2), uint(&head, 56, 2));
    for i in 0..count {
        let at = table.saturating_add(i * entry);
        let Some(program) = read_at(file, at, 56)? else { return Ok(None) };
        let (offset, size) = (uint(&program, 8, 8), uint(&program, 32, 8));
        if uint(&program, 0, 4) != PT_NOTE || size > MAX_NOTES {
            continue;
        }
        let Some(notes) = read_at(file, offset, size as usize)? else { continue };
        if let Some(id) = gnu_build_id(&notes) {
            return Ok(Some(xxh3_64(id) ^ len));
        }
    }
    Ok(None)
}

/// The GNU build id among an ELF file's notes.
fn gnu_build_id(mut notes: &[u8]) -> Option<&[u8]> {
    loop {
        let (head, rest) = notes.split_at_checked(12)?;
        let (name_len, id_len) = (uint(head, 0, 4) as usize, uint(head, 4, 4) as usize);
        let (name, rest) = rest.split_at_checked(name_len.next_multiple_of(4))?;
        let id = rest.get(..id_len)?;
        if uint(head, 8, 4) == NT_GNU_BUILD_ID && name == b"GNU\0" && id_len >= 8 {
            return Some(id);
        }
        notes = rest.get(id_len.next_multiple_of(4)..)?;
    }
}

fn contents_hash(file: &mut (impl Read + Seek)) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Xxh3::new();
    let mut buf = vec![0; 256 << 10];
    loop {
        match file.read(&mut buf)? {
            0 => return Ok(hash.digest()),
            n => hash.update(&buf[..n]),
        }
    }
}

/// `len` bytes at `at`; `None` when the file ends before.
fn read_at(file: &mut (impl Read + Seek), at: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
    file.seek(SeekFrom::Start(at))?;
    let mut out = vec![0; len];
    match file.read_exact(&mut out) {
        Ok(()) => Ok(Some(out)),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

/// The little-endian number of `len` bytes at `at`, which must be there.
fn uint(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

const PT_NOTE: u64 = 4;
const NT_GNU_BUILD_ID: u64 = 3;
const MAX_NOTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn the_running_executable_has_one_id() {
        assert_eq!(build_id().unwrap(), build_id().unwrap());
    }

    #[test]
    fn what_has_no_build_id_is_hashed_whole() {
        let mut file = Cursor::new(b"#!/bin/sh\n".repeat(10));
        assert_eq!(linker_id(&mut file).unwrap(), None);
        assert_eq!(contents_hash(&mut file).unwrap(), xxh3_64(&b"#!/bin/sh\n".repeat(10)));
    }

    #[test]
    fn a_note_is_found_among_others_and_cut_ones_are_no_trouble() {
        let note = |kind: u32, name: &[u8], desc: &[u8]| {
            let mut out = Vec::new();
            for n in [name.len() as u32, desc.len() as u32, kind] {
                out.extend_from_slice(&n.to_le_bytes());
            }
            for part in [name, desc] {
                out.extend_from_slice(part);
                out.resize(out.len().next_multiple_of(4), 0);
            }
            out
        };
        let notes = [note(1, b"GNU\0", b"abi."), note(3, b"GNU\0", b"0123456789")].concat();
        assert_eq!(gnu_build_id(&notes), Some(&b"0123456789"[..]));
        for cut in 0..notes.len() - 2 {
            assert_eq!(gnu_build_id(&notes[..cut]), None);
        }
    }
}

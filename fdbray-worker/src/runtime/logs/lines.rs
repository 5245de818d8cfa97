//! Bytes into lines.

use super::LONGEST;

/// Cuts a stream of bytes into lines of at most [`LONGEST`] bytes.
#[derive(Debug, Default)]
pub(super) struct Lines {
    started: Vec<u8>,
}

impl Lines {
    /// Gives each line that `bytes` completes to `line`.
    pub(super) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let mut part = part;
            // A longer line goes out in pieces, none of which ends within a character.
            while self.started.len() + part.len() > LONGEST + 1 {
                let (piece, rest) = part.split_at(LONGEST - self.started.len());
                self.started.extend_from_slice(piece);
                let kept = self.started.split_off(whole(&self.started));
                line(take(&mut self.started));
                self.started = kept;
                part = rest;
            }
            self.started.extend_from_slice(part);
            if self.started.ends_with(b"\n") {
                line(take(&mut self.started));
            }
        }
    }

    /// Gives the line that was begun, if there is one.
    pub(super) fn flush(&mut self, line: impl FnOnce(String)) {
        if !self.started.is_empty() {
            line(take(&mut self.started));
        }
    }

    /// Whether a line was begun.
    pub(super) fn is_open(&self) -> bool {
        !self.started.is_empty()
    }
}

fn take(bytes: &mut Vec<u8>) -> String {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = String::from_utf8_lossy(line).into_owned();
    bytes.clear();
    line
}

/// How many bytes come before a character that was begun at the end and is not complete.
fn whole(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(e) if e.error_len().is_none() => e.valid_up_to(),
        // Bytes that are no text are cut anywhere.
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, |line| out.push(line));
        }
        lines.flush(|line| out.push(line));
        assert!(!lines.is_open());
        out
    }

    #[test]
    fn lines_come_out_whole_however_they_came_in() {
        assert_eq!(lines(&[b"a\nb", b"c\r\n", b"\n", b"d"]), ["a", "bc", "", "d"]);
        assert_eq!(lines(&[b"bad \xff byte\n"]), ["bad \u{fffd} byte"]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_loses_nothing() {
        let long = format!("x{}", "ä".repeat(LONGEST));
        let out = lines(&[long.as_bytes(), b"\nnext\n"]);
        assert_eq!((out.concat(), out.len()), (format!("{long}next"), 4));
        assert!(out.iter().all(|line| line.len() <= LONGEST));
        let full = "y".repeat(LONGEST);
        assert_eq!(lines(&[full.as_bytes(), b"\n"]), [full]);
        assert_eq!(lines(&[&[0xff; 3 * LONGEST]]).len(), 3);
    }
}

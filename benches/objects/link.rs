//! What a link can do at best: a plain copy over TCP.

use std::{
    env,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    process,
    time::Instant,
};

/// The variable that makes a copy of this program one end of a plain copy: `send ADDRESS BYTES` or `receive ADDRESS`.
pub const END: &str = "FDBRAY_BENCH_LINK";

const PIECE: usize = 1 << 20;

/// Takes over if this process is one end of a plain copy. The receiving end prints MB/s.
pub fn serve() {
    let Ok(end) = env::var(END) else { return };
    let words: Vec<&str> = end.split(' ').collect();
    let done = match words[..] {
        ["send", address, bytes] => send(address, bytes.parse().unwrap_or(0)),
        ["receive", address] => receive(address),
        _ => Err(io::Error::other(format!("`{end}` is no end of a copy"))),
    };
    if let Err(e) = done {
        eprintln!("{end}: {e}");
        process::exit(1);
    }
    process::exit(0);
}

fn send(address: &str, bytes: usize) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening");
    let (mut to, _) = listener.accept()?;
    // Nothing that the link could make smaller, if it wanted.
    let piece: Vec<u8> = (0..PIECE).map(|i| ((i * i) >> 3) as u8).collect();
    for _ in 0..bytes / PIECE {
        to.write_all(&piece)?;
    }
    Ok(())
}

fn receive(address: &str) -> io::Result<()> {
    let mut from = TcpStream::connect(address)?;
    let (mut buffer, mut bytes) = (vec![0; PIECE], 0);
    let started = Instant::now();
    loop {
        match from.read(&mut buffer)? {
            0 => break,
            n => bytes += n,
        }
    }
    println!("{:.1}", bytes as f64 / 1e6 / started.elapsed().as_secs_f64());
    Ok(())
}

//! Two hosts, which are network namespaces, on one link.

use super::{Said, figures, link, take};
use std::{
    env,
    io::{self, BufRead, BufReader},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

/// The namespaces, which go with it.
pub struct Network {
    names: [String; 2],
}

const ADDRESSES: [&str; 2] = ["10.78.0.1", "10.78.0.2"];

impl Network {
    /// Joins two namespaces by a link, of 1 Gbit/s if it is `shaped`.
    pub fn new(shaped: bool) -> io::Result<Self> {
        static NETWORKS: AtomicU32 = AtomicU32::new(0);
        let n = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let names = [0, 1].map(|host| format!("fdbray-bench-{}-{n}-{host}", process::id()));
        let network = Network { names };
        let [a, b] = &network.names;
        ip(&["netns", "add", a])?;
        ip(&["netns", "add", b])?;
        ip(&["-n", a, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b])?;
        for (name, address) in network.names.iter().zip(ADDRESSES) {
            ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
            ip(&["-n", name, "link", "set", "eth0", "up"])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            if shaped {
                let shape = ["rate", "1gbit", "burst", "256kb", "latency", "50ms"];
                let tc = ["netns", "exec", name, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf"];
                ip(&[&tc[..], &shape].concat())?;
            }
        }
        Ok(network)
    }

    /// Takes a figure whose worker is on the other host, after a plain copy over the same link.
    pub fn pull(&self, name: &str, quick: bool) -> io::Result<Said> {
        let limit = self.copy(if quick { 64 << 20 } else { 1 << 30 })?;
        let directory = tempfile::tempdir()?;
        let url = format!("lmdb://{}?cluster=bench&sync=none", directory.path().display());
        let listen = |host: usize| format!("{}:0", ADDRESSES[host]);
        let mut worker = self.on(1)?;
        worker.args(["--worker", "--cluster", &url, "--cpus", "1", "--listen", &listen(1)]);
        worker.env("FDBRAY_SECRET", "between hosts").stdin(Stdio::null()).stdout(Stdio::null());
        let worker = worker.spawn()?;
        let _worker = Ended(worker);
        let mut driver = self.on(0)?;
        driver
            .env("FDBRAY_CLUSTER", &url)
            .env("FDBRAY_SECRET", "between hosts")
            .env("FDBRAY_LISTEN", listen(0));
        let said = take(driver, name, quick)?;
        Ok(Said { limit: Some(limit), ..said })
    }

    /// MB/s of a plain copy.
    fn copy(&self, bytes: usize) -> io::Result<f64> {
        let address = format!("{}:7000", ADDRESSES[1]);
        let mut sender = self.on(1)?;
        sender.env(link::END, format!("send {address} {bytes}")).stdout(Stdio::piped());
        let mut sender = Ended(sender.spawn()?);
        let mut line = String::new();
        if let Some(out) = sender.0.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let received = self.on(0)?.env(link::END, format!("receive {address}")).output()?;
        let said = String::from_utf8_lossy(&received.stdout).trim().to_owned();
        // Its port is free again only when it has ended.
        thread::sleep(Duration::from_millis(50));
        said.parse().map_err(|_| io::Error::other(format!("a plain copy gave `{said}`")))
    }

    /// A copy of this program on one of the hosts.
    fn on(&self, host: usize) -> io::Result<Command> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[host]]).arg(env::current_exe()?);
        command.env_remove("FDBRAY_CLUSTER").env(figures::QUICK, "0");
        Ok(command)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            // It may not have come as far as that.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

/// A process that ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may be gone already, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(args: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(args).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("`ip {}`: {said}", args.join(" "))))
}

//! Network namespaces as the hosts of one test, on a switch of their own, with filters to break what runs between them.

use fdbray_tests::crash::Cluster;
use std::{
    process::{Command, Output, id},
    sync::atomic::{AtomicU32, Ordering},
};

/// Some hosts on a switch. They share the file system and the process ids of this machine, but no socket.
pub struct Lan {
    name: String,
    hosts: usize,
}

impl Lan {
    /// `None`, and a line that says so, where namespaces are not permitted.
    pub fn new(hosts: usize, test: &str) -> Option<Self> {
        static LANS: AtomicU32 = AtomicU32::new(0);
        let name = format!("fdbray-{}-{}", id(), LANS.fetch_add(1, Ordering::Relaxed));
        let lan = Lan { name, hosts };
        match lan.build() {
            Ok(()) => Some(lan),
            Err(why) => {
                println!("skipped {test}: no network namespaces here: {why}");
                None
            }
        }
    }

    fn build(&self) -> Result<(), String> {
        let switch = self.switch();
        run("ip", &["netns", "add", &switch])?;
        run("ip", &["-n", &switch, "link", "add", "switch", "type", "bridge"])?;
        run("ip", &["-n", &switch, "link", "set", "switch", "up"])?;
        for host in 0..self.hosts {
            let (name, port, address) = (self.host(host), format!("port{host}"), self.address(host));
            run("ip", &["netns", "add", &name])?;
            let pair = ["link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns", &switch];
            run("ip", &[&["-n", &name][..], &pair].concat())?;
            run("ip", &["-n", &switch, "link", "set", &port, "master", "switch", "up"])?;
            run("ip", &["-n", &name, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
            run("ip", &["-n", &name, "link", "set", "eth0", "up"])?;
            run("ip", &["-n", &name, "link", "set", "lo", "up"])?;
            self.heal(host)?;
        }
        Ok(())
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }

    /// The namespace of a host.
    pub fn host(&self, host: usize) -> String {
        format!("{}-{host}", self.name)
    }

    /// The address of a host.
    pub fn address(&self, host: usize) -> String {
        format!("10.77.0.{}", host + 1)
    }

    /// From here on `cluster` starts its processes on this host.
    pub fn on(&self, cluster: &mut Cluster, host: usize) {
        cluster.behind(&["ip", "netns", "exec", &self.host(host)]);
    }

    /// Resets every TCP connection of this host that stands now; new ones come through.
    pub fn cut(&self, host: usize) {
        let listed = self.must(host, "ss", &["-Htn", "state", "established"]);
        let port = |address: &str| address.rsplit_once(':')?.1.parse::<u16>().ok();
        for line in String::from_utf8_lossy(&listed.stdout).lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [.., here, there] = words[..]
                && let (Some(here), Some(there)) = (port(here), port(there))
            {
                // But not the other side's reset: whoever sends next is to learn of it from that.
                let others = format!("tcp sport {there} tcp dport {here} tcp flags & rst == 0");
                self.filter(host, &format!("{others} reject with tcp reset"));
            }
        }
    }

    /// How many TCP connections of this host stand.
    pub fn connections(&self, host: usize) -> usize {
        let listed = self.must(host, "ss", &["-Htn", "state", "established"]);
        String::from_utf8_lossy(&listed.stdout).lines().count()
    }

    /// Refuses every TCP connection to this host, standing or new.
    pub fn refuse(&self, host: usize) {
        self.filter(host, "meta l4proto tcp reject with tcp reset");
    }

    /// What this host sends goes at no more than so many megabits per second.
    pub fn shape(&self, host: usize, megabits: u32) {
        let rate = format!("{megabits}mbit");
        let shape = ["rate", &rate, "burst", "64kb", "latency", "50ms"];
        let tbf = ["qdisc", "add", "dev", "eth0", "root", "tbf"];
        self.must(host, "tc", &[&tbf[..], &shape].concat());
    }

    /// Bytes that this host has sent.
    pub fn sent(&self, host: usize) -> u64 {
        let read = self.must(host, "cat", &["/sys/class/net/eth0/statistics/tx_bytes"]);
        String::from_utf8_lossy(&read.stdout).trim().parse().unwrap()
    }

    /// Swallows everything that is sent to this host.
    pub fn isolate(&self, host: usize) {
        self.filter(host, "drop");
    }

    /// Swallows so many percent of what is sent to this host.
    pub fn lose(&self, host: usize, percent: u32) {
        self.filter(host, &format!("numgen random mod 100 < {percent} drop"));
    }

    /// Ends all of that.
    pub fn heal(&self, host: usize) -> Result<(), String> {
        let script = "add table inet f; delete table inet f; add table inet f; \
                      add chain inet f input { type filter hook input priority 0; }";
        self.inside(host, "nft", &[script]).map(drop)
    }

    fn filter(&self, host: usize, rule: &str) {
        self.must(host, "nft", &[&format!("add rule inet f input iifname eth0 {rule}")]);
    }

    fn must(&self, host: usize, program: &str, args: &[&str]) -> Output {
        self.inside(host, program, args).unwrap_or_else(|why| panic!("{why}"))
    }

    fn inside(&self, host: usize, program: &str, args: &[&str]) -> Result<Output, String> {
        run("ip", &[&["netns", "exec", &self.host(host), program][..], args].concat())
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for name in (0..self.hosts).map(|host| self.host(host)).chain([self.switch()]) {
            // It may not have come as far as that.
            let _ = run("ip", &["netns", "del", &name]);
        }
    }
}

fn run(program: &str, args: &[&str]) -> Result<Output, String> {
    let output = Command::new(program).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    match output.status.success() {
        true => Ok(output),
        false => {
            Err(format!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
        }
    }
}

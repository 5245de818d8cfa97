//! Each setting three times: its builder method, its variable, and how its text becomes a value.

use super::parse::{parse_bool, parse_bytes, parse_count, parse_duration, parse_pairs, parse_quantity};
use super::{ClusterUrl, Config, ConfigError, Secret, UNIT};
use std::path::PathBuf;
use std::time::Duration;

/// Builder methods.
impl Config {
    /// Joins this cluster instead of making a private one.
    pub fn cluster(mut self, url: ClusterUrl) -> Self {
        self.cluster = Some(url);
        self
    }

    /// Worker processes of a private cluster.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Cpus to offer, fractions allowed.
    pub fn cpus(mut self, cpus: f64) -> Self {
        self.cpus = Some(units(cpus));
        self
    }

    /// Gpus to offer, fractions allowed.
    pub fn gpus(mut self, gpus: f64) -> Self {
        self.gpus = Some(units(gpus));
        self
    }

    /// Memory to offer, in bytes.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Offers so much of a named resource.
    pub fn resource(mut self, name: impl Into<String>, amount: f64) -> Self {
        insert(&mut self.resources, name.into(), units(amount));
        self
    }

    /// Sets a label by which tasks can choose workers.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        insert(&mut self.labels, key.into(), value.into());
        self
    }

    /// Listens on `host:port`, beside the Unix socket.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Tells others to reach this process under that address.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// What the processes of the cluster prove to each other to know.
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secret = Some(Secret::new(secret));
        self
    }

    /// Bytes of arguments of pending calls before calls are `Overloaded`.
    pub fn max_pending_bytes(mut self, bytes: u64) -> Self {
        self.max_pending_bytes = Some(bytes);
        self
    }

    /// Sync tasks that may wait for futures at once.
    pub fn max_parked(mut self, tasks: usize) -> Self {
        self.max_parked = tasks;
        self
    }

    /// When a call that no worker can run fails.
    pub fn unschedulable_after(mut self, time: Duration) -> Self {
        self.unschedulable_after = time;
        self
    }

    /// When an idle lease is returned.
    pub fn idle_lease(mut self, time: Duration) -> Self {
        self.idle_lease = time;
        self
    }

    /// How long a stopping worker finishes what runs.
    pub fn grace_period(mut self, time: Duration) -> Self {
        self.grace_period = time;
        self
    }

    /// How long a broken connection may be made again before its session ends.
    pub fn session_resume(mut self, time: Duration) -> Self {
        self.session_resume = time;
        self
    }

    /// Up to which size values travel within messages, in bytes.
    pub fn inline_bytes(mut self, bytes: u64) -> Self {
        self.inline_bytes = bytes;
        self
    }

    /// Shared memory for the large values of this process, in bytes.
    pub fn store_bytes(mut self, bytes: u64) -> Self {
        self.store_bytes = Some(bytes);
        self
    }

    /// How long a large value waits for room there before it is `StoreFull`.
    pub fn store_wait(mut self, time: Duration) -> Self {
        self.store_wait = time;
        self
    }

    /// To a worker more of a call's arguments than so many bytes are moved only if to each of the others more would be.
    pub fn locality_bytes(mut self, bytes: u64) -> Self {
        self.locality_bytes = bytes;
        self
    }

    /// Where large values are written when that memory is full; `off` for nowhere.
    pub fn spill_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.spill_dir = Some(dir.into());
        self
    }

    /// How much this process may have there, in bytes.
    pub fn spill_bytes(mut self, bytes: u64) -> Self {
        self.spill_bytes = Some(bytes);
        self
    }

    /// Whether what remote code prints and logs shows in the driver's terminal.
    pub fn log_to_driver(mut self, yes: bool) -> Self {
        self.log_to_driver = yes;
        self
    }

    /// Whether processes of different builds work together, function by function.
    pub fn allow_mixed_binaries(mut self, yes: bool) -> Self {
        self.allow_mixed_binaries = yes;
        self
    }

    /// Everything in the driver's process, for debugging.
    pub fn in_process(mut self, yes: bool) -> Self {
        self.in_process = yes;
        self
    }
}

/// Variables.
impl Config {
    /// The defaults, with what the process's `FDBRAY_*` variables say.
    pub fn from_env() -> Result<Self, ConfigError> {
        let mut config = Config::default();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            if SETTINGS.iter().any(|(setting, _)| *setting == name) {
                let value = value.into_string().map_err(|_| ConfigError::NotText { name: name.clone() })?;
                config.set(&name, &value)?;
            }
        }
        Ok(config)
    }

    /// As `from_env`, from these variables. Others than fdbray's are passed over.
    pub fn from_vars<N, V>(vars: impl IntoIterator<Item = (N, V)>) -> Result<Self, ConfigError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut config = Config::default();
        for (name, value) in vars {
            config.set(name.as_ref(), value.as_ref())?;
        }
        Ok(config)
    }

    /// Sets one variable's setting. Empty is as if it were not there.
    fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let setting = SETTINGS.iter().find(|(setting, _)| *setting == name);
        match setting {
            Some((_, apply)) if !value.is_empty() => self.apply(*apply, name, value),
            _ => Ok(()),
        }
    }

    /// Sets what `apply` sets; `name` is what the user called it.
    pub(super) fn apply(&mut self, apply: Apply, name: &str, value: &str) -> Result<(), ConfigError> {
        apply(self, value).map_err(|why| match why {
            Why::Text(why) => ConfigError::Value { name: name.into(), value: value.into(), why },
            Why::Url(source) => ConfigError::Url { name: name.into(), source },
        })
    }
}

pub(super) type Apply = fn(&mut Config, &str) -> Result<(), Why>;

/// What is wrong with a text.
pub(super) enum Why {
    Text(String),
    Url(super::UrlError),
}

impl From<String> for Why {
    fn from(why: String) -> Self {
        Why::Text(why)
    }
}

impl From<super::UrlError> for Why {
    fn from(error: super::UrlError) -> Self {
        Why::Url(error)
    }
}

/// One line per variable.
#[rustfmt::skip]
const SETTINGS: &[(&str, Apply)] = &[
    ("FDBRAY_CLUSTER", cluster),
    ("FDBRAY_WORKERS", |config, text| set(&mut config.workers, parse_count(text))),
    ("FDBRAY_CPUS", cpus),
    ("FDBRAY_GPUS", gpus),
    ("FDBRAY_MEMORY", memory),
    ("FDBRAY_RESOURCES", resources),
    ("FDBRAY_LABELS", labels),
    ("FDBRAY_LISTEN", listen),
    ("FDBRAY_ADVERTISE", advertise),
    ("FDBRAY_SECRET", |config, text| set(&mut config.secret, Ok(Some(Secret::new(text))))),
    ("FDBRAY_MAX_PENDING_BYTES", |config, text| set(&mut config.max_pending_bytes, parse_bytes(text).map(Some))),
    ("FDBRAY_MAX_PARKED", |config, text| set(&mut config.max_parked, parse_count(text))),
    ("FDBRAY_UNSCHEDULABLE_AFTER", |config, text| set(&mut config.unschedulable_after, parse_duration(text))),
    ("FDBRAY_IDLE_LEASE", |config, text| set(&mut config.idle_lease, parse_duration(text))),
    ("FDBRAY_GRACE_PERIOD", |config, text| set(&mut config.grace_period, parse_duration(text))),
    ("FDBRAY_SESSION_RESUME", |config, text| set(&mut config.session_resume, parse_duration(text))),
    ("FDBRAY_INLINE_BYTES", |config, text| set(&mut config.inline_bytes, parse_bytes(text))),
    ("FDBRAY_STORE_BYTES", |config, text| set(&mut config.store_bytes, parse_bytes(text).map(Some))),
    ("FDBRAY_STORE_WAIT", |config, text| set(&mut config.store_wait, parse_duration(text))),
    ("FDBRAY_LOCALITY_BYTES", |config, text| set(&mut config.locality_bytes, parse_bytes(text))),
    ("FDBRAY_SPILL_DIR", |config, text| set(&mut config.spill_dir, Ok(Some(text.into())))),
    ("FDBRAY_SPILL_BYTES", |config, text| set(&mut config.spill_bytes, parse_bytes(text).map(Some))),
    ("FDBRAY_LOG_TO_DRIVER", |config, text| set(&mut config.log_to_driver, parse_bool(text))),
    ("FDBRAY_ALLOW_MIXED_BINARIES", |config, text| set(&mut config.allow_mixed_binaries, parse_bool(text))),
    ("FDBRAY_IN_PROCESS", |config, text| set(&mut config.in_process, parse_bool(text))),
];

pub(super) fn cluster(config: &mut Config, text: &str) -> Result<(), Why> {
    config.cluster = Some(text.parse()?);
    Ok(())
}

pub(super) fn cpus(config: &mut Config, text: &str) -> Result<(), Why> {
    set(&mut config.cpus, parse_quantity(text).map(Some))
}

pub(super) fn gpus(config: &mut Config, text: &str) -> Result<(), Why> {
    set(&mut config.gpus, parse_quantity(text).map(Some))
}

pub(super) fn memory(config: &mut Config, text: &str) -> Result<(), Why> {
    set(&mut config.memory, parse_bytes(text).map(Some))
}

pub(super) fn listen(config: &mut Config, text: &str) -> Result<(), Why> {
    set(&mut config.listen, Ok(Some(text.into())))
}

pub(super) fn advertise(config: &mut Config, text: &str) -> Result<(), Why> {
    set(&mut config.advertise, Ok(Some(text.into())))
}

/// `name=N`, any number of them with commas between.
pub(super) fn resources(config: &mut Config, text: &str) -> Result<(), Why> {
    for (name, amount) in parse_pairs(text)? {
        insert(&mut config.resources, name.into(), parse_quantity(amount)?);
    }
    Ok(())
}

/// `key=value`, any number of them with commas between.
pub(super) fn labels(config: &mut Config, text: &str) -> Result<(), Why> {
    for (key, value) in parse_pairs(text)? {
        insert(&mut config.labels, key.into(), value.into());
    }
    Ok(())
}

fn set<T>(place: &mut T, value: Result<T, String>) -> Result<(), Why> {
    *place = value?;
    Ok(())
}

/// The last one of a name counts.
fn insert<T>(pairs: &mut Vec<(String, T)>, name: String, value: T) {
    match pairs.iter_mut().find(|(known, _)| *known == name) {
        Some((_, place)) => *place = value,
        None => pairs.push((name, value)),
    }
}

fn units(amount: f64) -> u64 {
    (amount.max(0.0) * UNIT as f64).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_sets_its_setting() {
        let config = Config::from_vars([
            ("FDBRAY_CLUSTER", "lmdb:///tmp/demo?cluster=demo"),
            ("FDBRAY_WORKERS", "3"),
            ("FDBRAY_CPUS", "1.5"),
            ("FDBRAY_GPUS", "0.25"),
            ("FDBRAY_MEMORY", "2GiB"),
            ("FDBRAY_RESOURCES", "licence=2,disk=0.5"),
            ("FDBRAY_LABELS", "zone=a,tier=gold=1"),
            ("FDBRAY_LISTEN", "0.0.0.0:0"),
            ("FDBRAY_ADVERTISE", "example:7000"),
            ("FDBRAY_SECRET", "s"),
            ("FDBRAY_MAX_PENDING_BYTES", "1MB"),
            ("FDBRAY_MAX_PARKED", "7"),
            ("FDBRAY_UNSCHEDULABLE_AFTER", "1m"),
            ("FDBRAY_IDLE_LEASE", "50ms"),
            ("FDBRAY_GRACE_PERIOD", "2.5s"),
            ("FDBRAY_SESSION_RESUME", "3"),
            ("FDBRAY_INLINE_BYTES", "1000"),
            ("FDBRAY_STORE_BYTES", "2MB"),
            ("FDBRAY_STORE_WAIT", "4s"),
            ("FDBRAY_LOCALITY_BYTES", "3MB"),
            ("FDBRAY_SPILL_DIR", "/disk"),
            ("FDBRAY_SPILL_BYTES", "3GB"),
            ("FDBRAY_LOG_TO_DRIVER", "false"),
            ("FDBRAY_ALLOW_MIXED_BINARIES", "1"),
            ("FDBRAY_IN_PROCESS", "true"),
            ("PATH", "/bin"),
        ])
        .unwrap();
        let same = Config::new()
            .cluster("lmdb:///tmp/demo?cluster=demo".parse().unwrap())
            .workers(3)
            .cpus(1.5)
            .gpus(0.25)
            .memory(2 << 30)
            .resource("licence", 2.0)
            .resource("disk", 0.5)
            .label("zone", "a")
            .label("tier", "gold=1")
            .listen("0.0.0.0:0")
            .advertise("example:7000")
            .secret("s")
            .max_pending_bytes(1_000_000)
            .max_parked(7)
            .unschedulable_after(Duration::from_secs(60))
            .idle_lease(Duration::from_millis(50))
            .grace_period(Duration::from_millis(2500))
            .session_resume(Duration::from_secs(3))
            .inline_bytes(1000)
            .store_bytes(2_000_000)
            .store_wait(Duration::from_secs(4))
            .locality_bytes(3_000_000)
            .spill_dir("/disk")
            .spill_bytes(3_000_000_000)
            .log_to_driver(false)
            .allow_mixed_binaries(true)
            .in_process(true);
        assert_eq!(config, same);
    }

    #[test]
    fn a_wrong_value_is_named_with_its_variable() {
        for (name, value) in [
            ("FDBRAY_WORKERS", "-1"),
            ("FDBRAY_CPUS", "many"),
            ("FDBRAY_CPUS", "inf"),
            ("FDBRAY_MEMORY", "16 parsecs"),
            ("FDBRAY_RESOURCES", "licence"),
            ("FDBRAY_RESOURCES", "=1"),
            ("FDBRAY_IN_PROCESS", "perhaps"),
            ("FDBRAY_IDLE_LEASE", "-1s"),
            ("FDBRAY_CLUSTER", "redis://x"),
        ] {
            let error = Config::from_vars([(name, value)]).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }

    #[test]
    fn empty_variables_are_as_if_they_were_not_there() {
        assert_eq!(Config::from_vars([("FDBRAY_CLUSTER", ""), ("FDBRAY_CPUS", "")]), Ok(Config::new()));
    }
}

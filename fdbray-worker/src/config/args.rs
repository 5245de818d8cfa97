//! The command line of a worker. A program's own arguments are its own as long as `--worker` is not among them.

use super::settings::{self, Apply};
use super::{Config, ConfigError};
use crate::control::members::Role;

/// The arguments that go with `--worker`.
pub const WORKER_USAGE: &str = "  \
--worker              run as a worker
  --cluster URL         the cluster to join (or FDBRAY_CLUSTER)
  --listen ADDR         also listen on TCP, as host:port
  --advertise ADDR      the address by which others reach this worker
  --cpus N              cpus to offer, such as 4 or 0.5
  --gpus N              gpus to offer
  --memory SIZE         memory to offer, such as 16GiB
  --resource NAME=N     a resource to offer; may be repeated
  --label KEY=VALUE     a label by which tasks choose workers; may be repeated";

/// How a program was started.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// Worker if `--worker` was given.
    pub role: Role,
    /// The environment's settings, and the command line's over them.
    pub config: Config,
}

impl Config {
    /// Reads the arguments after the program's name: `Config::from_args(std::env::args().skip(1))`. Settings come from
    /// the environment first.
    pub fn from_args(args: impl IntoIterator<Item = String>) -> Result<Invocation, ConfigError> {
        Config::from_env()?.with_args(args)
    }

    /// As `from_args`, over these settings.
    pub fn with_args(self, args: impl IntoIterator<Item = String>) -> Result<Invocation, ConfigError> {
        let args: Vec<String> = args.into_iter().collect();
        let mut config = self;
        if !args.iter().any(|arg| arg == "--worker") {
            return Ok(Invocation { role: Role::Driver, config });
        }
        let mut args = args.into_iter();
        while let Some(argument) = args.next() {
            if argument == "--worker" {
                continue;
            }
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            let Some((_, apply)) = ARGUMENTS.iter().find(|(known, _)| *known == name) else {
                return Err(ConfigError::UnknownArgument { argument: name });
            };
            let Some(value) = value.or_else(|| args.next()) else {
                return Err(ConfigError::MissingValue { argument: name });
            };
            config.apply(*apply, &name, &value)?;
        }
        if config.cluster.is_none() {
            return Err(ConfigError::NoCluster);
        }
        Ok(Invocation { role: Role::Worker, config })
    }
}

const ARGUMENTS: &[(&str, Apply)] = &[
    ("--cluster", settings::cluster),
    ("--listen", settings::listen),
    ("--advertise", settings::advertise),
    ("--cpus", settings::cpus),
    ("--gpus", settings::gpus),
    ("--memory", settings::memory),
    ("--resource", settings::resources),
    ("--label", settings::labels),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, ConfigError> {
        Config::new().with_args(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_programs_own_arguments_are_left_alone() {
        let invocation = parse("--verbose --cpus many file.txt").unwrap();
        assert_eq!(invocation, Invocation { role: Role::Driver, config: Config::new() });
    }

    #[test]
    fn a_worker_takes_all_its_arguments_in_both_spellings() {
        let invocation = parse(
            "--worker --cluster lmdb:///tmp/d?cluster=demo --listen=127.0.0.1:0 --advertise host:1 --cpus 2.5 --gpus 1 \
             --memory 16GiB --resource a=1 --resource=b=0.5 --label zone=x",
        );
        let expected = Config::new()
            .cluster("lmdb:///tmp/d?cluster=demo".parse().unwrap())
            .listen("127.0.0.1:0")
            .advertise("host:1")
            .cpus(2.5)
            .gpus(1.0)
            .memory(16 << 30)
            .resource("a", 1.0)
            .resource("b", 0.5)
            .label("zone", "x");
        assert_eq!(invocation, Ok(Invocation { role: Role::Worker, config: expected }));
    }

    #[test]
    fn unknown_arguments_of_a_worker_list_what_exists() {
        let error = parse("--worker --cluster lmdb:///tmp/d --cpu 2").unwrap_err().to_string();
        assert!(error.contains("--cpu ") && error.contains("--cpus N"), "{error}");
    }

    #[test]
    fn missing_and_wrong_values_name_their_argument() {
        assert_eq!(parse("--worker --cpus"), Err(ConfigError::MissingValue { argument: "--cpus".into() }));
        assert_eq!(parse("--worker"), Err(ConfigError::NoCluster));
        let error = parse("--worker --cluster lmdb:///tmp/d --memory lots").unwrap_err().to_string();
        assert!(error.contains("--memory=lots") && error.contains("16GiB"), "{error}");
    }
}

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use clap::{Args, ValueHint, value_parser};
use tokio::sync::mpsc;
use tokio::time::timeout;

use wasm_core::units::{parse_bytes, parse_duration};
use wasm_host::{
    ApplicationFolder, Found, Host, HostBuilder, HostLimits, RedbStorage, StorageConfig,
};
use wasm_nats::Connection;
use wasm_runtime::{LogRate, WasmtimeEngine};

use crate::input::application::{Application, find_manifests, open};
use crate::input::cluster::Cluster;
use crate::input::compiler::CompilerFlags;
use crate::input::flags::{Flags, parse_ceiling};
use crate::input::message::typed_lines;
use crate::input::source::program_id;
#[cfg(unix)]
use crate::input::terminal::edited_lines;
use crate::output::guest_log::LogFormat;
use crate::output::otlp::OtlpFlags;
use crate::output::outcome::{FAILED, Stop, block_on, unless_interrupted};
use crate::output::report::{Problems, Report, aside};
use crate::session::conversation::{ADDRESS_BYTES, Conversation, End};
use crate::session::reach::{Prepared, Reach, Reached};
use crate::session::rebuild::Rebuild;
use crate::session::reload::Reload;
use crate::session::tenancy::join;
use crate::session::watch::{Asked, Change, Watch};

const EXAMPLES: &str = "\
Examples:
  airssys-wasm up examples/cafe
  echo 'demo/echo/main hello' | airssys-wasm up examples
  airssys-wasm up shop --data shop.redb --watch
  airssys-wasm up shop --watch --build
  airssys-wasm up shop --stay --verbose < /dev/null
  airssys-wasm up shop --listen 127.0.0.1:7070 --data shop.redb
  airssys-wasm up shop --http 127.0.0.1:8080
  airssys-wasm up shop --nats nats://127.0.0.1:4222 --node a";

const DETAILS: &str = "\
Every Component.toml in FOLDER and below is a component, up to 16 folders deep;
folders that are hidden or called target are left out. Links to folders are
followed within FOLDER; a note names each that leads out of it, or nowhere, and
what is deeper. All are loaded, or the program ends.

What a manifest names must lie in FOLDER once links and .. are followed, or in
what --allow-outside names. What a component can write is data: in a folder that
it is granted for writing no component, configuration, other granted folder or
file of --data may lie, and a Component.toml is left out, with a warning.

Each line of standard input is one of these:
  namespace/name/instance TEXT  send a message, wait for the reply
  send ID TEXT                  send a message, wait for nothing
  call ID EXPORT(ARGUMENTS)     call an export, show what it returns
  ps                            list the components
  ps ID                         show all that is known of one
  dead                          list messages that could not be handled
  redeliver NUMBER              deliver one of those once more
  restart ID                    give a component a fresh start
  help                          all of these
  quit                          end, as Ctrl-D and Ctrl-C do

A reply is printed as `namespace/name/instance: REPLY`, further lines of it are
indented; one that is no text is printed in hexadecimal, as 0x00ff. `call` takes
its turn among the messages of a component, of whatever world, and is written as
for the command `call`; a resource that it keeps is there until the component is
restarted or replaced. The next line is read once the reply is there and what
the message set going has come to rest, for which it waits up to a second; at a
terminal, up to a second for the reply too. What happens besides, and what
components log, goes to standard error; while nobody reads that, up to 1 MiB of
it is kept, and what is more is dropped and counted. Components go on whoever
reads what they say.

At a terminal a line can be edited: Tab completes words and ids, and the arrows
up and down bring lines back, which are kept until the end and nowhere else.

Components may send to each other what [permissions] grants them, and are
restarted as [supervision] says. What they store is lost at the end, or kept
with --data.

With --watch, a component whose manifest, .wasm or configuration file changes is
replaced while messages arrive: the old one ends what it is doing, and stays if
the new one cannot be loaded, is no other, or takes no messages while it does.
Components come and go with their Component.toml.

With --build, components are built first, as by `build`, and with --watch again
when their sources change; what cannot be built goes on as it was. This runs the
commands of the manifests and the tools of their languages: build only what you
would run. Sources must lie in FOLDER, too, and nothing is built that any of the
components may write. Looked at are the folders of `sources`, or that of the
manifest, but for tests, target, *.wasm, the file of --data and what components
may write; what changes there while it is built is built once more.

With --listen, components are reached over HTTP, which /openapi.json describes,
and by the commands ps, request, send, restart, events and dead with --host. It
goes on after the end of its input. SIGHUP reads FOLDER and the token file
again; SIGTERM lets nobody in any more, answers what was accepted, and ends.
With --http, those that have an [http] answer requests to its path, and nothing
else is reached there; at --listen they do so for those who have a token.

In `ps`, FUEL is that of all calls, MEMORY that of now, and HEALTH what a
component said when it was last asked, as [supervision] says. `dead` begins each
line with the number by which `redeliver` takes it.

With --nats, the components of FOLDER are shared by all nodes that are started
with the same FOLDER and --app: each has some of them, which others take over
when it ends or is not heard of for as long as --lease says. What they store and
what they are sent is kept by NATS. Without FOLDER, the components are those of
`deploy`. `ps` and `dead` show those of all nodes; at --listen, /nodes does.
docs/cluster.md says more.

With --keep-going, a component that cannot be read or loaded is told of, and the
others run without it.

Exit codes:
  0    ended by the end of its input, `quit`, Ctrl-C or SIGTERM
  1    ended by the end of its input or `quit`, and a line was not answered
       well; a component is missing (--keep-going); or the file of --data failed
       when it was closed
  2    bad input: nothing was sent
  130  ended by Ctrl-C or SIGTERM while it was starting or stopping";

/// Run all components below a folder, let them talk and talk to them
///
/// Lines of standard input are messages: `demo/echo/main hello` sends hello to
/// demo/echo/main and prints its reply. Ctrl-D or Ctrl-C ends all components.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DETAILS}"))]
pub(crate) struct Up {
    /// Folder with a Component.toml for each component, in it or below
    #[arg(value_hint = ValueHint::DirPath, required_unless_present = "nats")]
    folder: Option<PathBuf>,

    /// Reload components whose files change, and take in new ones
    #[arg(long)]
    watch: bool,

    /// Build components from their sources first, and with --watch when these change
    #[arg(long)]
    build: bool,

    /// Keep what components store in this file, or it is lost at the end
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    data: Option<PathBuf>,

    /// Memory for what was read of that file
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "16MiB",
        value_parser = parse_bytes,
        requires = "data",
        hide_short_help = true
    )]
    data_cache: u64,

    /// Folder or file outside of FOLDER that manifests may name (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    allow_outside: Vec<PathBuf>,

    /// Longest wait for the reply to a line
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "10s",
        value_parser = parse_duration
    )]
    timeout: Duration,

    /// Go on after the end of standard input, until Ctrl-C; so does --listen
    #[arg(long)]
    stay: bool,

    /// Run without components that cannot be loaded
    #[arg(long)]
    keep_going: bool,

    /// Print every message that is handled
    #[arg(long, short)]
    verbose: bool,

    /// How standard error is written: text for people, or json, an object on each line
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    log_format: LogFormat,

    #[command(flatten)]
    pub(crate) otlp: OtlpFlags,

    #[command(flatten)]
    reach: Reach,

    #[command(flatten)]
    cluster: Cluster,

    #[command(flatten)]
    limits: Limits,
}

/// What all components may use together.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct Limits {
    /// Most components that have an instance at a time
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "1024",
        value_parser = value_parser!(u64).range(1..)
    )]
    max_components: u64,

    /// Most components, asleep or not
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "1000000",
        value_parser = value_parser!(u64).range(1..)
    )]
    max_registered: u64,

    /// Most that the memory limits of all components add up to
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1GiB",
        value_parser = parse_bytes
    )]
    max_memory: u64,

    /// Most host memory that is kept for all components besides: their code and types
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1GiB",
        value_parser = parse_bytes
    )]
    max_kept: u64,

    /// Most bytes of payloads that wait for one component
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "16MiB",
        value_parser = parse_bytes
    )]
    max_mailbox: u64,

    /// Most bytes of payloads that wait for all components together; less than 64KiB for one
    /// have room all the same
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "256MiB",
        value_parser = parse_bytes
    )]
    max_queued: u64,

    /// Most components that send a message on, one to the next
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "64",
        value_parser = value_parser!(u32).range(1..)
    )]
    max_hops: u32,

    /// Largest memory limit that a manifest may set
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "4MiB",
        value_parser = parse_ceiling
    )]
    memory_ceiling: u64,

    /// Most that the host holds for each component outside of its memory, such as the
    /// buffers of its streams
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "2MiB",
        value_parser = parse_bytes
    )]
    max_held: u64,

    /// Most lines that one component may log in a second
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "1000",
        value_parser = value_parser!(u32).range(1..)
    )]
    log_lines: u32,

    /// Most that one component may log in a second
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "256KiB",
        value_parser = parse_bytes
    )]
    log_bytes: u64,

    #[command(flatten)]
    compiler: CompilerFlags,
}

impl Up {
    pub(crate) fn log_format(&self) -> LogFormat {
        self.log_format
    }

    /// From now on, SIGHUP ends nothing where it has something read again.
    pub(crate) fn hear_hangups(&mut self) {
        self.reach.hear_hangups();
    }

    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(self.run())
    }

    async fn run(mut self) -> Result<ExitCode, Stop> {
        let compiler = self.limits.compiler.clone();
        let flags = Flags::of_many(self.limits.memory_ceiling, compiler);
        let (application, watch, rebuild, mut is_whole) = self.read(&flags).await?;
        let application = Arc::new(application);
        let prepared = self.reach.prepare(&self.otlp).await?;
        let storage = self.storage()?.map(Arc::new);
        let connection = self.cluster.connect().await?;
        let host = self.host(storage.clone(), connection.as_ref())?;
        let _watched = self.otlp.watch(&host);
        let interactive = io::stdin().is_terminal();
        let mut conversation = Conversation::new(
            host.clone(),
            Arc::clone(&application),
            self.timeout,
            self.verbose,
            interactive,
        );
        let loading = self.begin(&mut conversation, connection, &host, &application, &flags);
        if let Err(stop) = unless_interrupted(loading).await {
            // Some may be loaded, and others not for a long time.
            let _ = timeout(PATIENCE, conversation.stop()).await;
            return Err(stop);
        }
        self.introduce(&application, interactive);
        if let Some(rebuild) = rebuild.filter(|_| self.watch) {
            rebuild.start(&application);
        }
        let (mut reached, is_complete) = self
            .open(prepared, &mut conversation, &application, &host)
            .await?;
        is_whole &= is_complete;
        let asked = reached.as_mut().and_then(Reached::take_asked);
        let reload = watch.map(|watch| {
            let changes = self.changes(watch, asked, &application);
            let sites = reached.as_ref().map(|reached| reached.sites().clone());
            let reload = Reload::new(host, Arc::clone(&application), flags, sites);
            tokio::spawn(reload.follow(changes))
        });
        let outcome = unless_interrupted(self.talk(&mut conversation, application)).await;
        if let Some(reload) = reload {
            reload.abort();
        }
        if !end(reached, &mut conversation, storage, &outcome).await? {
            return Ok(ExitCode::from(FAILED));
        }
        match outcome {
            Ok(()) if conversation.has_failed() || !is_whole => Ok(ExitCode::from(FAILED)),
            // Ctrl-C is how it is ended.
            Ok(()) | Err(Stop::Interrupted) => Ok(ExitCode::SUCCESS),
            Err(stop) => Err(stop),
        }
    }

    /// The application, what is to be watched of it, and whether it is whole.
    async fn read(
        &self,
        flags: &Flags,
    ) -> Result<(Application, Option<Watch>, Option<Rebuild>, bool), Stop> {
        let Some(folder) = &self.folder else {
            return Ok((Application::without_files()?, None, None, true));
        };
        let folder = open(folder, &self.allow_outside)?;
        let found = find_manifests(&folder)?;
        let (rebuild, mut is_whole) = self.build_all(&folder, &found, flags).await?;
        // What several nodes have does not change on one.
        let is_reloaded = !self.cluster.is_wanted() && (self.watch || self.reach.is_wanted());
        let mut watch = is_reloaded.then(|| Watch::new(&found));
        let read = Application::read(folder, &found.manifests, self.data.clone(), flags);
        let (application, left_out, unread) = read.await?;
        is_whole &= self.goes_on(&application, unread).await?;
        if let Some(watch) = &mut watch {
            left_out.iter().for_each(|other| watch.leave_out(other));
        }
        Ok((application, watch, rebuild, is_whole))
    }

    /// Lets others in, once it is known which component answers what; whether all do that are
    /// meant to.
    async fn open(
        &self,
        prepared: Option<Prepared>,
        conversation: &mut Conversation,
        application: &Application,
        host: &Host<WasmtimeEngine>,
    ) -> Result<(Option<Reached>, bool), Stop> {
        let Some(prepared) = prepared else {
            return Ok((None, true));
        };
        let prepared = match conversation.node() {
            Some(node) => prepared.with_node(node),
            None => prepared,
        };
        let (ceiling, sources) = (self.limits.memory_ceiling, application.sources());
        let admitting = self.reach.admit(prepared, host.clone(), ceiling, &sources);
        let (admitted, problems) = admitting.await;
        let is_complete = problems.is_empty();
        let problems = Problems::from_iter(problems);
        if !is_complete && !self.keep_going {
            let _ = timeout(PATIENCE, conversation.stop()).await;
            return Err(problems.into());
        }
        problems.tell().await;
        Ok((Some(self.reach.open(admitted)), is_complete))
    }

    /// Whether all of it was read; with --keep-going, some of it is enough.
    async fn goes_on(
        &self,
        application: &Application,
        unread: Option<Problems>,
    ) -> Result<bool, Stop> {
        let Some(problems) = unread else {
            return Ok(true);
        };
        if !self.keep_going || application.sources().is_empty() {
            return Err(problems.into());
        }
        problems.tell().await;
        Ok(false)
    }

    /// With --build, builds what was found; what knows the sources, and whether all were built.
    async fn build_all(
        &self,
        folder: &ApplicationFolder,
        found: &Found,
        flags: &Flags,
    ) -> Result<(Option<Rebuild>, bool), Stop> {
        if !self.build {
            return Ok((None, true));
        }
        let (manifests, data) = (&found.manifests, self.data.as_deref());
        let to_build = Application::to_build(folder, manifests, data, flags).await?;
        let problems = to_build.problems.into_iter().flat_map(|(_, found)| found);
        let problems: Vec<Report> = problems.collect();
        let mut is_whole = problems.is_empty();
        if !is_whole {
            let problems = problems.into_iter().collect::<Problems>();
            if !self.keep_going {
                return Err(problems.into());
            }
            problems.tell().await;
        }
        let mut rebuild = Rebuild::new(flags.clone(), self.data.clone());
        for manifest in &to_build.built {
            if let Err(report) = rebuild.build(manifest, &to_build.separation) {
                if !self.keep_going {
                    return Err(report.into());
                }
                report.tell().await;
                is_whole = false;
            }
        }
        for manifest in &to_build.without_sources {
            rebuild.pass_over(manifest, &to_build.separation);
        }
        Ok((Some(rebuild), is_whole))
    }

    /// Follows the files, or reads them again when it is asked to. What failed is tried again
    /// when it is asked to, either way.
    fn changes(
        &self,
        watch: Watch,
        asked: Option<Receiver<Asked>>,
        application: &Arc<Application>,
    ) -> mpsc::Receiver<Change> {
        let application = Arc::clone(application);
        match asked {
            Some(asked) if !self.watch => watch.start_when_asked(application, asked),
            asked => watch.start(application, asked),
        }
    }

    fn storage(&self) -> Result<Option<RedbStorage>, Report> {
        let cache_bytes = usize::try_from(self.data_cache).unwrap_or(usize::MAX);
        let config = StorageConfig::default().with_cache_bytes(cache_bytes);
        let open = |file| RedbStorage::open_with(file, config);
        let storage = self.data.as_ref().map(open).transpose();
        storage.map_err(|error| Report::error(error.to_string()).with_note(GIVEN_BY_DATA))
    }

    /// Loads all components, or becomes one of several nodes, each of which loads its own.
    async fn begin(
        &self,
        conversation: &mut Conversation,
        connection: Option<Connection>,
        host: &Host<WasmtimeEngine>,
        application: &Arc<Application>,
        flags: &Flags,
    ) -> Result<(), Stop> {
        let Some(connection) = connection else {
            return conversation.load(self.keep_going).await;
        };
        let deployed = self.folder.is_none().then(|| flags.clone());
        let node = join(connection, host, application, deployed).await?;
        conversation.set_node(node);
        Ok(())
    }

    fn host(
        &self,
        storage: Option<Arc<RedbStorage>>,
        connection: Option<&Connection>,
    ) -> Result<Host<WasmtimeEngine>, Report> {
        let limits = HostLimits::default()
            .with_components(self.limits.max_components)
            .with_registered(self.limits.max_registered)
            .with_memory_bytes(self.limits.max_memory)
            .with_kept_bytes(self.limits.max_kept)
            .with_mailbox_bytes(self.limits.max_mailbox)
            .with_queued_bytes(self.limits.max_queued)
            .with_hops(self.limits.max_hops);
        let mut builder = HostBuilder::new()
            .with_limits(limits)
            .with_program_id(program_id());
        if let Some(storage) = storage {
            builder = builder.with_storage(storage);
        }
        if let Some(connection) = connection {
            builder = connection.build(builder);
        }
        let ceiling = self.limits.memory_ceiling;
        let instances = self.limits.max_components.min(MAX_INSTANCES) as u32 + SPARE_INSTANCES;
        let config = self.limits.compiler.engine_config(ceiling, instances)?;
        let config = config.with_max_held_bytes(self.limits.max_held);
        let rate = LogRate::new(self.limits.log_lines, self.limits.log_bytes);
        let config = self.otlp.in_engine(config.with_log_rate(rate));
        builder
            .start(|services| WasmtimeEngine::new(config, services).map(Arc::new))
            .map_err(|error| Report::error(error.to_string()))
    }

    /// What someone at a terminal wants to know first.
    fn introduce(&self, application: &Application, interactive: bool) {
        let mut sources = application.sources().into_iter();
        let stores = sources.find(|source| source.config.permissions.storage.is_some());
        if let (None, Some(source)) = (&self.data, stores.filter(|_| !self.cluster.is_wanted())) {
            let id = &source.id;
            Report::note(format!(
                "what components such as {id} store is lost at the end"
            ))
            .with_help("--data FILE keeps it")
            .print();
        }
        if interactive {
            Report::note("`namespace/name/instance TEXT` sends a message; `help` shows more")
                .print();
        }
    }

    async fn talk(
        &self,
        conversation: &mut Conversation,
        application: Arc<Application>,
    ) -> Result<(), Stop> {
        let max_bytes = self.limits.memory_ceiling.saturating_add(ADDRESS_BYTES);
        #[cfg(unix)]
        let edited = edited_lines(max_bytes, move || application.ids());
        #[cfg(not(unix))]
        let edited = {
            drop(application);
            None::<(_, ())>
        };
        let (mut lines, given_back) = match edited {
            Some((lines, given_back)) => (lines, Some(given_back)),
            None => (typed_lines(max_bytes), None),
        };
        let end = conversation.talk(&mut lines).await?;
        drop(given_back);
        if end == End::OfInput {
            if self.stay || self.reach.is_wanted() {
                conversation.watch().await?;
            }
            aside("standard input has ended, and with it this; --stay goes on without");
        }
        conversation.settle().await
    }
}

/// Lets nobody in any more, ends all components and closes the file of the data; whether that
/// is complete.
async fn end(
    reached: Option<Reached>,
    conversation: &mut Conversation,
    storage: Option<Arc<RedbStorage>>,
    outcome: &Result<(), Stop>,
) -> Result<bool, Stop> {
    if let Err(Stop::Interrupted) = outcome {
        aside("stopping; Ctrl-C again does not wait for it");
    }
    if let Some(reached) = reached {
        let close = async {
            reached.close().await;
            Ok(())
        };
        unless_interrupted(close).await?;
    }
    unless_interrupted(conversation.stop()).await?;
    if let Some(storage) = storage
        && let Err(error) = unless_interrupted(async { Ok(storage.close().await) }).await?
    {
        let report = Report::error(format!("what components store may be lost: {error}"));
        report.with_note(GIVEN_BY_DATA).tell().await;
        return Ok(false);
    }
    Ok(true)
}

/// More have no mappings of memory left by default (`vm.max_map_count`), at four each.
const MAX_INSTANCES: u64 = 16_000;

/// For versions that take over while those before them are still there.
const SPARE_INSTANCES: u32 = 16;

const GIVEN_BY_DATA: &str = "the file was given by --data";

/// For those that are loaded when others cannot be.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use clap::Parser;

    use wasm_runtime::EngineConfig;

    use crate::input::line::HELP;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        up: Up,
    }

    #[test]
    fn the_defaults_are_those_of_a_host() {
        let up = Program::try_parse_from(["x", "."]).unwrap().up;
        let (limits, data_cache) = (up.limits, up.data_cache);
        let defaults = HostLimits::default();
        assert_eq!(data_cache as usize, StorageConfig::default().cache_bytes);
        assert_eq!(limits.max_components, defaults.components);
        assert_eq!(limits.max_registered, defaults.registered);
        assert_eq!(limits.max_memory, defaults.memory_bytes);
        assert_eq!(limits.max_kept, defaults.kept_bytes);
        assert_eq!(limits.max_mailbox, defaults.mailbox_bytes);
        assert_eq!(limits.max_queued, defaults.queued_bytes);
        assert_eq!(limits.max_hops, defaults.hops);
        assert_eq!(
            limits.memory_ceiling,
            EngineConfig::default().memory_ceiling_bytes()
        );
        assert_eq!(
            LogRate::new(limits.log_lines, limits.log_bytes),
            EngineConfig::default().log_rate()
        );
        for wrong in [
            ["--max-components", "0"],
            ["--max-registered", "0"],
            ["--max-hops", "0"],
            ["--log-lines", "0"],
            ["--log-bytes", "1"],
            ["--max-memory", "1"],
        ] {
            let arguments = ["x", "."].into_iter().chain(wrong);
            assert!(Program::try_parse_from(arguments).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_help_knows_what_can_be_typed() {
        for line in HELP.lines() {
            let usage = line.split("  ").next().unwrap();
            assert!(DETAILS.contains(&format!("\n  {usage} ")), "{usage}");
        }
    }
}

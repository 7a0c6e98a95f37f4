//! `airssys-wasm`: runs WebAssembly components under enforced limits.
//!
//! Replies and results go to standard output, everything else to standard error.
//! Exit codes: 0 all went well, 1 a message or call failed, 2 bad input.

mod build;
mod command;
mod connect;
mod input;
mod output;
mod session;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env;
use std::panic::set_hook;
use std::process::ExitCode;
use std::thread;

use clap::{Parser, Subcommand};

use wasm_host::is_panic_caught;

use crate::command::build::Build;
use crate::command::cache::Cache;
use crate::command::call::Call;
use crate::command::check::Check;
use crate::command::compile::Compile;
use crate::command::data::Data;
use crate::command::deploy::{Deploy, Rollback, Undeploy};
use crate::command::inspect::Inspect;
use crate::command::new::New;
use crate::command::nodes::Nodes;
use crate::command::remote::components::{Ps, Restart};
use crate::command::remote::messages::{Request, Send};
use crate::command::remote::watching::{Dead, Events};
use crate::command::run::Run;
use crate::command::serve::Serve;
use crate::command::trial::Test;
use crate::command::up::Up;
use crate::output::Finish;
use crate::output::guest_log::LogFormat;
use crate::output::otlp::Telemetry;
use crate::output::outcome::Stop;
use crate::output::report::Report;

const EXAMPLES: &str = "\
Examples:
  airssys-wasm run examples/echo --message hello
  airssys-wasm up examples/cafe
  airssys-wasm call examples/hello 'hello()'
  airssys-wasm inspect echo.wasm
  airssys-wasm check examples/echo
  airssys-wasm new greeter

Exit codes:
  0  all went well
  1  a message or call failed
  2  bad input: arguments, manifest or component";

/// Runs WebAssembly components that answer messages, under limits they cannot exceed.
#[derive(Debug, Parser)]
#[command(name = "airssys-wasm", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Run),
    Up(Box<Up>),
    Serve(Serve),
    Call(Call),
    Inspect(Inspect),
    Check(Check),
    Compile(Compile),
    Cache(Cache),
    Data(Data),
    New(New),
    Build(Build),
    Test(Test),
    Ps(Ps),
    Request(Request),
    Send(Send),
    Restart(Restart),
    Events(Events),
    Dead(Dead),
    Deploy(Deploy),
    Rollback(Rollback),
    Undeploy(Undeploy),
    Nodes(Nodes),
}

impl Command {
    /// How standard error is written.
    fn log_format(&self) -> LogFormat {
        match self {
            Self::Up(up) => up.log_format(),
            Self::Serve(serve) => serve.log_format(),
            _ => LogFormat::Text,
        }
    }

    /// Begins to send traces, logs and metrics, if they are wanted.
    fn telemetry(&self) -> Result<Option<Telemetry>, Report> {
        match self {
            Self::Up(up) => up.otlp.begin(),
            Self::Serve(serve) => serve.otlp.begin(),
            _ => Ok(None),
        }
    }
}

/// Panics are printed as everything else is, so that no thread waits for a reader. One
/// that is caught, as of the database over a damaged file, is told as what it is; whoever
/// reads its message takes it for a crash of the program.
fn print_panics() {
    set_hook(Box::new(|panic| {
        if is_panic_caught() {
            return;
        }
        let thread = thread::current();
        let name = thread.name().unwrap_or("without a name");
        let backtrace = Backtrace::capture();
        let trace = match backtrace.status() {
            BacktraceStatus::Captured => backtrace.to_string(),
            _ => "note: RUST_BACKTRACE=1 shows where it came from\n".to_owned(),
        };
        output::note(format!("thread '{name}' {panic}\n{trace}"));
    }));
}

fn main() -> ExitCode {
    if let Some(code) = input::compiler::compile_if_asked() {
        return code;
    }
    print_panics();
    let _finish = Finish;
    // Before all that takes time: until then, a signal ends the program without a word.
    output::signals::listen(output::finish_within);
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::arguments::tell(error, env::args_os()),
    };
    if let Command::Up(up) = &mut cli.command {
        up.hear_hangups();
    }
    let telemetry = match cli.command.telemetry() {
        Ok(telemetry) => telemetry,
        Err(report) => return Stop::from(report).into_exit_code(),
    };
    output::guest_log::show_on_stderr(cli.command.log_format(), telemetry.as_ref());
    let outcome = match cli.command {
        Command::Run(run) => run.execute(),
        Command::Up(up) => up.execute(),
        Command::Serve(serve) => serve.execute(),
        Command::Call(call) => call.execute(),
        Command::Inspect(inspect) => inspect.execute(),
        Command::Check(check) => check.execute(),
        Command::Compile(compile) => compile.execute(),
        Command::Cache(cache) => cache.execute(),
        Command::Data(data) => data.execute(),
        Command::New(new) => new.execute(),
        Command::Build(build) => build.execute(),
        Command::Test(test) => test.execute(),
        Command::Ps(ps) => ps.execute(),
        Command::Deploy(deploy) => deploy.execute(),
        Command::Rollback(rollback) => rollback.execute(),
        Command::Undeploy(undeploy) => undeploy.execute(),
        Command::Nodes(nodes) => nodes.execute(),
        Command::Request(request) => request.execute(),
        Command::Send(send) => send.execute(),
        Command::Restart(restart) => restart.execute(),
        Command::Events(events) => events.execute(),
        Command::Dead(dead) => dead.execute(),
    };
    if let Some(telemetry) = telemetry {
        telemetry.finish();
    }
    outcome.unwrap_or_else(Stop::into_exit_code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Whatever stands where: in place of a command, of a flag, or of the value of any flag.
    #[test]
    fn no_argument_reaches_the_terminal_as_it_is() {
        let bad = "\u{1b}]0;x\u{7}\u{1b}[31m-\u{202e}\u{200b}\nnext";
        let mut lines = vec![vec![bad.to_owned()], vec![format!("--{bad}")]];
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            lines.push(vec![name.to_owned(), format!("--{bad}")]);
            lines.push(vec![name.to_owned(), format!("-{bad}")]);
            for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
                lines.push(vec![name.to_owned(), format!("--{flag}={bad}")]);
                lines.push(vec![name.to_owned(), format!("--{flag}"), bad.to_owned()]);
            }
        }
        let mut shown = 0;
        for line in lines {
            let arguments = ["airssys-wasm".to_owned()].into_iter().chain(line.clone());
            let Err(error) = Cli::try_parse_from(arguments) else {
                continue;
            };
            let told = output::arguments::text(error, [].into_iter());
            let plain = anstream::adapter::strip_str(&told).to_string();
            let steers = |c: char| c != '\n' && wasm_core::text::is_invisible(c);
            assert!(!plain.contains(steers), "{line:?}: {plain:?}");
            assert!(!plain.contains("\nnext"), "{line:?}: {plain:?}");
            // What is left of a title or a colour, if its beginning was taken for one of ours.
            let whole = |begun| plain.matches(begun).count();
            assert_eq!(
                whole("]0;x"),
                whole("\\u{1b}]0;x\\u{7}\\u{1b}[31m"),
                "{plain}"
            );
            shown += whole("]0;x");
        }
        assert!(shown > 100, "{shown}");
    }
}

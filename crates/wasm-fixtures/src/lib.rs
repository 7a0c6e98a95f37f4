//! Small components for testing engines, each with a behaviour known in advance.
//!
//! Every [`Fixture`] is compiled by `cargo xtask fixtures` from `wat/<name>.wat`,
//! which says in its first lines what the component does and why. [`ALL`] is the
//! table of them. A [`Behaviour`] is written for programs as much as for readers:
//! a model of an engine interprets it, and a conformance suite derives from it what
//! a real engine must do with the bytes.
//!
//! What all fixtures with a lifecycle have in common: they start with one page of
//! memory (64 KiB) unless their row says otherwise, grow it to hold a message and an
//! answer, and trap when the host denies that; between calls they keep nothing but
//! what their behaviour names, so that any number of calls needs no more memory than
//! one.
//!
//! To add a fixture, write `wat/<name>.wat`, give it a row below, run
//! `cargo xtask fixtures` and use its constant in a test; `cargo xtask fixtures
//! --check` tells what is missing.

/// The example there is compiled, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod behaviour;
pub mod bombs;

use Behaviour::{Component, Exports, Refused};
use behaviour::{on_message, stateful, unless_ok};

pub use behaviour::{
    Behaviour, CONTROL_CHARACTERS, ControlCharacters, Lifecycle, METADATA, Metadata, OnCallback,
    OnHealth, OnInitialize, OnMessage, OnMetadata, OnShutdown, Otherwise, PAGE_BYTES, Refusal,
};

/// A component and what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Fixture {
    /// The name of its source file without extension, such as `stored-counter`.
    pub name: &'static str,
    /// The binary, as committed.
    pub wasm: &'static [u8],
    /// What an engine that keeps the contract makes of it.
    pub behaviour: Behaviour,
}

// `cargo xtask fixtures --check` reads the lines `CONSTANT = "name" => …`.
macro_rules! fixtures {
    ($($(#[$doc:meta])* $constant:ident = $name:literal => $behaviour:expr;)*) => {
        $(
            $(#[$doc])*
            pub const $constant: Fixture = Fixture {
                name: $name,
                wasm: include_bytes!(concat!("../wasm/", $name, ".wasm")),
                behaviour: $behaviour,
            };
        )*

        /// Every fixture, in the order of this file.
        pub const ALL: &[Fixture] = &[$($constant),*];
    };
}

fixtures! {
    // What an engine must tell apart when it loads.

    /// A component without exports.
    MINIMAL = "minimal" => Exports(&[]);
    /// The export `hello: func() -> u32` returns 42.
    HELLO = "hello" => Exports(&["hello"]);
    /// `add: func(a: s32, b: s32) -> s32`, and `greet: func(name: string) -> string`,
    /// which turns `Ada` into `Hello, Ada`.
    OTHER_WORLD = "other-world" => Exports(&["acme:calc/ops@1.0.0#add", "greet"]);
    /// A module of core WebAssembly, valid, but no component.
    CORE_MODULE = "core-module" => Refused(Refusal::CoreModule);
    /// The first half of [`ECHO`].
    TRUNCATED = "truncated" => Refused(Refusal::Malformed);
    /// A lifecycle that lacks `handle-callback`.
    MISSING_EXPORT = "missing-export" =>
        Refused(Refusal::IncompleteLifecycle { missing: "handle-callback" });
    /// A lifecycle whose `handle-message` takes and returns `list<u8>`.
    WRONG_TYPE = "wrong-type" => Refused(Refusal::WrongType { export: "handle-message" });
    /// Imports `run` of `acme:db/query@1.0.0`.
    UNKNOWN_IMPORT = "unknown-import" => Refused(Refusal::UnknownImport {
        interface: "acme:db/query@1.0.0",
        function: "run",
    });
    /// A component of a world of its own, `acme:shop/plugin`: quotes prices that it asks its
    /// host for, and gives out carts. An engine without that interface refuses it.
    PLUGIN = "plugin" => Refused(Refusal::UnknownImport {
        interface: "acme:shop/catalog@1.0.0",
        function: "price",
    });
    /// Keeps values and reads its configuration as components of other hosts do.
    KV = "kv" => Exports(&[
        "add", "add-signed", "count", "delete", "exists", "get", "many", "open", "page",
        "page-after", "read-often", "set", "setting", "settings", "swap", "swap-late", "use-bucket",
    ]);
    /// Answers HTTP requests: at once, piece by piece, too late or not at all, as the path
    /// says.
    WEB = "web" => Exports(&["wasi:http/incoming-handler@0.2.0#handle"]);
    /// Declares a memory of 64 MiB.
    BIG_INITIAL_MEMORY = "big-initial-memory" => Component(Lifecycle {
        initial_memory_bytes: 64 << 20,
        ..on_message(OnMessage::Nothing)
    });
    /// 1,000 core instances with an empty memory each.
    THOUSAND_MODULES = "thousand-modules" =>
        Refused(Refusal::TooManyInstances { instances: 1_000 });
    /// 2^30 core instances, in components that instantiate each other twice.
    NESTED_INSTANCES = "nested-instances" =>
        Refused(Refusal::TooManyInstances { instances: 1 << 30 });

    // Components that do as they are told.

    /// Answers with the payload.
    ECHO = "echo" => Component(on_message(OnMessage::Echo));
    /// Counts messages in its memory.
    COUNTER = "counter" => Component(stateful(OnMessage::Count));
    /// Counts messages in storage.
    STORED_COUNTER = "stored-counter" => Component(stateful(OnMessage::CountInStorage));
    /// Sets timers, and writes down in storage when they came.
    ALARM = "alarm" => Component(on_message(OnMessage::Timers));
    /// Does with its storage what it is told.
    STORE = "store" => Component(stateful(OnMessage::Store));
    /// Shows what `initialize` was given.
    INIT_CONFIG = "init-config" => Component(on_message(OnMessage::Configuration));
    /// Shows the envelope in which a message or the last callback came.
    ENVELOPE = "envelope" => Component(Lifecycle {
        callback: OnCallback::KeepEnvelope,
        ..on_message(OnMessage::Envelope)
    });
    /// Answers its own id.
    SELF_ID = "self-id" => Component(on_message(OnMessage::SelfId));
    /// Sends on what it is told to send.
    SENDER = "sender" => Component(on_message(OnMessage::Send));
    /// Sends one payload to several components at once.
    BROADCASTER = "broadcaster" => Component(on_message(OnMessage::Broadcast));
    /// Makes requests and shows the callbacks.
    CALLBACK = "callback" => Component(Lifecycle {
        callback: OnCallback::Keep,
        ..stateful(OnMessage::Request)
    });
    /// Makes requests, and sends HTTP requests on its callbacks.
    COURIER = "courier" => Component(Lifecycle {
        callback: OnCallback::Fetch,
        ..on_message(OnMessage::Request)
    });
    /// Makes a request before it is loaded, and shows the callback.
    INIT_SENDS = "init-sends" => Component(Lifecycle {
        initialize: OnInitialize::Sends,
        callback: OnCallback::Keep,
        ..stateful(OnMessage::LastCallback)
    });
    /// Sleeps in the host for as long as it is told.
    SLEEPER = "sleeper" => Component(on_message(OnMessage::Sleep));
    /// Logs the payload at every level.
    LOGGER = "logger" => Component(on_message(OnMessage::Log));
    /// Tells the time.
    CLOCK = "clock" => Component(on_message(OnMessage::Time));
    /// Tells which components there are.
    DIRECTORY = "directory" => Component(on_message(OnMessage::Directory));
    /// Does in each function what its storage says.
    OBEDIENT = "obedient" => Component(Lifecycle {
        initialize: OnInitialize::AsStored,
        callback: OnCallback::AsStored,
        metadata: OnMetadata::AsStored,
        health: OnHealth::AsStored,
        shutdown: OnShutdown::AsStored,
        ..on_message(OnMessage::AsStored)
    });
    /// Is as well as it is told to be.
    HEALTH = "health" => Component(Lifecycle {
        health: OnHealth::AsTold,
        ..stateful(OnMessage::SetHealth)
    });

    // Components that fail, some of them for good.

    /// `initialize` refuses.
    INIT_FAILS = "init-fails" => Component(Lifecycle {
        initialize: OnInitialize::Fails("no configuration"),
        ..on_message(OnMessage::Nothing)
    });
    /// `initialize` refuses, but for the first time.
    INIT_ONCE = "init-once" => Component(Lifecycle {
        initialize: OnInitialize::FailsAgain("begun before"),
        ..unless_ok(Otherwise::Trap)
    });
    /// `shutdown` refuses.
    SHUTDOWN_FAILS = "shutdown-fails" => Component(Lifecycle {
        shutdown: OnShutdown::Fails("still busy"),
        ..on_message(OnMessage::Nothing)
    });
    /// `shutdown` makes a request.
    SHUTDOWN_REQUESTS = "shutdown-requests" => Component(Lifecycle {
        shutdown: OnShutdown::Requests,
        ..on_message(OnMessage::Echo)
    });
    /// `shutdown` sends a message.
    SHUTDOWN_SENDS = "shutdown-sends" => Component(Lifecycle {
        shutdown: OnShutdown::Sends,
        ..on_message(OnMessage::Echo)
    });
    /// `shutdown` sends a message to two components at once.
    SHUTDOWN_BROADCASTS = "shutdown-broadcasts" => Component(Lifecycle {
        shutdown: OnShutdown::Broadcasts,
        ..on_message(OnMessage::Echo)
    });
    /// `shutdown` logs a line.
    SHUTDOWN_LOGS = "shutdown-logs" => Component(Lifecycle {
        shutdown: OnShutdown::Logs,
        ..on_message(OnMessage::Echo)
    });
    /// `shutdown` stores something.
    SHUTDOWN_STORES = "shutdown-stores" => Component(Lifecycle {
        shutdown: OnShutdown::Stores,
        ..on_message(OnMessage::Echo)
    });
    /// `handle-callback` answers with an error.
    CALLBACK_FAILS = "callback-fails" => Component(Lifecycle {
        callback: OnCallback::Fails("unwanted"),
        ..on_message(OnMessage::Nothing)
    });
    /// Answers with an error, and goes on.
    GUEST_ERROR = "guest-error" => Component(unless_ok(Otherwise::GuestError("as asked")));
    /// Traps, in a function `give-up` called by `handle-message`.
    TRAP = "trap" => Component(unless_ok(Otherwise::Trap));
    /// Traps on every third message of an instance.
    TRAP_EVERY_THIRD = "trap-every-third" => Component(stateful(OnMessage::EchoTwiceThenTrap));
    /// Traps in `initialize`.
    TRAP_IN_INITIALIZE = "trap-in-initialize" => Component(Lifecycle {
        initialize: OnInitialize::Trap,
        ..on_message(OnMessage::Nothing)
    });
    /// Traps in `handle-callback`.
    TRAP_IN_CALLBACK = "trap-in-callback" => Component(Lifecycle {
        callback: OnCallback::Trap,
        ..on_message(OnMessage::Echo)
    });
    /// Traps in `shutdown`.
    TRAP_IN_SHUTDOWN = "trap-in-shutdown" => Component(Lifecycle {
        shutdown: OnShutdown::Trap,
        ..on_message(OnMessage::Echo)
    });

    // Components that take more than they are given.

    /// Never returns.
    SPIN = "spin" => Component(unless_ok(Otherwise::Spin));
    /// Never returns from its start function, before any export is called.
    SPIN_IN_START = "spin-in-start" => Component(Lifecycle {
        initialize: OnInitialize::SpinBefore,
        ..on_message(OnMessage::Nothing)
    });
    /// Never returns from `initialize`.
    SPIN_IN_INITIALIZE = "spin-in-initialize" => Component(Lifecycle {
        initialize: OnInitialize::Spin,
        ..on_message(OnMessage::Nothing)
    });
    /// Never returns from the allocation of a message.
    SPIN_IN_REALLOC = "spin-in-realloc" => Component(on_message(OnMessage::SpinInRealloc));
    /// Never returns from the release of an answer.
    SPIN_IN_POST_RETURN = "spin-in-post-return" => Component(unless_ok(Otherwise::SpinAfterEcho));
    /// Never returns from `health`.
    SPIN_IN_HEALTH = "spin-in-health" => Component(Lifecycle {
        health: OnHealth::Spin,
        ..on_message(OnMessage::Echo)
    });
    /// Never returns from `shutdown`.
    SPIN_IN_SHUTDOWN = "spin-in-shutdown" => Component(Lifecycle {
        shutdown: OnShutdown::Spin,
        ..on_message(OnMessage::Echo)
    });
    /// Takes memory until it is denied, then traps.
    GROW = "grow" => Component(unless_ok(Otherwise::GrowUntilDenied));
    /// Takes memory until it is denied, and lives with that.
    GROW_SURVIVES = "grow-survives" => Component(on_message(OnMessage::GrowAndCountPages));
    /// Takes memory until it is denied, lives with that, and traps for other reasons.
    GROW_THEN_TRAP = "grow-then-trap" => Component(on_message(OnMessage::GrowOrTrap));
    /// Asks for memory without end.
    GROW_FOREVER = "grow-forever" => Component(unless_ok(Otherwise::GrowForever));
    /// Takes memory for each of four memories until one is denied.
    MANY_MEMORIES = "many-memories" => Component(Lifecycle {
        initial_memory_bytes: 4 * PAGE_BYTES,
        ..on_message(OnMessage::GrowAndCountPages)
    });
    /// `grow: func() -> u32` takes memory for each of four core instances until one is
    /// denied, and returns the pages (64 KiB) of all.
    MANY_INSTANCES = "many-instances" => Exports(&["grow"]);
    /// Takes table elements until it is denied, then traps.
    TABLE_BOMB = "table-bomb" => Component(unless_ok(Otherwise::GrowTableUntilDenied));
    /// Uses up the stack.
    RECURSE_FOREVER = "recurse-forever" => Component(unless_ok(Otherwise::Recurse));
    /// Calls the host from deep in the stack.
    RECURSE_THEN_HOSTCALL = "recurse-then-hostcall" =>
        Component(on_message(OnMessage::RecurseThenCallHost));
    /// Waits in `sleep-millis`, practically forever.
    SLEEP_FOREVER = "sleep-forever" => Component(unless_ok(Otherwise::SleepForever));
    /// Waits in a function of WASI, for 584 years.
    WASI_SLEEP = "wasi-sleep" => Component(unless_ok(Otherwise::WaitInWasi));
    /// Asks WASI for 64 MiB at once.
    RANDOM_64M = "random-64m" => Component(unless_ok(Otherwise::AskForRandomBytes(64 << 20)));
    /// Logs 100,000 lines.
    LOG_FLOOD = "log-flood" => Component(on_message(OnMessage::LogFlood { lines: 100_000 }));
    /// Sends 100,000 messages.
    SEND_FLOOD = "send-flood" => Component(on_message(OnMessage::SendFlood { messages: 100_000 }));
    /// Broadcasts to 10,000 recipients.
    BROADCAST_STORM = "broadcast-storm" =>
        Component(on_message(OnMessage::BroadcastStorm { recipients: 10_000 }));
    /// Sends, requests and broadcasts so many bytes as it is told, and in its `shutdown` all
    /// that a call may send.
    SPENDER = "spender" => Component(Lifecycle {
        shutdown: OnShutdown::Spends(
            "s1048576 s1048576 s1048576 s1048576 s1048576 s1048576 s1048576 s1048576 b0*1016",
        ),
        ..on_message(OnMessage::Spend)
    });
    /// Sends every message back: two of them never come to rest.
    PING_PONG_LOOP = "ping-pong-loop" => Component(on_message(OnMessage::SendBack));
    /// Fills its storage.
    STORAGE_FILL = "storage-fill" => Component(stateful(OnMessage::FillStorage));

    // Components that lie.

    /// Answers with a list longer than its memory.
    HUGE_STRING_RESULT = "huge-string-result" => Component(unless_ok(Otherwise::HugeAnswer));
    /// Returns strings that are not UTF-8, `metadata` included.
    BAD_UTF8_RESULT = "bad-utf8-result" => Component(Lifecycle {
        metadata: OnMetadata::BadUtf8,
        ..unless_ok(Otherwise::BadUtf8)
    });
    /// Allocates a message outside of its memory.
    BAD_POINTER_REALLOC = "bad-pointer-realloc" =>
        Component(on_message(OnMessage::BadPointerFromRealloc));
    /// Logs escape sequences and forged lines.
    ANSI_LOG = "ansi-log" => Component(on_message(OnMessage::LogControlCharacters));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_refused_as_such_is_not_a_component() {
        const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
        for fixture in ALL {
            let is_component = fixture.wasm.starts_with(COMPONENT);
            let is_module = matches!(fixture.behaviour, Refused(Refusal::CoreModule));
            assert_ne!(is_component, is_module, "{}", fixture.name);
        }
    }

    #[test]
    fn the_log_of_ansi_log_is_what_the_component_holds() {
        let held = ANSI_LOG.wasm;
        for text in [
            CONTROL_CHARACTERS.message,
            CONTROL_CHARACTERS.key,
            CONTROL_CHARACTERS.value,
        ] {
            assert!(
                held.windows(text.len())
                    .any(|found| found == text.as_bytes()),
                "{text:?}"
            );
        }
    }
}

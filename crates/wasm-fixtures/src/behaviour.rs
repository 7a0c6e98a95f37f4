//! The vocabulary in which the table describes fixtures.

/// The unit in which memories grow, 64 KiB.
pub const PAGE_BYTES: u64 = 64 << 10;

/// What becomes of a fixture that is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Loading fails, whatever the limits.
    Refused(Refusal),
    /// Loads and has these exports to be called by name, those of an interface as
    /// `interface#function`, but no `component-lifecycle`: a message finds no export.
    Exports(&'static [&'static str]),
    /// Takes messages, once `initialize` has let it load.
    Component(Lifecycle),
}

/// What is wrong with bytes that do not load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// They are not valid WebAssembly.
    Malformed,
    /// They are a core module.
    CoreModule,
    /// They export `component-lifecycle` without this function.
    IncompleteLifecycle {
        /// The function that is not there.
        missing: &'static str,
    },
    /// They export `component-lifecycle` with a function of another type.
    WrongType {
        /// The function in question.
        export: &'static str,
    },
    /// They import what nobody provides.
    UnknownImport {
        /// The interface, with package and version.
        interface: &'static str,
        /// A function imported from it.
        function: &'static str,
    },
    /// They are made of more core instances than any engine should allow.
    TooManyInstances {
        /// How many there are in all.
        instances: u32,
    },
}

/// What each function of `component-lifecycle` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifecycle {
    /// The sum of all memories before the first instruction. Loading under a smaller
    /// limit is refused.
    pub initial_memory_bytes: u64,
    /// What `metadata` says under this name: whether the component remembers
    /// something between messages.
    pub stateful: bool,
    /// What `initialize` does.
    pub initialize: OnInitialize,
    /// What `handle-message` does.
    pub message: OnMessage,
    /// What `handle-callback` does.
    pub callback: OnCallback,
    /// What `metadata` does.
    pub metadata: OnMetadata,
    /// What `health` does.
    pub health: OnHealth,
    /// What `shutdown` does.
    pub shutdown: OnShutdown,
}

/// What `initialize` does.
///
/// Where a host function fails, the answer is `initialization-failed` with the name of
/// the case, such as `queue-full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInitialize {
    /// Answers ok.
    Ok,
    /// Answers `initialization-failed` with this text.
    Fails(&'static str),
    /// Stores an empty value under the key `begun` and answers ok; answers
    /// `initialization-failed` with this text if the key is there already.
    FailsAgain(&'static str),
    /// Sends `hello` to `demo/sink/main`, requests an answer of it within 1,000 ms to
    /// `question`, and answers ok.
    Sends,
    /// Executes `unreachable`.
    Trap,
    /// Loops forever.
    Spin,
    /// Is never reached: the start function of the core module loops forever.
    SpinBefore,
    /// Does as [`OnMessage::AsStored`] says, then answers ok.
    AsStored,
}

/// What `handle-message` does with a payload.
///
/// Texts are UTF-8 and numbers in them decimal. A payload that is a number is read up
/// to its first other byte, zero when there is no digit. An id is written
/// `namespace/name/instance`. Where a host function fails and nothing else is said,
/// the answer is `runtime-error` with the name of the case, such as `queue-full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMessage {
    /// Answers `none`.
    Nothing,
    /// Answers the payload.
    Echo,
    /// Answers how many messages this instance has had, from 1.
    Count,
    /// Adds one to the number stored under the key `count` and answers the sum.
    CountInStorage,
    /// `DELAY NAME` sets a timer that is due after so many milliseconds and answers its id;
    /// `cancel ID` answers `true` or `false`. When a timer comes, milliseconds since the Unix
    /// epoch and a space are added to what is stored under its name, and `none` is answered.
    Timers,
    /// Obeys commands. `set KEY VALUE` and `delete KEY` answer `none`; `get KEY`
    /// answers the value or `none`; `exists KEY` answers `true` or `false`;
    /// `keys PREFIX` and `keys` answer the keys in the host's order, each followed by
    /// a line feed; anything else answers `USED QUOTA KEYS`, three numbers. Only the
    /// first letter of a command counts; a key ends at the next space.
    Store,
    /// Answers to `env` the environment, each entry as `KEY=VALUE` and a line feed, to
    /// `limits` the line `BYTES MILLISECONDS FUEL`, the last of them `unmetered` if
    /// there is none, and to everything else the config data, `none` if there is none.
    Configuration,
    /// Answers `SENDER|CORRELATION|REPLY-TO|TIME|TYPE|LENGTH`: the sender's id, what
    /// the envelope holds, a hyphen for each part that it does not, the time as
    /// seconds, a point and nine digits of nanoseconds, and the length of the payload
    /// in bytes. Answers to `last` what [`OnCallback::KeepEnvelope`] kept, `none` before
    /// the first callback.
    Envelope,
    /// Answers what `self-id` returns.
    SelfId,
    /// Sends the text of `ID TEXT` to that id and answers `none`.
    Send,
    /// Sends the payload back to who sent it and answers `none`.
    SendBack,
    /// Broadcasts the text of `ID,ID,ID TEXT` (any number of ids) and answers `none`.
    Broadcast,
    /// Requests an answer within 1,000 ms to the text of `ID TEXT` and answers the
    /// correlation id. `cancel CORRELATION` cancels a request and answers `none`;
    /// `last` answers what [`OnCallback::Keep`] kept, `none` before the first callback.
    Request,
    /// Answers what [`OnCallback::Keep`] kept, `none` before the first callback.
    LastCallback,
    /// Calls `sleep-millis` with the number that is the payload, then answers
    /// `awake`.
    Sleep,
    /// Logs the payload at `trace`, `debug`, `info`, `warn` and `error`, in that
    /// order, each with the context `key=value`, then answers `none`.
    Log,
    /// Answers to `time` the current time as seconds, a point and nine digits of
    /// nanoseconds, to everything else the milliseconds since the Unix epoch.
    Time,
    /// Answers to an empty payload the ids of all components, each followed by a line
    /// feed, and to an id `ID|NAME|VERSION|HEALTH`.
    Directory,
    /// Remembers `healthy`, `degraded` or `unhealthy`, and any other payload as
    /// unknown, for [`OnHealth::AsTold`]. Answers `none`.
    SetHealth,
    /// Answers `ok` to `ok`, and does this with every other payload.
    OkOr(Otherwise),
    /// Answers the payload, but traps on every third message of an instance.
    EchoTwiceThenTrap,
    /// Is never reached: the component loops forever in `cabi_realloc`, which the host
    /// calls to pass a message.
    SpinInRealloc,
    /// Is never reached: `cabi_realloc` returns an address outside of the memory.
    BadPointerFromRealloc,
    /// Grows its memories by one page at a time, each in turn if there are several,
    /// until that is denied, and answers how many pages it has in all.
    GrowAndCountPages,
    /// Goes by the first letter of the payload: `grow` does as
    /// [`GrowAndCountPages`](Self::GrowAndCountPages) says; `divide` grows its memory so and
    /// then divides by zero; anything else executes `unreachable`.
    GrowOrTrap,
    /// Recurses as deep as the number that is the payload, calls
    /// `current-time-millis` there, comes back and answers `back`. Uses up the stack
    /// if told to go too deep.
    RecurseThenCallHost,
    /// Logs the line `flood` at `info` without a context, over and over, then answers
    /// `none`.
    LogFlood {
        /// How many times.
        lines: u32,
    },
    /// Logs [`CONTROL_CHARACTERS`] at `info`, then answers `none`.
    LogControlCharacters,
    /// Sends `flood` to `demo/sink/main` until that fails, and answers how many were
    /// accepted, followed, if one was not, by a space and the name of the case.
    SendFlood {
        /// How many it sends at most.
        messages: u32,
    },
    /// Broadcasts 1,024 zero bytes to `demo/sink/main`, listed over and over, in one
    /// call, then answers `none`.
    BroadcastStorm {
        /// How many times it is listed.
        recipients: u32,
    },
    /// Spends what a call may send, as the words of the payload say: `sN` sends N bytes to
    /// `demo/sink/main`, `rN` requests an answer to them within 1,000 ms, and `bN*M`
    /// broadcasts them to it, listed M times. N is 1 MiB at most. Answers a letter for each
    /// word: `+` for what was accepted, otherwise the first letter of the case, such as `q`
    /// for `queue-full`.
    Spend,
    /// Looks up in its storage, under the name of the function that is called, what to
    /// do, and goes by the first letter of what it finds: `trap`; `loop`, forever;
    /// `grow` its memory until that is denied, then trap; `send` the name of the function
    /// to `demo/sink/main`, whatever comes of it; `wait MS` in `sleep-millis`; `fail N`,
    /// which answers the case of the error that has this number in the contract, counted
    /// from 0, with the text `as stored`, and `health` the status that has it. With
    /// nothing there, and after what returns, it answers the payload.
    AsStored,
    /// Stores 1,024 zero bytes each under the keys `0`, `1`, `2` and so on until that
    /// fails, and answers how many were stored, a space and the name of the case.
    FillStorage,
}

/// What a fixture does with a payload other than `ok`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// Answers `runtime-error` with this text.
    GuestError(&'static str),
    /// Executes `unreachable`.
    Trap,
    /// Loops forever without calling the host.
    Spin,
    /// Answers the payload, then loops forever in the post-return function, through
    /// which the host says that it has read the answer.
    SpinAfterEcho,
    /// Grows its memory by one page at a time until that is denied, then traps.
    GrowUntilDenied,
    /// Asks for another page over and over, whatever it is told.
    GrowForever,
    /// Grows a table by 1,024 elements at a time until that is denied, then traps.
    GrowTableUntilDenied,
    /// Recurses until the stack is used up.
    Recurse,
    /// Calls `sleep-millis` with `u64::MAX`, then answers `awake`.
    SleepForever,
    /// Blocks on a WASI pollable that is ready in `u64::MAX` ns, then answers `awake`.
    WaitInWasi,
    /// Asks WASI for this many random bytes and answers how many it got.
    AskForRandomBytes(u64),
    /// Answers with a list of 1 GiB, most of it beyond the end of the memory.
    HugeAnswer,
    /// Answers `runtime-error` with a text that is not UTF-8.
    BadUtf8,
}

/// What `handle-callback` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCallback {
    /// Answers ok.
    Ok,
    /// Keeps `CORRELATION|TYPE|PAYLOAD`, with a hyphen for what the envelope does not
    /// hold, until the next callback, and answers ok. See [`OnMessage::Request`] and
    /// [`OnMessage::LastCallback`].
    Keep,
    /// Asks with GET for the payload, if it is a URL that begins with `http://`, and answers
    /// ok, whatever comes of that.
    Fetch,
    /// Answers `runtime-error` with this text.
    Fails(&'static str),
    /// Executes `unreachable`.
    Trap,
    /// Keeps the envelope, written as [`OnMessage::Envelope`] says, until the next
    /// callback, and answers ok.
    KeepEnvelope,
    /// Does as [`OnMessage::AsStored`] says, then answers ok.
    AsStored,
}

/// What `metadata` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMetadata {
    /// Answers [`METADATA`] and [`Lifecycle::stateful`].
    Usual,
    /// Answers a name that is not UTF-8.
    BadUtf8,
    /// Does as [`OnMessage::AsStored`] says, then answers as usual.
    AsStored,
}

/// What `health` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnHealth {
    /// Answers `healthy`.
    Healthy,
    /// Answers what the last message said, `healthy` before the first. See
    /// [`OnMessage::SetHealth`].
    AsTold,
    /// Loops forever.
    Spin,
    /// Does as [`OnMessage::AsStored`] says, then answers `healthy`.
    AsStored,
}

/// What `shutdown` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnShutdown {
    /// Answers ok.
    Ok,
    /// Answers `shutdown-failed` with this text.
    Fails(&'static str),
    /// Requests an answer of `demo/sink/main` within 1,000 ms to `bye`, and answers
    /// `shutdown-failed` with the name of the case if that is refused, ok otherwise.
    Requests,
    /// Sends `bye` to `demo/sink/main`, and answers `shutdown-failed` with the name of the
    /// case if that is refused, ok otherwise.
    Sends,
    /// Broadcasts `bye` to `demo/sink/main` and `demo/drain/main`, and answers
    /// `shutdown-failed` with the name of the case if that is refused, ok otherwise.
    Broadcasts,
    /// Logs `bye` at the level info, and answers ok.
    Logs,
    /// Stores `bye` under `ended`, and answers `shutdown-failed` with the name of the case
    /// if that is refused, ok otherwise.
    Stores,
    /// Does as [`OnMessage::Spend`] says with these words, and answers `shutdown-failed` with
    /// the letters unless each is a `+`, ok otherwise.
    Spends(&'static str),
    /// Executes `unreachable`.
    Trap,
    /// Loops forever.
    Spin,
    /// Does as [`OnMessage::AsStored`] says, then answers ok.
    AsStored,
}

/// What `metadata` answers, apart from `stateful`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// The same for all fixtures.
    pub name: &'static str,
    /// A version in the notation of semver.
    pub version: &'static str,
    /// A sentence's worth.
    pub description: &'static str,
    /// Who made it.
    pub author: &'static str,
    /// An SPDX expression.
    pub license: &'static str,
    /// The field `supported-operations`.
    pub supported_operations: &'static [&'static str],
}

/// What every fixture with a lifecycle says of itself, one liar excepted.
pub const METADATA: Metadata = Metadata {
    name: "fixture",
    version: "1.0.0",
    description: "a component with a known behaviour",
    author: "airssys-wasm",
    license: "MIT OR Apache-2.0",
    supported_operations: &["message"],
};

/// A log entry that would deceive whoever reads it unescaped: it changes colours,
/// forges a line of another component, and clears the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlCharacters {
    /// The message.
    pub message: &'static str,
    /// The key of the only entry of its context.
    pub key: &'static str,
    /// The value of that entry.
    pub value: &'static str,
}

/// What [`OnMessage::LogControlCharacters`] logs.
pub const CONTROL_CHARACTERS: ControlCharacters = ControlCharacters {
    message: "\x1b[31mred\x1b[0m\nERROR other/component/main forged\rover\x07\0end",
    key: "ke\x1b[2Jy",
    value: "va\nlue",
};

/// A lifecycle of which only `handle-message` is remarkable.
pub(crate) const fn on_message(message: OnMessage) -> Lifecycle {
    Lifecycle {
        initial_memory_bytes: PAGE_BYTES,
        stateful: false,
        initialize: OnInitialize::Ok,
        message,
        callback: OnCallback::Ok,
        metadata: OnMetadata::Usual,
        health: OnHealth::Healthy,
        shutdown: OnShutdown::Ok,
    }
}

/// The same of a component that remembers.
pub(crate) const fn stateful(message: OnMessage) -> Lifecycle {
    Lifecycle {
        stateful: true,
        ..on_message(message)
    }
}

/// The same of a component that is well-behaved as long as it is sent `ok`.
pub(crate) const fn unless_ok(otherwise: Otherwise) -> Lifecycle {
    on_message(OnMessage::OkOr(otherwise))
}

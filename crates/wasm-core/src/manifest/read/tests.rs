use std::time::Duration;

use super::*;
use crate::catalogue::snapshot;
use crate::manifest::{ManifestProblem, SecretSource};
use crate::text::Escaped;

const MINIMAL: &str = r#"[component]
id = "demo/greeter/main"
wasm = "greeter.wasm"

[resources]
memory = "2MiB"
fuel = 10_000_000
timeout = "250ms"
"#;

const CEILING: u64 = 4 << 20;

fn parse(text: &str) -> Result<ComponentManifest, ManifestErrors> {
    ComponentManifest::parse(text, Path::new("demo/Component.toml"), CEILING)
}

fn problems(text: &str) -> Vec<String> {
    let errors = parse(text).unwrap_err();
    let file = "demo/Component.toml:";
    let problems = errors.problems().iter().map(ManifestProblem::to_string);
    problems
        .map(|problem| problem.strip_prefix(file).unwrap().to_owned())
        .collect()
}

type Said = Vec<(String, String)>;

/// What is said about a manifest with each of these lines in the place of `@`; in
/// a line, `⏎` is a line break.
fn mistakes(manifest: &str, lines: &str) -> Said {
    let lines = lines.trim().lines().map(|line| {
        let text = manifest.replace('@', &line.replace(" ⏎ ", "\n"));
        let line = Escaped::new(line).to_string();
        (line, problems(&text).join("\n    "))
    });
    lines.collect()
}

/// As [`mistakes`], in the place of a line of the minimal manifest.
fn mistaken(line: &str, lines: &str) -> Said {
    assert!(MINIMAL.contains(line));
    mistakes(&MINIMAL.replace(line, "@"), lines)
}

/// As [`mistakes`], in a section after the minimal manifest, from line 10 on.
fn mistaken_in(section: &str, lines: &str) -> Said {
    mistakes(&format!("{MINIMAL}[{section}]\n@\n"), lines)
}

fn accepted(more: &str) -> ComponentManifest {
    parse(&format!("{MINIMAL}{more}")).unwrap()
}

#[test]
fn a_minimal_manifest_grants_nothing() {
    let limits = ResourceLimits::new(2 << 20, Duration::from_millis(250), Some(10_000_000));
    let id = ComponentId::new("demo", "greeter", "main").unwrap();
    assert_eq!(
        parse(MINIMAL),
        Ok(ComponentManifest::new(id, "greeter.wasm", limits.unwrap()))
    );
}

#[test]
fn mistakes_in_component() {
    let id = r#"
# no id
id = "demo"
id = "demo/greeter/main/1"
id = 5
id = "demo//main"
id = "../greeter/main"
id = "demo/greeter/a b"
id = "a/b/\u0007\u202E"
"#;
    let wasm = r#"
# no wasm
wasm = ""
wasm = "a\u0000b"
wasm = ["a"]
wasm = "/a.wasm"
"#;
    let others = r#"
version = 1.0
description = true
authors = "me"
authors = ["me", 1979-05-27]
license = { file = "MIT" }
licence = "MIT"
"#;
    let said = [
        mistaken("id = \"demo/greeter/main\"", id),
        mistaken("wasm = \"greeter.wasm\"", wasm),
        mistakes(&MINIMAL.replacen("\n\n", "\n@\n", 1), others),
    ];
    snapshot("manifest-component", said.concat());
}

#[test]
fn mistakes_in_resources() {
    let memory = r#"
# no memory
memory = "8MiB"
memory = "1TiB"
memory = "4194305B"
memory = "511KiB"
memory = "0B"
memory = "2"
memory = 5
memory = 0x10
memory = inf
memmory = "2MiB"
Memory = "2MiB"
"mem ry" = "2MiB"
"#;
    let fuel = r#"
# no fuel
fuel = 0
fuel = -1
fuel = 18446744073709551616
fuel = 1.5
fuel = "1_000"
fuel = "unmeterd"
fuel = "none"
fuel = false
fuel = 11111111111111111111111111111111111111111111111111
"#;
    let instances = r#"
timeout = "1s" ⏎ instance = "sometimes"
timeout = "1s" ⏎ instance = 1
timeout = "1s" ⏎ concurrency = 0
timeout = "1s" ⏎ concurrency = 1025
timeout = "1s" ⏎ concurrency = "many"
"#;
    let timeout = r#"
# no timeout
timeout = "0s"
timeout = "25h"
timeout = "soon"
timeout = "250"
timeout = 250
"#;
    let unknown = r#"
storage = "1MiB"
"\u0007" = 1
"#;
    let said = [
        mistaken("memory = \"2MiB\"", memory),
        mistaken("fuel = 10_000_000", fuel),
        mistaken("timeout = \"250ms\"", timeout),
        mistaken("timeout = \"250ms\"", instances),
        mistakes(&format!("{MINIMAL}@"), unknown),
    ];
    snapshot("manifest-resources", said.concat());
}

#[test]
fn fuel_is_a_number_or_unmetered() {
    for (value, fuel) in [
        ("1", Some(1)),
        ("0xff", Some(255)),
        ("18446744073709551615", Some(u64::MAX)),
        ("\"unmetered\"", None),
    ] {
        let text = MINIMAL.replace("10_000_000", value);
        assert_eq!(parse(&text).unwrap().limits.fuel(), fuel);
    }
}

#[test]
fn the_operator_sets_the_ceiling() {
    let text = MINIMAL.replace("2MiB", "4GiB");
    let file = Path::new("Component.toml");
    for ceiling in [ResourceLimits::MAX_MEMORY_BYTES, u64::MAX] {
        let (manifest, _) = manifest(&text, file, ceiling).unwrap();
        assert_eq!(manifest.limits.memory_bytes(), 4 << 30);
    }
    // Raising the ceiling is no help to what it already allows.
    let text = MINIMAL.replace("2MiB", "256KiB");
    let errors = manifest(&text, file, 256 << 10).unwrap_err();
    assert_eq!(errors.problems()[0].help, None);
    let text = MINIMAL.replace("2MiB", "5GiB");
    let errors = manifest(&text, file, u64::MAX).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "Component.toml:6:10: `resources.memory`: found \"5GiB\"; allowed: a size such as \
             \"2MiB\", from 512KiB to 4GiB"
    );
}

#[test]
fn mistakes_in_sections() {
    let unknown = r#"
[permisions] ⏎ send = 5
[package.metadata]
[[peers]]
"#;
    let first = r#"
fuel = 1
env = "x"
config = "x"
permissions = "x"
supervision = "x"
"#;
    let whole = r#"
# nothing
component = 1 ⏎ [[resources]]
"#;
    let said = [
        mistakes(&format!("{MINIMAL}@"), unknown),
        mistaken("[resources]", "[resource]"),
        mistakes(&format!("@\n{MINIMAL}"), first),
        mistakes("@", whole),
    ];
    snapshot("manifest-sections", said.concat());
}

#[test]
fn an_empty_file_lacks_what_is_required() {
    for text in ["", "\n\n", "# nothing\r\n", "\u{feff}", "[env]\n"] {
        assert_eq!(problems(text), problems("# nothing"), "{text:?}");
    }
}

#[test]
fn mistakes_in_env() {
    let env = r#"
A = 1
A = "x\u0000"
"" = "x"
"A=B" = "x"
"A\u0000" = "x"
A.B = "x"
"#;
    snapshot("manifest-env", mistaken_in("env", env));
}

#[test]
fn env_keeps_its_order() {
    let env = [("Z", "1"), ("a b", ""), ("A", "é\n")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let more = "[env]\nZ = \"1\"\n\"a b\" = ''\nA = \"\"\"\né\n\"\"\"\n";
    assert_eq!(accepted(more).env, env);
    let inline = "env = { Z = \"1\", \"a b\" = '', A = \"é\\n\" }\n";
    assert_eq!(parse(&format!("{inline}{MINIMAL}")).unwrap().env, env);
}

#[test]
fn config_is_a_file_or_a_text() {
    for (more, config) in [
        ("", ConfigSource::None),
        (
            "[config]\nfile = \"a/../b.json\"\n",
            ConfigSource::File("a/../b.json".into()),
        ),
        ("[config]\ntext = \"\"\n", ConfigSource::Text(String::new())),
    ] {
        assert_eq!(accepted(more).config, config);
    }
    let config = r#"
# nothing
file = "a" ⏎ text = "b"
text = "b" ⏎ file = "a"
text = 5
file = "/etc/passwd"
path = "a"
"#;
    snapshot("manifest-config", mistaken_in("config", config));
}

#[test]
fn mistakes_in_permissions() {
    let permissions = r#"
send = "demo/*/*"
request = ["a/b/c", "demo/*"]
broadcast = [[]]
storage = 1
log = "Info"
http = "https://a.org"
http = ["a.org"]
http = ["https://a.org/path"]
http = [443]
wasi = "stdout"
wasi = ["stdin"]
wasi = ["stdou"]
wasi = [true]
wasi = [{ access = "read" }]
wasi = [{ dir = "data" }]
wasi = [{ dir = "data", access = "rw" }]
wasi = [{ dir = "/data", access = "read" }]
wasi = [{ dir = "a", access = "read" }, { dir = "a", access = "write" }]
wasi = [{ connect = "localhost:80" }]
wasi = [{ connect = 80 }]
wasi = [{ connect = "[::1]:80", access = "read" }]
wasi = [{ dir = "a", acess = "read" }]
wasi = [{ dir = "a", access = "read", quota = "1MiB" }]
wasi = [{ dir = "a", access = "write", quota = "1KiB" }]
wasi = [{ dir = "a", access = "write", quota = "none" }]
wasi = [{ dir = "a", access = "write", quota = 1024 }]
wasi = [{ dir = "a", access = "write", qouta = "1MiB" }]
sent = []
"#;
    let said = mistaken_in("permissions", permissions);
    snapshot("manifest-permissions", said);
}

#[test]
fn a_granted_directory_lies_beside_the_manifest() {
    let more = "[permissions]\nwasi = [{ dir = \"../data\", access = \"write\" }]\n";
    let text = format!("{MINIMAL}{more}");
    for (file, host) in [
        ("Component.toml", "../data"),
        ("/srv/demo/Component.toml", "/srv/demo/../data"),
        ("", "../data"),
    ] {
        let (manifest, _) = manifest(&text, Path::new(file), CEILING).unwrap();
        assert_eq!(
            manifest.permissions.wasi,
            [WasiGrant::Dir {
                guest: "../data".to_owned(),
                host: host.into(),
                access: DirAccess::Write,
                quota: Some(WasiGrant::DEFAULT_QUOTA_BYTES),
            }]
        );
    }
}

#[test]
fn a_folder_granted_for_writing_has_a_quota_unless_it_says_otherwise() {
    for (more, expected) in [
        ("", Some(64 << 20)),
        (", quota = \"16MiB\"", Some(16 << 20)),
        (", quota = \"4KiB\"", Some(4 << 10)),
        (", quota = \"unbounded\"", None),
    ] {
        let grant = format!("{{ dir = \"data\", access = \"write\"{more} }}");
        let text = format!("{MINIMAL}[permissions]\nwasi = [{grant}]\n");
        let (manifest, _) = manifest(&text, Path::new("Component.toml"), CEILING).unwrap();
        let [WasiGrant::Dir { quota, .. }] = &*manifest.permissions.wasi else {
            panic!("{manifest:?}");
        };
        assert_eq!(*quota, expected, "{more}");
    }
}

#[test]
fn mistakes_in_supervision() {
    let supervision = r#"
restart = "on_failure"
restart = false
max-restarts = 4294967296
max_restarts = 1
within = "0s"
backoff = "6s"
mailbox = 0
start = "on message"
start = "never"
idle = "0s"
idle = 30
health = "25h"
swap = "paused"
"#;
    let said = mistaken_in("supervision", supervision);
    snapshot("manifest-supervision", said);
    let default = accepted("[supervision]\n").supervision;
    assert_eq!(default, Supervision::default());
}

#[test]
fn mistakes_in_build() {
    let build = r#"
command = ["make", "greeter.wasm"]
command = " "
comand = "make"
sources = ["", 1, "/src"]
"#;
    snapshot("manifest-build", mistaken_in("build", build));
    let made = accepted("[build]\ncommand = \"make\"\n");
    assert_eq!(made.build_command.as_deref(), Some("make"));
    assert_eq!(accepted("").build_command, None);
    let found = accepted("[build]\nsources = [\".\", \"../common\"]\n");
    assert_eq!(found.build_command, None);
    assert_eq!(
        found.build_sources,
        [Path::new("."), Path::new("../common")]
    );
}

#[test]
fn a_text_that_is_not_toml() {
    let memory = r#"
memory = 2MiB
memory
memory = "2MiB
memory = "2MiB" ⏎ memory = "3MiB"
memory = "2MiB" ⏎ [resources]
"#;
    let said = [
        mistaken("memory = \"2MiB\"", memory),
        mistaken("memory = \"2MiB\"", "memory = \"a\u{1}\""),
    ];
    snapshot("manifest-not-toml", said.concat());
    let errors = parse("a = x\nb = \n").unwrap_err();
    let keys: Vec<_> = errors.problems().iter().map(|p| p.key.clone()).collect();
    assert_eq!(keys, [None, None]);
}

#[test]
fn every_problem_is_reported_in_the_order_of_the_text() {
    let text = "[resources]\nmemory = \"8MiB\"\nfuel = 0\n[permissions]\nlog = \"loud\"\n\
                    [component]\nid = \"x\"\nname = \"x\"\n";
    let errors = parse(text).unwrap_err();
    let places: Vec<_> = errors
        .problems()
        .iter()
        .map(|p| (p.line, p.column, p.key.as_deref(), &text[p.span.clone()]))
        .collect();
    assert_eq!(
        places,
        [
            (1, 1, Some("resources.timeout"), "[resources]"),
            (2, 10, Some("resources.memory"), "\"8MiB\""),
            (3, 8, Some("resources.fuel"), "0"),
            (5, 7, Some("permissions.log"), "\"loud\""),
            (6, 1, Some("component.wasm"), "[component]"),
            (7, 6, Some("component.id"), "\"x\""),
            (8, 1, Some("component.name"), "name"),
        ]
    );
    assert_eq!(
        errors.problems()[2].found,
        Found::Value("integer 0".to_owned())
    );
    assert_eq!(errors.problems()[4].found, Found::Nothing);
    assert_eq!(errors.problems()[6].found, Found::UnknownKey);
    assert_eq!(errors.to_string().lines().count(), 7);
}

#[test]
fn a_file_full_of_problems_is_cut_short() {
    let unknown: String = (0..1000).map(|i| format!("k{i} = 1\n")).collect();
    let errors = parse(&format!("{unknown}{MINIMAL}")).unwrap_err();
    assert_eq!((errors.problems().len(), errors.omitted()), (100, 900));
    // The first of the text, in whatever order they were found.
    let last = errors.problems().last().unwrap();
    assert_eq!((last.line, last.key.as_deref()), (100, Some("k99")));
    assert_eq!(errors.to_string().lines().last(), Some("and 900 more"));
}

#[test]
fn what_a_parser_says_of_a_line_again_and_again_is_told_once() {
    for (text, expected) in [
        ("x = [[[[[[", &["unclosed array"][..]),
        (
            "x = [{a=[{a=[",
            &["unclosed inline table", "unclosed array"],
        ),
        ("x = [,,,,,,\ny = 1, 2]", &["extra comma"]),
        ("x = }\ny = }", &["missing inline table opening"]),
    ] {
        let errors = parse(text).unwrap_err();
        for expected in expected {
            let told = errors.problems().iter();
            let lines: Vec<_> = told
                .filter(|problem| problem.to_string().contains(expected))
                .map(|problem| problem.line)
                .collect();
            let mut once = lines.clone();
            once.dedup();
            assert!(!lines.is_empty() && lines == once, "{text}: {errors}");
        }
    }
}

#[test]
fn a_list_has_so_many_entries_and_so_has_env() {
    let text = |section: &str, key: &str, entry: &str, entries: usize| {
        let entries = (0..entries).map(|number| entry.replace('#', &number.to_string()));
        match key {
            "" => format!("[{section}]\n{}", entries.collect::<String>()),
            key => {
                let entries = entries.collect::<Vec<_>>().join(", ");
                format!("[{section}]\n{key} = [{entries}]\n")
            }
        }
    };
    for (section, key, entry) in [
        ("permissions", "send", "\"a/b/#\""),
        ("permissions", "request", "\"a/b/#\""),
        ("permissions", "broadcast", "\"a/b/#\""),
        ("permissions", "http", "\"https://a#.org\""),
        ("permissions", "imports", "\"a:b/c#\""),
        ("permissions", "wasi", "{ dir = \"#\", access = \"read\" }"),
        ("build", "sources", "\"#\""),
        ("env", "", "V# = \"\"\n"),
    ] {
        let named = format!("{section}.{key}");
        let named = named.trim_end_matches('.');
        let text = |entries| text(section, key, entry, entries);
        accepted(&text(1000));
        let errors = parse(&format!("{MINIMAL}{}", text(1001))).unwrap_err();
        let told: Vec<_> = errors
            .problems()
            .iter()
            .map(ManifestProblem::message)
            .collect();
        let expected = format!("`{named}`: found 1_001 entries; allowed: up to 1_000 entries");
        assert_eq!(told, [expected]);
    }
    let authors = vec!["\"a\""; 1001].join(", ");
    let text = MINIMAL.replacen('\n', &format!("\nauthors = [{authors}]\n"), 1);
    assert_eq!(parse(&text).unwrap_err().problems().len(), 1);
}

#[test]
fn columns_count_characters() {
    for (text, place) in [
        (
            MINIMAL.replace('\n', "\r\n").replace("2MiB", "9MiB"),
            (6, 10),
        ),
        (
            format!("\u{feff}{}", MINIMAL.replace("2MiB", "9MiB")),
            (6, 10),
        ),
        (format!("\u{feff}é = 1\n{MINIMAL}"), (1, 1)),
        (
            format!("env = {{ \"é\" = \"ü\", B = 1 }}\n{MINIMAL}"),
            (1, 24),
        ),
    ] {
        let errors = parse(&text).unwrap_err();
        let last = errors.problems().last().unwrap();
        assert_eq!((last.line, last.column), place, "{text}");
    }
    let crlf = MINIMAL.replace('\n', "\r\n");
    assert_eq!(parse(&crlf), parse(MINIMAL));
    assert_eq!(parse(&format!("\u{feff}{MINIMAL}")), parse(MINIMAL));
}

/// Marsaglia's xorshift: the same texts in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn whatever_the_text_it_is_read_or_refused() {
    const PIECES: [&str; 24] = [
        "[",
        "]",
        "[[",
        "{",
        "}",
        "=",
        "\"",
        "'''",
        "\\",
        "\n",
        "\r",
        ".",
        ",",
        "#",
        "-",
        "0x",
        "1e400",
        "é",
        "\u{feff}",
        "\u{0}",
        "inf",
        "1979-05-27T07:32:00Z",
        "fuel",
        "wasi",
    ];
    let base = format!("{MINIMAL}[permissions]\nwasi = [\"env\", {{ connect = \"[::1]:1\" }}]");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut refused = 0;
    for _ in 0..3000 {
        let mut text = base.clone();
        for _ in 0..=random.below(4) {
            let chars: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let from = chars[random.below(chars.len())];
            let to = text.ceil_char_boundary((from + random.below(6)).min(text.len()));
            text.replace_range(from..to, PIECES[random.below(PIECES.len())]);
        }
        let Err(errors) = parse(&text) else { continue };
        refused += 1;
        for problem in errors.problems() {
            assert!(text.is_char_boundary(problem.span.start), "{text:?}");
            assert!(text.get(problem.span.clone()).is_some(), "{text:?}");
            let lines = text.split('\n').count();
            assert!((1..=lines).contains(&problem.line), "{text:?} {problem}");
            assert!(!problem.to_string().contains('\n'), "{problem:?}");
        }
    }
    assert!(refused > 1000, "{refused}");
    for _ in 0..3000 {
        let bytes: Vec<u8> = (0..random.below(64))
            .map(|_| random.below(256) as u8)
            .collect();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!parse(&text).unwrap_err().problems().is_empty());
    }
}

#[test]
fn mistakes_in_secrets() {
    let secrets = r#"
KEY = { }
KEY = { file = "" }
KEY = { file = 5 }
KEY = { fil = "key" }
KEY = { environment = "A=B" }
KEY = { file = "key", environment = "KEY" }
KEY = ["key"]
"#;
    snapshot("manifest-secrets", mistaken_in("env", secrets));
    let read = accepted("[env]\nKEY = { file = \"/run/key\" }\nA = \"b\"\n");
    assert_eq!(read.env, [("A".to_owned(), "b".to_owned())]);
    let file = SecretSource::File("/run/key".into());
    assert_eq!(read.secrets, [("KEY".to_owned(), file)]);
}

#[test]
fn mistakes_in_http() {
    let http = r#"
path = "shop"
path = "/shop/*/cart"
path = "/../*"
path = ["/shop"]
pth = "/shop"
path = "/shop" ⏎ reply-type = "text"
path = "/shop" ⏎ reply-type = "text/html\n"
"#;
    snapshot("manifest-http", mistaken_in("http", http));
    let shop = accepted("[http]\npath = \"/shop/*\"\n").http.unwrap();
    assert_eq!(
        (shop.path.to_string(), shop.reply_type),
        ("/shop/*".to_owned(), None)
    );
    assert_eq!(accepted("").http, None);
}

use std::time::Duration;

use super::*;
use crate::manifest::ManifestProblem;

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
    manifest(text, Path::new("demo/Component.toml"), CEILING)
}

fn problems(text: &str) -> Vec<String> {
    let errors = parse(text).unwrap_err();
    let file = "demo/Component.toml:";
    let problems = errors.problems().iter().map(ManifestProblem::to_string);
    problems
        .map(|problem| problem.strip_prefix(file).unwrap().to_owned())
        .collect()
}

/// The minimal manifest, mistaken in one line.
#[track_caller]
fn mistaken(line: &str, mistake: &str, problem: &str) {
    assert!(MINIMAL.contains(line));
    let text = MINIMAL.replace(line, mistake);
    assert_eq!(problems(&text), [problem], "{mistake}");
}

/// The minimal manifest with more, from line 9 on.
#[track_caller]
fn mistaken_more(more: &str, problem: &str) {
    assert_eq!(problems(&format!("{MINIMAL}{more}")), [problem], "{more}");
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
    const ID: &str = "`namespace/name/instance`, each 1 to 64 of the characters \
                          [A-Za-z0-9._-] and not \".\" or \"..\"";
    const PATH: &str = "the path of a file, relative to the manifest's folder";
    let id = "id = \"demo/greeter/main\"";
    for (found, help) in [
        ("\"demo\"", ""),
        ("\"demo/greeter/main/1\"", ""),
        ("5", ""),
        ("\"demo//main\"", " (the name \"\" is at fault)"),
        ("\"../greeter/main\"", " (the namespace \"..\" is at fault)"),
        (
            "\"demo/greeter/a b\"",
            " (the instance \"a b\" is at fault)",
        ),
    ] {
        let shown = if found == "5" { "integer 5" } else { found };
        mistaken(
            id,
            &format!("id = {found}"),
            &format!("2:6: `component.id`: found {shown}; allowed: {ID}{help}"),
        );
    }
    mistaken(
        id,
        "id = \"a/b/\\u0007\\u202E\"",
        &format!(
            "2:6: `component.id`: found \"a/b/\\u{{7}}\\u{{202e}}\"; allowed: {ID} (the \
                 instance \"\\u{{7}}\\u{{202e}}\" is at fault)"
        ),
    );
    mistaken(
        id,
        "",
        &format!("1:1: `component.id`: missing; allowed: {ID}"),
    );
    let wasm = "wasm = \"greeter.wasm\"";
    for (found, shown, help) in [
        ("\"\"", "\"\"", ""),
        ("\"a\\u0000b\"", "\"a\\u{0}b\"", ""),
        ("[\"a\"]", "an array", ""),
        ("\"/a.wasm\"", "\"/a.wasm\"", " (this path is absolute)"),
    ] {
        mistaken(
            wasm,
            &format!("wasm = {found}"),
            &format!("3:8: `component.wasm`: found {shown}; allowed: {PATH}{help}"),
        );
    }
    mistaken(
        wasm,
        "",
        &format!("1:1: `component.wasm`: missing; allowed: {PATH}"),
    );
    for (mistake, problem) in [
        (
            "version = 1.0",
            "4:11: `component.version`: found float 1.0; allowed: a string such as \"1.0.0\"",
        ),
        (
            "description = true",
            "4:15: `component.description`: found boolean true; allowed: a string",
        ),
        (
            "authors = \"me\"",
            "4:11: `component.authors`: found \"me\"; allowed: a list of strings",
        ),
        (
            "authors = [\"me\", 1979-05-27]",
            "4:18: `component.authors`: found date 1979-05-27; allowed: a string",
        ),
        (
            "license = { file = \"MIT\" }",
            "4:11: `component.license`: found a table; allowed: a string such as \"MIT\"",
        ),
        (
            "licence = \"MIT\"",
            "4:1: `component.licence`: unknown key; allowed: id, wasm, version, description, \
                 authors, license (did you mean `license`?)",
        ),
    ] {
        mistaken(wasm, &format!("{wasm}\n{mistake}"), problem);
    }
}

#[test]
fn mistakes_in_memory() {
    const ALLOWED: &str = "a size such as \"2MiB\", from 512KiB to 4MiB";
    const RAISE: &str = " (4MiB is the ceiling on this host; its operator can raise it up to 4GiB)";
    for (value, shown, help) in [
        ("\"8MiB\"", "\"8MiB\"", RAISE),
        ("\"1TiB\"", "\"1TiB\"", RAISE),
        ("\"4194305B\"", "\"4194305B\"", RAISE),
        ("\"511KiB\"", "\"511KiB\"", ""),
        ("\"0B\"", "\"0B\"", ""),
        ("\"2\"", "\"2\"", ""),
        ("5", "integer 5", ""),
        ("0x10", "integer 0x10", ""),
        ("inf", "float inf", ""),
    ] {
        mistaken(
            "memory = \"2MiB\"",
            &format!("memory = {value}"),
            &format!("6:10: `resources.memory`: found {shown}; allowed: {ALLOWED}{help}"),
        );
    }
    mistaken(
        "memory = \"2MiB\"",
        "",
        &format!("5:1: `resources.memory`: missing; allowed: {ALLOWED}"),
    );
}

#[test]
fn the_operator_sets_the_ceiling() {
    let text = MINIMAL.replace("2MiB", "4GiB");
    let file = Path::new("Component.toml");
    for ceiling in [ResourceLimits::MAX_MEMORY_BYTES, u64::MAX] {
        let manifest = manifest(&text, file, ceiling).unwrap();
        assert_eq!(manifest.limits.memory_bytes(), 4 << 30);
    }
    let text = MINIMAL.replace("2MiB", "5GiB");
    let errors = manifest(&text, file, u64::MAX).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "Component.toml:6:10: `resources.memory`: found \"5GiB\"; allowed: a size such as \
             \"2MiB\", from 512KiB to 4GiB"
    );
}

#[test]
fn mistakes_in_fuel() {
    const ALLOWED: &str = "a whole number from 1 to 2^64-1, or \"unmetered\"";
    for (value, shown, help) in [
        ("0", "integer 0", ""),
        ("-1", "integer -1", ""),
        ("18446744073709551616", "integer 18446744073709551616", ""),
        ("1.5", "float 1.5", ""),
        (
            "\"1_000\"",
            "\"1_000\"",
            " (a number is written without quotes)",
        ),
        (
            "\"unmeterd\"",
            "\"unmeterd\"",
            " (did you mean \"unmetered\"?)",
        ),
        ("\"none\"", "\"none\"", ""),
        ("false", "boolean false", ""),
        (&"1".repeat(50), &format!("integer {}…", "1".repeat(40)), ""),
    ] {
        mistaken(
            "fuel = 10_000_000",
            &format!("fuel = {value}"),
            &format!("7:8: `resources.fuel`: found {shown}; allowed: {ALLOWED}{help}"),
        );
    }
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
fn mistakes_in_timeout() {
    const ALLOWED: &str = "a duration such as \"250ms\", from 1ms to 24h";
    for (value, shown) in [
        ("\"0s\"", "\"0s\""),
        ("\"25h\"", "\"25h\""),
        ("\"soon\"", "\"soon\""),
        ("\"250\"", "\"250\""),
        ("250", "integer 250"),
    ] {
        mistaken(
            "timeout = \"250ms\"",
            &format!("timeout = {value}"),
            &format!("8:11: `resources.timeout`: found {shown}; allowed: {ALLOWED}"),
        );
    }
}

#[test]
fn unknown_keys_and_sections() {
    for (mistake, key, help) in [
        ("memmory", "memmory", "did you mean `memory`?"),
        ("Memory", "Memory", "did you mean `memory`?"),
        ("\"mem ry\"", "\"mem ry\"", "did you mean `memory`?"),
    ] {
        // The misspelled key is not reported as missing, too.
        mistaken(
            "memory =",
            &format!("{mistake} ="),
            &format!(
                "6:1: `resources.{key}`: unknown key; allowed: memory, fuel, timeout ({help})"
            ),
        );
    }
    mistaken_more(
        "storage = \"1MiB\"",
        "9:1: `resources.storage`: unknown key; allowed: memory, fuel, timeout (`storage` \
             belongs in [permissions])",
    );
    mistaken_more(
        "\"\\u0007\" = 1",
        "9:1: `resources.\"\\u{7}\"`: unknown key; allowed: memory, fuel, timeout",
    );
    const SECTIONS: &str =
        "[component], [resources], [env], [config], [permissions], [supervision]";
    for (mistake, problem) in [
        ("[permisions]\nsend = 5", "9:2: `permisions`: unknown key; "),
        ("[package.metadata]", "9:2: `package`: unknown key; "),
        ("[[peers]]", "9:3: `peers`: unknown key; "),
    ] {
        let help = if mistake.contains("permisions") {
            " (did you mean [permissions]?)"
        } else {
            ""
        };
        mistaken_more(mistake, &format!("{problem}allowed: {SECTIONS}{help}"));
    }
    assert_eq!(
        problems(&format!("fuel = 1\n{MINIMAL}")),
        [format!(
            "1:1: `fuel`: unknown key; allowed: {SECTIONS} (`fuel` belongs in [resources])"
        )]
    );
    assert_eq!(
        problems(&MINIMAL.replace("[resources]", "[resource]")),
        [format!(
            "5:2: `resource`: unknown key; allowed: {SECTIONS} (did you mean [resources]?)"
        )]
    );
}

#[test]
fn sections_that_are_no_sections() {
    assert_eq!(
        problems("component = 1\n[[resources]]\n"),
        [
            "1:13: `component`: found integer 1; allowed: a section [component]",
            "2:1: `resources`: found an array; allowed: a section [resources]",
        ]
    );
    for section in ["env", "config", "permissions", "supervision"] {
        assert_eq!(
            problems(&format!("{section} = \"x\"\n{MINIMAL}")),
            [format!(
                "1:{}: `{section}`: found \"x\"; allowed: a section [{section}]",
                section.len() + 4
            )]
        );
    }
}

#[test]
fn an_empty_file_lacks_what_is_required() {
    let missing = [
        "1:1: `component`: missing; allowed: a section [component] with `id` and `wasm`",
        "1:1: `resources`: missing; allowed: a section [resources] with `memory`, `fuel` and \
             `timeout`",
    ];
    for text in ["", "\n\n", "# nothing\r\n", "\u{feff}", "[env]\n"] {
        assert_eq!(problems(text), missing, "{text:?}");
    }
}

#[test]
fn mistakes_in_env() {
    const NAME: &str = "a name that is not empty and has no `=` and no NUL character";
    const VALUE: &str = "a string without NUL characters";
    for (mistake, problem) in [
        (
            "A = 1",
            format!("10:5: `env.A`: found integer 1; allowed: {VALUE}"),
        ),
        (
            "A = \"x\\u0000\"",
            format!("10:5: `env.A`: found \"x\\u{{0}}\"; allowed: {VALUE}"),
        ),
        (
            "\"\" = \"x\"",
            format!("10:1: `env.\"\"`: found \"\"; allowed: {NAME}"),
        ),
        (
            "\"A=B\" = \"x\"",
            format!("10:1: `env.\"A=B\"`: found \"A=B\"; allowed: {NAME}"),
        ),
        (
            "\"A\\u0000\" = \"x\"",
            format!("10:1: `env.\"A\\u{{0}}\"`: found \"A\\u{{0}}\"; allowed: {NAME}"),
        ),
        (
            "A.B = \"x\"",
            format!("10:1: `env.A`: found a table; allowed: {VALUE}"),
        ),
    ] {
        mistaken_more(&format!("[env]\n{mistake}\n"), &problem);
    }
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
    const PATH: &str = "the path of a file, relative to the manifest's folder";
    for (mistake, problem) in [
        (
            "file = \"a\"\ntext = \"b\"",
            "11:8: `config`: found both `file` and `text`; allowed: one of `file` and `text`",
        ),
        (
            "text = \"b\"\nfile = \"a\"",
            "11:8: `config`: found both `file` and `text`; allowed: one of `file` and `text`",
        ),
        (
            "",
            "9:1: `config`: missing; allowed: one of `file` and `text`",
        ),
        (
            "text = 5",
            "10:8: `config.text`: found integer 5; allowed: a string",
        ),
        (
            "file = \"/etc/passwd\"",
            &format!(
                "10:8: `config.file`: found \"/etc/passwd\"; allowed: {PATH} (this path is \
                     absolute)"
            ),
        ),
        (
            "path = \"a\"",
            "10:1: `config.path`: unknown key; allowed: file, text",
        ),
    ] {
        mistaken_more(&format!("[config]\n{mistake}\n"), problem);
    }
}

#[test]
fn mistakes_in_permissions() {
    const PATTERN: &str = "a pattern `namespace/name/instance` such as \"demo/*/*\", each 1 \
                               to 64 of the characters [A-Za-z0-9._-] or `*`";
    const WASI: &str = "\"stdout\", \"stderr\", \"env\", { dir = \"...\", access = \"read\" or \
                            \"write\" } or { connect = \"ip:port\" }";
    const DIR: &str = "the path of a folder, relative to the manifest's, and each once";
    const ADDRESS: &str = "an address such as \"127.0.0.1:6379\" or \"[::1]:6379\"";
    for (mistake, problem) in [
        (
            "send = \"demo/*/*\"",
            "8: `permissions.send`: found \"demo/*/*\"; allowed: a list of patterns such as \
                 [\"demo/*/*\"]"
                .to_owned(),
        ),
        (
            "request = [\"a/b/c\", \"demo/*\"]",
            format!("21: `permissions.request`: found \"demo/*\"; allowed: {PATTERN}"),
        ),
        (
            "broadcast = [[]]",
            format!("14: `permissions.broadcast`: found an array; allowed: {PATTERN}"),
        ),
        (
            "storage = 1",
            "11: `permissions.storage`: found integer 1; allowed: a size such as \"1MiB\""
                .to_owned(),
        ),
        (
            "log = \"Info\"",
            "7: `permissions.log`: found \"Info\"; allowed: \"trace\", \"debug\", \"info\", \
                 \"warn\" or \"error\" (did you mean \"info\"?)"
                .to_owned(),
        ),
        (
            "wasi = \"stdout\"",
            format!("8: `permissions.wasi`: found \"stdout\"; allowed: a list of {WASI}"),
        ),
        (
            "wasi = [\"stdin\"]",
            format!("9: `permissions.wasi`: found \"stdin\"; allowed: {WASI}"),
        ),
        (
            "wasi = [\"stdou\"]",
            format!(
                "9: `permissions.wasi`: found \"stdou\"; allowed: {WASI} (did you mean \
                     \"stdout\"?)"
            ),
        ),
        (
            "wasi = [true]",
            format!("9: `permissions.wasi`: found boolean true; allowed: {WASI}"),
        ),
        (
            "wasi = [{ access = \"read\" }]",
            format!("9: `permissions.wasi.dir`: missing; allowed: {DIR}"),
        ),
        (
            "wasi = [{ dir = \"data\" }]",
            "9: `permissions.wasi.access`: missing; allowed: \"read\" or \"write\"".to_owned(),
        ),
        (
            "wasi = [{ dir = \"data\", access = \"rw\" }]",
            "34: `permissions.wasi.access`: found \"rw\"; allowed: \"read\" or \"write\""
                .to_owned(),
        ),
        (
            "wasi = [{ dir = \"/data\", access = \"read\" }]",
            format!(
                "17: `permissions.wasi.dir`: found \"/data\"; allowed: {DIR} (this path is \
                     absolute)"
            ),
        ),
        (
            "wasi = [{ dir = \"a\", access = \"read\" }, { dir = \"a\", access = \"write\" }]",
            format!(
                "49: `permissions.wasi.dir`: found \"a\"; allowed: {DIR} (it is granted above)"
            ),
        ),
        (
            "wasi = [{ connect = \"localhost:80\" }]",
            format!("21: `permissions.wasi.connect`: found \"localhost:80\"; allowed: {ADDRESS}"),
        ),
        (
            "wasi = [{ connect = 80 }]",
            format!("21: `permissions.wasi.connect`: found integer 80; allowed: {ADDRESS}"),
        ),
        (
            "wasi = [{ connect = \"[::1]:80\", access = \"read\" }]",
            "33: `permissions.wasi.access`: unknown key; allowed: connect".to_owned(),
        ),
        (
            "wasi = [{ dir = \"a\", acess = \"read\" }]",
            "22: `permissions.wasi.acess`: unknown key; allowed: dir, access (did you mean \
                 `access`?)"
                .to_owned(),
        ),
        (
            "sent = []",
            "1: `permissions.sent`: unknown key; allowed: send, request, broadcast, storage, \
                 log, wasi (did you mean `send`?)"
                .to_owned(),
        ),
    ] {
        mistaken_more(
            &format!("[permissions]\n{mistake}\n"),
            &format!("10:{problem}"),
        );
    }
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
        let manifest = manifest(&text, Path::new(file), CEILING).unwrap();
        assert_eq!(
            manifest.permissions.wasi,
            [WasiGrant::Dir {
                guest: "../data".to_owned(),
                host: host.into(),
                access: DirAccess::Write,
            }]
        );
    }
}

#[test]
fn mistakes_in_supervision() {
    for (mistake, problem) in [
        (
            "restart = \"on_failure\"",
            "11: `supervision.restart`: found \"on_failure\"; allowed: \"never\" or \
                 \"on-failure\" (did you mean \"on-failure\"?)",
        ),
        (
            "restart = false",
            "11: `supervision.restart`: found boolean false; allowed: \"never\" or \
                 \"on-failure\"",
        ),
        (
            "max-restarts = 4294967296",
            "16: `supervision.max-restarts`: found integer 4294967296; allowed: a whole \
                 number from 0 to 4_294_967_295",
        ),
        (
            "max_restarts = 1",
            "1: `supervision.max_restarts`: unknown key; allowed: restart, max-restarts, \
                 within, backoff, mailbox (did you mean `max-restarts`?)",
        ),
        (
            "within = \"0s\"",
            "10: `supervision.within`: found \"0s\"; allowed: a duration such as \"50ms\", \
                 from 1ms to 24h",
        ),
        (
            "backoff = \"6s\"",
            "11: `supervision.backoff`: found \"6s\"; allowed: a duration such as \"50ms\", \
                 from 1ms to 5s",
        ),
        (
            "mailbox = 0",
            "11: `supervision.mailbox`: found integer 0; allowed: a whole number from 1 to \
                 1_000_000",
        ),
    ] {
        mistaken_more(
            &format!("[supervision]\n{mistake}\n"),
            &format!("10:{problem}"),
        );
    }
    let default = accepted("[supervision]\n").supervision;
    assert_eq!(default, Supervision::default());
}

#[test]
fn a_text_that_is_not_toml() {
    for (mistake, problem) in [
        (
            "memory = 2MiB",
            "6:10: not TOML: `2MiB`: string values must be quoted, expected literal string",
        ),
        ("memory", "6:7: not TOML: key with no value, expected `=`"),
        (
            "memory = \"2MiB",
            "6:15: not TOML: invalid basic string, expected `\"`",
        ),
        (
            "memory = \"a\u{1}\"",
            "6:12: not TOML: `\\u{1}`: invalid basic string, expected non-double-quote \
                 visible characters, `\\`",
        ),
        (
            "memory = \"2MiB\"\nmemory = \"3MiB\"",
            "7:1: `memory`: duplicate key; allowed: each key once",
        ),
    ] {
        mistaken("memory = \"2MiB\"", mistake, problem);
    }
    mistaken_more(
        "[resources]\n",
        "9:2: `resources`: duplicate key; allowed: each key once",
    );
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
    assert_eq!(errors.to_string().lines().last(), Some("and 900 more"));
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

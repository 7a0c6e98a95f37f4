//! One answer about imports: what the audit says is what loading says, whatever is
//! imported and under which name.

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{Resource, ResourceType};

use wasm_core::{Permissions, Unmet, UnmetImport, WasmError};
use wasm_fixtures::{COUNTER, Fixture, STORED_COUNTER};
use wasm_runtime::{HostState, WasmtimeEngine};

use crate::support::{ask, config, engine, id, permitted, within};

type Caller<'a> = StoreContextMut<'a, HostState>;

/// What the host has in this version, without that.
fn not_in(name: &str, provided: &str) -> UnmetImport {
    let wanted = name
        .split_once('@')
        .map(|(_, rest)| rest.split(['#', '+']).next());
    if wanted == Some(Some(provided)) {
        return missing(name);
    }
    UnmetImport {
        name: name.to_owned(),
        reason: Unmet::OtherVersion {
            provided: provided.to_owned(),
        },
    }
}

fn missing(name: &str) -> UnmetImport {
    UnmetImport {
        name: name.to_owned(),
        reason: Unmet::Missing,
    }
}

fn no_such_kind(name: &str, kind: &'static str) -> UnmetImport {
    UnmetImport {
        name: name.to_owned(),
        reason: Unmet::NoSuchKind { kind },
    }
}

fn other_type(name: &str, wanted: &str, provided: Option<&str>) -> UnmetImport {
    UnmetImport {
        name: name.to_owned(),
        reason: Unmet::OtherType {
            wanted: wanted.to_owned(),
            provided: provided.map(str::to_owned),
        },
    }
}

fn none() -> Permissions {
    Permissions::default()
}

/// The audit of a component with these imports, which is what loading it says, too.
async fn unmet(engine: &WasmtimeEngine, imports: &str) -> Vec<UnmetImport> {
    let bytes = Bytes::from(wat::parse_str(format!("(component {imports})")).unwrap());
    let id = id("demo/importer/main");
    let audit = within(engine.audit_imports(&id, bytes.clone(), &none())).await;
    let audit = audit.unwrap();
    assert_eq!(audit.examined, None);
    let loaded = within(engine.load_component(&id, bytes, config())).await;
    match (audit.unmet.as_slice(), loaded) {
        ([], Ok(handle)) => engine.unload_component(&handle).await.unwrap(),
        (
            [first, others @ ..],
            Err(WasmError::ImportNotFound {
                import,
                reason,
                others: count,
                or_more: false,
                ..
            }),
        ) => {
            assert_eq!((import, reason), (first.name.clone(), first.reason.clone()));
            assert_eq!(count, others.len());
        }
        (unmet, loaded) => panic!("{unmet:?}, but {loaded:?}"),
    }
    audit.unmet
}

fn storage(release: &str, functions: &str) -> String {
    format!(
        r#"(import "airssys:core/storage@{release}" (instance
            (type $e' (variant (case "not-found" string) (case "already-exists" string)
                (case "quota-exceeded") (case "invalid-key" string) (case "io-error" string)))
            (export "storage-error" (type $e (eq $e')))
            {functions}))"#
    )
}

const EXISTS: &str =
    r#"(export "exists" (func (param "key" string) (result (result bool (error $e)))))"#;
const RENAME: &str =
    r#"(export "rename" (func (param "from" string) (result (result (error $e)))))"#;

#[tokio::test]
async fn releases_stand_in_for_each_other_as_the_linker_says() {
    let engine = engine();
    for release in ["1.0.0", "1.0.1", "1.7.0", "1.0.0+b1", "1.2.3+b.4"] {
        assert_eq!(
            unmet(&engine, &storage(release, EXISTS)).await,
            [],
            "{release}"
        );
        let functions = format!("{EXISTS} {RENAME}");
        let rename = not_in(&format!("airssys:core/storage@{release}#rename"), "1.0.0");
        assert_eq!(
            unmet(&engine, &storage(release, &functions)).await,
            std::slice::from_ref(&rename)
        );
        // It is no other than that function, even if nothing else is imported.
        assert_eq!(unmet(&engine, &storage(release, RENAME)).await, [rename]);
    }
    let old = "wasi:io/poll@0.2.3";
    let gone = format!(r#"(import "{old}" (instance (export "nap" (func))))"#);
    assert_eq!(
        unmet(&engine, &gone).await,
        [missing(&format!("{old}#nap"))]
    );
    for release in ["1.0.0-rc.1", "1.1.0-rc.1+b1", "2.0.0", "0.1.0", "0.0.1"] {
        assert_eq!(
            unmet(&engine, &storage(release, EXISTS)).await,
            [not_in(&format!("airssys:core/storage@{release}"), "1.0.0")]
        );
    }
    let poll = |name: &str| {
        format!(
            r#"(import "{name}" (instance
                (export "pollable" (type $p (sub resource)))
                (export "[method]pollable.ready" (func (param "self" (borrow $p)) (result bool)))))"#
        )
    };
    for release in ["0.2.0", "0.2.6", "0.2.12", "0.2.99", "0.2.99+b1"] {
        let name = format!("wasi:io/poll@{release}");
        assert_eq!(unmet(&engine, &poll(&name)).await, [], "{release}");
    }
    for name in ["wasi:io/poll@0.3.0", "wasi:io/poll@0.2.0-rc-2023"] {
        let other = not_in(name, "0.2.12");
        assert_eq!(unmet(&engine, &poll(name)).await, [other]);
    }
    for name in ["wasi:io/poll", "wasi:io/polling@0.2.0", "poll"] {
        assert_eq!(unmet(&engine, &poll(name)).await, [missing(name)]);
    }
}

#[tokio::test]
async fn types_need_nothing_and_resources_are_needed() {
    let engine = engine();
    let types = r#"(import "acme:shared/types@1.0.0" (instance
            (type $p (record (field "x" u32)))
            (export "point" (type (eq $p)))))
        (type $t (enum "a" "b"))
        (import "letter" (type (eq $t)))
        (import "acme:shared/empty@1.0.0" (instance))"#;
    assert_eq!(unmet(&engine, types).await, []);
    let resource = r#"(import "acme:shared/handles@1.0.0" (instance
            (export "handle" (type (sub resource)))))"#;
    assert_eq!(
        unmet(&engine, resource).await,
        [missing("acme:shared/handles@1.0.0")]
    );
    let used = r#"(import "acme:shared/handles@1.0.0" (instance $h
            (export "handle" (type (sub resource)))))
        (alias export $h "handle" (type $handle))
        (import "acme:app/use@1.0.0" (instance
            (alias outer 1 $handle (type $again))
            (export "handle" (type $handle (eq $again)))
            (export "take" (func (param "h" (own $handle))))))
        (import "acme:app/other@1.0.0" (instance (export "run" (func))))"#;
    assert_eq!(
        unmet(&engine, used).await,
        [
            missing("acme:shared/handles@1.0.0"),
            missing("acme:app/use@1.0.0"),
            missing("acme:app/other@1.0.0"),
        ]
    );
    let one_more = r#"(import "wasi:io/poll@0.2.3" (instance
            (export "pollable" (type (sub resource)))
            (export "poller" (type (sub resource)))))"#;
    assert_eq!(
        unmet(&engine, one_more).await,
        [missing("wasi:io/poll@0.2.3#poller")]
    );
    assert_eq!(
        unmet(&engine, r#"(import "handle" (type (sub resource)))"#).await,
        [missing("handle")]
    );
}

/// Whether they are there can be asked all the same.
#[tokio::test]
async fn functions_with_a_resource_that_is_missing_are_asked_about_by_name() {
    let engine = engine();
    let handles = "acme:shared/handles@1.0.0";
    let text = format!(
        r#"(import "{handles}" (instance $h (export "handle" (type (sub resource)))))
        (alias export $h "handle" (type $handle))
        (import "wasi:clocks/monotonic-clock@0.2.3" (instance
            (alias outer 1 $handle (type $again))
            (export "handle" (type $handle (eq $again)))
            (export "now" (func (param "h" (own $handle))))
            (export "dream" (func (param "h" (own $handle))))))"#
    );
    let dream = "wasi:clocks/monotonic-clock@0.2.3#dream";
    assert_eq!(
        unmet(&engine, &text).await,
        [missing(handles), missing(dream)]
    );
    // Those of a resource are as missing as it is.
    let methods = r#"(import "wasi:io/poll@0.2.3" (instance
        (export "poller" (type $poller (sub resource)))
        (export "[method]poller.poll" (func (param "self" (borrow $poller))))))"#;
    assert_eq!(
        unmet(&engine, methods).await,
        [missing("wasi:io/poll@0.2.3#poller")]
    );
}

/// One interface has them, and functions of others are asked about with it.
#[tokio::test]
async fn functions_with_the_resources_of_another_interface_are_examined() {
    let engine = engine();
    let of_clocks = |functions: &str| {
        format!(
            r#"(import "wasi:io/poll@0.2.3" (instance $poll
                (export "pollable" (type (sub resource)))))
            (alias export $poll "pollable" (type $pollable))
            (import "wasi:clocks/monotonic-clock@0.2.3" (instance
                (alias outer 1 $pollable (type $again))
                (export "pollable" (type $pollable (eq $again)))
                {functions}))"#
        )
    };
    let there = r#"(export "subscribe-duration" (func (param "when" u64)
        (result (own $pollable))))"#;
    assert_eq!(unmet(&engine, &of_clocks(there)).await, []);
    let dream = r#"(export "dream" (func (param "of" (borrow $pollable))))"#;
    let missing_there = [missing("wasi:clocks/monotonic-clock@0.2.3#dream")];
    assert_eq!(unmet(&engine, &of_clocks(dream)).await, missing_there);
    let both = of_clocks(&format!("{there} {dream}"));
    assert_eq!(unmet(&engine, &both).await, missing_there);
    // Nested in what else is asked about at once.
    let and_another = format!(r#"{both} (import "acme:app/other@1.0.0" (func))"#);
    assert_eq!(
        unmet(&engine, &and_another).await,
        [missing_there[0].clone(), missing("acme:app/other@1.0.0")]
    );
}

#[tokio::test]
async fn another_type_is_told_with_both() {
    let engine = engine();
    let exists = |ty: &str| format!("(export \"exists\" (func {ty}))");
    for (ty, wanted, provided) in [
        (
            r#"(param "key" string) (result bool)"#,
            "bool",
            "result<bool, storage-error>",
        ),
        (
            r#"(param "key" string)"#,
            "func(key: string)",
            "func(key: string) -> result<bool, storage-error>",
        ),
        (
            r#"(param "key" (list u8)) (result (result bool (error $e)))"#,
            "func(key: list<u8>) -> result<bool, storage-error>",
            "func(key: string) -> result<bool, storage-error>",
        ),
    ] {
        let unmet = unmet(&engine, &storage("1.3.0", &exists(ty))).await;
        let name = "airssys:core/storage@1.3.0#exists";
        assert_eq!(unmet, [other_type(name, wanted, Some(provided))]);
    }
    let other_error = r#"(import "airssys:core/storage@1.0.0" (instance
            (type $e' (enum "not-found" "io"))
            (export "storage-error" (type $e (eq $e')))
            (export "exists" (func (param "key" string) (result (result bool (error $e)))))))"#;
    assert_eq!(
        unmet(&engine, other_error).await,
        [other_type(
            "airssys:core/storage@1.0.0#exists",
            "enum { not-found, io } as storage-error",
            Some(
                "variant { not-found(string), already-exists(string), quota-exceeded, \
                 invalid-key(string), io-error(string) }"
            )
        )]
    );
    let method = r#"(import "wasi:io/poll@0.2.3" (instance
            (export "pollable" (type $p (sub resource)))
            (export "[method]pollable.block" (func (param "self" (borrow $p))))
            (export "[method]pollable.ready" (func (param "self" (borrow $p)) (result u8)))
            (export "[method]pollable.soon" (func (param "self" (borrow $p)) (result bool)))))"#;
    assert_eq!(
        unmet(&engine, method).await,
        [
            other_type(
                "wasi:io/poll@0.2.3#[method]pollable.ready",
                "func(self: borrow<pollable>) -> u8",
                None
            ),
            missing("wasi:io/poll@0.2.3#[method]pollable.soon"),
        ]
    );
    let no_resource = r#"(import "wasi:io/poll@0.2.3" (instance (export "poll" (func))))"#;
    assert_eq!(
        unmet(&engine, no_resource).await,
        [other_type("wasi:io/poll@0.2.3#poll", "func()", None)]
    );
    let as_resource =
        r#"(import "airssys:core/storage@1.0.0" (instance (export "get" (type (sub resource)))))"#;
    assert_eq!(
        unmet(&engine, as_resource).await,
        [other_type(
            "airssys:core/storage@1.0.0#get",
            "resource",
            None
        )]
    );
}

#[tokio::test]
async fn what_is_no_interface_is_named_with_its_kind() {
    let engine = engine();
    let imports = r#"(import "m" (core module (export "f" (func))))
        (import "f" (func (param "x" u32)))
        (type $r (record (field "x" u32)))
        (import "r" (type $r' (eq $r)))
        (import "g" (func (param "r" $r')))
        (import "acme:nested/all@1.0.0" (instance
            (export "inner" (instance (export "run" (func))))
            (export "module" (core module))))"#;
    assert_eq!(
        unmet(&engine, imports).await,
        [
            no_such_kind("m", "a core module"),
            missing("f"),
            missing("g"),
            missing("acme:nested/all@1.0.0"),
        ]
    );
    let within = r#"(import "airssys:core/storage@1.0.0" (instance
            (export "inner" (instance (export "run" (func))))
            (export "module" (core module))))"#;
    assert_eq!(
        unmet(&engine, within).await,
        [
            missing("airssys:core/storage@1.0.0#inner"),
            no_such_kind("airssys:core/storage@1.0.0#module", "a core module"),
        ]
    );
    // The compiler refuses to look at more of a component that imports another.
    let component = r#"(import "f" (func)) (import "c" (component)) (import "d" (component))"#;
    let bytes = Bytes::from(wat::parse_str(format!("(component {component})")).unwrap());
    let id = id("demo/importer/main");
    let audit = engine
        .audit_imports(&id, bytes.clone(), &none())
        .await
        .unwrap();
    let expected = ["c", "d"].map(|name| no_such_kind(name, "a component"));
    assert_eq!(
        (audit.unmet.as_slice(), audit.examined),
        (&expected[..], Some(0))
    );
    let error = engine
        .load_component(&id, bytes, config())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "demo/importer/main imports `c`, a component, which this host does not provide; \
         at least one more of its imports is not met either"
    );
}

#[tokio::test]
async fn an_embedders_interfaces_are_asked_about_like_the_others() {
    struct Cursor;
    let mut engine = engine();
    let linker = engine.linker_mut();
    let mut query = linker.instance("acme:db/query@0.4.2").unwrap();
    let cursor = ResourceType::host::<Cursor>();
    query.resource("cursor", cursor, |_, _| Ok(())).unwrap();
    let rows = |_: Caller<'_>, (_,): (Resource<Cursor>,)| Ok((7_u32,));
    query.func_wrap("[method]cursor.rows", rows).unwrap();
    let add = |_: Caller<'_>, (a, b): (u32, u32)| Ok((a + b,));
    linker.root().func_wrap("add", add).unwrap();

    let query = |release: &str, member: &str| {
        format!(
            r#"(import "acme:db/query@{release}" (instance
                (export "cursor" (type $c (sub resource)))
                (export "[method]cursor.{member}" (func (param "self" (borrow $c)) (result u32)))))"#
        )
    };
    for release in ["0.4.0", "0.4.2", "0.4.9+b1"] {
        assert_eq!(unmet(&engine, &query(release, "rows")).await, []);
        assert_eq!(
            unmet(&engine, &query(release, "columns")).await,
            [missing(&format!(
                "acme:db/query@{release}#[method]cursor.columns"
            ))]
        );
    }
    for release in ["0.5.0", "0.4.2-rc.1", "1.0.0"] {
        assert_eq!(
            unmet(&engine, &query(release, "rows")).await,
            [missing(&format!("acme:db/query@{release}"))]
        );
    }
    let add = |result: &str| {
        format!(r#"(import "add" (func (param "a" u32) (param "b" u32) (result {result})))"#)
    };
    assert_eq!(unmet(&engine, &add("u32")).await, []);
    assert_eq!(
        unmet(&engine, &add("u64")).await,
        [other_type("add", "func(a: u32, b: u32) -> u64", None)]
    );
}

#[tokio::test]
async fn each_of_many_is_found() {
    let engine = engine();
    let mut imports = String::new();
    let mut expected = Vec::new();
    for i in 0..60 {
        let rename = if i % 3 == 0 { RENAME } else { "" };
        let release = format!("1.{i}.0");
        imports += &storage(&release, &format!("{EXISTS} {rename}"));
        if i % 3 == 0 {
            let name = format!("airssys:core/storage@{release}#rename");
            expected.push(not_in(&name, "1.0.0"));
        }
        if i % 5 == 0 {
            let name = format!("acme:db/query@{i}.0.0");
            imports +=
                &format!(r#"(import "{name}" (instance (export "a" (func)) (export "b" (func))))"#);
            expected.push(missing(&name));
        }
    }
    assert_eq!(unmet(&engine, &imports).await, expected);
}

#[tokio::test]
async fn thousands_of_imports_are_examined_as_far_as_is_reasonable() {
    let engine = engine();
    let imports: String = (0..5000)
        .map(|i| format!(r#"(import "run{i}" (func))"#))
        .collect();
    let bytes = Bytes::from(wat::parse_str(format!("(component {imports})")).unwrap());
    let id = id("demo/importer/main");
    let audit = within(engine.audit_imports(&id, bytes, &none()))
        .await
        .unwrap();
    let examined = audit.examined.unwrap();
    assert!(examined > 100 && examined < 5000, "{examined}");
    let expected: Vec<_> = (0..examined).map(|i| missing(&format!("run{i}"))).collect();
    assert_eq!(audit.unmet, expected);
}

#[tokio::test]
async fn what_is_not_examined_of_an_interface_is_told() {
    let engine = engine();
    let functions: String = (0..5000)
        .map(|i| format!(r#"(export "run{i}" (func))"#))
        .collect();
    let imports = format!(
        r#"(import "f" (func)) (import "airssys:core/storage@1.0.0" (instance {functions}))
        (import "g" (func))"#
    );
    let bytes = Bytes::from(wat::parse_str(format!("(component {imports})")).unwrap());
    let id = id("demo/importer/main");
    let audit = within(engine.audit_imports(&id, bytes.clone(), &none()))
        .await
        .unwrap();
    assert_eq!(audit.examined, Some(1));
    let examined = 5000 - audit.unexamined.len();
    assert!((100..5000).contains(&examined), "{examined}");
    let run = |i| format!("airssys:core/storage@1.0.0#run{i}");
    let expected: Vec<_> = std::iter::once("f".to_owned())
        .chain((0..examined).map(run))
        .map(|name| missing(&name))
        .collect();
    assert_eq!(audit.unmet, expected);
    let unexamined: Vec<_> = (examined..5000).map(|i| format!("run{i}")).collect();
    assert_eq!(audit.unexamined, unexamined);
    let error = within(engine.load_component(&id, bytes, config())).await;
    let said = format!("; at least {examined} more of its imports are not met either");
    let error = error.unwrap_err().to_string();
    assert!(error.ends_with(&said), "{error}");
}

#[tokio::test]
async fn what_comes_after_thousands_of_items_is_not_examined() {
    let engine = engine();
    let functions: String = (0..10_001)
        .map(|i| format!(r#"(export "run{i}" (func))"#))
        .collect();
    let imports = format!(
        r#"(import "acme:db/many@1.0.0" (instance {functions}))
        (import "acme:db/one@1.0.0" (instance (export "run" (func))))"#
    );
    let bytes = Bytes::from(wat::parse_str(format!("(component {imports})")).unwrap());
    let id = id("demo/importer/main");
    let audit = within(engine.audit_imports(&id, bytes, &none()))
        .await
        .unwrap();
    assert_eq!(audit.examined, Some(1));
    assert_eq!(audit.unmet, [missing("acme:db/many@1.0.0")]);
}

#[tokio::test]
async fn functions_of_large_types_are_examined_as_far_as_is_reasonable() {
    let engine = engine();
    let fields: String = (0..400)
        .map(|i| format!("(field \"f{i}\" (option u8))"))
        .collect();
    let functions: String = (0..1000)
        .map(|i| format!("(export \"run{i}\" (func (param \"p\" $r)))"))
        .collect();
    let import = format!(
        r#"(import "airssys:core/storage@1.0.0" (instance
            (type $r' (record {fields})) (export "r" (type $r (eq $r')))
            {functions}))"#
    );
    let bytes = Bytes::from(wat::parse_str(format!("(component {import})")).unwrap());
    let id = id("demo/importer/main");
    let audit = within(engine.audit_imports(&id, bytes, &none()))
        .await
        .unwrap();
    assert_eq!(audit.examined, Some(0));
    assert!(audit.unmet.len() < 200, "{}", audit.unmet.len());
    assert_eq!(audit.unmet[0], missing("airssys:core/storage@1.0.0#run0"));
}

/// As many of both as wasmtime accepts: what takes as long as their product takes minutes.
#[tokio::test]
async fn thousands_of_resources_in_thousands_of_functions_are_not_looked_at_one_by_one() {
    let engine = engine();
    let resources: String = (0..8_900)
        .map(|i| format!("(export \"r{i}\" (type $r{i} (sub resource)))"))
        .collect();
    let borrows: String = (0..900)
        .map(|i| format!("(type $b{i} (borrow $r{}))", 8_899 - i))
        .collect();
    let mentioned: String = (0..900).map(|i| format!(" $b{i}")).collect();
    let functions: String = (0..1_080)
        .map(|i| format!("(export \"run{i}\" (func (param \"p\" $t)))"))
        .collect();
    let interface = format!("{resources} {borrows} (type $t (tuple {mentioned})) {functions}");
    let import = r#"(import "airssys:core/storage@1.0.0" (instance"#;
    let text = format!("(component {import} {interface})))");
    let bytes = Bytes::from(wat::parse_str(text).unwrap());
    let id = id("demo/importer/main");
    let audit = within(engine.audit_imports(&id, bytes, &none())).await;
    let audit = audit.unwrap();
    assert_eq!(audit.examined, Some(0));
    assert_eq!(audit.unmet[0], missing("airssys:core/storage@1.0.0#r0"));
}

/// A type that is a tuple of two of the type before it, thirty times over, has as many
/// parts as no function of a host.
#[tokio::test]
async fn a_type_too_large_to_be_asked_about_is_of_another_type() {
    let engine = engine();
    let mut types = "(type $t0 (list u8))".to_owned();
    for i in 1..16 {
        let below = i - 1;
        types += &format!("(type $t{i} (tuple $t{below} $t{below}))");
    }
    let import = format!(
        r#"(import "airssys:core/storage@1.0.0" (instance {types}
            (export "exists" (func (param "key" $t15) (result bool)))))"#
    );
    let unmet = unmet(&engine, &import).await;
    let [UnmetImport { name, reason }] = unmet.as_slice() else {
        panic!("{unmet:?}");
    };
    assert_eq!(name, "airssys:core/storage@1.0.0#exists");
    let Unmet::OtherType { wanted, .. } = reason else {
        panic!("{reason:?}");
    };
    assert!(wanted.starts_with("func(key: tuple<tuple<"), "{wanted}");
    assert!(wanted.len() < 2000, "{}", wanted.len());
}

#[tokio::test]
async fn any_release_that_the_engine_finds_takes_messages() {
    let engine = engine();
    let takes = |name: &str| engine.takes_messages([name, "acme:calc/ops@1.0.0", "run"]);
    for release in ["1.0.0", "1.0.4", "1.9.0", "1.0.0+b1"] {
        let name = format!("airssys:core/component-lifecycle@{release}");
        assert!(takes(&name), "{name}");
    }
    for name in [
        "airssys:core/component-lifecycle@2.0.0",
        "airssys:core/component-lifecycle@1.0.0-rc.1",
        "airssys:core/component-lifecycle",
        "airssys:core/component-lifecycles@1.0.0",
        "acme:core/component-lifecycle@1.0.0",
    ] {
        assert!(!takes(name), "{name}");
    }
    assert!(!engine.takes_messages([]));
}

#[tokio::test]
async fn of_releases_without_end_the_first_are_looked_at() {
    let engine = engine();
    let with = |others: u32| {
        let others = (0..others).map(|n| format!("airssys:core/component-lifecycle@2.0.{n}"));
        let ours = "airssys:core/component-lifecycle@1.0.0".to_owned();
        let exports: Vec<String> = others.chain([ours]).collect();
        engine.takes_messages(exports.iter().map(String::as_str))
    };
    assert!(with(63));
    assert!(!with(64));
}

/// A component that was built for another release of the contract.
fn built_for(fixture: Fixture, release: &str) -> Vec<u8> {
    let mut bytes = fixture.wasm.to_vec();
    let (old, new) = (b"@1.0.0", format!("@{release}"));
    assert_eq!(new.len(), old.len());
    let mut found = 0;
    for place in 0..bytes.len() - old.len() {
        if bytes[place..].starts_with(old) {
            bytes[place..place + old.len()].copy_from_slice(new.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0);
    bytes
}

#[tokio::test]
async fn components_of_the_same_major_version_run() {
    let engine = engine();
    for release in ["1.0.1", "1.1.0", "1.9.9"] {
        let id = id(&format!("demo/counter/{release}"));
        let bytes = built_for(STORED_COUNTER, release);
        let counter = engine.load_component(&id, bytes.into(), permitted()).await;
        let counter = counter.unwrap();
        assert_eq!(ask(&engine, &counter, "").await, "1", "{release}");
        engine.unload_component(&counter).await.unwrap();
    }
}

#[tokio::test]
async fn components_of_another_major_version_are_told_both() {
    let engine = engine();
    let load = async |fixture: Fixture| {
        let id = id("demo/new/main");
        let bytes = built_for(fixture, "2.0.0");
        let loaded = engine.load_component(&id, bytes.into(), permitted()).await;
        loaded.unwrap_err().to_string()
    };
    let said = load(STORED_COUNTER).await;
    for part in [
        "airssys:core/",
        "@2.0.0`, which this host does not provide: it has version 1.0.0",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let said = load(COUNTER).await;
    for part in [
        "it exports `airssys:core/component-lifecycle@2.0.0`",
        "this host calls airssys:core/component-lifecycle@1.0.0",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

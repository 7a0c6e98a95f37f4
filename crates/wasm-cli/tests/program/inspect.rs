use crate::{Folder, program, repository, terminal};

/// With these components in a folder.
#[track_caller]
fn fixtures_show(name: &str, options: &str) {
    let folder = Folder::new();
    let lines = [
        wasm_fixtures::HELLO,
        wasm_fixtures::STORED_COUNTER,
        wasm_fixtures::LOGGER,
        wasm_fixtures::UNKNOWN_IMPORT,
        wasm_fixtures::BIG_INITIAL_MEMORY,
        wasm_fixtures::MANY_INSTANCES,
    ]
    .map(|fixture| {
        folder.fixture(fixture);
        format!("inspect {}.wasm{options}", fixture.name)
    });
    folder.shows(name, &lines);
}

#[test]
fn tells_what_a_component_is() {
    fixtures_show("inspect", "");
}

#[test]
fn a_manifest_that_does_not_do_comes_with_a_warning() {
    fixtures_show("inspect-manifest", " --manifest");
}

#[test]
fn the_manifest_alone_runs_the_component() {
    let folder = Folder::new();
    for fixture in [wasm_fixtures::ECHO, wasm_fixtures::STORED_COUNTER] {
        let wasm = folder.fixture(fixture);
        let printed = program(["inspect", &wasm, "--manifest"]);
        assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""));
        let manifest = folder.write("Component.toml", &printed.stdout);
        let ended = program(["run", &manifest, "-m", "1"]);
        ended.expect(0, "1\n");
    }
    let big = folder.fixture(wasm_fixtures::BIG_INITIAL_MEMORY);
    let printed = program(["inspect", &big, "--manifest"]);
    let manifest = folder.write("Component.toml", &printed.stdout);
    assert_eq!(program(["run", &manifest, "-m", "x"]).code, Some(2));
    program(["run", &manifest, "-m", "x", "--memory-ceiling", "96MiB"]).expect(0, "");
}

#[test]
fn a_folder_stands_for_its_component() {
    let lines = [
        "inspect examples/echo",
        "inspect examples/echo/Component.toml",
        "inspect examples/echo --types",
        "inspect examples/c-echo",
        "inspect examples/c-echo --manifest",
    ];
    terminal(&repository(), "inspect-examples", &lines);
}

/// A component that imports these, as a file.
fn importer(folder: &Folder, name: &str, imports: &str) {
    let bytes = wat::parse_str(format!("(component {imports})")).unwrap();
    folder.write(&format!("{name}.wasm"), bytes);
}

#[test]
fn imports_are_provided_if_the_engine_says_so() {
    let folder = Folder::new();
    importer(
        &folder,
        "provided",
        r#"(import "acme:shared/types@1.0.0" (instance
            (type $p (record (field "x" u32) (field "y" u32)))
            (export "point" (type (eq $p)))))
        (type $e (enum "a" "b"))
        (import "letter" (type (eq $e)))
        (import "airssys:core/host-services@1.3.0+b1" (instance
            (export "current-time-millis" (func (result u64)))))
        (import "wasi:io/poll@0.2.99" (instance
            (export "pollable" (type $p (sub resource)))
            (export "[method]pollable.block" (func (param "self" (borrow $p))))))"#,
    );
    importer(
        &folder,
        "unmet",
        r#"(import "acme:shared/handles@1.0.0" (instance
            (export "handle" (type (sub resource)))))
        (import "airssys:core/storage@1.1.0" (instance
            (export "exists" (func (param "key" string) (result bool)))
            (export "rename" (func (param "from" string) (param "to" string)))))
        (import "wasi:io/poll@0.2.3" (instance
            (export "pollable" (type $p (sub resource)))
            (export "poller" (type (sub resource)))
            (export "[method]pollable.block" (func (param "self" (borrow $p))))
            (export "[method]pollable.soon" (func (param "self" (borrow $p))))))
        (import "wasi:io/poll@0.3.0" (instance (export "poll" (func))))
        (import "airssys:core/host-services@1.0.0" (instance (export "m" (core module))))
        (import "m" (core module))
        (import "run" (func))"#,
    );
    importer(&folder, "component", r#"(import "c" (component))"#);
    let lines = [
        "inspect provided.wasm",
        "check provided.wasm",
        "inspect unmet.wasm",
        "inspect unmet.wasm --manifest",
        "check unmet.wasm",
        "inspect component.wasm",
        "check component.wasm",
    ];
    folder.shows("inspect-imports", &lines);
}

/// The tools for WIT panic on the one and overflow their stack on the other.
#[test]
fn a_valid_component_may_be_unlike_any_other() {
    let folder = Folder::new();
    let odd = "(component (import \"unlocked-dep=<a:b>\" (func))
        (core module $m) (export \"m\" (core module $m)))";
    folder.write("odd.wasm", wat::parse_str(odd).unwrap());
    let cyclic = r#"(component
        (import "a:a/one" (instance $one (export "t" (type (sub resource)))))
        (alias export $one "t" (type $t))
        (import "b:b/two" (instance $two
            (export "t" (type (eq $t))) (export "u" (type (sub resource)))))
        (alias export $two "u" (type $u))
        (import "a:a/three" (instance (export "u" (type (eq $u))))))"#;
    folder.write("cyclic.wasm", wat::parse_str(cyclic).unwrap());
    let lines = ["inspect odd.wasm", "inspect cyclic.wasm --types"];
    folder.shows("inspect-odd", &lines);
}

#[test]
fn what_the_engine_refuses_is_shown_without_a_manifest() {
    let folder = Folder::new();
    // More than the engine takes, and not damaged.
    let exports: String = (0..20_000)
        .map(|number| format!("(export \"m{number}\" (core module $m))"))
        .collect();
    let many = wat::parse_str(format!("(component (core module $m) {exports})")).unwrap();
    let many = folder.write("many.wasm", many);
    let refused = program(["check", &many]);
    assert_eq!(refused.code, Some(2));
    let reason = refused.stderr.lines().next().unwrap();
    assert!(
        reason.contains("is not a component that can be run"),
        "{reason}"
    );
    for flags in [&[][..], &["--manifest"]] {
        let shown = program([&["inspect", &many], flags].concat());
        assert_eq!(shown.code, Some(2), "{}", shown.stderr);
        assert!(shown.stderr.contains(reason), "{}", shown.stderr);
        assert!(!shown.stdout.contains("[component]"), "{}", shown.stdout);
    }
    // A type that is used again and again: what is not compiled is not written out.
    let functions: String = (0..9_000)
        .map(|number| format!("(export \"f{number}\" (func))"))
        .collect();
    let uses: String = (0..20)
        .map(|number| format!("(import \"i{number}\" (instance (type 0)))"))
        .collect();
    let text = format!("(component (type (instance {functions})) {uses}");
    for (name, exports) in [
        (
            "items",
            "(export \"a\" (instance 0)) (export \"b\" (instance 1)))",
        ),
        ("imported", "(import \"c\" (component)))"),
    ] {
        let bytes = wat::parse_str(format!("{text}{exports}")).unwrap();
        let wasm = folder.write(&format!("{name}.wasm"), bytes);
        let shown = program(["inspect", &wasm]);
        assert!(shown.stdout.contains("  i19  "), "{}", shown.stdout);
        assert!(!shown.stdout.contains("func()"), "{}", shown.stdout);
    }
    // One that does without a manifest tells what it takes of the host.
    let echo = folder.fixture(wasm_fixtures::ECHO);
    let shown = program(["inspect", &echo]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(
        shown.stdout.contains(" outside of its memory: code"),
        "{}",
        shown.stdout
    );
}

use crate::{Folder, example, limited, program};

const CALC: &str = r#"
(component
  (core module $m
    (memory (export "memory") 1)
    (func (export "add") (param i32 i32) (result i32)
      (i32.add (local.get 0) (local.get 1)))
    (func (export "parity") (param i32) (result i32)
      (i32.and (local.get 0) (i32.const 1)))
    (func (export "name") (result i32)
      (i32.store (i32.const 0) (i32.const 8))
      (i32.store (i32.const 4) (i32.const 3))
      (i32.store (i32.const 8) (i32.const 0x0a1b41))
      (i32.const 0))
    (func (export "nothing"))
    (func (export "crash") unreachable))
  (core instance $i (instantiate $m))
  (func $add (param "a" s32) (param "b" s32) (result s32)
    (canon lift (core func $i "add")))
  (func $parity (param "n" u8) (result (enum "even" "odd"))
    (canon lift (core func $i "parity")))
  (func $name (result string)
    (canon lift (core func $i "name") (memory $i "memory")))
  (func $nothing (canon lift (core func $i "nothing")))
  (func $crash (canon lift (core func $i "crash")))
  (instance $ops (export "add" (func $add)))
  (export "acme:calc/ops@1.0.0" (instance $ops))
  (instance $more (export "sub" (func $add)) (export "name" (func $name)))
  (export "acme:calc/more@1.0.0" (instance $more))
  (instance $again (export "sub" (func $add)))
  (export "acme:calc/again@1.0.0" (instance $again))
  (export "name" (func $name))
  (export "nothing" (func $nothing))
  (export "crash" (func $crash)))
"#;

fn calc(folder: &Folder) -> String {
    folder.write("calc.wasm", wat::parse_str(CALC).unwrap())
}

#[test]
fn arguments_and_results_are_wave() {
    let folder = Folder::new();
    let calc = calc(&folder);
    for (expression, result) in [
        ("acme:calc/ops@1.0.0#add(1, -3)", "-2\n"),
        ("add(40, 2)", "42\n"),
        (" add ( 40 , 2 ) ", "42\n"),
        // Whose name is the whole name is meant first.
        ("name()", "\"A\\u{1b}\\n\"\n"),
        ("nothing()", ""),
    ] {
        program(limited(&["call", &calc, expression])).expect(0, result);
    }
}

#[test]
fn functions_of_the_contract_can_be_called_too() {
    let ended = program(["call", &example("echo"), "metadata()"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.starts_with("{name: \""), "{}", ended.stdout);
    program(["call", &example("echo"), "health()"]).expect(0, "healthy\n");
}

#[test]
fn an_unknown_export_lists_what_there_is() {
    let folder = Folder::new();
    let calc = calc(&folder);
    program(limited(&["call", &calc, "ad(1, 2)"]))
        .expect(2, "")
        .complains(&[
            "error: there is no export `ad`",
            "calc.wasm",
            "  acme:calc/ops@1.0.0#add: func(a: s32, b: s32) -> s32",
            "  name: func() -> string",
            "  nothing: func()",
            "did you mean `add`?",
        ]);
    program(limited(&["call", &calc, "sub(1, 2)"]))
        .expect(2, "")
        .complains(&[
            "`sub` may be `acme:calc/again@1.0.0#sub` or `acme:calc/more@1.0.0#sub`",
            "write the full name",
        ]);
    let minimal = folder.fixture(wasm_fixtures::MINIMAL);
    program(limited(&["call", &minimal, "f()"]))
        .expect(2, "")
        .complains(&["it exports no functions at all"]);
}

#[test]
fn wrong_arguments_say_what_is_expected() {
    let folder = Folder::new();
    let calc = calc(&folder);
    let expected = "= note: its type is func(a: s32, b: s32) -> s32";
    for (expression, parts) in [
        (
            "add",
            &["`(` is missing", "'add()' calls it without arguments"][..],
        ),
        (
            "add(1, \"x\")",
            &[
                "the arguments do not fit `acme:calc/ops@1.0.0#add`",
                "  | add(1, \"x\")\n  |        ^^^ a value of another type\n",
                expected,
            ],
        ),
        ("add(1, 3_000)", &["not a call in WAVE", "invalid token"]),
        ("add(1, 3000000000)", &["^^^^^^^^^^ out of range", expected]),
        ("add(1)", &["missing required param(s)", expected]),
        ("add(1, 2, 3)", &["more param(s) than expected", expected]),
        ("add()", &["2 required", expected]),
        ("add(1, 2", &["unexpected end of input"]),
        ("add(1, 2) + 1", &["trailing characters"]),
        ("add((((", &["error: "]),
        ("", &["`(` is missing"]),
        ("\u{1b}[31m()", &["there is no export `\\u{1b}[31m`"]),
    ] {
        let ended = program(limited(&["call", &calc, expression])).expect(2, "");
        ended.complains(parts);
    }
}

#[test]
fn a_call_is_limited_as_a_message_is() {
    let folder = Folder::new();
    let calc = calc(&folder);
    program(limited(&["call", &calc, "crash()"]))
        .expect(1, "")
        .complains(&["local/calc/main trapped in `crash`: `unreachable` was executed"]);
    program(["call", &calc, "add(1, 2)"])
        .expect(2, "")
        .complains(&[
            "a bare component needs its limits: --memory, --fuel and --timeout are missing",
        ]);
    program([
        "call",
        &calc,
        "add(1, 2)",
        "--memory=1MiB",
        "--timeout=1s",
        "--fuel=1",
    ])
    .expect(1, "")
    .complains(&["out of fuel", "the limit was given by --fuel"]);
}

#[test]
fn what_wave_cannot_express_is_not_called() {
    let folder = Folder::new();
    let component = r#"
        (component
          (core module $m (func (export "make") (result i32) unreachable))
          (core instance $i (instantiate $m))
          (type $r' (resource (rep i32)))
          (export $r "r" (type $r'))
          (func $make (result (own $r)) (canon lift (core func $i "make")))
          (export "make" (func $make)))"#;
    let file = folder.write("resource.wasm", wat::parse_str(component).unwrap());
    program(limited(&["call", &file, "make()"]))
        .expect(2, "")
        .complains(&["`make` takes or returns a resource"]);
}

use crate::{Folder, example, limited, program, repository, terminal};

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

/// With a component of that name.
#[track_caller]
fn calc_shows(name: &str, lines: &[&str]) {
    let folder = Folder::new();
    folder.write("calc.wasm", wat::parse_str(CALC).unwrap());
    folder.fixture(wasm_fixtures::MINIMAL);
    folder.shows(name, lines);
}

#[test]
fn arguments_and_results_are_wave() {
    let lines = [
        "call calc.wasm 'acme:calc/ops@1.0.0#add(1, -3)' $LIMITS",
        "call calc.wasm 'add(40, 2)' $LIMITS",
        "call calc.wasm ' add ( 40 , 2 ) ' $LIMITS",
        // Whose name is the whole name is meant first.
        "call calc.wasm name() $LIMITS",
        "call calc.wasm nothing() $LIMITS",
    ];
    calc_shows("calls", &lines);
}

/// Returns the list that it is given, whatever is in it.
const SAME: &str = r#"
(component
  (core module $m
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64))
    (func (export "same") (param i32 i32) (result i32)
      (i32.store (i32.const 0) (local.get 0))
      (i32.store (i32.const 4) (local.get 1))
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (type $tea' (record (field "leaves" u8) (field "milk" (option u8))))
  (export $tea "tea" (type $tea'))
  (func (export "teas") (param "all" (list $tea)) (result (list $tea))
    (canon lift (core func $i "same") (memory $i "memory") (realloc (func $i "realloc"))))
  (func (export "warmths") (param "all" (list f32)) (result (list f32))
    (canon lift (core func $i "same") (memory $i "memory") (realloc (func $i "realloc")))))
"#;

/// A field that is misspelled would be left out, and a number that is too large is no number.
#[test]
fn what_is_written_is_what_is_passed() {
    let folder = Folder::new();
    folder.write("same.wasm", wat::parse_str(SAME).unwrap());
    let lines = [
        "call same.wasm 'teas([{leaves: 1}, {milk: 2, leaves: 3}])' $LIMITS",
        "call same.wasm 'teas([{leaves: 1, mlik: 2}])' $LIMITS",
        "call same.wasm 'warmths([1e38, inf, -inf, nan])' $LIMITS",
        "call same.wasm 'warmths([1e39])' $LIMITS",
    ];
    folder.shows("arguments-as-written", &lines);
}

/// Whose cases have the names of words of WAVE.
const WORDS: &str = r#"
(component
  (core module $m
    (func (export "area") (param i32 i32))
    (func (export "say") (param i32)))
  (core instance $i (instantiate $m))
  (type $shape' (variant (case "none") (case "some" u8) (case "inf") (case "circle" u8)))
  (export $shape "shape" (type $shape'))
  (type $word' (enum "ok" "true" "nan" "some"))
  (export $word "word" (type $word'))
  (func (export "area") (param "of" $shape) (canon lift (core func $i "area")))
  (func (export "say") (param "word" $word) (canon lift (core func $i "say"))))
"#;

#[test]
fn a_case_with_the_name_of_a_word_is_told_how_it_is_written() {
    let folder = Folder::new();
    let words = folder.write("words.wasm", wat::parse_str(WORDS).unwrap());
    let call = |call: &str| program(limited(&["call", &words, call]));
    for (written, word) in [
        ("area(none)", "none"),
        ("area(some(1))", "some"),
        ("area(inf)", "inf"),
        ("say(ok)", "ok"),
        ("say(true)", "true"),
        ("say(nan)", "nan"),
        // What WAVE cannot read at all.
        ("say(some)", "some"),
        ("area(none(1))", "none"),
    ] {
        let told = format!("case of that name is written `%{word}`");
        call(written).expect(2, "").complains(&[&told]);
        let place = written.rfind(word).unwrap();
        let (before, after) = written.split_at(place);
        if written != "area(none(1))" {
            call(&format!("{before}%{after}")).expect(0, "");
        }
    }
    for written in ["area([none])", "area(err)", "say(false)"] {
        let told = call(written).expect(2, "");
        told.complains(&["a value of another type"]);
    }
    call("area(square)").complains(&["square"]);
}

#[test]
fn functions_of_the_contract_can_be_called_too() {
    let lines = [
        "call examples/echo metadata()",
        "call examples/echo health()",
        "call examples/hello hello()",
    ];
    terminal(&repository(), "calls-of-examples", &lines);
}

#[test]
fn an_unknown_export_lists_what_there_is() {
    let lines = [
        "call calc.wasm 'ad(1, 2)' $LIMITS",
        "call calc.wasm 'sub(1, 2)' $LIMITS",
        "call calc.wasm 'acme:calc/ops#add(1, 2)' $LIMITS",
        "call minimal.wasm f() $LIMITS",
    ];
    calc_shows("unknown-exports", &lines);
}

/// As other tools and languages write them.
#[test]
fn a_near_name_is_found_whatever_parts_it_and_of_whatever_version() {
    let folder = Folder::new();
    let calc = folder.write("calc.wasm", wat::parse_str(CALC).unwrap());
    let call = |name: &str| program(limited(&["call", &calc, &format!("{name}(1, 2)")]));
    for name in [
        "acme:calc/ops.add",
        "acme:calc/ops/add",
        "acme:calc/ops@0.3.0#add",
        "acme:calc/ops@2.0.0.add",
        "acme.calc.ops.add",
        "acme:calc/osp#add",
        "calc/ops.add",
        "ops#ad",
    ] {
        let ended = call(name).expect(2, "");
        ended.complains(&["help: did you mean `acme:calc/ops@1.0.0#add`?"]);
        assert!(!ended.stderr.contains("methods"), "{ended:?}");
    }
    for name in ["acme:calc/ops", "acme:calc/ops@0.3.0", "acme.calc.ops"] {
        call(name).expect(2, "").complains(&[
            "help: `acme:calc/ops@1.0.0` is an interface: `acme:calc/ops@1.0.0#add` is",
        ]);
    }
    for name in ["acme:calc/ops.mul", "other:calc/ops.add", "1.0", "#"] {
        let ended = call(name).expect(2, "");
        assert!(!ended.stderr.contains("did you mean"), "{ended:?}");
    }
}

#[test]
fn wrong_arguments_say_what_is_expected() {
    let lines = [
        "call calc.wasm add $LIMITS",
        "call calc.wasm 'add(1, \"x\")' $LIMITS",
        "call calc.wasm 'add(1, 3_000)' $LIMITS",
        "call calc.wasm 'add(1, 3000000000)' $LIMITS",
        "call calc.wasm add(1) $LIMITS",
        "call calc.wasm 'add(1, 2, 3)' $LIMITS",
        "call calc.wasm add() $LIMITS",
        "call calc.wasm 'add(1, 2' $LIMITS",
        "call calc.wasm 'add(1, 2) + 1' $LIMITS",
        "call calc.wasm add(((( $LIMITS",
        "call calc.wasm '' $LIMITS",
        "call calc.wasm 'add(1, 0x10)' $LIMITS",
        "call calc.wasm 'add(1, 2.0)' $LIMITS",
        "call calc.wasm 'add({a: 1, a: 2}, 2)' $LIMITS",
    ];
    calc_shows("wrong-arguments", &lines);
    // Of a line that is too long to be shown, the place and what is wrong with it.
    let deep = format!("add({}", "[".repeat(100_000));
    program(limited(&["call", &example("hello"), &deep]))
        .expect(2, "")
        .complains(&["[[[[", "^ value nesting too deep"]);
    program(limited(&["call", &example("hello"), "\u{1b}[31m()"]))
        .expect(2, "")
        .complains(&["there is no export `\\u{1b}[31m`"]);
}

#[test]
fn a_call_is_limited_as_a_message_is() {
    let lines = [
        "call calc.wasm crash() $LIMITS",
        "call calc.wasm 'add(1, 2)'",
        "call calc.wasm 'add(1, 2)' --memory=1MiB --timeout=1s --fuel=1",
    ];
    calc_shows("failed-calls", &lines);
}

/// It gives out resources.
pub(crate) const CARTS: &str = include_str!("carts.wat");

#[track_caller]
fn carts_show(name: &str, lines: &[&str]) {
    let folder = Folder::new();
    folder.write("carts.wasm", wat::parse_str(CARTS).unwrap());
    folder.shows(name, lines);
}

#[test]
fn several_calls_share_an_instance_and_its_resources() {
    let lines = [
        "call carts.wasm 'a = cart(2)' 'a.add(3)' 'a.add(1, some(7))' 'checkout(a)' $LIMITS",
        "call carts.wasm 'a = cart(2)' 'b=cart(3)' 'c = cart.merge(a, b)' 'c.add(0)' $LIMITS",
        "call carts.wasm 'a = [constructor]cart(1)' '[method]cart.add(a, 1)' $LIMITS",
        "call carts.wasm 'a = try-cart(4)' 'a = cart(5)' 'a.add(1)' $LIMITS",
        "call carts.wasm cart(1) 'try-cart(2)' 'try-cart(0)' all() $LIMITS",
        "call carts.wasm 'a = cart(1)' 'b = cart(2)' 'a.join(b)' 'cart = cart.merge(a, a)' $LIMITS",
        "call carts.wasm 'cart = cart(1)' 'b = cart(2)' 'c = cart.merge(cart, b)' 'c.add(0)' $LIMITS",
    ];
    carts_show("calls-with-resources", &lines);
}

#[test]
fn wrong_names_of_resources_are_said_before_anything_is_called() {
    let lines = [
        "call carts.wasm 'a = cart(2)' 'a.ad(3)' $LIMITS",
        "call carts.wasm 'a = cart(2)' 'b.add(3)' $LIMITS",
        "call carts.wasm 'a = cart(2)' 'a.add()' $LIMITS",
        "call carts.wasm 'a = cart(2)' 'a.add(\"x\")' $LIMITS",
        "call carts.wasm 'checkout(a)' $LIMITS",
        "call carts.wasm 'a = cart(2)' 'checkout(b)' $LIMITS",
        "call carts.wasm 'a = cart(2)' 'checkout(a)' 'checkout(a)' $LIMITS",
        "call carts.wasm 'a = cart(2)' 'checkout(a)' 'a.add(1)' $LIMITS",
        "call carts.wasm 'a = cart(2)' 'b = checkout(a)' $LIMITS",
        "call carts.wasm 'a = all()' $LIMITS",
        "call carts.wasm 'A = cart(2)' $LIMITS",
        "call carts.wasm 'some = cart(2)' $LIMITS",
        "call carts.wasm 'a- = cart(2)' $LIMITS",
        "call carts.wasm 'a = cart(2)' 'a.join(a)' $LIMITS",
        "call carts.wasm 'a = cart(2)' 'cart.merge(a, a)' $LIMITS",
        "call carts.wasm '()' $LIMITS",
        "call carts.wasm 'cart(count: 1)' $LIMITS",
        "call carts.wasm $LIMITS",
    ];
    carts_show("wrong-names-of-resources", &lines);
}

/// What was called has been called, so that the input is not what is bad.
#[test]
fn a_resource_is_of_one_of_several_instances() {
    let folder = Folder::new();
    folder.write("carts.wasm", wat::parse_str(CARTS).unwrap());
    let manifest = "[component]\nid = \"demo/a/main\"\nwasm = \"carts.wasm\"\n\
                    [resources]\nmemory = \"1MiB\"\nfuel = 1_000_000\ntimeout = \"5s\"\n\
                    instance = \"per-message\"\n";
    let file = folder.write("carts.toml", manifest);
    program(["call", &file, "a = cart(2)", "a.add(1)"])
        .expect(1, "")
        .complains(&["is given a resource of another instance"]);
}

/// What was called before it has been called.
#[test]
fn a_name_for_nothing_ends_the_calls() {
    let lines = ["call carts.wasm 'a = try-cart(0)' 'a.add(1)' $LIMITS"];
    carts_show("name-for-nothing", &lines);
}

/// A type is little to write and may be much to look through.
#[test]
fn a_name_for_a_deep_type_takes_no_time() {
    let folder = Folder::new();
    for inner in ["u8", "(own $r)"] {
        let mut types = format!("(type $t0 (list {inner}))");
        for depth in 1..60 {
            types += &format!("(type $t{depth} (list $t{}))", depth - 1);
        }
        let text = format!(
            r#"(component
                (core module $m (memory (export "memory") 1)
                  (func (export "f") (result i32) (i32.const 0)))
                (core instance $i (instantiate $m))
                (type $r' (resource (rep i32)))
                (export $r "r" (type $r'))
                {types}
                (func $f (result $t59)
                  (canon lift (core func $i "f") (memory $i "memory")))
                (export "f" (func $f)))"#
        );
        folder.write("deep.wasm", wat::parse_str(text).unwrap());
        let deep = folder.0.path().join("deep.wasm").display().to_string();
        program(limited(&["call", &deep, "x = f()"]))
            .expect(2, "")
            .complains(&["and a name is given to one"]);
    }
}

#[test]
fn what_wave_cannot_express_is_not_called() {
    let folder = Folder::new();
    let component = r#"
        (component
          (core module $m (func (export "take") (param i32 i32) unreachable)
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable))
          (core instance $i (instantiate $m))
          (type $r' (resource (rep i32)))
          (export $r "r" (type $r'))
          (func $take (param "all" (list (own $r)))
            (canon lift (core func $i "take") (memory $i "memory")
              (realloc (func $i "realloc"))))
          (export "take" (func $take)))"#;
    folder.write("resource.wasm", wat::parse_str(component).unwrap());
    folder.shows(
        "call-of-resources",
        &["call resource.wasm take([]) $LIMITS"],
    );
}

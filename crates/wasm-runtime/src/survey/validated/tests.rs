use super::*;
use crate::survey::inspect;

fn inspection(text: &str) -> Inspection {
    inspect(&wat::parse_str(text).unwrap()).ok().unwrap()
}

/// Instructions, and values kept across branches, of a module's functions.
fn cost(module: &str) -> (u64, u64) {
    let inspection = inspection(&format!("(component (core module {module}))"));
    (inspection.instructions.sum(), inspection.kept_values.sum())
}

/// What the body adds to a function of five locals.
fn cost_of_body(module: &str, body: &str) -> (u64, u64) {
    let with = |body: &str| {
        let locals = "(local i32 i32 i32 i32 i32)";
        // Types of their own, so that they are as many with and without.
        format!("{module} (type $empty (func)) (func (type $empty) {locals} {body})")
    };
    let ((without, none), (instructions, kept)) = (cost(&with("")), cost(&with(body)));
    assert_eq!(none, 0);
    (instructions - without, kept)
}

#[test]
fn an_operator_weighs_what_a_compiler_makes_of_it() {
    let module = "
        (type $pair (func (param i32 i32) (result i32)))
        (type $wide (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
        (func $pair (type $pair) unreachable)
        (func $wide (type $wide) unreachable)
        (table $t 1 funcref)
        (memory 1)
        (data $d \"a\")
        (elem $e func $pair)";
    for (body, instructions, kept) in [
        ("nop", 1, 0),
        // Takes a value, which is made first.
        ("i32.const 1 drop", 1 + 1, 0),
        // A block and its end count with the values that they take and give; the place where
        // its branches meet keeps five locals.
        ("block end", 1 + 1, 5),
        ("block (result i32) i32.const 1 end drop", 1 + 1 + 3 + 1, 5),
        ("loop end", 10 + 1, 5),
        ("i32.const 1 if end", 1 + 2 + 1, 2 * (5 + 1)),
        ("i32.const 1 if else end", 1 + 2 + 1 + 1, 2 * (5 + 1)),
        ("block br 0 end", 1 + 1 + 1, 5 + 5),
        ("block i32.const 1 br_if 0 end", 1 + 1 + 1 + 1, 5 + 6),
        // As many branches as labels, and the default.
        (
            "block i32.const 1 br_table 0 0 0 end",
            1 + 1 + 1 + 1,
            5 + 3 * 6,
        ),
        ("i32.const 1 i32.const 2 call $pair drop", 2 + 4 + 1, 0),
        (
            "i32.const 1 i32.const 2 i32.const 0 call_indirect (type $pair) drop",
            3 + (10 + 4) + 1,
            2 * (5 + 3),
        ),
        ("i32.const 0 table.get 0 drop", 1 + 10 + 1, 2 * (5 + 1)),
        ("table.size 0 drop", 1 + 1, 0),
        ("i32.const 1 memory.grow drop", 1 + 10 + 1, 0),
        ("data.drop $d elem.drop $e", 10 + 10, 0),
        // Of operators that most often have few operands, those beyond eight count.
        ("i32.const 1 i32.const 2 i32.add drop", 2 + 1 + 1, 0),
    ] {
        assert_eq!(cost_of_body(module, body), (instructions, kept), "{body}");
    }
}

/// They weigh what they make a validator check.
#[test]
fn an_operator_that_the_engine_does_not_run_weighs_what_it_names() {
    let module = "
        (type $f (func)) (type $made (func (result i32 i32 i32)))
        (type $two (func (param i32 i32)))
        (type $k (cont $f)) (type $l (cont $two))
        (type $point (struct (field i32 i32 i32)))
        (type $array (array i32))
        (tag $three (param i32 i32 i32)) (tag $asked (result i32 i32)) (tag $switch)
        (func $callee (type $f)) (func $other (type $two))
        (elem declare func $callee $other)";
    let values = "(result i32 i32 i32)";
    for (body, instructions) in [
        ("struct.new_default $point drop", 1 + 3 + 1),
        (
            "i32.const 1 i32.const 2 i32.const 3 struct.new $point drop",
            3 + 1 + 1,
        ),
        // Twelve operands and an array, which are five more than eight.
        (
            &format!(
                "{} array.new_fixed $array 12 drop",
                "i32.const 1 ".repeat(12)
            ),
            12 + (1 + 5) + 1,
        ),
        ("try_table end", 1 + 1),
        // A handler counts with the values of its label: one and three.
        (
            &format!(
                "block {values} try_table (catch $three 0) end unreachable end drop drop drop"
            ),
            1 + (1 + 1 + 3) + 1 + 1 + (1 + 6) + 3,
        ),
        ("block try_table (catch_all 0) end end", 1 + (1 + 1) + 1 + 1),
        // A continuation is made and resumed.
        ("ref.func $callee cont.new $k resume $k", 2 + 1),
        // A handler counts with what is resumed, which are three values here, with the two that
        // its tag asks for and the one of its label; one that switches with what is resumed.
        (
            "block $asked (result (ref $l))
               i32.const 1 i32.const 2 ref.func $other cont.new $l
               resume $l (on $asked $asked) (on $switch switch)
               unreachable
             end drop",
            1 + 4 + (1 + (1 + 3 + 2 + 1) + (1 + 3)) + 1 + (1 + 2) + 1,
        ),
    ] {
        let (found, _) = cost_of_body(module, body);
        assert_eq!(found, instructions, "{body}");
    }
}

#[test]
fn parameters_locals_and_results_count_once_for_a_function() {
    let (none, _) = cost("(type (func (param i32 i32) (result i32))) (type (func))");
    let (some, _) = cost(
        "(type (func (param i32 i32) (result i32))) (type (func))
         (func (type 0) (local i64 i64 i64) unreachable)",
    );
    // The function itself, its five locals, what is in it and its end with a result in and out.
    assert_eq!(some - none, 64 + 5 + 1 + (1 + 2));
}

#[test]
fn what_is_deep_costs_as_its_square() {
    let blocks = |depth: usize| {
        let body = "block ".repeat(depth) + &"end ".repeat(depth);
        cost_of_body("", &body).0
    };
    // With the function itself, 128 parts of the square of how deep it is.
    assert_eq!(blocks(10), 20);
    assert_eq!(blocks(11), 22 + 1);
    assert_eq!(blocks(159), 2 * 159 + 200);
}

#[test]
fn a_branch_costs_more_the_more_there_are() {
    let branches = |count: usize| {
        let body = "block end ".repeat(count);
        cost(&format!("(func {body})")).1
    };
    assert_eq!(branches(256), 0);
    assert_eq!(branches(257), 1);
    assert_eq!(branches(514), 256 + 2 * 2);
}

/// Everything that a branch may need is kept: locals and operands, those included that it takes.
#[test]
fn a_branch_keeps_what_may_be_needed_after_it() {
    let kept = |body: &str| cost_of_body("", body).1;
    assert_eq!(kept("i32.const 1 i32.const 2 block end drop drop"), 5 + 2);
    // There are no operands where code is not reached; three are looked for.
    assert_eq!(
        kept("block (result i32 i32) unreachable br_if 0 unreachable end drop drop"),
        5 + (5 + 3)
    );
}

/// What a component exports, and what its instances have.
fn items(text: &str) -> (u64, u64) {
    let inspection = inspection(&format!("(component {text})"));
    (
        inspection.exported_items.sum(),
        inspection.instance_items.sum(),
    )
}

#[test]
fn an_exported_type_counts_with_all_that_is_in_it() {
    for (ty, values) in [
        ("u8", 1),
        ("(record (field \"a\" u8) (field \"b\" u8))", 1 + 2),
        ("(tuple u8 u8 u8)", 1 + 3),
        // Cases, and what they hold.
        (
            "(variant (case \"a\" u8) (case \"b\") (case \"c\" u8))",
            1 + 2 + 3,
        ),
        ("(list u8)", 1 + 1),
        ("(list u8 5)", 5 * (1 + 1)),
        ("(map string u8)", 1 + 2),
        ("(option u8)", 1 + 1),
        ("(result)", 1),
        ("(result u8)", 1 + 1),
        ("(result u8 (error u8))", 1 + 2),
        ("(flags \"a\" \"b\" \"c\")", 3),
        ("(enum \"a\" \"b\" \"c\" \"d\")", 4),
        ("(tuple (list u8) (list u8))", 1 + 2 * 2),
    ] {
        let text = format!("(type $t {ty}) (export \"t\" (type $t))");
        assert_eq!(items(&text), (values, 0), "{ty}");
    }
}

#[test]
fn an_exported_function_counts_with_its_parameters_and_result() {
    let text = "(import \"f\" (func $f (param \"a\" u8) (param \"b\" (list u8)) (result string)))
        (export \"g\" (func $f))";
    assert_eq!(items(text).0, 1 + 1 + 2 + 1);
}

/// Each instance counts with what it exports, however it came to be.
#[test]
fn an_instance_counts_each_time_it_is_made_or_named() {
    let imported = "(import \"a\" (instance $a
        (export \"t\" (type (sub resource)))
        (export \"b\" (instance (export \"t\" (type (sub resource)))))))";
    // The instance, its type, and its instance with a type.
    let (a, b) = (1 + 1 + 2, 1 + 1);
    for (text, exported, instances) in [
        (imported.to_owned(), 0, a),
        (format!("{imported} (import \"f\" (func))"), 0, a),
        (
            format!("{imported} {imported}")
                .replacen("\"a\"", "\"z\"", 1)
                .replacen("$a", "$z", 1),
            0,
            2 * a,
        ),
        (
            format!("{imported} (alias export $a \"b\" (instance $b))"),
            0,
            a + b,
        ),
        (
            format!(
                "{imported} (alias export $a \"b\" (instance $b))
                 (alias export $a \"b\" (instance $c)) (alias export $a \"t\" (type $t))"
            ),
            0,
            a + 2 * b,
        ),
        (format!("{imported} (export \"c\" (instance $a))"), a, a),
        (
            format!("{imported} (instance (export \"d\" (instance $a)))"),
            0,
            a + (1 + a),
        ),
    ] {
        assert_eq!(items(&text), (exported, instances), "{text}");
    }
}

/// Ten instructions for each value and the function itself, which are too light to matter for
/// how many there may be in a small component.
#[test]
fn functions_that_are_lifted_or_lowered_are_converted_value_by_value() {
    let module = "(core module $m
        (memory (export \"m\") 1)
        (func (export \"f\") (param i32 i32)))
        (core instance $m (instantiate $m))";
    let wide =
        |name: &str| format!("(import \"{name}\" (func ${name} (param \"a\" (tuple u8 u8 u8))))");
    let lower = |name: &str| format!("(core func (canon lower (func ${name})))");
    let instructions = |text: &str| {
        let inspection = inspection(&format!("(component {module} {text})"));
        inspection.instructions.sum()
    };
    let lift = "(func (param \"a\" u32) (param \"b\" u32) (canon lift (core func $m \"f\")))";
    for (text, values) in [
        (String::new(), 0),
        (wide("w") + &lower("w"), 1 + 4),
        (wide("w") + &lower("w") + &lower("w"), 2 * (1 + 4)),
        (lift.to_owned(), 1 + 2),
        (lift.repeat(3), 3 * (1 + 2)),
        (wide("w") + lift + &lower("w"), (1 + 2) + (1 + 4)),
    ] {
        assert_eq!(
            instructions(&text),
            instructions("") + 10 * values,
            "{text}"
        );
    }
}

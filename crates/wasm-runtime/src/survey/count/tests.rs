use super::*;

fn needs(text: &str) -> ComponentNeeds {
    let bytes = wat::parse_str(text).unwrap();
    count(&bytes).ok().unwrap().needs
}

fn takes(memory_bytes: u64, table_bytes: u64, core_instances: u64) -> ComponentNeeds {
    ComponentNeeds {
        memory_bytes,
        table_bytes,
        core_instances,
        ..ComponentNeeds::default()
    }
}

/// However many modules it consists of.
fn taken(text: &str) -> ComponentNeeds {
    ComponentNeeds {
        core_modules: 0,
        ..needs(text)
    }
}

#[test]
fn a_module_counts_as_often_as_it_is_instantiated() {
    assert_eq!(needs("(component)"), ComponentNeeds::default());
    let module = "(core module $m (memory 2) (table 10 funcref))";
    let alone = needs(&format!("(component {module})"));
    assert_eq!(alone.core_modules, 1);
    assert_eq!(taken(&format!("(component {module})")), takes(0, 0, 0));
    let twice = format!(
        "(component {module} (core instance (instantiate $m)) (core instance (instantiate $m)))"
    );
    assert_eq!(taken(&twice), takes(4 << 16, 160, 2));
}

#[test]
fn components_count_with_what_is_in_them() {
    let nested = taken(
        "(component $outer
           (core module $m (memory 1))
           (component $inner
             (alias outer $outer $m (core module $again))
             (core instance (instantiate $again)))
           (instance (instantiate $inner))
           (instance (instantiate $inner))
           (core instance (instantiate $m)))",
    );
    assert_eq!(nested, takes(3 << 16, 0, 3));
}

#[test]
fn an_exported_module_has_an_index_of_its_own() {
    let exported = taken(
        "(component
           (core module $a (memory 1))
           (export $exported \"a\" (core module $a))
           (core module $b (memory 5))
           (core instance (instantiate $b))
           (core instance (instantiate $exported)))",
    );
    assert_eq!(exported, takes(6 << 16, 0, 2));
}

#[test]
fn what_is_handed_in_is_unknown() {
    let handed_in = needs(
        "(component
           (import \"m\" (core module $m))
           (core instance (instantiate $m)))",
    );
    assert!(handed_in.and_more);
}

fn component(module: &str) -> String {
    format!("(component (core module $m {module}) (core instance (instantiate $m)))")
}

fn survey<R>(text: &str, read: impl FnOnce(Survey<'_>) -> R) -> R {
    let bytes = wat::parse_str(text).unwrap();
    read(Survey::of(&bytes).ok().unwrap())
}

/// What counting refuses, and how much there is of it.
fn excess(text: &str) -> Option<(&'static str, u64)> {
    match count(&wat::parse_str(text).unwrap()) {
        Ok(_) => None,
        Err(Rejection::TooComplex(Defect::TooComplex { what, found, .. })) => Some((what, found)),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn what_a_module_has_counts_as_so_many_instructions() {
    let point = "(type $point (struct (field i32 i32 i32)))";
    for (module, instructions) in [
        ("", 0),
        // Each byte of a type section 10, of 4 and of 5 bytes.
        ("(type (func))", 40),
        ("(type (func (param i32)))", 50),
        // Each function 64.
        ("(type (func)) (func (type 0)) (func (type 0))", 40 + 128),
        // Each byte of a constant expression 4, and as many as the largest struct has fields;
        // the section has 6 bytes. The type has 9.
        ("(global i32 (i32.const 1))", 24),
        (
            &format!("{point} (global i32 (i32.const 1))"),
            90 + 6 * (4 + 3),
        ),
        // Each byte of an element section one, and as many more.
        ("(func $f) (elem func $f $f)", 40 + 64 + 6),
        (
            &format!("{point} (type $f (func)) (func $f (type $f)) (elem func $f $f)"),
            120 + 64 + 6 * (1 + 3),
        ),
        // Each of the three bytes that say where data goes, 4.
        ("(memory 1) (data (i32.const 0) \"abc\")", 12),
        // Where nobody knows it before, each byte once more, and each segment 10.
        (
            "(global $at i32 (i32.const 0)) (memory 1) (data (global.get $at) \"a\") (data \"b\")",
            24 + 12 + (2 * 10 + 3),
        ),
    ] {
        let found = survey(&component(module), |survey| survey.instructions.sum());
        assert_eq!(found, instructions, "{module}");
    }
}

#[test]
fn what_an_instance_has_takes_memory_of_the_host() {
    for (module, bytes) in [
        ("", 0),
        // An import or a function takes 32 bytes,
        ("(import \"a\" \"f\" (func))", 32),
        ("(func) (func)", 64),
        // a global or an element that can be asked for later 16.
        ("(global i64 (i64.const 1))", 16),
        ("(func $f) (elem func $f $f $f)", 32 + 48),
        (
            "(func $f) (elem funcref (ref.func $f) (ref.null func))",
            32 + 32,
        ),
        (
            "(table 3 funcref) (func $f) (elem (i32.const 0) func $f $f $f)",
            32,
        ),
    ] {
        let host = "(core instance $a (export \"f\" (func $f)))";
        let instance = match module.contains("import") {
            true => "(core instance (instantiate $m (with \"a\" (instance $a))))",
            false => "(core instance (instantiate $m))",
        };
        let twice = format!(
            "(component
               (import \"f\" (func $imported))
               (core func $f (canon lower (func $imported)))
               {host} (core module $m {module}) {instance} {instance})"
        );
        let found = survey(&twice, |survey| survey.needs.host_bytes);
        assert_eq!(found, 2 * bytes, "{module}");
    }
}

#[test]
fn memories_have_pages_of_the_size_that_they_say() {
    let bytes = |memory: &str| needs(&component(memory)).memory_bytes;
    assert_eq!(bytes("(memory 3)"), 3 << 16);
    assert_eq!(bytes("(memory 3 (pagesize 1))"), 3);
    let needs = needs(&component("(memory 1) (memory 2) (table 5 funcref)"));
    assert_eq!(needs.bytes(), (3 << 16) + 40);
}

#[test]
fn everything_that_a_component_defines_is_counted() {
    let module = "(core module $m (func (export \"f\")))";
    for (items, definitions) in [
        ("", 0),
        ("(type (func)) (type u8)", 2),
        ("(import \"f\" (func)) (import \"g\" (func))", 2 + 2),
        // An instance counts with its arguments or exports.
        (&format!("{module} (core instance (instantiate $m))"), 1),
        (
            &format!(
                "{module} (core module $n (import \"a\" \"f\" (func)))
                 (core instance $i (instantiate $m))
                 (core instance (instantiate $n (with \"a\" (instance $i))))"
            ),
            1 + 2,
        ),
        (
            &format!(
                "{module} (core instance $i (instantiate $m))
                 (core instance (export \"a\" (func $i \"f\")) (export \"b\" (func $i \"f\")))"
            ),
            1 + 2 + 3,
        ),
        (
            "(type $t u8) (instance (export \"a\" (type $t)) (export \"b\" (type $t)))",
            1 + 3,
        ),
        // A function that is lifted has a type, which is declared, and what it lifts is named.
        (
            &format!(
                "{module} (core instance $i (instantiate $m))
                 (func $f (canon lift (core func $i \"f\"))) (export \"f\" (func $f))"
            ),
            1 + 1 + 1 + 1 + 1,
        ),
        (
            "(core type (func)) (core type (module (type (func)) (type (func))))",
            2 + 3,
        ),
    ] {
        let text = format!("(component {items})");
        let found = survey(&text, |survey| {
            (survey.needs.definitions, survey.definitions.sum())
        });
        assert_eq!(found, (definitions, definitions), "{items}");
    }
}

#[test]
fn definitions_in_a_component_count_once_and_for_each_instance() {
    let text = "(component
        (component $c (type u8) (type u8) (type u8))
        (instance (instantiate $c))
        (instance (instantiate $c)))";
    let found = survey(text, |survey| {
        (survey.definitions.sum(), survey.needs.definitions)
    });
    assert_eq!(found, (3 + 2, 2 * 3 + 2));
}

#[test]
fn a_type_counts_with_all_that_it_declares() {
    for (ty, declared) in [
        ("u8", 1),
        ("(record (field \"a\" u8) (field \"b\" u8))", 1),
        ("(instance)", 1),
        ("(instance (type u8) (type u8))", 3),
        ("(instance (type $t u8) (export \"t\" (type (eq $t))))", 3),
        ("(instance (type (instance (type u8))))", 3),
        ("(component (import \"a\" (func)) (type u8))", 4),
        ("(component (import \"a\" (func)) (export \"b\" (func)))", 5),
    ] {
        let text = format!("(component (type {ty}))");
        let found = survey(&text, |survey| survey.definitions.sum());
        assert_eq!(found, declared, "{ty}");
    }
}

#[test]
fn components_may_be_so_deep_within_each_other() {
    let within = |opening: &str, levels: usize| {
        let text = opening.repeat(levels) + &")".repeat(levels);
        excess(&text)
    };
    let levels = "levels of components in components";
    assert_eq!(within("(component ", 33), None);
    assert_eq!(within("(component ", 34), Some((levels, 33)));
    let types = |levels: usize| {
        let opening = "(type (instance ".repeat(levels);
        excess(&format!("(component {opening} {})", "))".repeat(levels)))
    };
    assert_eq!(types(32), None);
    assert_eq!(types(33), Some((levels, 33)));
}

#[test]
fn instances_of_what_a_component_is_handed_are_counted() {
    let text = "(component
        (component $inner
          (import \"m\" (core module $m))
          (import \"c\" (component $c))
          (core instance (instantiate $m))
          (core instance (instantiate $m))
          (instance (instantiate $c))
          (instance (instantiate $c))
          (instance (instantiate $c)))
        (component $makes (core module $m) (export \"m\" (core module $m)))
        (instance $made (instantiate $makes))
        (alias export $made \"m\" (core module $found))
        (core module $own (memory 5))
        (core instance (instantiate $found))
        (core instance (instantiate $own))
        (core instance (instantiate $own)))";
    survey(text, |survey| {
        assert_eq!(survey.handed, 6);
        // What is known has an index after what is not.
        assert_eq!(survey.needs.memory_bytes, 2 * (5 << 16));
    });
}

#[test]
fn a_component_that_nobody_knows_has_an_index_all_the_same() {
    let text = "(component
        (component $makes (component $c) (export \"c\" (component $c)))
        (instance $made (instantiate $makes))
        (alias export $made \"c\" (component $found))
        (component $own (core module $m (memory 3)) (core instance (instantiate $m)))
        (instance (instantiate $found))
        (instance (instantiate $own))
        (instance (instantiate $own)))";
    survey(text, |survey| {
        assert_eq!(survey.handed, 1);
        assert_eq!(survey.needs.memory_bytes, 2 * (3 << 16));
    });
}

#[test]
fn what_the_outermost_component_is_handed_is_an_embedders() {
    let text = "(component
        (import \"m\" (core module $m))
        (import \"c\" (component $c))
        (core instance (instantiate $m))
        (instance (instantiate $c)))";
    survey(text, |survey| {
        assert_eq!(survey.handed, 0);
        assert!(survey.needs.and_more);
        assert_eq!(survey.needs.core_instances, 1);
        // With the outermost.
        assert_eq!(survey.needs.component_instances, 2);
    });
}

#[test]
fn a_component_that_is_named_once_more_is_the_same() {
    let text = "(component $outer
        (component $a (core module $m (memory 1)) (core instance (instantiate $m)))
        (export $again \"a\" (component $a))
        (component $b (core module $m (memory 5)) (core instance (instantiate $m)))
        (component $inner
          (alias outer $outer $b (component $c))
          (instance (instantiate $c)))
        (instance (instantiate $again))
        (instance (instantiate $inner)))";
    assert_eq!(taken(text), takes(6 << 16, 0, 2));
}

/// The memory that data is laid out in, in advance, and whether a function copies it.
fn layout_of(module: &str) -> (u64, bool) {
    let bytes = wat::parse_str(format!("(module {module})")).unwrap();
    let mut memories = Vec::new();
    for payload in Parser::new(0).parse_all(&bytes) {
        match payload.unwrap() {
            Payload::MemorySection(section) => {
                memories.extend(
                    section
                        .into_iter()
                        .map(|m| Some(initial_bytes(&m.unwrap()))),
                );
            }
            Payload::DataSection(section) => {
                let layout = layout(section, &memories).unwrap();
                return (layout.image_bytes, layout.copied);
            }
            _ => {}
        }
    }
    panic!("it has no data");
}

#[test]
fn data_is_laid_out_from_its_first_byte_to_its_last() {
    for (module, image_bytes) in [
        ("(memory 1) (data (i32.const 100) \"abc\")", 3),
        (
            "(memory 1) (data (i32.const 100) \"abc\") (data (i32.const 10) \"d\")",
            93,
        ),
        (
            "(memory $a 1) (memory $b i64 1)
             (data (memory $a) (i32.const 0) \"abc\") (data (memory $b) (i64.const 5) \"de\")",
            5,
        ),
        // It ends with the memory.
        ("(memory 1) (data (i32.const 65533) \"abc\")", 3),
        // What is not for a place yet is not laid out.
        ("(memory 1) (data \"abc\")", 0),
    ] {
        assert_eq!(layout_of(module), (image_bytes, false), "{module}");
    }
}

#[test]
fn data_without_a_place_in_advance_is_copied() {
    for module in [
        "(memory 1) (data (i32.const 65534) \"abc\")",
        "(memory 1) (data (i32.add (i32.const 1) (i32.const 2)) \"abc\")",
        "(memory 1) (data (i32.const -1) \"a\")",
        // The other one has its place; both are copied.
        "(memory 1) (data (i32.const 65536) \"a\") (data (i32.const 0) \"a\")",
    ] {
        assert_eq!(layout_of(module), (0, true), "{module}");
    }
}

#[test]
fn an_image_with_gaps_is_laid_out_up_to_a_size() {
    let far = |last: u64| {
        let ends = format!("(data (i32.const 0) \"a\") (data (i32.const {last}) \"b\")");
        layout_of(&format!("(memory 300) {ends}"))
    };
    assert_eq!(far((16 << 20) - 1), (16 << 20, false));
    // Twice the byte, the page that it begins and one without data, for each of them.
    assert_eq!(far(16 << 20), (2 * 2 * (1 + 2 * 4096), true));
}

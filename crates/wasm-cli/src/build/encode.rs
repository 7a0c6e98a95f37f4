//! What a compiler makes becomes a component.

use std::collections::BTreeSet;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{BinaryReader, Parser, Payload};
use wit_component::ComponentEncoder;

/// The component of what a compiler made: a core module that carries the types of its
/// component, as wit-bindgen puts them in. What is a component already stays as it is.
///
/// # Errors
/// What keeps it from becoming one.
pub(crate) fn encode(made: Vec<u8>) -> Result<Vec<u8>, String> {
    if Parser::is_component(&made) {
        return Ok(made);
    }
    if !Parser::is_core_wasm(&made) {
        return Err("it is no WebAssembly".to_owned());
    }
    if !carries_types(&made) {
        return Err(
            "it is a core module without the types of a component; in Rust, \
             `wasm_guest::export!(TYPE)` puts them in, in C the bindings"
                .to_owned(),
        );
    }
    let encoder = ComponentEncoder::default().validate(true).module(&made);
    let encoder = match speaks_preview1(&made) {
        true => encoder.and_then(|encoder| {
            encoder.adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )
        }),
        false => encoder,
    };
    encoder
        .and_then(|mut encoder| encoder.encode())
        .map(|component| without_names(&component).unwrap_or(component))
        .map_err(|error| format!("{error:#}"))
}

/// Leaves out the names that the encoder gives to a component's own parts, which nothing
/// shows; those of the functions in its modules stay.
fn without_names(component: &[u8]) -> wasmparser::Result<Vec<u8>> {
    const PREAMBLE_BYTES: usize = 8;
    let mut reader = BinaryReader::new(component, 0);
    let mut kept = reader.read_bytes(PREAMBLE_BYTES)?.to_vec();
    while !reader.eof() {
        let start = reader.original_position();
        let id = reader.read_u8()?;
        let length = reader.read_var_u32()?;
        let content = reader.read_bytes(length as usize)?;
        let is_custom = id == 0;
        if is_custom && BinaryReader::new(content, 0).read_string()? == "component-name" {
            continue;
        }
        kept.extend_from_slice(&component[start..reader.original_position()]);
    }
    Ok(kept)
}

fn carries_types(module: &[u8]) -> bool {
    let mut payloads = Parser::new(0).parse_all(module);
    payloads.any(|payload| {
        matches!(payload, Ok(Payload::CustomSection(section))
            if section.name().starts_with("component-type"))
    })
}

/// Whether a module imports WASI as it was before components; libraries of C and Go do.
fn speaks_preview1(module: &[u8]) -> bool {
    let payloads = Parser::new(0).parse_all(module);
    let sections = payloads.filter_map(|payload| match payload {
        Ok(Payload::ImportSection(section)) => Some(section),
        _ => None,
    });
    sections
        .flat_map(|section| section.into_imports().flatten())
        .any(|import| import.module == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME)
}

/// The names of what a component imports; of what cannot be read, as far as it can.
pub(crate) fn imports(component: &[u8]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload {
            Ok(Payload::Version { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::ComponentImportSection(section)) if depth == 1 => {
                let imports = section.into_iter().flatten();
                names.extend(imports.map(|import| import.name.name.to_owned()));
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_module_of_a_component_is_told() {
        for (made, complaint) in [
            (&b"no wasm"[..], "it is no WebAssembly"),
            (b"\0asm\x01\0\0\0", "it is a core module without the types"),
        ] {
            let error = encode(made.to_vec()).unwrap_err();
            assert!(error.starts_with(complaint), "{error}");
        }
    }

    #[test]
    fn a_component_stays_as_it_is() {
        let echo = wasm_fixtures::ECHO.wasm.to_vec();
        assert_eq!(encode(echo.clone()), Ok(echo));
    }

    #[test]
    fn names_of_its_parts_are_left_out() {
        let named = wat::parse_str("(component $named (type $t string))").unwrap();
        let has_names = |bytes: &[u8]| bytes.windows(14).any(|part| part == b"component-name");
        assert!(has_names(&named));
        let kept = without_names(&named).unwrap();
        assert!(!has_names(&kept));
        assert!(wasmparser::validate(&kept).is_ok());
        assert!(without_names(&named[..named.len() - 1]).is_err());
    }

    #[test]
    fn imports_are_named_once() {
        assert!(imports(wasm_fixtures::HELLO.wasm).is_empty());
        let echo = imports(wasm_fixtures::ECHO.wasm).into_iter();
        let expected = ["airssys:core/errors@1.0.0", "airssys:core/types@1.0.0"];
        assert!(echo.eq(expected));
        assert!(imports(b"no wasm").is_empty());
    }
}

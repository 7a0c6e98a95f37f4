//! Any text as `Component.toml`: an error names a place within it.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use wasm_core::manifest::ComponentManifest;

fuzz_target!(|text: &str| {
    let file = Path::new("/app/Component.toml");
    match ComponentManifest::parse_spanned(text, file, 4 << 20) {
        Ok((manifest, _)) => {
            // What was accepted can be used, and means the same when it is read again.
            drop(manifest.config(None));
            let again = ComponentManifest::parse(text, file, 4 << 20);
            assert_eq!(again.ok(), Some(manifest));
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
});

use std::fs;

use crate::repository;

#[test]
fn the_guide_to_embedding_shows_the_example() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).unwrap();
    let example = read("crates/wasm-cli/examples/embedding.rs");
    assert!(
        read("docs/embedding.md").contains(&format!("```rust\n{example}```\n")),
        "docs/embedding.md differs from crates/wasm-cli/examples/embedding.rs"
    );
    assert!(example.lines().count() < 40);
}

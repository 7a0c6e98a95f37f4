use std::fs;
use std::path::Path;

use crate::{Folder, program, repository};

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

/// What a page tells of a language is what `new` makes.
#[test]
fn the_page_of_a_language_shows_what_new_makes() {
    let folder = Folder::new();
    for (language, page, source) in [
        ("c", "c", "greeter.c"),
        ("js", "javascript", "greeter.js"),
        ("python", "python", "app.py"),
        ("go", "go", "greeter.go"),
    ] {
        // In a folder of its own, for the name.
        let made = folder.path(&format!("{language}/greeter"));
        assert_eq!(program(["new", &made, "--lang", language]).code, Some(0));
        let made = fs::read_to_string(Path::new(&made).join(source)).unwrap();
        let page = repository().join("docs").join(format!("{page}.md"));
        let page = fs::read_to_string(page).unwrap();
        assert!(page.contains(&format!("\n{made}```\n")), "{made}");
    }
}

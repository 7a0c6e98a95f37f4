//! The files of the folders that `new` makes.

use wasm_core::WIT;

/// A file of a template: where it goes, and what is in it.
pub(crate) type File = (&'static str, &'static str);

/// A conversation that every greeter holds.
const GREETS: File = (
    "tests/greets.txt",
    include_str!("../../../templates/rust/greets.txt"),
);

/// The contract, for editors and other tools, and for a world beside it that has more.
const CONTRACT: File = ("wit/deps/airssys-core.wit", WIT);

/// Of a language whose tools make nothing else.
const IGNORED: &str = "/target\n/*.wasm\n";
const RUST_CONFIG: File = (
    ".cargo/config.toml",
    include_str!("../../../templates/rust/cargo-config.toml"),
);

pub(crate) const RUST: &[File] = &[
    (
        "Cargo.toml",
        include_str!("../../../templates/rust/cargo.toml"),
    ),
    RUST_CONFIG,
    ("src/lib.rs", include_str!("../../../templates/rust/lib.rs")),
    GREETS,
    (
        "Component.toml",
        include_str!("../../../templates/rust/component.toml"),
    ),
    (
        "README.md",
        include_str!("../../../templates/rust/readme.md"),
    ),
    (".gitignore", IGNORED),
];

pub(crate) const RUST_APP: &[File] = &[
    (
        "Cargo.toml",
        include_str!("../../../templates/rust-app/cargo.toml"),
    ),
    RUST_CONFIG,
    (
        "README.md",
        include_str!("../../../templates/rust-app/readme.md"),
    ),
    (".gitignore", "/target\n*.wasm\n"),
    (
        "kitchen/Cargo.toml",
        include_str!("../../../templates/rust-app/kitchen/cargo.toml"),
    ),
    (
        "kitchen/Component.toml",
        include_str!("../../../templates/rust-app/kitchen/component.toml"),
    ),
    (
        "kitchen/src/lib.rs",
        include_str!("../../../templates/rust-app/kitchen/lib.rs"),
    ),
    (
        "kitchen/tests/prices.txt",
        include_str!("../../../templates/rust-app/kitchen/prices.txt"),
    ),
    (
        "waiter/Cargo.toml",
        include_str!("../../../templates/rust-app/waiter/cargo.toml"),
    ),
    (
        "waiter/Component.toml",
        include_str!("../../../templates/rust-app/waiter/component.toml"),
    ),
    (
        "waiter/src/lib.rs",
        include_str!("../../../templates/rust-app/waiter/lib.rs"),
    ),
    (
        "waiter/tests/alone.txt",
        include_str!("../../../templates/rust-app/waiter/alone.txt"),
    ),
];

pub(crate) const C: &[File] = &[
    ("greeter.c", include_str!("../../../templates/c/greeter.c")),
    ("airssys.h", include_str!("../../../sdk/c/airssys.h")),
    ("airssys.c", include_str!("../../../sdk/c/airssys.c")),
    CONTRACT,
    GREETS,
    (
        "Component.toml",
        include_str!("../../../templates/c/component.toml"),
    ),
    ("README.md", include_str!("../../../templates/c/readme.md")),
    (".gitignore", IGNORED),
];

pub(crate) const JAVASCRIPT: &[File] = &[
    (
        "greeter.js",
        include_str!("../../../templates/javascript/greeter.js"),
    ),
    (
        "airssys.js",
        include_str!("../../../sdk/javascript/airssys.js"),
    ),
    (
        "package.json",
        include_str!("../../../templates/javascript/package.json"),
    ),
    CONTRACT,
    GREETS,
    (
        "Component.toml",
        include_str!("../../../templates/javascript/component.toml"),
    ),
    (
        "README.md",
        include_str!("../../../templates/javascript/readme.md"),
    ),
    (".gitignore", "/node_modules\n/target\n/*.wasm\n"),
];

pub(crate) const PYTHON: &[File] = &[
    ("app.py", include_str!("../../../templates/python/app.py")),
    ("airssys.py", include_str!("../../../sdk/python/airssys.py")),
    (
        "requirements.txt",
        include_str!("../../../templates/python/requirements.txt"),
    ),
    CONTRACT,
    GREETS,
    (
        "Component.toml",
        include_str!("../../../templates/python/component.toml"),
    ),
    (
        "README.md",
        include_str!("../../../templates/python/readme.md"),
    ),
    (".gitignore", "/.venv\n__pycache__\n/target\n/*.wasm\n"),
];

pub(crate) const GO: &[File] = &[
    (
        "greeter.go",
        include_str!("../../../templates/go/greeter.go"),
    ),
    (
        "airssys/airssys.go",
        include_str!("../../../sdk/go/airssys.go"),
    ),
    (
        "airssys/contract.go",
        include_str!("../../../sdk/go/contract.go"),
    ),
    (
        "airssys/native.go",
        include_str!("../../../sdk/go/native.go"),
    ),
    ("go.mod", include_str!("../../../templates/go/go.mod")),
    CONTRACT,
    GREETS,
    (
        "Component.toml",
        include_str!("../../../templates/go/component.toml"),
    ),
    ("README.md", include_str!("../../../templates/go/readme.md")),
    (".gitignore", "/.venv\n/target\n/*.wasm\n"),
];

//! An error over a limit points at the line that sets it.

use crate::{Folder, program};

#[test]
fn a_limit_is_found_however_it_is_written() {
    let component = "[component]\nid = \"demo/a/main\"\nwasm = \"spin.wasm\"\n";
    let about = "description = \'\'\'\n[resources]\ntimeout = \"9h\"\n\'\'\'\n";
    let rest = "memory = \"1MiB\"\nfuel = \"unmetered\"\n";
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::SPIN);
    for (manifest, place, shown) in [
        (
            format!("{component}{about}[resources]\ntimeout = \"50ms\"\n{rest}"),
            "9:1",
            "9 | timeout = \"50ms\"\n  | ^^^^^^^^^^^^^^^^\n",
        ),
        (
            format!("{component}[ resources ]\n  timeout=\"50ms\" # short\n{rest}"),
            "5:3",
            "5 |   timeout=\"50ms\" # short\n  |   ^^^^^^^^^^^^^^\n",
        ),
        (
            format!("{component}[resources]\n\"timeout\" = \"50ms\"\n{rest}"),
            "5:1",
            "  | ^^^^^^^^^^^^^^^^^^\n",
        ),
        (
            format!(
                "resources.memory = \"1MiB\"\nresources.fuel = \"unmetered\"\n\
                 resources.timeout = \"50ms\"\n{component}"
            ),
            "3:11",
            "3 | resources.timeout = \"50ms\"\n  |           ^^^^^^^^^^^^^^^^\n",
        ),
        (
            format!(
                "\u{feff}resources = {{ memory = \"1MiB\", fuel = \"unmetered\", timeout = \
                 \"50ms\" }}\n{component}"
            ),
            "1:52",
            "timeout = \"50ms\" }\n",
        ),
        (
            format!("\u{feff}[resources]\n{rest}timeout = \"50ms\"\n{component}"),
            "4:1",
            "4 | timeout = \"50ms\"\n",
        ),
    ] {
        folder.write("Component.toml", &manifest);
        let ended = program(["run", &folder.path(""), "-m", "x"]).expect(1, "");
        ended.complains(&[
            "not done within 50ms",
            &format!("Component.toml:{place}\n"),
            shown,
        ]);
    }
}

//! Variables whose values are not written in a manifest.

use std::fs;
use std::path::Path;

use super::Running;
use super::reached::curl;
use crate::{Folder, command, program};

/// In no output of a test but that of the component.
const SECRET: &str = "hunter2-of-the-file";

fn folder(env: &str) -> Folder {
    let folder = Folder::new();
    let env = format!("[env]\nA = \"plain\"\n{env}");
    folder.component("shop", wasm_fixtures::INIT_CONFIG, &env);
    folder.write("shop/key", format!("{SECRET}\n"));
    folder
}

#[test]
fn a_component_is_given_what_is_in_files_and_in_the_environment() {
    let folder = folder("B = { file = \"key\" }\nC = { environment = \"SHOP_C\" }\n");
    let path = folder.path("shop");
    let run = |more: &[&str]| {
        let mut command = command([&["run", &path, "-m", "env"], more].concat());
        command
            .env("SHOP_C", "of the environment")
            .output()
            .unwrap()
    };
    let output = run(&[]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        stdout,
        format!("A=plain\nB={SECRET}\nC=of the environment\n\n")
    );
    let stdout = String::from_utf8(run(&["--env", "B=other"]).stdout).unwrap();
    assert_eq!(stdout, "A=plain\nB=other\nC=of the environment\n\n");
}

#[test]
fn what_is_not_there_is_told_with_its_line_and_nothing_is_shown() {
    for (env, parts) in [
        (
            "B = { file = \"nothing\" }\n",
            ["nothing cannot be handed over", "B = {"],
        ),
        (
            "C = { environment = \"SHOP_NOTHING\" }\n",
            ["\"SHOP_NOTHING\" of the environment", "it is not set"],
        ),
        (
            "B = { file = \"component.wasm\" }\n",
            ["no text in UTF-8", "B = {"],
        ),
        (
            "B = { file = \"/etc/hostname\" }\n",
            ["/etc/hostname is outside", "--allow-outside"],
        ),
    ] {
        let folder = folder(env);
        for arguments in [["check", &folder.path("shop")], ["up", &folder.path("")]] {
            let refused = program(arguments);
            assert_eq!(refused.code, Some(2), "{env} {}", refused.stderr);
            refused.complains(&parts);
            assert!(!refused.stderr.contains(SECRET));
        }
    }
    // What a component may write is no secret of its own.
    let granted = "B = { file = \"data/key\" }\n[permissions]\nwasi = [{ dir = \"data\", access = \"write\" }]\n";
    let folder = folder(granted);
    fs::create_dir(Path::new(&folder.path("shop/data"))).unwrap();
    folder.write("shop/data/key", SECRET);
    let refused = program(["check", &folder.path("shop")]);
    assert_eq!(refused.code, Some(2), "{}", refused.stdout);
    refused.complains(&["data/key is looked for in that folder"]);
}

#[test]
fn a_name_in_a_text_is_no_value_and_a_warning_says_so() {
    let folder = folder("HOME = \"${HOME}\"\n");
    let ended = program(["run", &folder.path("shop"), "-m", "env"]);
    assert_eq!(ended.stdout, "A=plain\nHOME=${HOME}\n\n");
    ended.complains(&[
        "warning: the component is given `${HOME}` as it is written",
        "HOME = \"${HOME}\"",
        "{ environment = \"HOME\" }",
    ]);
}

/// Nobody is shown it but whom it is for, and a changed one is taken in like a changed
/// configuration.
#[test]
fn a_secret_is_shown_nowhere_and_read_again() {
    let folder = folder("B = { file = \"key\" }\n");
    let path = folder.path("");
    let inspected = program(["inspect", &folder.path("shop/component.wasm")]);
    assert!(!inspected.stdout.contains(SECRET));
    let mut running = Running::new(command([
        "up",
        &path,
        "--verbose",
        "--listen",
        "127.0.0.1:0",
    ]));
    let address = running.listens();
    let given = || curl(&address, "/components/demo/shop/main", &["-d", "env"]).1;
    assert_eq!(given(), format!("A=plain\nB={SECRET}\n"));
    for path in [
        "/components/demo/shop/main",
        "/components",
        "/metrics",
        "/dead-letters",
    ] {
        assert!(!curl(&address, path, &[]).1.contains(SECRET), "{path}");
    }
    folder.write("shop/key", "another\n");
    running.signal("-HUP");
    running.says("demo/shop/main was replaced");
    assert_eq!(given(), "A=plain\nB=another\n");
    running.signal("-TERM");
    let told = running.says_before("stopping");
    assert!(told.iter().all(|line| !line.contains(SECRET)), "{told:#?}");
}

/// Before anybody is connected to: on other machines it would not be there.
#[test]
fn a_secret_is_not_deployed() {
    let folder = folder("B = { file = \"key\" }\n");
    let nobody = "nats://127.0.0.1:1";
    let refused = program(["deploy", &folder.path(""), "--nats", nobody]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    refused.complains(&["demo/shop/main is given a secret of this machine", "B = {"]);
    assert!(!refused.stderr.contains(SECRET));
}

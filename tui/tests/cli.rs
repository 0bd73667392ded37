//! The command line where there is no terminal.

use std::path::Path;
use std::process::{Command, Output};

fn tui(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fractal-tui"))
        .args(arguments)
        .current_dir(folder)
        .env("XDG_CONFIG_HOME", folder.join("config"))
        .env_remove("FRACTAL_STORE")
        .env_remove("NO_COLOR")
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn sample() -> String {
    format!("{}/../logs/samples/lidar-2-workers.jsonl", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn without_a_terminal_it_prints_the_store_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let empty = tui(folder.path(), &[]);
    assert!(empty.status.success() && out(&empty).contains("fractal-run sweep smoke"), "{}", out(&empty));
    let run = folder.path().join("runs/run/f006b803bd14-20261122T171354Z");
    std::fs::create_dir_all(&run).unwrap();
    std::fs::copy(sample(), run.join("events.jsonl")).unwrap();
    let listed = tui(folder.path(), &[]);
    assert!(listed.status.success() && out(&listed).contains("f006b803bd14"), "{}", out(&listed));
}

#[test]
fn a_frame_is_a_function_of_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let frame = |extra: &[&str]| {
        let mut arguments = vec!["replay", "sample", "--snapshot", "100x30"];
        arguments.extend(extra);
        let output = tui(folder.path(), &arguments);
        assert!(output.status.success(), "{}", err(&output));
        out(&output)
    };
    let path = sample();
    let of_file = tui(folder.path(), &["replay", &path, "--at", "6s", "--snapshot", "100x30"]);
    let body = |text: &str| text.lines().skip(2).map(String::from).collect::<Vec<_>>();
    assert_eq!(body(&out(&of_file)), body(&frame(&["--at", "6s"])));
    assert_ne!(frame(&["--at", "3s"]), frame(&["--at", "6s"]));
    let picture = frame(&["--svg"]);
    assert!(picture.starts_with("<svg") && picture.contains("Phases and levels") && picture.ends_with("</svg>\n"));
    for line in frame(&[]).lines() {
        assert!(line.chars().count() <= 100);
    }
}

#[test]
fn mistakes_are_one_line_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, said) in [
        (&["nothing-like-that"][..], "nothing-like-that"),
        (&["replay", "nothing-like-that"], "list the runs"),
        (&["replay", "sample", "--at", "noon", "--snapshot", "80x24"], "'noon' is no time"),
        (&["replay", "sample", "--snapshot", "big"], "120x40"),
        (&["replay", "/dev/null", "--snapshot", "80x24"], "no fractal-tui"),
    ] {
        let output = tui(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", err(&output));
        if said != "no fractal-tui" {
            assert!(err(&output).contains(said), "{arguments:?}: {}", err(&output));
        }
    }
}

#[test]
fn settings_come_from_file_variables_and_flags_in_that_order() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config/fractal");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.toml"), "theme = \"light\"\n[keys]\n\"live.play\" = [\"P\"]\n").unwrap();
    let printed = out(&tui(folder.path(), &["config", "print"]));
    assert!(printed.contains("theme = \"light\"") && printed.contains("live.play"), "{printed}");
    let path = out(&tui(folder.path(), &["config", "path"]));
    assert_eq!(Path::new(path.trim()), config.join("config.toml"));
    let output = Command::new(env!("CARGO_BIN_EXE_fractal-tui"))
        .args(["config", "print", "--ascii"])
        .env("XDG_CONFIG_HOME", folder.path().join("config"))
        .env("FRACTAL__THEME", "high-contrast")
        .output()
        .unwrap();
    assert!(
        out(&output).contains("theme = \"high-contrast\"") && out(&output).contains("ascii = true"),
        "{}",
        err(&output)
    );
    let schema: serde_json::Value = serde_json::from_str(&out(&tui(folder.path(), &["config", "schema"]))).unwrap();
    assert!(schema["properties"]["theme"]["enum"].as_array().unwrap().len() == 4);
    std::fs::write(config.join("config.toml"), "theme = \"purple\"\n").unwrap();
    let wrong = tui(folder.path(), &["config", "print"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(err(&wrong).contains("config.toml") && err(&wrong).contains("purple"), "{}", err(&wrong));
}

#[test]
fn keys_completions_and_the_manual_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    assert!(out(&tui(folder.path(), &["keys"])).contains("| `space` | play or pause"));
    assert!(out(&tui(folder.path(), &["completions", "bash"])).contains("fractal-tui"));
    assert!(out(&tui(folder.path(), &["man"])).contains("fractal"));
}

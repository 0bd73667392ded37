//! Bakes into the binary which commit and compiler it was built from.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // In a further worktree `.git` is a file: a path that is not there would mean a build each time.
    if let Some(git) = output("git", &["rev-parse", "--absolute-git-dir"]) {
        println!("cargo:rerun-if-changed={git}/HEAD");
        println!("cargo:rerun-if-changed={git}/index");
    }
    let commit = output("git", &["rev-parse", "HEAD"]).unwrap_or_default();
    let dirty =
        output("git", &["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    println!("cargo:rustc-env=FRACTAL_GIT_COMMIT={commit}{}", if dirty && !commit.is_empty() { "-dirty" } else { "" });
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    println!("cargo:rustc-env=FRACTAL_RUSTC={}", output(&rustc, &["--version"]).unwrap_or_default());
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

//! The control socket: who may open it, what it answers, and that it is gone with its runner.

mod sweep;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fractal_sweeps::control::{self, ControlSocket, Request, Response};
use fractal_sweeps::sweep::{SweepOutcome, SweepStatus};
use sweep::{Act, Scripted, World};

const GRID: &str = "
    [axes]
    workers = [2, 1]
";

/// One line to the socket, one line back.
fn send(path: &std::path::Path, line: &str) -> Response {
    let stream = UnixStream::connect(path).unwrap();
    (&stream).write_all(line.as_bytes()).unwrap();
    (&stream).write_all(b"\n").unwrap();
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn a_viewer_watches_and_ends_a_sweep() {
    let world = World::new(GRID);
    let mut sitting = world.open(Box::new(|_| {})).unwrap();
    let socket = ControlSocket::open(sitting.dir(), sitting.desk()).unwrap();
    sitting.announce(Some(socket.path().to_path_buf()), None).unwrap();
    let path = socket.path().to_path_buf();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);

    let dir = world.dir();
    let viewer_path = path.clone();
    let viewer = std::thread::spawn(move || {
        let status = loop {
            let status = *control::ask(&dir, &Request::Status).unwrap().status.unwrap();
            if status.current.is_some() {
                break status;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let refused = [
            "no json",
            r#"{"command":"explode"}"#,
            r#"{"command":"skip"}"#,
            r#"{"command":"skip","cell":"zzz"}"#,
            r#"{"command":"move","cell":"","position":1}"#,
            r#"{"command":"add","axes":{"worker":["1"]}}"#,
            r#"{"command":"add","axes":{"workers":["none"]}}"#,
        ]
        .map(|line| send(&viewer_path, line));
        let added = send(&viewer_path, r#"{"command":"add","axes":{"workers":["8"],"fraction":["0.5"]}}"#);
        let paused = send(&viewer_path, r#"{"command":"pause"}"#);
        let ended = control::ask(&dir, &Request::Cancel { now: false }).unwrap();
        (status, refused, added, paused, ended)
    });
    let mut runner = Scripted::new(&world.grid).with("workers=2", Act::Hang);
    assert_eq!(sitting.run(&world.cells(), &mut runner).unwrap(), SweepOutcome::Interrupted);
    let (status, refused, added, paused, ended) = viewer.join().unwrap();
    let current = status.current.unwrap();
    assert_eq!((current.label.as_str(), current.repeat), ("workers=2", 1));
    assert_eq!(status.counts.running, 1);
    assert_eq!(status.queue.len(), 1);
    for response in &refused {
        assert!(!response.ok && response.error.is_some(), "{response:?}");
    }
    assert!(refused[5].error.as_ref().unwrap().contains("unknown axis 'worker'"));
    assert!(added.ok && added.message.unwrap().contains("workers=8 fraction=0.5"));
    assert!(paused.ok && ended.ok);

    drop(socket);
    assert!(!path.exists());
    drop(sitting);
    let error = control::ask(&world.dir(), &Request::Status).unwrap_err();
    assert!(error.contains("nobody runs the sweep"), "{error}");
    let left = SweepStatus::load(&world.dir(), "t").unwrap();
    assert!(!left.running && left.counts.planned == 3, "{left:?}");
}

#[test]
fn a_viewer_has_a_finished_cell_run_again() {
    let world = World::new(GRID);
    let mut sitting = world.open(Box::new(|_| {})).unwrap();
    let socket = ControlSocket::open(sitting.dir(), sitting.desk()).unwrap();
    sitting.announce(Some(socket.path().to_path_buf()), None).unwrap();
    let id = |label: &str| world.cells().into_iter().find(|cell| cell.label == label).unwrap().id;
    let (first, second) = (id("workers=2"), id("workers=1"));
    let answers = Arc::new(Mutex::new(Vec::new()));
    let mut runner = Scripted::new(&world.grid);
    let (dir, heard) = (world.dir(), answers.clone());
    let mut asked = false;
    // The cell of two workers is done when that of one begins; then it is asked for again, once.
    runner.on_run = Box::new(move |request, _| {
        if request.spec.topology.workers == 1 && !asked {
            asked = true;
            let ask = |cell: &str| control::ask(&dir, &Request::Rerun { cell: cell.into() }).unwrap();
            *heard.lock().unwrap() = vec![ask(&second), ask("zzz"), ask(&first)];
        }
    });
    assert_eq!(sitting.run(&world.cells(), &mut runner).unwrap(), SweepOutcome::Done);
    assert_eq!(runner.story(), ["workers=2 r1", "workers=1 r1", "workers=2 r1"]);
    let answers = answers.lock().unwrap();
    assert!(!answers[0].ok && answers[0].error.as_ref().unwrap().contains("running now"), "{answers:?}");
    assert!(!answers[1].ok && answers[1].error.as_ref().unwrap().contains("zzz"), "{answers:?}");
    assert_eq!(answers[2].message.as_deref(), Some("1 run queued again"));
    // Only the second run counts: the cell is done once, not twice.
    let status = SweepStatus::load(&world.dir(), "t").unwrap();
    assert_eq!(status.cells.iter().map(|cell| cell.done).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn a_folder_too_deep_for_a_socket_gets_one_elsewhere() {
    let world = World::new(GRID);
    let sitting = world.open(Box::new(|_| {})).unwrap();
    let deep = world.store.join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let socket = ControlSocket::open(&deep, sitting.desk()).unwrap();
    assert!(!socket.path().starts_with(&deep));
    assert!(send(socket.path(), r#"{"command":"status"}"#).ok);
    let path = socket.path().to_path_buf();
    drop(socket);
    assert!(!path.exists());
}

#[test]
fn requests_read_as_documented() {
    for (line, request) in [
        (r#"{"command":"status"}"#, Request::Status),
        (r#"{"command":"cancel"}"#, Request::Cancel { now: false }),
        (r#"{"command":"cancel","now":true}"#, Request::Cancel { now: true }),
        (r#"{"command":"move","cell":"9f2c","position":0}"#, Request::Move { cell: "9f2c".into(), position: 0 }),
    ] {
        assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
    }
}

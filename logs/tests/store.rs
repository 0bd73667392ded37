//! The store: listing, finding, pruning, archiving; a damaged run hides no other.

mod recording;

use std::fs;
use std::time::{Duration, SystemTime};

use fractal_logs::store::{self, Retention, RunStatus};
use fractal_logs::{
    Error, EventKind, EventSink, JournalWriter, Outcome, RunDir, RunEvent, RunResult, RunState, Source, Store,
};
use recording::{recorded_run, spec};

/// A run that ended, started `age_sec` ago.
fn add_run(store: &Store, name: &str, age_sec: u64) -> RunDir {
    let dir = store.create_run(name, &spec()).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut events = recorded_run();
    if let EventKind::RunStarted { run_id, wall_clock_ms, .. } = &mut events[0].kind {
        *run_id = dir.id().into();
        *wall_clock_ms = (now - Duration::from_secs(age_sec)).as_millis() as u64;
    }
    let journal = JournalWriter::create(&dir.journal()).unwrap();
    events.iter().for_each(|event| journal.record(event));
    dir.write_result(&RunResult::from_state(&RunState::of(&events))).unwrap();
    dir
}

fn names(runs: &[store::StoredRun]) -> Vec<&str> {
    runs.iter().map(|run| run.id.as_str()).collect()
}

#[test]
fn runs_are_listed_newest_first_and_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join("runs"));
    assert!(store.list().unwrap().is_empty(), "a store that does not exist is empty");
    let old = add_run(&store, "alpha", 500);
    let new = add_run(&store, "alpha", 10);
    let other = add_run(&store, "beta", 100);
    let runs = store.list().unwrap();
    assert_eq!(names(&runs), [new.id(), other.id(), old.id()]);
    assert!(runs.iter().all(|run| run.status.name() == "done" && run.bytes > 1000));

    assert_eq!(store.find("latest").unwrap().id, new.id());
    assert_eq!(store.find("beta/latest").unwrap().id, other.id());
    assert_eq!(store.find("beta").unwrap().id, other.id());
    assert_eq!(store.find(old.id()).unwrap().id, old.id());
    // By its path, as it is printed at the end of a run; and a journal that somebody sent.
    assert_eq!(store.find(old.path().to_str().unwrap()).unwrap().id, old.id());
    assert_eq!(store.find(old.journal().to_str().unwrap()).unwrap().id, old.id());
    let sent = folder.path().join("sent.jsonl");
    fs::copy(old.journal(), &sent).unwrap();
    let found = store.find(sent.to_str().unwrap()).unwrap();
    assert_eq!((found.id.as_str(), found.status.name(), found.started_ms.is_some()), ("sent", "done", true));
    assert_eq!(found.dir.journal(), sent);
    fs::write(&sent, b"no journal").unwrap();
    assert_eq!(store.find(sent.to_str().unwrap()).unwrap().status.name(), "damaged");
    assert!(matches!(store.find(&spec().short_hash()), Err(Error::Ambiguous { ids, .. }) if ids.len() == 3));
    assert!(matches!(store.find("alpha"), Err(Error::Ambiguous { ids, .. }) if ids.len() == 2));
    assert!(matches!(store.find("zzz"), Err(Error::NoSuchRun { .. })));
    assert!(matches!(store.find(""), Err(Error::NoSuchRun { .. })));
    assert!(matches!(store.find("gamma/latest"), Err(Error::NoSuchRun { .. })));
}

#[test]
fn a_damaged_run_is_shown_and_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let good = add_run(&store, "sweep", 10);
    let bad_result = add_run(&store, "sweep", 20);
    fs::write(bad_result.result(), "{\"train_count\":").unwrap();
    let future = add_run(&store, "sweep", 30);
    fs::remove_file(future.result()).unwrap();
    fs::write(future.journal(), "{\"format\":\"fractal-journal\",\"version\":99}\n").unwrap();
    let stranger = folder.path().join("sweep").join("notes");
    fs::create_dir(&stranger).unwrap();
    fs::write(stranger.join("events.jsonl"), "dear diary\n").unwrap();
    fs::write(folder.path().join("README"), "a file, no folder").unwrap();

    let runs = store.list().unwrap();
    assert_eq!(runs.len(), 4);
    let status = |id: &str| &runs.iter().find(|run| run.id == id).unwrap().status;
    assert_eq!(status(good.id()).name(), "done");
    for (id, word) in
        [(bad_result.id(), "result.json"), (future.id(), "newer fractal"), ("notes", "no fractal journal")]
    {
        assert!(matches!(status(id), RunStatus::Damaged(reason) if reason.contains(word)), "{id}: {:?}", status(id));
    }
}

#[test]
fn a_run_without_an_end_is_open_until_its_journal_rests() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let dir = store.create_run("sweep", &spec()).unwrap();
    assert_eq!(store.find("latest").unwrap().status.name(), "open", "just created");
    let journal = JournalWriter::create(&dir.journal()).unwrap();
    recorded_run()[..5].iter().for_each(|event| journal.record(event));
    drop(journal);
    let run = store.find("latest").unwrap();
    assert_eq!(run.status.name(), "open");
    assert_eq!(run.started_ms, Some(1_795_359_601_000));
    let keep_none = Retention { runs: Some(0), ..Retention::default() };
    assert!(store.superfluous(keep_none).unwrap().is_empty(), "a run that may be running stays");

    let two_hours_ago = SystemTime::now() - Duration::from_secs(7200);
    fs::File::options().write(true).open(dir.journal()).unwrap().set_modified(two_hours_ago).unwrap();
    assert_eq!(store.find("latest").unwrap().status.name(), "abandoned");
    assert_eq!(store.prune(keep_none).unwrap().len(), 1);
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn pruning_keeps_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let ages = [10, 1000, 2000, 3000].map(|age| add_run(&store, "sweep", age).id().to_string());
    let bytes = store.list().unwrap()[0].bytes;
    let drops =
        |retention| names(&store.superfluous(retention).unwrap()).iter().map(|s| s.to_string()).collect::<Vec<_>>();
    let age = Some(Duration::from_secs(1500));
    assert_eq!(drops(Retention { age, ..Retention::default() }), [ages[3].clone(), ages[2].clone()]);
    assert_eq!(drops(Retention { runs: Some(3), ..Retention::default() }), [ages[3].clone()]);
    assert_eq!(drops(Retention { bytes: Some(bytes + bytes / 2), ..Retention::default() }).len(), 3);
    assert_eq!(drops(Retention { bytes: Some(0), ..Retention::default() }).len(), 4);
    assert!(drops(Retention::default()).is_empty());
    store.prune(Retention { runs: Some(1), ..Retention::default() }).unwrap();
    assert_eq!(names(&store.list().unwrap()), [ages[0].as_str()]);
}

#[test]
fn files_are_replaced_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("result.json");
    store::write_atomically(&path, b"old").unwrap();
    store::write_atomically(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left aside");
    let error = store::write_atomically(&folder.path().join("none").join("x"), b"").unwrap_err();
    assert!(error.to_string().contains("cannot write"), "{error}");
}

#[test]
fn results_of_later_versions_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let dir = add_run(&store, "sweep", 1);
    assert_eq!(store::read_result(&dir.result()).unwrap().outcome, Some(Outcome::Done));
    fs::write(dir.result(), "{\"version\": 7}").unwrap();
    let error = store::read_result(&dir.result()).unwrap_err();
    assert!(error.to_string().contains("newer fractal"), "{error}");
}

#[test]
fn result_json_is_the_fold_of_its_journal() {
    let folder = tempfile::tempdir().unwrap();
    let dir = add_run(&Store::new(folder.path()), "sweep", 1);
    let journal = fractal_logs::journal::read(&dir.journal()).unwrap();
    let folded = RunResult::from_state(&RunState::of(&journal.events));
    assert_eq!(fs::read_to_string(dir.result()).unwrap(), folded.to_json());
}

#[test]
fn an_archive_holds_the_whole_run() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join("runs"));
    let dir = add_run(&store, "sweep", 1);
    fs::write(dir.worker_log(0), "all well\n").unwrap();
    let run = store.find("latest").unwrap();
    let archive = folder.path().join("run.tar.zst");
    store.archive(&run, &archive).unwrap();
    assert!(fs::metadata(&archive).unwrap().len() < run.bytes, "it is compressed");

    let elsewhere = Store::new(folder.path().join("elsewhere"));
    let copy = elsewhere.unarchive(&archive).unwrap();
    assert_eq!((copy.id.as_str(), copy.name.as_str()), (dir.id(), "sweep"));
    for file in ["events.jsonl", "result.json", "worker-0.log"] {
        assert_eq!(fs::read(copy.dir.path().join(file)).unwrap(), fs::read(dir.path().join(file)).unwrap(), "{file}");
    }
    assert!(matches!(elsewhere.unarchive(&archive), Err(Error::Io { .. })), "what is there is not overwritten");
    fs::write(&archive, b"no archive").unwrap();
    assert!(matches!(elsewhere.unarchive(&archive), Err(Error::Damaged { .. })));
    assert!(elsewhere.list().unwrap().iter().all(|run| run.id == dir.id()), "nothing half-unpacked is left");
}

#[test]
fn events_of_a_run_that_nobody_started_still_list() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let dir = store.create_run("sweep", &spec()).unwrap();
    let journal = JournalWriter::create(&dir.journal()).unwrap();
    journal.record(&RunEvent { elapsed_us: 0, source: Source::Runner, kind: EventKind::MeshConnected { workers: 1 } });
    drop(journal);
    let run = store.find("latest").unwrap();
    assert_eq!(run.status.name(), "open");
    assert!(run.started_ms.is_some(), "its id tells its start");
}

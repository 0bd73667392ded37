//! Messages in, app and commands out.

mod support;

use fractal_tui::message::{JournalNews, Mouse};
use fractal_tui::run::Head;
use fractal_tui::view::overlay::Overlay;
use fractal_tui::{Command, Message, Screen, snapshot, step};
use support::*;

fn text(app: &fractal_tui::App) -> String {
    snapshot::text(&snapshot::frame(app, 120, 40))
}

#[test]
fn esc_backs_out_of_everything_and_never_quits() {
    let mut app = showing("sample", sample());
    press(&mut app, &["5", "6", "?", "esc", ":", "esc", "/", "x", "esc"]);
    for _ in 0..20 {
        let commands = press(&mut app, &["esc"]);
        assert!(commands.is_empty());
    }
    assert_eq!((app.screen, app.overlays.len()), (Screen::Home, 0));
    assert!(matches!(press(&mut app, &["q"]).as_slice(), [Command::Quit { keep: false }]));
}

#[test]
fn q_types_itself_into_a_prompt() {
    let mut app = showing("sample", sample());
    assert!(press(&mut app, &["5", "/", "q"]).is_empty());
    assert_eq!(app.events_state.filter, "q");
}

#[test]
fn an_empty_store_says_what_to_do_and_one_key_does_it() {
    let mut app = app();
    step(&mut app, [Message::Store(Ok(Vec::new()))]);
    let shown = text(&app);
    assert!(shown.contains("Nothing has been run here yet") && shown.contains("smoke sweep"), "{shown}");
    let commands = press(&mut app, &["enter"]);
    assert_eq!(commands, vec![Command::StartSweep("smoke".into(), vec!["smoke".into()])]);
    assert!(text(&app).contains("starting"), "a wait shows that it is alive");
    // The second press starts no second sweep.
    assert!(press(&mut app, &["0", "enter"]).is_empty());
    let commands = step(&mut app, [Message::SweepStarted("smoke".into(), Ok("runs".into()))]);
    assert!(commands.contains(&Command::WatchSweep(Some("smoke".into()))));
}

#[test]
fn a_sweep_that_cannot_start_says_why() {
    let mut app = app();
    step(&mut app, [Message::Store(Ok(Vec::new()))]);
    press(&mut app, &["enter"]);
    step(&mut app, [Message::SweepStarted("smoke".into(), Err("fractal-run is neither here nor there".into()))]);
    assert!(text(&app).contains("neither here nor there"));
    assert!(app.starting.is_none());
}

#[test]
fn replay_steps_by_second_event_level_and_lint() {
    let mut app = showing("sample", sample());
    press(&mut app, &["^"]);
    assert_eq!(app.run.as_ref().unwrap().position_us(), 0);
    press(&mut app, &["right", "right", "left"]);
    assert_eq!(app.run.as_ref().unwrap().position_us(), 1_000_000);
    let seen = app.run.as_ref().unwrap().events_seen();
    press(&mut app, &["]"]);
    assert!(app.run.as_ref().unwrap().events_seen() > seen);
    press(&mut app, &["["]);
    assert_eq!(app.run.as_ref().unwrap().events_seen(), seen);
    press(&mut app, &[")"]);
    assert!(!app.run.as_ref().unwrap().state().levels.is_empty());
    press(&mut app, &["^", "}"]);
    let marks = fractal_tui::run::marks(app.run.as_ref().unwrap().recording.latest());
    assert_eq!(app.run.as_ref().unwrap().position_us(), marks[0].at_us);
    assert!(text(&app).contains("cpus-oversubscribed"));
}

#[test]
fn time_passes_in_a_replay_by_messages_only() {
    let mut app = showing("sample", sample());
    press(&mut app, &["^", "space", ">"]);
    assert!(app.run.as_ref().unwrap().playing);
    step(&mut app, (1..=5).map(|i| Message::Tick(NOW_MS + i * 200)));
    assert_eq!(app.run.as_ref().unwrap().position_us(), 2_000_000, "one second at twice the speed");
    // A clock that steps back lets no time pass.
    step(&mut app, [Message::Tick(NOW_MS - 5_000)]);
    assert_eq!(app.run.as_ref().unwrap().position_us(), 2_000_000);
    step(&mut app, (1..=60).map(|i| Message::Tick(NOW_MS + i * 900)));
    let run = app.run.as_ref().unwrap();
    assert!(!run.playing && run.position_us() == run.total_us(), "it stops at the end");
}

#[test]
fn a_replay_does_not_jump_because_the_run_goes_on() {
    let all = sample();
    let half = all.len() / 2;
    let mut app = showing("sample", all[..half].to_vec());
    press(&mut app, &["left", "left"]);
    let Head::At(us) = app.run.as_ref().unwrap().head else { panic!("not scrubbed") };
    let state = app.run.as_ref().unwrap().state().clone();
    let number = app.run_number;
    step(&mut app, [Message::Journal(number, news(all[half..].to_vec()))]);
    assert_eq!(app.run.as_ref().unwrap().head, Head::At(us));
    assert_eq!(*app.run.as_ref().unwrap().state(), state);
    press(&mut app, &["esc"]);
    assert_eq!(app.run.as_ref().unwrap().head, Head::Live);
}

#[test]
fn news_of_another_run_are_none_of_ours() {
    let mut app = showing("sample", sample());
    let number = app.run_number;
    let events = app.run.as_ref().unwrap().recording.len();
    step(&mut app, [Message::Journal(number - 1, news(failed()))]);
    assert_eq!(app.run.as_ref().unwrap().recording.len(), events);
}

#[test]
fn bookmarks_and_moments() {
    let mut app = showing("sample", sample());
    press(&mut app, &["g", "3", "s", "enter", "B", "$", "'"]);
    assert_eq!(app.run.as_ref().unwrap().position_us(), 3_000_000);
    press(&mut app, &["g", "x", "enter"]);
    assert!(text(&app).contains("is no time"), "a wrong moment is named where it was typed");
}

#[test]
fn events_are_filtered_by_worker_phase_kind_and_words() {
    let mut app = showing("sample", sample());
    press(&mut app, &["5"]);
    step(&mut app, [Message::Tick(NOW_MS + 1)]);
    let all = app.events_state.found();
    assert_eq!(all, app.run.as_ref().unwrap().recording.len());
    let count = |filter: &str| {
        let mut app = app.clone();
        press(&mut app, &["/"]);
        step(&mut app, [Message::Paste(filter.into())]);
        app.events_state.found()
    };
    assert_eq!(count("kind:LevelFinished"), 6);
    assert_eq!(count("kind:LevelFinished level:2"), 1);
    assert_eq!(count("worker:1 kind:PartitionLoaded"), 6);
    assert_eq!(count("-worker:1 kind:PartitionLoaded"), 6);
    assert_eq!(count("weight:warning"), 1);
    assert_eq!(count("oversubscribed"), 1);
    assert!(count("phase:load") > 4 && count("phase:load") < all);
}

#[test]
fn the_raw_event_is_copied_as_it_stands_in_the_journal() {
    let mut app = showing("sample", sample());
    press(&mut app, &["5"]);
    step(&mut app, [Message::Tick(NOW_MS + 1)]);
    press(&mut app, &["home"]);
    let commands = press(&mut app, &["y"]);
    let [Command::Copy(line)] = commands.as_slice() else { panic!("{commands:?}") };
    let first = fractal_tui::feed::SAMPLE.lines().nth(1).unwrap();
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(line), value(first));
}

#[test]
fn what_a_newer_program_wrote_is_counted_and_named() {
    let mut app = app();
    app.open_run(fractal_tui::message::Target::Sample, "future");
    let mut skipped = fractal_logs::journal::Skipped::default();
    skipped.unknown_kinds.insert("TreePruned".into(), 3);
    let number = app.run_number;
    step(&mut app, [Message::Journal(number, JournalNews::Events { events: sample(), skipped, more: false })]);
    press(&mut app, &["5"]);
    assert!(text(&app).contains("3 lines passed over (TreePruned)"));
}

#[test]
fn clicks_reach_tabs_panes_and_the_scrub_bar() {
    let mut app = showing("sample", sample());
    step(&mut app, [Message::Resize(120, 40), Message::Mouse(Mouse::Click, 60, 38)]);
    assert!(matches!(app.run.as_ref().unwrap().head, Head::At(us) if us > 3_000_000 && us < 7_000_000));
    step(&mut app, [Message::Mouse(Mouse::Click, 16, 0)]);
    assert_eq!(app.screen, Screen::Home);
}

#[test]
fn commands_are_typed_completed_and_refused_in_words() {
    let mut app = showing("sample", sample());
    press(&mut app, &[":"]);
    step(&mut app, [Message::Paste("theme light".into())]);
    assert!(matches!(press(&mut app, &["enter"]).as_slice(), [Command::Save(_)]));
    assert!(app.overlays.is_empty());
    press(&mut app, &[":"]);
    step(&mut app, [Message::Paste("frobnicate".into())]);
    press(&mut app, &["enter"]);
    assert!(matches!(app.overlays.last(), Some(Overlay::Prompt(prompt)) if prompt.error.is_some()));
}

#[test]
fn exports_write_files_named_after_the_run() {
    let mut app = showing("sample", sample());
    for (format, ending) in [("perfetto", ""), ("json", ".json"), ("csv", ".csv"), ("text", ".txt"), ("svg", ".svg")] {
        press(&mut app, &[":"]);
        step(&mut app, [Message::Paste(format!("export {format}"))]);
        let commands = press(&mut app, &["enter"]);
        let [Command::Write(path, content)] = commands.as_slice() else { panic!("{format}: {commands:?}") };
        assert!(!content.is_empty() && path.to_string_lossy().ends_with(ending), "{path:?}");
    }
}

#[test]
fn a_worker_shows_its_own_log() {
    let mut app = showing("sample", sample());
    app.run.as_mut().unwrap().path = Some("runs/x/y/events.jsonl".into());
    let commands = press(&mut app, &["tab", "j", "enter"]);
    let [Command::ReadText(title, path)] = commands.as_slice() else { panic!("{commands:?}") };
    assert_eq!(path, std::path::Path::new("runs/x/y/worker-1.log"));
    step(&mut app, [Message::Text(title.clone(), Ok(vec!["it said this".into()]))]);
    assert!(text(&app).contains("it said this"));
}

/// A run of two threads, each of which tells its dataflow's counts at the end of a phase.
fn measured(threads: u32) -> Vec<fractal_logs::RunEvent> {
    use fractal_logs::{ChannelTraffic, EventKind, OperatorCost, Phase, RunEvent, Source};
    let mut all = events(SMALL);
    let end = all.iter().position(|event| matches!(event.kind, EventKind::ForestGrown { .. })).unwrap();
    let elapsed_us = all[end].elapsed_us;
    for (thread, busy_us) in (0..threads).zip([3_000_000, 1_000_000]) {
        let operator = |name: &str, activations, busy_us| OperatorCost {
            name: name.into(),
            activations,
            busy_us,
            longest_us: busy_us / 2,
        };
        let kind = EventKind::DataflowMeasured {
            phase: Phase::Train,
            parked_us: 2_000_000,
            operators: vec![operator("fold contributions", 900, 10), operator("choose splits", 7, busy_us)],
            channels: vec![ChannelTraffic {
                from: "input of choose splits".into(),
                to: "choose splits".into(),
                sent_messages: 40,
                sent_records: 40,
                received_records: u64::from(thread) * 80,
            }],
        };
        let event = RunEvent { elapsed_us, source: Source::Thread { worker: 0, thread }, kind };
        all.insert(end + thread as usize, event);
    }
    all
}

#[test]
fn operators_are_summed_over_threads_and_sorted_by_any_column() {
    let mut app = showing("run", measured(2));
    press(&mut app, &["o"]);
    let order = |app: &fractal_tui::App| {
        let shown = text(app);
        let place = |name: &str| shown.find(name).unwrap_or_else(|| panic!("no '{name}'\n{shown}"));
        place("choose splits") < place("fold contributions")
    };
    assert!(text(&app).contains("by time") && text(&app).contains("4.00 s") && text(&app).contains("w0t0 3.00 s"));
    assert!(order(&app), "most time first");
    press(&mut app, &["s"]);
    assert!(text(&app).contains("by activations") && text(&app).contains("1,800") && !order(&app));
    press(&mut app, &["S"]);
    assert!(order(&app));
    press(&mut app, &["tab"]);
    let shown = text(&app);
    assert!(shown.contains("input of choose splits") && shown.contains("80") && shown.contains("w0t1 80"), "{shown}");
    press(&mut app, &["esc"]);
    assert!(app.overlays.is_empty());
}

#[test]
fn without_operators_it_says_why() {
    let missing = |events: Vec<fractal_logs::RunEvent>| {
        let mut app = showing("run", events);
        press(&mut app, &["o"]);
        text(&app)
    };
    let mut all = events(SMALL);
    assert!(missing(all.clone()).contains("no counts of the dataflow"));
    assert!(missing(all[..40].to_vec()).contains("No phase has ended yet"));
    if let fractal_logs::EventKind::RunStarted { spec, .. } = &mut all[0].kind {
        spec.topology.single_thread_baseline = true;
    }
    assert!(missing(all).contains("single-thread baseline"));
    // In a replay, they are there from the moment on at which they were told.
    let mut app = showing("run", measured(2));
    press(&mut app, &["^", "o"]);
    assert!(text(&app).contains("No phase has ended yet") || text(&app).contains("no counts"));
}

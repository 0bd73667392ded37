//! The report as tables for a person.

use comfy_table::{CellAlignment, Table, presets};
use fractal_logs::Phase;

use super::parts::{LevelTime, Parts};
use super::runs::{OnDisk, Point, Recording, RunTime, SideBySide, StartUp, Whole};
use super::shapes::ShapeTime;
use super::{Report, Spread, Time};
use fractal_logs::units::{bytes, count, seconds};

pub(super) fn of(report: &Report) -> String {
    let mut out = format!(
        "{} rows to train on, {} to score, generated; 40 trees, depth 6, 32 bins, 3 of 7 features a node\n\
         {} × {}, {}, load {:.1} before; least of {} repeats; ns/rtl: CPU ns per row × tree × level\n",
        count(report.train_rows),
        count(report.scored_rows),
        report.logical_cpus,
        report.cpu_model,
        report.instruction_set,
        report.load_before,
        report.repeats,
    );
    let mut section = |title: &str, body: String| out += &format!("\n{title}\n{body}");
    if let Some(found) = &report.parts {
        section("each part alone, one thread", parts(found));
    }
    if let Some(found) = &report.whole {
        section("whole runs", whole(found));
    }
    if let Some(found) = &report.recording {
        section("the journal", recording(found));
    }
    if let Some(found) = &report.start_up {
        section("start-up", start_up(found));
    }
    if let Some(found) = &report.scaling {
        section("threads and workers", scaling(found, report.side_by_side.as_ref()));
    }
    if let Some(found) = &report.on_disk {
        section("rows on disk, one thread", on_disk(found));
    }
    if let Some(found) = &report.shapes {
        section("other shapes, synthetic rows, counting and scoring alone in one thread", shapes(found));
    }
    out += &format!("\nmeasured in {}\n", seconds(report.seconds));
    out
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn rate(rows: u64, time: Time) -> [String; 2] {
    if rows == 0 {
        return ["".into(), "".into()];
    }
    let rows = rows as f64;
    [format!("{:.1} M", rows / time.wall_s / 1e6), format!("{:.1}", time.cpu_s * 1e9 / rows)]
}

fn parts(parts: &Parts) -> String {
    let mut times = table(&["part", "rows", "wall", "CPU", "rows/s", "CPU ns/row"]);
    for part in &parts.parts {
        let [per_second, ns] = rate(part.rows, part.time);
        times.add_row([
            part.name.to_string(),
            if part.rows == 0 { String::new() } else { count(part.rows) },
            seconds(part.time.wall_s),
            seconds(part.time.cpu_s),
            per_second,
            ns,
        ]);
    }
    let sum = parts.sum();
    times.add_row(["sum".into(), String::new(), seconds(sum.wall_s), seconds(sum.cpu_s), String::new(), String::new()]);
    let mut levels = table(&["level", "passes", "open nodes", "counters", "ns/row × tree", "split"]);
    for level in &parts.levels {
        levels.add_row([
            level.level.to_string(),
            level.passes.to_string(),
            count(level.open_nodes),
            bytes(level.histogram_bytes),
            format!("{:.3}", level.ns_per_row_tree),
            format!("{:.1} ms", level.split_ms),
        ]);
    }
    format!(
        "{times}\n{levels}\ncounting {:.3} ns/rtl; {:.1} B/row read, {:.1} B/row kept\n",
        parts.ns_per_rtl, parts.read_bytes_per_row, parts.resident_bytes_per_row
    )
}

fn run_row(name: String, run: &RunTime) -> Vec<String> {
    let mut row = vec![
        name,
        seconds(run.wall_s),
        seconds(run.workers_cpu_s),
        seconds(run.runner_cpu_s),
        bytes(run.peak_rss_bytes),
    ];
    row.extend(Phase::ALL.map(|phase| seconds(run.phase(phase).wall_s)));
    row
}

fn whole(whole: &Whole) -> String {
    let mut header = vec!["run", "wall", "workers' CPU", "runner's CPU", "peak RSS"];
    header.extend(Phase::ALL.map(Phase::name));
    let mut runs = table(&header);
    runs.add_row(run_row("1 thread".into(), &whole.one_thread));
    runs.add_row(run_row("all CPUs".into(), &whole.all_threads));
    format!(
        "{runs}\ntraining through the dataflow ÷ bare loop: {:.3} (CPU, one thread)\n\
         whole run ÷ sum of its parts: {:.3} (CPU), {:.3} (wall)\n\
         the forest of the bare loop: {}\n",
        whole.dataflow_to_bare_loop,
        whole.whole_to_parts_cpu,
        whole.whole_to_parts_wall,
        if whole.same_forest { "the same bytes" } else { "ANOTHER ONE" },
    )
}

fn spread(spread: &Spread) -> String {
    format!("{} ({} to {})", seconds(spread.median), seconds(spread.least), seconds(spread.most))
}

fn recording(recording: &Recording) -> String {
    let mut both = table(&["", "wall, median (range)", "CPU, median (range)"]);
    both.add_row(["journal".into(), spread(&recording.wall_s), spread(&recording.cpu_s)]);
    both.add_row(["--no-journal".into(), spread(&recording.wall_without_s), spread(&recording.cpu_without_s)]);
    format!(
        "{both}\n{} runs each, taking turns: {:+.1} % CPU by the medians\n",
        recording.runs_each,
        recording.cpu_cost * 100.0
    )
}

fn start_up(found: &StartUp) -> String {
    let phases: Vec<String> =
        found.phases.iter().map(|(phase, &s)| format!("{} {}", phase.name(), seconds(s))).collect();
    format!(
        "{} workers, {} runs: {} wall, {} CPU\n{}\n",
        found.workers,
        found.runs,
        spread(&found.wall_s),
        spread(&found.cpu_s),
        phases.join(" · ")
    )
}

fn scaling(points: &[Point], side_by_side: Option<&SideBySide>) -> String {
    let mut rows = table(&[
        "workers × threads",
        "wall",
        "train wall",
        "workers' CPU",
        "inflation",
        "of training",
        "peak RSS",
        "exchanged a level",
    ]);
    for point in points {
        let exchanged: Vec<String> = point.run.exchanged_bytes.iter().map(|&n| bytes(n)).collect();
        rows.add_row([
            format!("{} × {}", point.workers, point.threads),
            seconds(point.run.wall_s),
            seconds(point.run.phase(Phase::Train).wall_s),
            seconds(point.run.workers_cpu_s),
            format!("{:.3}", point.work_inflation),
            format!("{:.3}", point.train_inflation),
            bytes(point.run.peak_rss_bytes),
            exchanged.join(", "),
        ]);
    }
    let machine = side_by_side.map(|found| {
        format!(
            "{} runs of 1 × 1 side by side, each for itself: inflation {:.3}, of training {:.3}: the machine's own\n",
            found.runs, found.work_inflation, found.train_inflation
        )
    });
    format!("{rows}\n{}", machine.unwrap_or_default())
}

fn on_disk(found: &OnDisk) -> String {
    let mut rows = table(&["binned rows", "wall", "train wall", "train CPU", "ns/rtl", "peak RSS"]);
    for (name, run, ns) in [
        ("in memory".to_string(), &found.in_memory, found.ns_per_rtl_in_memory),
        (format!("{} in memory", bytes(found.rows_in_memory)), &found.on_disk, found.ns_per_rtl_on_disk),
    ] {
        let train = run.phase(Phase::Train);
        rows.add_row([
            name,
            seconds(run.wall_s),
            seconds(train.wall_s),
            seconds(train.cpu_s),
            format!("{ns:.3}"),
            bytes(run.peak_rss_bytes),
        ]);
    }
    let same = if found.same_forest { "the same bytes" } else { "ANOTHER ONE" };
    format!(
        "{rows}\ntraining on disk ÷ in memory: {:.3} (CPU); the forest: {same}\n",
        found.ns_per_rtl_on_disk / found.ns_per_rtl_in_memory
    )
}

fn shapes(shapes: &[ShapeTime]) -> String {
    let mut rows =
        table(&["shape", "rows", "ns/rtl", "splitting", "passes", "ns/row × tree, level by level", "score ns/row"]);
    for shape in shapes {
        let level = |level: &LevelTime| {
            format!("{:.2}{}", level.ns_per_row_tree, if level.collected_nodes > 0 { "+" } else { "" })
        };
        let levels: Vec<String> = shape.levels.iter().map(level).collect();
        rows.add_row([
            shape.name.to_string(),
            count(shape.rows),
            format!("{:.3}", shape.ns_per_rtl),
            seconds(shape.split_s),
            shape.levels.iter().map(|level| level.passes).sum::<u32>().to_string(),
            levels.join(" "),
            format!("{:.0}", shape.score_ns_per_row),
        ]);
    }
    format!("{rows}\n+ with the levels below, which are grown from the rows of their nodes\n")
}

//! Grids and filters: what is written is what runs, and what cannot be understood is pointed at.

use std::collections::HashSet;

use fractal_logs::{RunSpec, Schema};
use fractal_sweeps::filter::Filter;
use fractal_sweeps::grid::{Axis, AxisValue, Cell, Grid, SHIPPED, shipped};
use fractal_sweeps::order::Order;
use proptest::prelude::*;

fn grid(text: &str) -> Grid {
    Grid::parse("grids/t.toml", text).unwrap_or_else(|error| panic!("{error}"))
}

fn labels(grid: &Grid) -> Vec<String> {
    grid.cells().unwrap().into_iter().map(|cell| cell.label).collect()
}

#[test]
fn the_shipped_grids_are_what_their_names_promise() {
    let sizes: Vec<(&str, usize)> =
        SHIPPED.iter().map(|(name, _)| (*name, shipped(name).unwrap().unwrap().cells().unwrap().len())).collect();
    assert_eq!(
        sizes,
        [("local", 16), ("server", 24), ("experiment-1", 16), ("experiment-2", 10), ("experiment-3", 1), ("smoke", 4)]
    );
    let local = shipped("local").unwrap().unwrap();
    assert_eq!(local.name, "local");
    let first = &local.cells().unwrap()[0];
    assert_eq!(first.label, "fraction=0.01 workers=7");
    assert_eq!((first.spec.topology.cores, first.spec.topology.memory), (2, Some(7 << 30)));
    let cross = shipped("experiment-3").unwrap().unwrap().base.cross_validation.unwrap();
    assert_eq!((cross.folds, cross.trees, cross.depths), (5, vec![50, 100, 200], vec![6, 8, 10]));
    for (name, text) in SHIPPED {
        let file = std::fs::read_to_string(format!("{}/grids/{name}.toml", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert_eq!(file, text);
        assert!(!shipped(name).unwrap().unwrap().about.is_empty());
    }
    assert!(shipped("locla").is_none());
}

#[test]
fn the_first_axis_written_varies_slowest() {
    let grid = grid("[axes]\nworkers = [4, 1]\nfraction = { from = 0.01, to = 0.1, step = 0.03 }");
    assert_eq!(
        labels(&grid)[..5],
        [
            "workers=4 fraction=0.01",
            "workers=4 fraction=0.04",
            "workers=4 fraction=0.07",
            "workers=4 fraction=0.1",
            "workers=1 fraction=0.01",
        ]
    );
    assert_eq!(labels(&grid).len(), 8);
}

#[test]
fn ranges_go_down_too_and_meet_their_ends() {
    assert_eq!(
        labels(&grid("[axes]\nworkers = { from = 7, to = 1, step = -3 }")),
        ["workers=7", "workers=4", "workers=1"]
    );
    assert_eq!(labels(&grid("[axes]\ndepth = { from = 3, to = 5 }")), ["depth=3", "depth=4", "depth=5"]);
    assert_eq!(labels(&grid("[axes]\ntrees = { from = 10, to = 35, step = 10 }")).len(), 3);
}

#[test]
fn cells_are_added_kept_and_dropped() {
    let grid = grid(
        r#"
        where = "fraction<0.5 or workers==1"
        include = [{ workers = 1, fraction = [0.05, 1.0], trees = 10 }]
        exclude = ["workers==4 and fraction==0.01", { workers = 7, fraction = [0.05, 0.1] }]
        [base]
        memory = 8
        [axes]
        workers = [7, 4]
        fraction = [0.01, 0.05]
        "#,
    );
    assert_eq!(
        labels(&grid),
        [
            "workers=7 fraction=0.01 trees=40",
            "workers=4 fraction=0.05 trees=40",
            "workers=1 fraction=0.05 trees=10",
            "workers=1 fraction=1 trees=10",
        ]
    );
    assert_eq!(grid.cells().unwrap()[0].spec.topology.memory, Some(8 << 30), "plain memory is in GB");
}

#[test]
fn one_cell_written_twice_is_one_cell() {
    let grid = grid("include = [{ workers = 2 }, { workers = [2, 3] }]\n[axes]\nworkers = [1, 2, 2]");
    assert_eq!(labels(&grid), ["workers=1", "workers=2", "workers=3"]);
}

#[test]
fn everything_a_grid_can_say_is_read() {
    let grid = grid(
        r#"
        name = "mine"
        about = "all of it"
        [base]
        data = "/d"
        sample = "hashed"
        features_per_node = 3
        [schema]
        label = "y"
        features = ["a", "b"]
        [cross_validation]
        folds = 5
        trees = [1, 2]
        depths = 3
        [axes]
        min_instances = [1, 5]
        [run]
        repeats = 3
        warmup = 1
        ci = "2%"
        max_repeats = 9
        order = "random"
        order_seed = 4
        time_limit = "1h30m"
        retries = { worker-lost = 2, oom = 1 }
        [hooks]
        before_run = "sync"
        "#,
    );
    let settings = &grid.settings;
    assert_eq!((grid.name.as_str(), settings.repeats, settings.warmup, settings.ci), ("mine", 3, 1, Some(0.02)));
    assert_eq!((settings.max_repeats, settings.order, settings.order_seed), (9, Order::Random, 4));
    assert_eq!(settings.time_limit.unwrap().as_secs(), 5400);
    assert_eq!(settings.retries.times(fractal_logs::FailureKind::WorkerLost), 2);
    assert_eq!(settings.hooks.before_run.as_deref(), Some("sync"));
    assert_eq!(grid.base.data.schema, Schema::Columns { label: "y".into(), features: vec!["a".into(), "b".into()] });
    assert_eq!(grid.base.cross_validation.as_ref().unwrap().depths, [3]);
}

#[test]
fn mistakes_name_the_file_the_line_the_key_and_what_would_be_right() {
    for (text, line, says) in [
        ("[axes]\nworker = [1]", 2, "unknown key 'worker'; did you mean 'workers'?"),
        ("[axes]\nhosts = [1, 'b']", 2, "hosts takes a number, not 'b'; host_set takes the name of a set"),
        ("[axes]\nhosts = ['a', 2]", 2, "host_set takes a text in quotes"),
        ("[axes]\nhosts = ['a', 'b']\nhost_set = ['c']", 3, "twice"),
        ("[base]\nhosts = 0", 2, "whole number from 1"),
        ("name = 'x'\n\n[run]\nrepeat = 3", 4, "unknown key 'repeat' in [run]; did you mean 'repeats'?"),
        ("[axis]\nworkers = [1]", 1, "did you mean 'axes'?"),
        ("[axes]\nworkers = [1,\n  0]", 3, "whole number from 1"),
        ("[axes]\nfraction = [0.1, \"much\"]", 2, "takes a number"),
        ("[axes]\nworkers = { from = 1, to = 4, step = -1 }", 2, "is not reached"),
        ("[axes]\nworkers = { from = 1, upto = 4 }", 2, "unknown key 'upto' in the range of workers"),
        ("[axes]\nworkers = []", 2, "no values"),
        ("[axes]\nworkers = [1]\nexecutors = [2]", 3, "twice"),
        ("[base]\ntrees = [1, 2]", 2, "a list of values goes under [axes]"),
        ("exclude = [\"workers=>4\"]", 1, "expected a value of workers"),
        ("exclude = [{}]", 1, "empty"),
        ("include = [\"workers==4\"]", 1, "use where"),
        ("[run]\norder = \"sorted\"", 2, "balanced, serpentine, random or as-written"),
        ("[run]\ntime_limit = \"soon\"", 2, "a duration looks like"),
        ("[run]\nretries = { oops = 1 }", 2, "unknown key 'oops' in retries"),
        ("[cross_validation]\nfolds = 1", 2, "2 to 32"),
        ("[schema]\nlabel = \"y\"", 2, "needs label and features"),
        ("name = \"../up\"", 1, "letters, digits"),
        ("[axes]\nworkers = [1", 2, ""),
        ("run = 3", 1, "write [run]"),
        ("[axes]\ndata = [3]", 2, "in quotes"),
    ] {
        let error = Grid::parse("grids/t.toml", text).expect_err(text);
        let shown = error.to_string();
        assert!(shown.starts_with(&format!("grids/t.toml:{line}: ")), "{text}\n→ {shown}");
        assert!(shown.contains(says), "{text}\n→ {shown}");
    }
    let huge = "[axes]\nseed = { from = 1, to = 90000 }\nworkers = [1, 2]";
    assert!(Grid::parse("t.toml", huge).unwrap_err().to_string().contains("180000 cells"));
    let missing = Grid::from_file(std::path::Path::new("/no/such.toml")).unwrap_err().to_string();
    assert!(missing.contains("/no/such.toml") && missing.contains("cannot read"), "{missing}");
}

#[test]
fn filters_read_like_conditions() {
    let mut spec = RunSpec::default();
    spec.topology.workers = 4;
    spec.topology.memory = Some(8 << 30);
    spec.data.fraction = 0.05;
    spec.data.root = "/my data/x".into();
    spec.topology.host_set = Some("/etc/lab.toml".into());
    spec.topology.hosts = Some(2);
    for (text, holds) in [
        ("workers<=4 and fraction<0.1", true),
        ("executors <= 4", true),
        ("workers<4 or fraction==0.05", true),
        ("not workers<4 and not (fraction>0.1)", true),
        ("workers in (1, 2, 4)", true),
        ("workers not in (1, 2, 4)", false),
        ("memory>=8g && memory<9", true),
        ("memory == 8589934592b", true),
        ("sample==prefix", true),
        ("sample!=prefix || !(trees=40)", false),
        ("data=='/my data/x'", true),
        ("workers==1 or workers==4 and fraction==0.5", false),
        ("(workers==1 or workers==4) and fraction==0.05", true),
        ("driver_memory<100g", false),
        ("hosts==2 and host_set==lab", true),
        ("host_set in ('/etc/lab.toml', local)", true),
        ("host_set!=lab or hosts>2", false),
    ] {
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(filter.matches(&spec), holds, "{text}");
        assert_eq!(filter.text(), text);
    }
}

#[test]
fn filters_point_at_what_is_wrong() {
    for (text, shown) in [
        (
            "worker<=4 and fraction<0.1",
            "unknown axis 'worker'; did you mean 'workers'?\n  worker<=4 and fraction<0.1\n  ^^^^^^",
        ),
        ("workers<=", "expected a value of workers\n  workers<=\n           ^"),
        ("workers<=4 fraction<1", "expected 'and', 'or' or the end\n  workers<=4 fraction<1\n             ^^^^^^^^"),
        ("(workers<=4", "expected ')'\n  (workers<=4\n             ^"),
        ("sample<hashed", "sample holds words; compare it with == or !=\n  sample<hashed\n        ^"),
        ("workers==many", "workers takes a number, not 'many'\n  workers==many\n           ^^^^"),
        ("data=='x", "this quote is not closed; add ' at its end\n  data=='x\n        ^^"),
        ("workers==4 § trees==1", "'§' has no meaning here\n  workers==4 § trees==1\n             ^"),
        ("workers in 4", "expected '(' after 'in'\n  workers in 4\n             ^"),
        ("workers not 4", "expected ==, !=, <, <=, >, >= or 'in' after 'workers'\n  workers not 4\n              ^"),
    ] {
        assert_eq!(Filter::parse(text).unwrap_err().to_string(), shown);
    }
    assert!(Filter::parse("").unwrap_err().to_string().starts_with("expected an axis: one of workers, "));
    assert!(Filter::parse(&"(".repeat(100_000)).is_err());
    assert!(Filter::parse(&"not ".repeat(100_000)).is_err());
}

#[test]
fn hosts_are_counted_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, hosts: u32| {
        let host = |at| format!("[[host]]\nname = 'h{at}'\naddress = '10.0.0.{at}'\n");
        std::fs::write(folder.path().join(name), (1..=hosts).map(host).collect::<String>()).unwrap();
    };
    write("lab.toml", 3);
    write("attic.toml", 2);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let found = |text: &str| {
        let mut grid = grid(text);
        grid.find_hosts().and_then(|()| grid.cells())
    };
    let labels = |text: &str| found(text).unwrap().iter().map(|cell| cell.label.clone()).collect::<Vec<_>>();

    let counted = format!("where = \"hosts<=2\"\n[base]\nhosts = '{}'\n[axes]\nhosts = [1, 2, 3]", path("lab.toml"));
    assert_eq!(labels(&counted), ["hosts=1", "hosts=2"]);
    let named = format!("[axes]\nhosts = ['local', '{}', '{}']", path("lab.toml"), path("attic.toml"));
    assert_eq!(labels(&named), ["host_set=local", "host_set=lab", "host_set=attic"]);
    let cells = found(&named).unwrap();
    assert_eq!(cells[1].spec.topology.hosts, Some(3), "all hosts of a set, unless fewer are asked for");
    // This machine goes without saying: the cell is the one that it was before there were host sets.
    assert_eq!(cells[0].id, RunSpec::default().short_hash());
    let all = format!("[base]\nhosts = '{}'\n[axes]\nhosts = [3]", path("lab.toml"));
    assert_eq!(found(&all).unwrap()[0].id, cells[1].id, "two ways of writing one cell are one cell");

    let none = found("[axes]\nhosts = [1, 2]").unwrap_err();
    assert!(none.contains("2 hosts need a host set"), "{none}");
    let few = found(&format!("[base]\nhosts = '{}'\n[axes]\nhosts = [1, 4]", path("lab.toml"))).unwrap_err();
    assert!(few.contains("has 3 hosts, and a cell asks for 4"), "{few}");
    let missing = found("[base]\nhosts = 'no/such.toml'").unwrap_err();
    assert!(missing.contains("no/such.toml") && missing.contains("cannot read"), "{missing}");
}

/// A grid over some axes, each with a few values.
fn axes() -> impl Strategy<Value = Vec<(Axis, Vec<AxisValue>)>> {
    let counts = |axis: Axis| {
        prop::collection::vec(1..9u32, 1..5)
            .prop_map(move |values| (axis, values.into_iter().map(|value| AxisValue::Number(value.into())).collect()))
    };
    let fractions = prop::collection::vec(1..100u32, 1..4).prop_map(|values| {
        (Axis::Fraction, values.into_iter().map(|value| AxisValue::Number(f64::from(value) / 100.0)).collect())
    });
    (counts(Axis::Workers), fractions, counts(Axis::Trees), counts(Axis::Seed), 1..5usize).prop_map(
        |(workers, fraction, trees, seed, take)| {
            let mut axes: Vec<(Axis, Vec<AxisValue>)> = vec![workers, fraction, trees, seed];
            axes.truncate(take);
            axes
        },
    )
}

proptest! {
    /// Each combination of values is there exactly once, and every cell is such a combination.
    #[test]
    fn no_cell_is_lost_or_doubled(axes in axes()) {
        let mut grid = Grid::single("p", RunSpec::default());
        grid.axes = axes.clone();
        let cells = grid.cells().unwrap();
        let distinct = |values: &[AxisValue]| {
            values.iter().map(|value| format!("{value:?}")).collect::<HashSet<_>>().len()
        };
        let expected: usize = axes.iter().map(|(_, values)| distinct(values)).product();
        prop_assert_eq!(cells.len(), expected);
        let ids: HashSet<&String> = cells.iter().map(|cell| &cell.id).collect();
        prop_assert_eq!(ids.len(), cells.len());
        for Cell { spec, id, .. } in &cells {
            prop_assert_eq!(id, &spec.short_hash());
            for (axis, values) in &axes {
                prop_assert!(values.contains(&axis.get(spec)));
            }
        }
    }

    /// A filter and its negation part the cells.
    #[test]
    fn a_filter_and_its_negation_part_the_cells(axes in axes(), workers in 1..9u32, percent in 1..100u32) {
        let mut grid = Grid::single("p", RunSpec::default());
        grid.axes = axes;
        let text = format!("workers<={workers} and fraction<{}", f64::from(percent) / 100.0);
        let all = grid.cells().unwrap().len();
        let yes = Filter::parse(&text).unwrap();
        let no = Filter::parse(&format!("not ({text})")).unwrap();
        let count = |filter: Filter| Grid { only: vec![filter], ..grid.clone() }.cells().unwrap().len();
        prop_assert_eq!(count(yes.clone()) + count(no), all);
        let naive = grid.cells().unwrap().iter()
            .filter(|cell| cell.spec.topology.workers <= workers && cell.spec.data.fraction < f64::from(percent) / 100.0)
            .count();
        prop_assert_eq!(count(yes), naive);
    }

    /// No text makes the parsers panic.
    #[test]
    fn any_text_is_a_filter_or_an_error(text in "\\PC{0,40}") {
        let _ = Filter::parse(&text).map_err(|error| error.to_string());
        let _ = Grid::parse("t.toml", &text).map_err(|error| error.to_string());
    }

    /// Nor one made of the right pieces.
    #[test]
    fn any_pieces_are_a_filter_or_an_error(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "workers", "fraction", "sample", "<=", "==", "!", "in", "(", ")", ",", "and", "or", "not", "4", "0.1", "'", "é",
        ]), 0..12),
    ) {
        let text = pieces.join(" ");
        if let Err(error) = Filter::parse(&text) {
            prop_assert!(error.to_string().contains('^'));
        }
    }
}

#[test]
fn the_page_on_sweeps_shows_a_grid_that_is_one_and_names_every_axis() {
    let page = include_str!("../../docs/sweeps.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let grid = grid(example);
    assert_eq!(grid.cells().unwrap().len(), 10);
    let named = page.split("Axes: ").nth(1).unwrap().split(".\n").next().unwrap();
    let axes: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
    assert_eq!(axes, Axis::ALL.map(Axis::name));
}

//! Where the efficiency of a run went, as an identity.
//!
//! Let `C = slots × wall` be the slot-seconds a run had, `W` those its threads worked, `I = C − W` those they idled.
//! Against a base of the same work (scaled by rows where they differ) the efficiency is `E = C₀/C`, hence
//!
//! `1 − E = (C − C₀)/C = Σ over phases of (ΔI + ΔW)/C`
//!
//! exactly. Phases whose wall time did not shrink with the slots are shown whole; of the others the idle part and the
//! work part (the same rows costing more) are shown apart. Ideal minus the steps is the measured efficiency to 1e-9.

use serde::Serialize;

use super::fits::karp_flatt;
use super::measured::Measured;

/// One loss of efficiency, as a share of the ideal. Negative: a gain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// What it is.
    pub cause: Cause,
    /// Efficiency lost to it.
    pub loss: f64,
    /// Numbers behind it, fit for a screen.
    pub detail: String,
}

/// Where efficiency goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Slots without work.
    Idle,
    /// The same rows cost more thread time.
    WorkInflation,
    /// Phases whose wall time does not shrink with more slots.
    UnscaledPhases,
    /// The record does not tell idle from work.
    Unattributed,
}

impl Cause {
    /// Its words on screen.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Idle => "idle",
            Cause::WorkInflation => "work inflation",
            Cause::UnscaledPhases => "phases that do not scale",
            Cause::Unattributed => "not told apart by the record",
        }
    }
}

/// One phase against the base.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseLoss {
    /// Its name.
    pub name: String,
    /// Seconds at the base, scaled by rows.
    pub base_s: f64,
    /// Seconds here.
    pub wall_s: f64,
    /// Efficiency lost in it; all phases' losses add up to 1 − measured.
    pub loss: f64,
    /// Karp–Flatt serial fraction of this phase alone.
    pub karp_flatt: Option<f64>,
    /// Whether it counts as not scaling.
    pub unscaled: bool,
}

/// Where the efficiency went between a base and a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Waterfall {
    /// Label of the base.
    pub base: String,
    /// Label of the run.
    pub point: String,
    /// Times more slots than the base.
    pub q: f64,
    /// ideal (1) minus these is measured.
    pub steps: Vec<Step>,
    /// The same losses by phase.
    pub phases: Vec<PhaseLoss>,
    /// Efficiency against the base.
    pub measured: f64,
    /// Busy share of the slots at the base and here, over the window in which it was recorded.
    pub busy: Option<(f64, f64)>,
    /// Thread time the same rows cost here, times that at the base.
    pub inflation: Option<f64>,
    /// The same in CPU time.
    pub cpu_inflation: Option<f64>,
}

/// A phase this close to serial (Karp–Flatt above it) does not scale.
const UNSCALED: f64 = 0.5;
/// A phase below this share of the run is not worth a bar of its own.
const SMALL: f64 = 0.02;

impl Waterfall {
    /// Explains the efficiency of `point` against `base`. `None` if either has no time.
    pub fn between(base: &Measured, point: &Measured) -> Option<Waterfall> {
        let rows = if base.train_rows > 0 && point.train_rows > 0 {
            point.train_rows as f64 / base.train_rows as f64
        } else {
            1.0
        };
        let (s0, s) = (base.slots(), point.slots());
        let (c0, c) = (base.total_s * s0 * rows, point.total_s * s);
        if !(c0 > 0.0 && c > 0.0) {
            return None;
        }
        let q = s / s0;
        let phases = phase_losses(base, point, rows, q, c);
        let inflation = ratio(base.busy_s, point.busy_s).map(|r| r / rows);
        let cpu_inflation = ratio(base.cpu_s, point.cpu_s).map(|r| r / rows);
        let busy = base.busy_ratio().zip(point.busy_ratio());
        let mut waterfall = Waterfall {
            base: base.label(),
            point: point.label(),
            q,
            steps: Vec::new(),
            phases,
            measured: c0 / c,
            busy,
            inflation,
            cpu_inflation,
        };
        waterfall.steps = waterfall.steps_of(base, point, rows, c);
        Some(waterfall)
    }

    fn steps_of(&self, base: &Measured, point: &Measured, rows: f64, c: f64) -> Vec<Step> {
        let told = |m: &Measured| !m.phases.is_empty() && m.phases.iter().all(|p| p.busy_s.is_some());
        let (idle_text, work_text) = (self.idle_text(), self.work_text());
        if told(base) && told(point) {
            let unscaled: Vec<&PhaseLoss> = self.phases.iter().filter(|p| p.unscaled).collect();
            let whole: f64 = unscaled.iter().map(|p| p.loss).sum();
            let work: f64 = self
                .phases
                .iter()
                .filter(|p| !p.unscaled)
                .map(|p| (busy_of(point, &p.name) - busy_of(base, &p.name) * rows) / c)
                .sum();
            let scaled: f64 = self.phases.iter().filter(|p| !p.unscaled).map(|p| p.loss).sum();
            let names: Vec<String> =
                unscaled.iter().map(|p| format!("{} {} → {}", p.name, secs(p.base_s), secs(p.wall_s))).collect();
            return vec![
                Step { cause: Cause::Idle, loss: scaled - work, detail: idle_text },
                Step { cause: Cause::WorkInflation, loss: work, detail: work_text },
                Step { cause: Cause::UnscaledPhases, loss: whole, detail: names.join(", ") },
            ];
        }
        let all = 1.0 - self.measured;
        match (base.busy_s, point.busy_s) {
            (Some(w0), Some(w)) => {
                let work = (w - w0 * rows) / c;
                vec![
                    Step { cause: Cause::Idle, loss: all - work, detail: idle_text },
                    Step { cause: Cause::WorkInflation, loss: work, detail: work_text },
                ]
            }
            _ => vec![Step { cause: Cause::Unattributed, loss: all, detail: "no busy time recorded".into() }],
        }
    }

    fn idle_text(&self) -> String {
        self.busy.map_or_else(String::new, |(b0, b)| format!("busy {b0:.3} → {b:.3}"))
    }

    fn work_text(&self) -> String {
        match (self.inflation, self.cpu_inflation) {
            (Some(work), Some(cpu)) => format!("the same rows cost {work:.2}× the thread time, {cpu:.2}× the CPU time"),
            (Some(work), None) => format!("the same rows cost {work:.2}× the thread time"),
            _ => String::new(),
        }
    }

    /// busy ratio relative to the base ÷ work inflation: the efficiency over the recorded window, an identity of its own.
    pub fn factored(&self) -> Option<(f64, f64, f64)> {
        let (b0, b) = self.busy?;
        let inflation = self.inflation?;
        Some((b / b0, inflation, b / b0 / inflation))
    }

    /// The largest loss among the steps.
    pub fn largest(&self) -> Option<&Step> {
        self.steps.iter().max_by(|a, b| a.loss.total_cmp(&b.loss))
    }
}

/// Every phase of either run; a name the other lacks counts 0 s there, so that nothing drops out of the sum.
fn phase_losses(base: &Measured, point: &Measured, rows: f64, q: f64, c: f64) -> Vec<PhaseLoss> {
    let mut names: Vec<&str> = Vec::new();
    for phase in point.phases.iter().chain(&base.phases) {
        if !names.contains(&phase.name.as_str()) {
            names.push(&phase.name);
        }
    }
    let mut losses: Vec<PhaseLoss> = names
        .into_iter()
        .map(|name| {
            let (base_s, wall_s) = (base.phase_s(name) * rows, point.phase_s(name));
            let karp_flatt = if wall_s > 0.0 && base_s > 0.0 { karp_flatt(base_s / wall_s, q) } else { None };
            let matters = wall_s > SMALL * point.total_s;
            PhaseLoss {
                name: name.into(),
                base_s,
                wall_s,
                loss: (wall_s * point.slots() - base_s * base.slots()) / c,
                karp_flatt,
                unscaled: matters && q > 1.0 && karp_flatt.is_some_and(|k| k > UNSCALED),
            }
        })
        .collect();
    // Walls that do not add up to the total leave a rest; the identity keeps it in sight.
    let rest = |m: &Measured| m.total_s - m.phases.iter().map(|p| p.wall_s).sum::<f64>();
    let (base_rest, point_rest) = (rest(base) * rows, rest(point));
    if base_rest.abs() > 1e-9 || point_rest.abs() > 1e-9 {
        losses.push(PhaseLoss {
            name: "unaccounted".into(),
            base_s: base_rest,
            wall_s: point_rest,
            loss: (point_rest * point.slots() - base_rest * base.slots()) / c,
            karp_flatt: None,
            unscaled: false,
        });
    }
    losses
}

fn busy_of(run: &Measured, phase: &str) -> f64 {
    run.phases.iter().filter(|p| p.name == phase).filter_map(|p| p.busy_s).sum()
}

fn ratio(base: Option<f64>, point: Option<f64>) -> Option<f64> {
    base.zip(point).filter(|(b, _)| *b > 0.0).map(|(b, p)| p / b)
}

/// Seconds for a person: three digits, no unit juggling above a minute's precision.
pub(crate) fn secs(s: f64) -> String {
    match s {
        s if s < 0.1 => format!("{:.1} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 100.0 => format!("{s:.1} s"),
        s => format!("{s:.0} s"),
    }
}

/// Several times in one unit, said once: `0.13, 0.11, 0.40 s`.
pub(crate) fn secs_list(times: &[f64]) -> String {
    let largest = times.iter().copied().fold(0.0, f64::max);
    let (scale, unit) = if largest < 0.1 { (1e3, "ms") } else { (1.0, "s") };
    let digits = match largest * scale {
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    let list: Vec<String> = times.iter().map(|t| format!("{:.digits$}", t * scale)).collect();
    format!("{} {unit}", list.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::measured::PhaseMeasured;
    use proptest::prelude::*;

    #[test]
    fn a_list_of_times_has_one_unit() {
        assert_eq!(secs_list(&[0.0141, 0.13, 0.4]), "0.01, 0.13, 0.40 s");
        assert_eq!(secs_list(&[0.0141, 0.0975]), "14.1, 97.5 ms");
        assert_eq!(secs_list(&[583.2, 674.0]), "583, 674 s");
    }

    fn any_run() -> impl Strategy<Value = Measured> {
        let phase = (0usize..6, 0.0..500.0f64, prop::option::of(0.0..900.0f64));
        (1u32..9, 1u32..5, prop::collection::vec(phase, 0..6), 0.001..50.0f64, 1u64..1_000_000_000, any::<bool>())
            .prop_map(|(workers, cores, phases, rest, rows, all_told)| {
                let names = ["start", "plan", "load", "train", "evaluate", "other"];
                let phases: Vec<PhaseMeasured> = phases
                    .into_iter()
                    .map(|(name, wall_s, busy_s)| PhaseMeasured {
                        name: names[name].into(),
                        wall_s,
                        cpu_s: busy_s,
                        busy_s: if all_told { Some(busy_s.unwrap_or(0.0)) } else { busy_s },
                    })
                    .collect();
                Measured {
                    workers,
                    cores,
                    total_s: phases.iter().map(|p| p.wall_s).sum::<f64>() + rest,
                    busy_s: all_told.then(|| phases.iter().filter_map(|p| p.busy_s).sum()),
                    phases,
                    train_rows: rows,
                    ..Measured::default()
                }
            })
    }

    proptest! {
        #[test]
        fn the_steps_and_the_phases_both_add_up(base in any_run(), point in any_run()) {
            let waterfall = Waterfall::between(&base, &point).unwrap();
            let scale = waterfall.measured.abs().max(1.0);
            let steps: f64 = waterfall.steps.iter().map(|s| s.loss).sum();
            prop_assert!((1.0 - steps - waterfall.measured).abs() <= 1e-9 * scale, "{waterfall:?}");
            let phases: f64 = waterfall.phases.iter().map(|p| p.loss).sum();
            prop_assert!((1.0 - phases - waterfall.measured).abs() <= 1e-9 * scale, "{waterfall:?}");
        }
    }

    #[test]
    fn a_serial_phase_is_named_and_perfect_scaling_loses_nothing() {
        let run = |workers: u32, load: f64, train: f64| Measured {
            workers,
            cores: 1,
            total_s: load + train,
            train_rows: 1000,
            phases: vec![
                PhaseMeasured { name: "load".into(), wall_s: load, cpu_s: None, busy_s: Some(10.0) },
                PhaseMeasured { name: "train".into(), wall_s: train, cpu_s: None, busy_s: Some(90.0) },
            ],
            busy_s: Some(100.0),
            ..Measured::default()
        };
        let waterfall = Waterfall::between(&run(1, 10.0, 90.0), &run(4, 10.0, 22.5)).unwrap();
        let of = |cause| waterfall.steps.iter().find(|s| s.cause == cause).unwrap();
        assert!((of(Cause::UnscaledPhases).loss - (1.0 - waterfall.measured)).abs() < 1e-12, "{waterfall:?}");
        assert!(of(Cause::UnscaledPhases).detail.contains("load"));
        let ideal = Waterfall::between(&run(1, 10.0, 90.0), &run(4, 2.5, 22.5)).unwrap();
        assert!((ideal.measured - 1.0).abs() < 1e-12);
        assert!(ideal.steps.iter().all(|s| s.loss.abs() < 1e-12));
    }
}

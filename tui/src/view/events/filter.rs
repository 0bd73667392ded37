//! The filter of events: words, and `field:value` terms, each of which may be negated with a minus.

use fractal_logs::{EventKind, Phase, RunEvent};

use super::describe::{Told, Weight};

/// A filter; all its terms must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    terms: Vec<(bool, Term)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    Word(String),
    Worker(u32),
    Thread(u32),
    Phase(Phase),
    Kind(String),
    Level(u32),
    Weight(Weight),
    Source(String),
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// A field that is none, or a value that it cannot have.
    pub fn parse(text: &str) -> Result<Filter, String> {
        let mut terms = Vec::new();
        for part in text.split_whitespace() {
            let (wanted, part) = match part.strip_prefix('-') {
                Some(rest) if !rest.is_empty() => (false, rest),
                _ => (true, part),
            };
            let number = |value: &str| {
                value.trim_start_matches('w').parse::<u32>().map_err(|_| format!("'{value}' is no number"))
            };
            let term = match part.split_once(':') {
                Some((_, "")) => continue,
                Some(("worker" | "w", value)) => Term::Worker(number(value)?),
                Some(("thread" | "t", value)) => Term::Thread(number(value)?),
                Some(("level" | "l", value)) => Term::Level(number(value)?),
                Some(("phase", value)) => {
                    let fits = |phase: &Phase| phase.name().starts_with(value);
                    let names = Phase::ALL.map(Phase::name).join(", ");
                    Term::Phase(Phase::ALL.into_iter().find(fits).ok_or(format!("phases are {names}"))?)
                }
                Some(("kind" | "k", value)) => Term::Kind(value.to_lowercase()),
                Some(("weight", value)) => {
                    let all = [Weight::Noise, Weight::Detail, Weight::Step, Weight::Warning, Weight::Error];
                    let fits = |weight: &Weight| weight.name().starts_with(value);
                    Term::Weight(all.into_iter().find(fits).ok_or("weights are noise, detail, step, warning, error")?)
                }
                Some(("source", value)) => Term::Source(value.to_lowercase()),
                // A colon may be part of what is searched for.
                _ => Term::Word(part.to_lowercase()),
            };
            terms.push((wanted, term));
        }
        Ok(Filter { terms })
    }

    /// Whether it lets everything through.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether an event, in these words, fits.
    pub fn fits(&self, event: &RunEvent, told: &Told) -> bool {
        self.terms.iter().all(|(wanted, term)| term.holds(event, told) == *wanted)
    }
}

impl Term {
    fn holds(&self, event: &RunEvent, told: &Told) -> bool {
        match self {
            Term::Word(word) => {
                told.text.to_lowercase().contains(word)
                    || event.kind.name().to_lowercase().contains(word)
                    || event.source.to_string().contains(word)
            }
            Term::Worker(worker) => event.source.worker() == Some(*worker) || worker_of(&event.kind) == Some(*worker),
            Term::Thread(wanted) => {
                matches!(event.source, fractal_logs::Source::Thread { thread, .. } if thread == *wanted)
            }
            Term::Phase(phase) => phase_of(&event.kind) == Some(*phase),
            Term::Kind(kind) => event.kind.name().to_lowercase().contains(kind),
            // As the screen counts: the root's level is 1.
            Term::Level(level) => level_of(&event.kind).is_some_and(|depth| depth + 1 == *level),
            Term::Weight(weight) => told.weight >= *weight,
            Term::Source(source) => event.source.to_string() == *source,
        }
    }
}

fn worker_of(kind: &EventKind) -> Option<u32> {
    match kind {
        EventKind::WorkerLaunched { worker, .. }
        | EventKind::LimitsGranted { worker, .. }
        | EventKind::WorkerJoined { worker, .. }
        | EventKind::PartitionPlanned { worker, .. }
        | EventKind::WorkerFinished { worker, .. }
        | EventKind::WorkerLost { worker, .. } => Some(*worker),
        _ => None,
    }
}

fn level_of(kind: &EventKind) -> Option<u32> {
    match kind {
        EventKind::LevelStarted { level, .. }
        | EventKind::LevelCounted { level, .. }
        | EventKind::LevelFinished { level, .. } => Some(*level),
        _ => None,
    }
}

fn phase_of(kind: &EventKind) -> Option<Phase> {
    match kind {
        EventKind::PhaseStarted { phase } | EventKind::PhaseFinished { phase, .. } => Some(*phase),
        EventKind::WorkerSampled { phase, .. } | EventKind::DataflowMeasured { phase, .. } => Some(*phase),
        EventKind::LevelStarted { .. }
        | EventKind::LevelCounted { .. }
        | EventKind::LevelFinished { .. }
        | EventKind::ForestGrown { .. } => Some(Phase::Train),
        EventKind::PartitionLoaded { subset, .. } => {
            Some(if *subset == fractal_logs::Subset::Train { Phase::Load } else { Phase::Evaluate })
        }
        EventKind::PartitionPlanned { .. } | EventKind::FilesListed { .. } => Some(Phase::Plan),
        EventKind::ThresholdsFitted { .. } => Some(Phase::FitBins),
        EventKind::SubsetEvaluated { .. } => Some(Phase::Evaluate),
        _ => None,
    }
}

//! Lints about what the machine gave a run: G1, H1, L1, M1, V1.

use std::collections::BTreeMap;

use fractal_logs::{FailureKind, units};

use super::{Finding, Names, Severity};
use crate::analysis::measured::{Measured, WorkerMeasured};
use crate::analysis::stats::median;

pub(super) fn lint(run: &Measured, names: &Names) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(granted(run, names));
    findings.extend(memory(run, names));
    findings.extend(summed_peak(run, names));
    if run.is_measurement() {
        findings.extend(throttled(run, names));
        let straggler = straggler(run, names);
        // A worker that is starved on its own is a straggler, not a machine with too many threads.
        findings.extend(straggler.is_none().then(|| oversubscribed(run, names)).flatten());
        findings.extend(straggler);
    }
    findings
}

/// G1: what a worker got is not what was asked for it.
fn granted(run: &Measured, names: &Names) -> Option<Finding> {
    let mut lines = Vec::new();
    let mut worst: f64 = 0.0;
    if let Some(came) = run.granted_workers.filter(|&came| came != run.workers && !run.single_thread_baseline) {
        lines.push(format!("{} workers asked for, {came} came", run.workers));
        worst = worst.max((1.0 - f64::from(came) / f64::from(run.workers.max(1))).abs());
    }
    for w in &run.worker_list {
        if let (Some(asked), Some(got)) = (w.requested_cpus, w.granted_cpus)
            && (got / asked - 1.0).abs() > 0.01
        {
            lines.push(format!("worker {}: {asked} CPUs asked for, {got} granted", w.index));
            worst = worst.max((1.0 - got / asked).abs());
        }
        if let (Some(asked), Some(got)) = (w.requested_memory, w.granted_memory)
            && (got as f64 / asked as f64 - 1.0).abs() > 0.01
        {
            lines.push(format!("worker {}: {} asked for, {} granted", w.index, units::bytes(asked), units::bytes(got)));
            worst = worst.max((1.0 - got as f64 / asked as f64).abs());
        }
        if w.requested_memory.is_some() && w.enforced_by.as_deref() == Some("none") {
            lines.push(format!(
                "worker {}: {} asked for, not enforced",
                w.index,
                units::bytes(w.requested_memory.unwrap_or(0))
            ));
            worst = worst.max(0.1);
        }
    }
    let first = lines.first()?.clone();
    let more = if lines.len() > 1 { format!(" (and {} more)", lines.len() - 1) } else { String::new() };
    Some(
        Finding::new("G1", Severity::Error, names.run(run))
            .evidence(format!("{first}{more}"))
            .number("mismatch", worst)
            .number("requested_threads", run.requested_slots())
            .number("granted_threads", run.slots())
            .advice("its point stands at what was granted; give the workers what they were promised and rerun")
            .about([run])
            .weight(worst),
    )
}

/// M1: a peak close to the limit, or a failure for memory.
fn memory(run: &Measured, names: &Names) -> Option<Finding> {
    let oom = run.failure == Some(FailureKind::Oom);
    let tight =
        |w: &WorkerMeasured| Some(w.peak_against_limit() as f64 / w.granted_memory.or(w.requested_memory)? as f64);
    let worst = run.worker_list.iter().filter(|w| w.peak_bytes > 0).filter_map(|w| Some((w, tight(w)?)));
    let worst = worst.max_by(|a, b| a.1.total_cmp(&b.1));
    if oom {
        let error = run.error.clone().unwrap_or_else(|| "it ran out of memory".into());
        return Some(
            Finding::new("M1", Severity::Error, names.run(run))
                .evidence(error)
                .advice("more memory a worker, more workers, a smaller fraction, or --histogram-budget lower")
                .about([run])
                .weight(1.0),
        );
    }
    let (w, share) = worst.filter(|(_, share)| *share >= 0.9)?;
    Some(
        Finding::new("M1", Severity::Warning, names.run(run))
            .evidence(format!(
                "worker {} peaked at {}, {:.0} % of its limit of {}",
                w.index,
                units::bytes(w.peak_against_limit()),
                share * 100.0,
                units::bytes(w.granted_memory.or(w.requested_memory).unwrap_or(0))
            ))
            .number("peak_bytes", w.peak_against_limit() as f64)
            .number("share", share)
            .advice("the next larger cell will not fit: more memory a worker, or more workers")
            .about([run])
            .weight(share - 0.9),
    )
}

/// M1: a "peak" that no executor could have had, because it is a sum.
fn summed_peak(run: &Measured, names: &Names) -> Option<Finding> {
    let (peak, limit) = (run.summed_peak_bytes?, run.memory?);
    let all = limit * u64::from(run.workers.max(1));
    (peak > all).then(|| {
        Finding::new("M1", Severity::Note, names.run(run))
            .evidence(format!(
                "peakExecutionMemory says {}, but {} of {} are all there is: it is a sum over stages, no peak",
                units::bytes(peak),
                if run.workers == 1 { "one executor".into() } else { format!("{} executors", run.workers) },
                units::bytes(limit)
            ))
            .number("reported_bytes", peak as f64)
            .number("limit_bytes", all as f64)
            .advice("read the peak of each worker instead (memory.peak of its cgroup, or its peak resident size)")
            .about([run])
            .weight(0.01)
    })
}

/// H1: the scheduler held a worker back.
fn throttled(run: &Measured, names: &Names) -> Option<Finding> {
    // Quotas are dealt in periods of 100 ms (the kernel's default, which the limits keep).
    let worst = run.worker_list.iter().filter_map(|w| Some((w, w.throttled?))).max_by_key(|(_, n)| *n)?;
    let share = worst.1 as f64 * 0.1 / run.total_s;
    (share > 0.05).then(|| {
        Finding::new("H1", Severity::Warning, names.run(run))
            .evidence(format!(
                "worker {} was throttled in {} periods, {:.0} % of the run",
                worst.0.index,
                worst.1,
                share.min(1.0) * 100.0
            ))
            .number("periods", worst.1 as f64)
            .number("share", share)
            .advice("its threads want more CPU than its quota: raise the quota or lower --cores")
            .about([run])
            .weight(share)
    })
}

/// L1: one worker gets through fewer rows a busy second than the others, and they wait for it.
fn straggler(run: &Measured, names: &Names) -> Option<Finding> {
    let mut by_worker: BTreeMap<u32, (f64, f64, f64)> = BTreeMap::new();
    for t in run.threads.iter().filter(|t| t.rows > 0 && t.busy_s > 0.0) {
        let sums = by_worker.entry(t.worker).or_default();
        sums.0 += t.rows as f64;
        sums.1 += t.busy_s;
        sums.2 += t.cpu_s;
    }
    if by_worker.len() < 2 {
        return None;
    }
    let rates: Vec<(u32, f64, f64)> = by_worker.iter().map(|(&w, s)| (w, s.0 / s.1, s.2 / s.1)).collect();
    let slowest = rates.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    // A worker with few rows is busy with what every pass costs whatever the rows, and its rate says nothing: it is a
    // straggler only if the others wait for it.
    let others_busy: Vec<f64> = by_worker.iter().filter(|(w, _)| **w != slowest.0).map(|(_, s)| s.1).collect();
    if by_worker[&slowest.0].1 < 1.2 * median(&others_busy)? {
        return None;
    }
    let of_others = |of: fn(&(u32, f64, f64)) -> f64| {
        median(&rates.iter().filter(|r| r.0 != slowest.0).map(of).collect::<Vec<_>>())
    };
    let (others, others_cpu) = (of_others(|r| r.1)?, of_others(|r| r.2)?);
    let ratio = slowest.1 / others;
    // A short training is all start-up: no straggler can be told in it.
    let train: f64 = run.levels.iter().map(|l| l.wall_s).sum();
    if ratio >= 0.75 || train < 0.05 * run.total_s {
        return None;
    }
    let host = run.worker_list.iter().find(|w| w.index == slowest.0).map_or("", |w| w.host.as_str());
    let starved = slowest.2 < 0.85 * others_cpu;
    let why = if starved {
        format!(
            "its threads ran only {:.0} % of the time they had work (the others {:.0} %): something else used its CPU, or it \
             was stopped",
            slowest.2 * 100.0,
            others_cpu * 100.0
        )
    } else {
        "its threads had the CPU all the time: its host is slower".to_string()
    };
    Some(
        Finding::new("L1", Severity::Warning, names.run(run))
            .evidence(format!(
                "worker {}{} got through {:.2}× the rows a busy second of the others; {why}",
                slowest.0,
                if host.is_empty() { String::new() } else { format!(" on {host}") },
                ratio
            ))
            .number("worker", f64::from(slowest.0))
            .number("ratio", ratio)
            .number("cpu_share", slowest.2)
            .number("others_cpu_share", others_cpu)
            .advice(if starved {
                "look for other load on its cores (affinity, quota, neighbours); every level waits for it"
            } else {
                "give it fewer rows, or leave the host out; every level waits for it"
            })
            .about([run])
            .weight((1.0 - ratio) * train / run.total_s),
    )
}

/// V1: threads without a core each.
fn oversubscribed(run: &Measured, names: &Names) -> Option<Finding> {
    let mut hosts: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for w in &run.worker_list {
        if let Some(cpus) = w.host_cpus {
            let host = hosts.entry(w.host.as_str()).or_default();
            host.0 += w.threads;
            host.1 = cpus;
        }
    }
    let busy: f64 = run.threads.iter().map(|t| t.busy_s).sum();
    let cpu: f64 = run.threads.iter().map(|t| t.cpu_s).sum();
    let got = (busy > 0.0).then(|| cpu / busy);
    if let Some((host, &(threads, cpus))) = hosts.iter().find(|(_, (threads, cpus))| threads > cpus) {
        let felt =
            got.map_or(String::new(), |g| format!("; a thread with work had a core {:.0} % of the time", g * 100.0));
        return Some(
            Finding::new("V1", Severity::Warning, names.run(run))
                .evidence(format!(
                    "{threads} threads on {cpus} CPUs{}{felt}",
                    if host.is_empty() { String::new() } else { format!(" of {host}") }
                ))
                .number("threads", f64::from(threads))
                .number("cpus", f64::from(cpus))
                .advice(format!("run at most {cpus} threads on this host; beyond, more workers only take turns"))
                .about([run])
                .weight(1.0 - f64::from(cpus) / f64::from(threads)),
        );
    }
    // Waiting for a core shows in the passes, where threads do nothing but compute.
    let train: f64 = run.levels.iter().map(|l| l.wall_s).sum();
    let got = got.filter(|&g| g < 0.8 && train > 0.05 * run.total_s && busy > 0.2)?;
    let load = run
        .host
        .as_ref()
        .map_or(String::new(), |h| format!(" (load before the run {:.1} on {} CPUs)", h.load_before, h.logical_cpus));
    Some(
        Finding::new("V1", Severity::Warning, names.run(run))
            .evidence(format!("threads with work had a core only {:.0} % of the time{load}", got * 100.0))
            .number("cpu_share", got)
            .advice("something else used these cores: rerun on an idle machine, or pin workers to their own cores")
            .about([run])
            .weight((1.0 - got) * train / run.total_s),
    )
}

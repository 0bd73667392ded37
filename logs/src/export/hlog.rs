//! An HdrHistogram interval log (`.hlog`) of a run's latencies, readable by the HdrHistogram tools.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use super::{ExportFile, plain_name};
use crate::error::Error;
use crate::event::Source;
use crate::state::RunState;

/// The latency histograms of a run: an interval for each, tagged `<name>-<source>`. Values are microseconds; the divisor
/// in the log makes readers show maxima in milliseconds.
///
/// # Errors
/// There is no `RunStarted`, or a histogram in the journal cannot be decoded.
pub fn hlog(state: &RunState) -> Result<ExportFile, Error> {
    let run_id = state.started.as_ref().map_or("", |started| &started.run_id);
    let cannot = |reason: String| Error::CannotExport { what: format!("run '{run_id}' as hlog"), reason };
    let started = state.started.as_ref().ok_or_else(|| cannot("its journal has no RunStarted".into()))?;

    let mut content = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment(&format!("latencies of fractal run {run_id}, in microseconds"))
        .with_start_time(UNIX_EPOCH + Duration::from_millis(started.wall_clock_ms))
        .with_base_time(UNIX_EPOCH + Duration::from_millis(started.wall_clock_ms))
        .with_max_value_divisor(1000.0);
    let mut log = builder
        .begin_log_with(&mut content, &mut serializer)
        .map_err(|error| cannot(format!("its header cannot be written ({error})")))?;

    // Intervals in order of their end; each begins where the last one of its name and source ended.
    let mut latencies: Vec<_> = state.latencies.iter().collect();
    latencies.sort_by_key(|&((_, _, at_us), _)| *at_us);
    let mut last_end: HashMap<(&str, Source), u64> = HashMap::new();
    for ((name, source, at_us), latency) in latencies {
        let problem = |reason: String| cannot(format!("histogram '{name}' of {source} at {at_us} us: {reason}"));
        let bytes = STANDARD.decode(&latency.hdr_base64).map_err(|error| problem(error.to_string()))?;
        let histogram: Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|error| problem(error.to_string()))?;
        let start_us = last_end.insert((name, *source), *at_us).unwrap_or(0);
        let tag = format!("{}-{source}", plain_name(name));
        log.write_histogram(
            &histogram,
            Duration::from_micros(start_us),
            Duration::from_micros(at_us - start_us),
            Tag::new(&tag),
        )
        .map_err(|error| problem(format!("{error:?}")))?;
    }
    drop(log);
    Ok(ExportFile { name: format!("{}.hlog", plain_name(run_id)), content })
}

//! What the operators of a thread's dataflow cost, by timely's own logging.
//!
//! timely reports every activation and every message to a closure on the thread itself. Here they are added up, so that
//! what leaves the worker is one event a phase (and one now and then in a long one), however often an operator runs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fractal_logs::{ChannelTraffic, EventKind, OperatorCost, Phase};
use timely::logging::{ChannelsEvent, ParkEvent, StartStop, TimelyEvent, TimelyEventBuilder};
use timely::worker::Worker;

/// Under which name timely passes its events on.
const TIMELY_LOG: &str = "timely";
/// In a phase that takes long, what it has cost so far is told this often.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Adds up what the dataflow of one thread costs. Cheap to clone: all clones are one meter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    totals: Rc<RefCell<Totals>>,
}

#[derive(Debug, Default)]
struct Totals {
    /// By timely's number of the operator. The dataflow itself is one: what it takes beside its operators is progress
    /// tracking.
    operators: BTreeMap<usize, Operator>,
    /// By timely's number of the channel.
    channels: BTreeMap<usize, Channel>,
    /// What runs now, outermost first.
    running: Vec<Activation>,
    parked_at: Option<Duration>,
    parked: Duration,
    reported: Option<Instant>,
}

#[derive(Debug, Default)]
struct Operator {
    /// Its name, and where it stands: the dataflow, and its place in it.
    name: String,
    path: Vec<usize>,
    activations: u64,
    busy: Duration,
    longest: Duration,
}

#[derive(Debug, Default)]
struct Channel {
    /// Places of the operators at its ends in their dataflow.
    ends: (usize, usize),
    sent_messages: u64,
    sent_records: u64,
    received_records: u64,
}

#[derive(Debug)]
struct Activation {
    operator: usize,
    since: Duration,
    /// Time of the operators inside it.
    inner: Duration,
}

impl Meter {
    /// Listens to `worker`. Operators built before are not heard.
    pub(crate) fn listen(&self, worker: &Worker) {
        let totals = self.totals.clone();
        let Some(mut registry) = worker.log_register() else { return };
        registry.insert::<TimelyEventBuilder, _>(TIMELY_LOG, move |_, events| {
            let mut totals = totals.borrow_mut();
            for (at, event) in events.iter_mut().flat_map(|events| events.drain(..)) {
                totals.take(at, event);
            }
        });
    }

    /// What was added up since the last phase ended, if that is anything; begins anew.
    pub(crate) fn phase_ended(&self, phase: Phase) -> Option<EventKind> {
        let mut totals = self.totals.borrow_mut();
        let event = totals.report(phase);
        totals.begin();
        event
    }

    /// What was added up so far, if it is time to tell it again.
    pub(crate) fn so_far(&self, phase: Phase) -> Option<EventKind> {
        let mut totals = self.totals.borrow_mut();
        let last = *totals.reported.get_or_insert_with(Instant::now);
        if last.elapsed() < REPORT_EVERY {
            return None;
        }
        totals.reported = Some(Instant::now());
        totals.report(phase)
    }
}

impl Totals {
    fn take(&mut self, at: Duration, event: TimelyEvent) {
        match event {
            TimelyEvent::Operates(operator) => {
                let known = self.operators.entry(operator.id).or_default();
                (known.name, known.path) = (operator.name, operator.addr);
            }
            TimelyEvent::Channels(ChannelsEvent { id, source, target, .. }) => {
                self.channels.entry(id).or_default().ends = (source.0, target.0);
            }
            TimelyEvent::Schedule(schedule) => match schedule.start_stop {
                StartStop::Start => {
                    self.running.push(Activation { operator: schedule.id, since: at, inner: Duration::ZERO });
                }
                StartStop::Stop => {
                    let Some(ended) = self.running.pop() else { return };
                    let whole = at.saturating_sub(ended.since);
                    if let Some(around) = self.running.last_mut() {
                        around.inner += whole;
                    }
                    let own = whole.saturating_sub(ended.inner);
                    let operator = self.operators.entry(ended.operator).or_default();
                    operator.activations += 1;
                    operator.busy += own;
                    operator.longest = operator.longest.max(own);
                }
            },
            TimelyEvent::Messages(message) => {
                let channel = self.channels.entry(message.channel).or_default();
                let records = u64::try_from(message.record_count).unwrap_or(0);
                if message.is_send {
                    channel.sent_messages += 1;
                    channel.sent_records += records;
                } else {
                    channel.received_records += records;
                }
            }
            TimelyEvent::Park(ParkEvent::Park(_)) => self.parked_at = Some(at),
            TimelyEvent::Park(ParkEvent::Unpark) => {
                self.parked += self.parked_at.take().map_or(Duration::ZERO, |since| at.saturating_sub(since));
            }
            TimelyEvent::PushProgress(_)
            | TimelyEvent::Shutdown(_)
            | TimelyEvent::CommChannels(_)
            | TimelyEvent::Text(_) => {}
        }
    }

    /// The totals as an event; `None` if nothing happened.
    fn report(&self, phase: Phase) -> Option<EventKind> {
        let us = |time: Duration| time.as_micros() as u64;
        let operators: Vec<OperatorCost> = self
            .operators
            .values()
            .filter(|operator| operator.activations > 0)
            .map(|operator| OperatorCost {
                name: self.label(operator),
                activations: operator.activations,
                busy_us: us(operator.busy),
                longest_us: us(operator.longest),
            })
            .collect();
        let channels = self
            .channels
            .values()
            .filter(|channel| channel.sent_messages + channel.received_records > 0)
            .map(|channel| ChannelTraffic {
                from: self.label_at(channel.ends.0),
                to: self.label_at(channel.ends.1),
                sent_messages: channel.sent_messages,
                sent_records: channel.sent_records,
                received_records: channel.received_records,
            })
            .collect();
        let event = EventKind::DataflowMeasured { phase, parked_us: us(self.parked), operators, channels };
        (!self.operators.values().all(|operator| operator.activations == 0)).then_some(event)
    }

    fn begin(&mut self) {
        for operator in self.operators.values_mut() {
            (operator.activations, operator.busy, operator.longest) = (0, Duration::ZERO, Duration::ZERO);
        }
        for channel in self.channels.values_mut() {
            (channel.sent_messages, channel.sent_records, channel.received_records) = (0, 0, 0);
        }
        self.parked = Duration::ZERO;
        self.reported = None;
    }

    /// The operator at a place of the dataflow.
    fn at(&self, place: usize) -> Option<&Operator> {
        self.operators.values().find(|operator| operator.path.len() == 2 && operator.path[1] == place)
    }

    fn label_at(&self, place: usize) -> String {
        self.at(place).map_or_else(|| format!("operator {place}"), |operator| self.label(operator))
    }

    /// An operator's name as people read it. timely names its own operators by their kind: those are told apart by
    /// the operator of ours that they serve.
    fn label(&self, operator: &Operator) -> String {
        let &[_, place] = operator.path.as_slice() else { return format!("progress of {}", operator.name) };
        let neighbour = |wanted: fn(&Channel, usize) -> Option<usize>| {
            let found = self.channels.values().find_map(|channel| wanted(channel, place))?;
            self.at(found).map(|operator| operator.name.as_str())
        };
        let served = match operator.name.as_str() {
            "Input" => neighbour(|channel, place| (channel.ends.0 == place).then_some(channel.ends.1)),
            "Probe" => neighbour(|channel, place| (channel.ends.1 == place).then_some(channel.ends.0)),
            _ => None,
        };
        match (operator.name.as_str(), served) {
            ("Input", Some(served)) => format!("input of {served}"),
            ("Probe", Some(served)) => format!("probe of {served}"),
            (name, _) => name.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use timely::logging::{MessagesEvent, OperatesEvent, ScheduleEvent};

    use super::*;
    use crate::dataflow::agreement::Contribution;
    use crate::dataflow::exchange::{Exchange, Timely};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_operator_is_charged_its_own_time_and_the_dataflow_the_rest() {
        let mut totals = Totals::default();
        let operates = |id, addr: &[usize], name: &str| {
            TimelyEvent::Operates(OperatesEvent { id, addr: addr.to_vec(), name: name.into() })
        };
        let channel = |id, from, to| {
            TimelyEvent::Channels(ChannelsEvent {
                id,
                scope_addr: vec![0],
                source: (from, 0),
                target: (to, 0),
                typ: String::new(),
            })
        };
        let message = |is_send, record_count| {
            let (channel, source, target, seq_no) = (1, 0, 0, 0);
            TimelyEvent::Messages(MessagesEvent { is_send, channel, source, target, seq_no, record_count })
        };
        let events = [
            (0, operates(1, &[0, 1], "Input")),
            (0, operates(2, &[0, 2], "add")),
            (0, operates(3, &[0, 3], "Probe")),
            (0, operates(0, &[0], "sums")),
            (0, channel(1, 1, 2)),
            (0, channel(2, 2, 3)),
            (10, ScheduleEvent::start(0).into()),
            (11, ScheduleEvent::start(2).into()),
            (12, message(true, 30)),
            (12, message(false, 7)),
            (14, ScheduleEvent::stop(2).into()),
            (15, ScheduleEvent::start(2).into()),
            (20, ScheduleEvent::stop(2).into()),
            (22, ScheduleEvent::stop(0).into()),
            (22, ParkEvent::park(None).into()),
            (32, ParkEvent::unpark().into()),
        ];
        for (at, event) in events {
            totals.take(ms(at), event);
        }
        let Some(EventKind::DataflowMeasured { phase, parked_us, operators, channels }) = totals.report(Phase::Train)
        else {
            panic!("nothing was added up")
        };
        assert_eq!((phase, parked_us), (Phase::Train, 10_000));
        let cost = |name: &str, activations, busy_us, longest_us| OperatorCost {
            name: name.into(),
            activations,
            busy_us,
            longest_us,
        };
        assert_eq!(operators, [cost("progress of sums", 1, 4_000, 4_000), cost("add", 2, 8_000, 5_000)]);
        let only = ChannelTraffic {
            from: "input of add".into(),
            to: "add".into(),
            sent_messages: 1,
            sent_records: 30,
            received_records: 7,
        };
        assert_eq!(channels, [only]);
        assert_eq!(totals.label_at(3), "probe of add");
        totals.begin();
        assert_eq!(totals.report(Phase::Evaluate), None);
    }

    #[test]
    fn a_run_of_two_threads_counts_its_rounds_under_names_that_people_read() {
        let rounds = 3;
        let guards = timely::execute(timely::Config::process(2), move |worker| {
            let meter = Meter::default();
            meter.listen(worker);
            let mut exchange = Timely::build(worker);
            for _ in 0..rounds {
                exchange.agree(Ok(Contribution::Nothing)).unwrap();
            }
            meter.phase_ended(Phase::Plan)
        });
        let events: Vec<EventKind> = guards.unwrap().join().into_iter().map(|event| event.unwrap().unwrap()).collect();
        let channels = |event: &EventKind| match event {
            EventKind::DataflowMeasured { channels, .. } => channels.clone(),
            other => panic!("{other:?}"),
        };
        let passed = |from: &'static str, to: &'static str| {
            events.iter().map(channels).map(move |channels| {
                let found = channels.iter().find(|channel| channel.from == from && channel.to == to);
                found.map_or((0, 0), |channel| (channel.sent_records, channel.received_records))
            })
        };
        let contributed: Vec<_> = passed("input of fold contributions", "fold contributions").collect();
        assert_eq!(contributed, [(rounds, 2 * rounds), (rounds, 0)]);
        let agreed: Vec<_> = passed("copy the agreement", "take the agreement").collect();
        assert_eq!(agreed, [(2 * rounds, rounds), (0, rounds)]);
        for event in &events {
            let EventKind::DataflowMeasured { operators, .. } = event else { panic!("{event:?}") };
            let mut names: Vec<&str> = operators.iter().map(|operator| operator.name.as_str()).collect();
            names.sort_unstable();
            let known = [
                "choose splits",
                "copy the agreement",
                "copy the splits",
                "fold contributions",
                "input of choose splits",
                "input of fold contributions",
                "probe of take the agreement",
                "probe of take the splits",
                "progress of forest",
                "take the agreement",
                "take the splits",
            ];
            assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
            assert!(names.contains(&"take the agreement") && names.contains(&"progress of forest"), "{names:?}");
        }
    }
}

//! What a frame costs: 200×60, 1,000 partitions, 64 workers. Prints milliseconds of CPU time, which a busy machine does not
//! stretch as it does the time on the wall.
//!
//! `cargo bench --workspace --bench frame`
#![allow(clippy::print_stdout)] // a bench prints

#[path = "../tests/support/mod.rs"]
mod support;

use fractal_tui::{App, Message, Screen, step, view};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use rustix::time::{ClockId, clock_gettime};
use support::{HUGE, NOW_MS, Shape, events, press, sample, showing};

fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 * 1e-6
}

/// Median CPU milliseconds of 60 frames.
fn cost(app: &App, width: u16, height: u16) -> f64 {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut times: Vec<f64> = (0..60)
        .map(|_| {
            let start = cpu_ms();
            terminal.draw(|frame| view::render(frame, app)).unwrap();
            cpu_ms() - start
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    println!("frame, median of 60, CPU ms (64 workers × 2 threads, 1,000 partitions, 10 levels)");
    // As many pulses as a state keeps of a worker at most: what hours of a run leave.
    for samples in [HUGE.samples, 2_000] {
        let mut huge = showing("huge", events(Shape { samples, ..HUGE }));
        let moment = huge.run.as_ref().unwrap().total_us() * 4 / 5;
        huge.run.as_mut().unwrap().seek(moment);
        huge.size = (200, 60);
        println!(" {samples} pulses of each worker");
        for screen in Screen::ALL {
            huge.go(screen);
            step(&mut huge, [Message::Tick(NOW_MS + 1)]);
            println!("  {:<8} 200x60  {:7.3}", screen.name(), cost(&huge, 200, 60));
        }
    }
    let small = showing("sample", sample());
    println!("  Live     80x24   {:7.3}  (2 workers)", cost(&small, 80, 24));
    let mut keys = showing("huge", events(HUGE));
    let start = cpu_ms();
    for _ in 0..100 {
        press(&mut keys, &["left"]);
    }
    println!("a step of 1 s back, mean of 100: {:.3} ms", (cpu_ms() - start) / 100.0);
}

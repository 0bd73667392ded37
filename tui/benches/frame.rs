//! What a frame costs: 200×60, 1,000 partitions, 64 workers. Prints milliseconds.
//!
//! `cargo bench --workspace --bench frame`
#![allow(clippy::print_stdout)] // a bench prints

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use fractal_tui::{App, Message, Screen, step, view};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use support::{HUGE, NOW_MS, Shape, events, press, sample, showing};

/// Median milliseconds of `times` frames.
fn cost(app: &App, width: u16, height: u16) -> f64 {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut times: Vec<f64> = (0..60)
        .map(|_| {
            let start = Instant::now();
            terminal.draw(|frame| view::render(frame, app)).unwrap();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    println!("frame, median of 60, ms (64 workers × 2 threads, 1,000 partitions, 10 levels)");
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
    let start = Instant::now();
    for _ in 0..100 {
        press(&mut keys, &["left"]);
    }
    println!("a step of 1 s back, mean of 100: {:.3} ms", start.elapsed().as_secs_f64() * 10.0);
}

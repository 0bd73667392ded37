//! The real screen: raw mode and back out of it whatever happens, signals, the loop.

use std::io::{self, Write};
use std::path::Path;
use std::process::Command as Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture, Event, KeyCode,
    KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEventKind,
};
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{cursor, execute};
use rustix::event::{PollFd, PollFlags};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};

use crate::app::App;
use crate::feed::Feed;
use crate::keymap::{Code, Key};
use crate::message::{Command, Message, Mouse};
use crate::snapshot;
use crate::update::update;
use crate::view;

/// Longest time without looking for news while nothing moves by itself.
const STILL: Duration = Duration::from_millis(250);

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_millis() as u64)
}

/// Seconds by which clocks on the wall are ahead of UTC here and now; 0 where the system does not tell.
fn utc_offset_s() -> i32 {
    jiff::tz::TimeZone::system().to_offset(jiff::Timestamp::now()).seconds()
}

fn enter(mouse: bool) -> io::Result<()> {
    enable_raw_mode()?;
    let mut out = io::stdout();
    execute!(out, EnterAlternateScreen, EnableBracketedPaste, cursor::Hide)?;
    if mouse {
        execute!(out, EnableMouseCapture)?;
    }
    Ok(())
}

/// Leaves the terminal as it was. Never fails: there may be no terminal left.
fn leave() {
    let _ = execute!(io::stdout(), DisableMouseCapture, DisableBracketedPaste, LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}

/// Restores the terminal when it goes, on whatever way.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        leave();
    }
}

/// A panic restores the terminal before it is reported.
fn restore_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        leave();
        report(panic);
    }));
}

struct Signals {
    /// The last one that ends the program; 0: none.
    end: Arc<AtomicUsize>,
    /// The program was stopped from outside and goes on.
    resumed: Arc<AtomicBool>,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        let signals = Signals { end: Arc::default(), resumed: Arc::default() };
        for signal in [SIGTERM, SIGHUP, SIGINT] {
            signal_hook::flag::register_usize(signal, signals.end.clone(), signal as usize)?;
        }
        signal_hook::flag::register(SIGCONT, signals.resumed.clone())?;
        Ok(signals)
    }
}

/// Ends the program when its terminal is gone. crossterm reads a terminal that hung up over and over without coming back
/// to the loop, so a thread waits for the hang-up; until then it costs nothing.
fn end_with_the_terminal() -> io::Result<()> {
    let wait = || {
        let stdin = io::stdin();
        // No flags: the kernel tells of a hang-up whether asked or not.
        let mut watched = [PollFd::new(&stdin, PollFlags::empty())];
        while rustix::event::poll(&mut watched, None).is_err_and(|error| error == rustix::io::Errno::INTR) {}
        // Time for the loop to end by the signal that comes with it.
        std::thread::sleep(Duration::from_secs(1));
        std::process::exit(128 + SIGHUP);
    };
    std::thread::Builder::new().name("tui:hang-up".into()).spawn(wait).map(drop)
}

/// Runs the app on the terminal until it ends; the exit code.
///
/// # Errors
/// The terminal cannot be used.
pub fn run(mut app: App, first: Vec<Command>) -> io::Result<u8> {
    restore_on_panic();
    let signals = Signals::listen()?;
    end_with_the_terminal()?;
    app.utc_offset_s = utc_offset_s();
    enter(app.mouse)?;
    let guard = Guard;
    let outcome = watch(&mut app, first, &signals);
    drop(guard);
    match (outcome, signals.end.load(Ordering::Relaxed)) {
        // A terminal that hangs up cannot be drawn on any more: that is no error of its own.
        (Ok(None) | Err(_), signal) if signal != 0 => Ok(128 + signal as u8),
        (Err(error), _) => Err(error),
        (Ok(Some(true)), _) => {
            let buffer = snapshot::frame(&app, app.size.0, app.size.1.saturating_sub(1));
            io::stdout().write_all(snapshot::text(&buffer).as_bytes())?;
            Ok(0)
        }
        (Ok(_), _) => Ok(0),
    }
}

/// The loop. `Some`: a person ended it, and wants the last frame kept or not; `None`: a signal did.
fn watch(app: &mut App, first: Vec<Command>, signals: &Signals) -> io::Result<Option<bool>> {
    let mut feed = Feed::new(app.store_root.clone());
    let mut terminal = fresh()?;
    let size = terminal.size()?;
    app.size = (size.width, size.height);
    let mut commands = app.start();
    commands.extend(first);
    loop {
        for command in std::mem::take(&mut commands) {
            if let Some(keep) = carry_out(command, app, &mut feed, &mut terminal)? {
                return Ok(Some(keep));
            }
        }
        if signals.end.load(Ordering::Relaxed) != 0 {
            return Ok(None);
        }
        if signals.resumed.swap(false, Ordering::Relaxed) {
            // Whoever had the terminal meanwhile may have left it in any state: out of it and in again.
            leave();
            enter(app.mouse)?;
            terminal = fresh()?;
            app.changed = true;
        }
        commands.extend(update(app, Message::Tick(now_ms())));
        for message in feed.news() {
            commands.extend(update(app, message));
        }
        if app.changed {
            app.changed = false;
            terminal.draw(|frame| view::render(frame, app))?;
            // How a panic leaves the terminal can only be seen when there is one.
            assert!(!cfg!(debug_assertions) || std::env::var_os("FRACTAL_TUI_PANIC").is_none(), "asked to panic");
        }
        if !commands.is_empty() {
            continue;
        }
        let patience = app.pace_ms().map_or(STILL, Duration::from_millis);
        // Everything that was typed meanwhile is taken in before the next frame.
        if event::poll(patience)? {
            loop {
                if let Some(message) = message(event::read()?) {
                    commands.extend(update(app, message));
                }
                if !commands.is_empty() || !event::poll(Duration::ZERO)? {
                    break;
                }
            }
        }
    }
}

type Screen = Terminal<CrosstermBackend<io::Stdout>>;

/// The screen, blank, so that the next frame draws all of it. (`Terminal::clear` would ask the terminal where its cursor
/// is, and wait for an answer.)
fn fresh() -> io::Result<Screen> {
    execute!(io::stdout(), Clear(ClearType::All))?;
    Terminal::new(CrosstermBackend::new(io::stdout()))
}

/// Carries out what concerns the terminal; the feed does the rest. Some: the program ends, keeping the frame or not.
fn carry_out(command: Command, app: &App, feed: &mut Feed, terminal: &mut Screen) -> io::Result<Option<bool>> {
    match command {
        Command::Quit { keep } => return Ok(Some(keep)),
        Command::Copy(text) => copy(&text)?,
        Command::Mouse(true) => execute!(io::stdout(), EnableMouseCapture)?,
        Command::Mouse(false) => execute!(io::stdout(), DisableMouseCapture)?,
        Command::Redraw => *terminal = fresh()?,
        Command::Suspend => {
            leave();
            signal_hook::low_level::emulate_default_handler(SIGTSTP)?;
            enter(app.mouse)?;
            *terminal = fresh()?;
        }
        Command::Edit(path) => {
            leave();
            let outcome = edit(&path);
            enter(app.mouse)?;
            *terminal = fresh()?;
            if let Err(reason) = outcome {
                feed.tell(Message::Said(Err(reason)));
            }
            let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()));
            feed.tell(Message::Edited(path, text));
        }
        command => feed.carry_out(command),
    }
    Ok(None)
}

/// Longest text that terminals are asked to take into their clipboard.
const MOST_COPIED: usize = 100_000;

/// OSC 52: the terminal, on whichever machine it is, takes the text.
fn copy(text: &str) -> io::Result<()> {
    let end = text.char_indices().map(|(place, _)| place).take_while(|place| *place <= MOST_COPIED).last().unwrap_or(0);
    let text = if text.len() > MOST_COPIED { &text[..end] } else { text };
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    let mut out = io::stdout();
    write!(out, "\x1b]52;c;{encoded}\x07")?;
    out.flush()
}

fn edit(path: &Path) -> Result<(), String> {
    let editor = std::env::var("VISUAL").or_else(|_| std::env::var("EDITOR")).unwrap_or_else(|_| "vi".into());
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let status = Process::new(program)
        .args(words)
        .arg(path)
        .status()
        .map_err(|error| format!("the editor '{editor}' cannot be started: {error}; set EDITOR"))?;
    if status.success() { Ok(()) } else { Err(format!("the editor '{editor}' ended with {status}")) }
}

fn message(event: Event) -> Option<Message> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => key_of(key).map(Message::Key),
        Event::Paste(text) => Some(Message::Paste(text)),
        Event::Resize(width, height) => Some(Message::Resize(width, height)),
        Event::Mouse(mouse) => {
            let what = match mouse.kind {
                MouseEventKind::Down(MouseButton::Left) => Mouse::Click,
                MouseEventKind::Drag(MouseButton::Left) => Mouse::Drag,
                MouseEventKind::ScrollUp => Mouse::WheelUp,
                MouseEventKind::ScrollDown => Mouse::WheelDown,
                _ => return None,
            };
            Some(Message::Mouse(what, mouse.column, mouse.row))
        }
        _ => None,
    }
}

fn key_of(key: KeyEvent) -> Option<Key> {
    let mut shift = key.modifiers.contains(KeyModifiers::SHIFT);
    let code = match key.code {
        KeyCode::Char(c) => {
            shift = false;
            Code::Char(c)
        }
        KeyCode::Enter => Code::Enter,
        KeyCode::Esc => Code::Esc,
        KeyCode::Tab => Code::Tab,
        KeyCode::BackTab => {
            shift = true;
            Code::Tab
        }
        KeyCode::Backspace => Code::Backspace,
        KeyCode::Delete => Code::Delete,
        KeyCode::Left => Code::Left,
        KeyCode::Right => Code::Right,
        KeyCode::Up => Code::Up,
        KeyCode::Down => Code::Down,
        KeyCode::Home => Code::Home,
        KeyCode::End => Code::End,
        KeyCode::PageUp => Code::PageUp,
        KeyCode::PageDown => Code::PageDown,
        _ => return None,
    };
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(Key { code, ctrl, shift, alt: key.modifiers.contains(KeyModifiers::ALT) })
}

//! Colours and symbols. State is always a glyph and a word; colour only repeats it.

use fractal_logs::Phase;
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;

/// A set of colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Palette {
    /// For dark terminals.
    #[default]
    Dark,
    /// For light terminals.
    Light,
    /// Only black, white and the bright colours.
    HighContrast,
    /// No colours at all (`NO_COLOR`): bold, dim and reversed text.
    None,
}

impl Palette {
    /// All, in the order in which `t` walks through them.
    pub const ALL: [Palette; 4] = [Palette::Dark, Palette::Light, Palette::HighContrast, Palette::None];

    /// Its word in the config and on screen.
    pub fn name(self) -> &'static str {
        match self {
            Palette::Dark => "dark",
            Palette::Light => "light",
            Palette::HighContrast => "high-contrast",
            Palette::None => "none",
        }
    }

    /// The palette of a word.
    pub fn named(word: &str) -> Option<Palette> {
        Palette::ALL.into_iter().find(|palette| palette.name() == word)
    }

    /// The one after it.
    pub fn next(self) -> Palette {
        let place = Palette::ALL.iter().position(|other| *other == self).unwrap_or(0);
        Palette::ALL[(place + 1) % Palette::ALL.len()]
    }
}

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their names say it
pub enum Tone {
    Plain,
    Good,
    Busy,
    Warn,
    Bad,
    Dim,
}

/// Colours and symbols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Theme {
    /// Colours.
    pub palette: Palette,
    /// Only ASCII symbols.
    pub ascii: bool,
}

impl Theme {
    fn pick(&self, dark: u8, light: u8, contrast: Color) -> Option<Color> {
        match self.palette {
            Palette::Dark => Some(Color::Indexed(dark)),
            Palette::Light => Some(Color::Indexed(light)),
            Palette::HighContrast => Some(contrast),
            Palette::None => None,
        }
    }

    fn fg(&self, color: Option<Color>, without: Modifier) -> Style {
        match color {
            Some(color) => Style::new().fg(color),
            None => Style::new().add_modifier(without),
        }
    }

    /// Ordinary text.
    pub fn text(&self) -> Style {
        Style::new()
    }

    /// Text of less weight: units, labels, hints.
    pub fn dim(&self) -> Style {
        match self.palette {
            Palette::Dark => Style::new().fg(Color::Indexed(245)),
            Palette::Light => Style::new().fg(Color::Indexed(243)),
            Palette::HighContrast => Style::new(),
            Palette::None => Style::new().add_modifier(Modifier::DIM),
        }
    }

    /// Text of more weight.
    pub fn strong(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What the eye should find first: the current screen, the focused pane's title, keys.
    pub fn accent(&self) -> Style {
        self.fg(self.pick(80, 25, Color::LightCyan), Modifier::BOLD)
    }

    /// A style for how good something is.
    pub fn tone(&self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => self.text(),
            Tone::Dim => self.dim(),
            Tone::Good => self.fg(self.pick(114, 28, Color::LightGreen), Modifier::empty()),
            Tone::Busy => self.fg(self.pick(80, 25, Color::LightCyan), Modifier::BOLD),
            Tone::Warn => self.fg(self.pick(221, 130, Color::LightYellow), Modifier::BOLD),
            Tone::Bad => self.fg(self.pick(210, 124, Color::LightRed), Modifier::BOLD).add_modifier(Modifier::BOLD),
        }
    }

    /// The frame of a pane.
    pub fn border(&self, focused: bool) -> Style {
        if focused {
            return self.accent();
        }
        match self.palette {
            Palette::Dark => Style::new().fg(Color::Indexed(240)),
            Palette::Light => Style::new().fg(Color::Indexed(248)),
            Palette::HighContrast => Style::new(),
            Palette::None => Style::new().add_modifier(Modifier::DIM),
        }
    }

    /// The selected line.
    pub fn selected(&self) -> Style {
        match self.palette {
            Palette::Dark => Style::new().bg(Color::Indexed(237)).add_modifier(Modifier::BOLD),
            Palette::Light => Style::new().bg(Color::Indexed(254)).add_modifier(Modifier::BOLD),
            Palette::HighContrast | Palette::None => Style::new().add_modifier(Modifier::REVERSED),
        }
    }

    /// Bars that stand behind the header and the footer.
    pub fn bar(&self) -> Style {
        match self.palette {
            Palette::Dark => Style::new().bg(Color::Indexed(235)),
            Palette::Light => Style::new().bg(Color::Indexed(255)),
            Palette::HighContrast | Palette::None => Style::new(),
        }
    }

    /// A phase, wherever it is drawn.
    pub fn phase(&self, phase: Phase) -> Style {
        let color = match phase {
            Phase::Start => self.pick(245, 243, Color::White),
            Phase::Plan => self.pick(180, 136, Color::LightYellow),
            Phase::FitBins => self.pick(183, 97, Color::LightMagenta),
            Phase::Load => self.pick(111, 26, Color::LightBlue),
            Phase::Train => self.pick(114, 28, Color::LightGreen),
            Phase::Evaluate => self.pick(216, 166, Color::LightYellow),
            Phase::Record => self.pick(245, 243, Color::White),
        };
        self.fg(color, Modifier::empty())
    }

    /// The `n`th line of a chart.
    pub fn series(&self, n: usize) -> Style {
        const DARK: [u8; 6] = [80, 216, 114, 183, 221, 111];
        const LIGHT: [u8; 6] = [25, 166, 28, 97, 136, 26];
        const CONTRAST: [Color; 6] = [
            Color::LightCyan,
            Color::LightYellow,
            Color::LightGreen,
            Color::LightMagenta,
            Color::White,
            Color::LightBlue,
        ];
        self.fg(self.pick(DARK[n % 6], LIGHT[n % 6], CONTRAST[n % 6]), Modifier::empty())
    }

    /// The lines of a frame.
    pub fn border_set(&self, focused: bool) -> border::Set<'static> {
        const ASCII: border::Set<'static> = border::Set {
            top_left: "+",
            top_right: "+",
            bottom_left: "+",
            bottom_right: "+",
            vertical_left: "|",
            vertical_right: "|",
            horizontal_top: "-",
            horizontal_bottom: "-",
        };
        match (self.ascii, focused && self.palette == Palette::None) {
            (true, _) => ASCII,
            // Without colours the focus shows in the line.
            (false, true) => border::THICK,
            (false, false) => border::PLAIN,
        }
    }

    /// One of two texts, by whether only ASCII may be shown.
    pub fn either<'a>(&self, unicode: &'a str, ascii: &'a str) -> &'a str {
        if self.ascii { ascii } else { unicode }
    }

    /// The glyph of a state word: `done`, `running`, `failed`, …
    pub fn glyph(&self, state: &str) -> &'static str {
        let (unicode, ascii) = match state {
            "done" => ("✔", "+"),
            "running" | "live" => ("▶", ">"),
            "failed" | "lost" | "damaged" | "error" => ("✘", "x"),
            "interrupted" => ("■", "#"),
            "skipped" => ("–", "-"),
            "warning" => ("▲", "!"),
            "paused" => ("‖", "="),
            "note" => ("•", "*"),
            "open" => ("▷", ">"),
            "abandoned" | "silent" => ("?", "?"),
            _ => ("·", "."),
        };
        if self.ascii { ascii } else { unicode }
    }

    /// The tone of a state word.
    pub fn state_tone(state: &str) -> Tone {
        match state {
            "done" | "finished" => Tone::Good,
            "running" | "live" | "open" => Tone::Busy,
            "failed" | "lost" | "damaged" | "error" => Tone::Bad,
            "interrupted" | "warning" | "abandoned" | "silent" | "paused" => Tone::Warn,
            _ => Tone::Dim,
        }
    }

    /// A sign of life: another one every tenth of a second.
    pub fn spinner(&self, now_ms: u64) -> &'static str {
        const UNICODE: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
        const ASCII: [&str; 4] = ["|", "/", "-", "\\"];
        let step = (now_ms / 100) as usize;
        if self.ascii { ASCII[step % 4] } else { UNICODE[step % 10] }
    }

    /// A horizontal bar of `width` columns, `share` of it filled (0 to 1, more is cut), to an eighth of a column.
    pub fn bar_text(&self, share: f64, width: usize) -> String {
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        if self.ascii {
            let full = (share * width as f64).round() as usize;
            return "#".repeat(full) + &".".repeat(width - full);
        }
        const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        let eighths = (share * width as f64 * 8.0).round() as usize;
        let (full, rest) = (eighths / 8, eighths % 8);
        let mut text = "█".repeat(full);
        text.push_str(EIGHTHS[rest]);
        let used = full + usize::from(rest > 0);
        text + &"░".repeat(width.saturating_sub(used))
    }

    /// A column chart of one line, a value a column, `top` as high as a line.
    pub fn spark(&self, values: &[f64], top: f64) -> String {
        const UNICODE: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const ASCII: [char; 8] = ['.', '.', ':', ':', '|', '|', '#', '#'];
        values
            .iter()
            .map(|value| {
                if !value.is_finite() {
                    return ' ';
                }
                let step = if top > 0.0 { (value / top * 7.0).round().clamp(0.0, 7.0) as usize } else { 0 };
                if self.ascii { ASCII[step] } else { UNICODE[step] }
            })
            .collect()
    }
}

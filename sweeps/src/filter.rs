//! Filters on cells: `workers<=4 and (fraction<0.1 or not sample==hashed)`.
//!
//! ```text
//! or         = and { "or" and }
//! and        = not { "and" not }
//! not        = "not" not | "(" or ")" | comparison
//! comparison = axis ( "==" | "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
//!            | axis [ "not" ] "in" "(" value { "," value } ")"
//! ```
//! `and`, `or`, `not` may be written `&&`, `||`, `!`. An axis that holds words is compared with `==`, `!=` and `in` only.

use std::fmt;

use fractal_logs::RunSpec;

use crate::grid::{Axis, AxisValue, short_name};

/// A condition on the spec of a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    text: String,
    condition: Condition,
}

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    Or(Box<Condition>, Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    Compare { axis: Axis, comparison: Comparison, value: AxisValue },
    In { axis: Axis, values: Vec<AxisValue> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A filter that cannot be understood. Its `Display` shows the place:
///
/// ```text
/// unknown axis 'worker'; did you mean 'workers'?
///   worker<=4 and fraction<0.1
///   ^^^^^^
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// What is wrong and what would be right.
    pub message: String,
    /// The filter as typed.
    pub text: String,
    /// Bytes of it that are wrong; empty at the end of the text.
    pub span: std::ops::Range<usize>,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.text[..self.span.start].chars().count();
        let width = self.text[self.span.clone()].chars().count().max(1);
        write!(f, "{}\n  {}\n  {}{}", self.message, self.text, " ".repeat(before), "^".repeat(width))
    }
}

impl std::error::Error for FilterError {}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// A [`FilterError`] that points at the place.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        let tokens = tokens(text)?;
        let mut parser = Parser { text, tokens, next: 0 };
        let condition = parser.or()?;
        match parser.peek() {
            None => Ok(Filter { text: text.to_string(), condition }),
            Some(token) => Err(parser.error(token.span.clone(), "expected 'and', 'or' or the end")),
        }
    }

    /// Cells whose `axis` has one of `values`.
    pub fn any_of(axis: Axis, values: Vec<AxisValue>) -> Filter {
        let list: Vec<String> = values.iter().map(|value| axis.show(value)).collect();
        Filter { text: format!("{axis} in ({})", list.join(", ")), condition: Condition::In { axis, values } }
    }

    /// The filter as typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a cell with this spec passes.
    pub fn matches(&self, spec: &RunSpec) -> bool {
        self.condition.holds(spec)
    }
}

impl Condition {
    fn holds(&self, spec: &RunSpec) -> bool {
        match self {
            Condition::Or(a, b) => a.holds(spec) || b.holds(spec),
            Condition::And(a, b) => a.holds(spec) && b.holds(spec),
            Condition::Not(a) => !a.holds(spec),
            Condition::In { axis, values } => {
                let own = axis.get(spec);
                values.iter().any(|value| equal(*axis, &own, value))
            }
            Condition::Compare { axis, comparison, value } => match (axis.get(spec), value) {
                (AxisValue::Number(a), AxisValue::Number(b)) => match comparison {
                    Comparison::Equal => a == *b,
                    Comparison::NotEqual => a != *b,
                    Comparison::Less => a < *b,
                    Comparison::LessOrEqual => a <= *b,
                    Comparison::Greater => a > *b,
                    Comparison::GreaterOrEqual => a >= *b,
                },
                (a, b) => equal(*axis, &a, b) == (*comparison == Comparison::Equal),
            },
        }
    }
}

/// Whether a cell has this value. A host set may be named by its path or, as in labels, by the name of its file.
fn equal(axis: Axis, own: &AxisValue, value: &AxisValue) -> bool {
    match (axis, own, value) {
        (Axis::HostSet, AxisValue::Text(own), AxisValue::Text(value)) => own == value || short_name(own) == value,
        _ => own == value,
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Token {
    kind: TokenKind,
    span: std::ops::Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
enum TokenKind {
    And,
    Or,
    Not,
    In,
    Open,
    Close,
    Comma,
    Comparison(Comparison),
    /// A name, a number or a size; the parser decides by place.
    Word(String),
    /// A text in quotes.
    Quoted(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, FilterError> {
    const SYMBOLS: [(&str, TokenKind); 13] = [
        ("&&", TokenKind::And),
        ("||", TokenKind::Or),
        ("==", TokenKind::Comparison(Comparison::Equal)),
        ("!=", TokenKind::Comparison(Comparison::NotEqual)),
        ("<=", TokenKind::Comparison(Comparison::LessOrEqual)),
        (">=", TokenKind::Comparison(Comparison::GreaterOrEqual)),
        ("=", TokenKind::Comparison(Comparison::Equal)),
        ("<", TokenKind::Comparison(Comparison::Less)),
        (">", TokenKind::Comparison(Comparison::Greater)),
        ("!", TokenKind::Not),
        ("(", TokenKind::Open),
        (")", TokenKind::Close),
        (",", TokenKind::Comma),
    ];
    let is_word = |c: char| c.is_alphanumeric() || "_.-+/:%~*".contains(c);
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
        } else if let Some((symbol, kind)) = SYMBOLS.iter().find(|(symbol, _)| text[at..].starts_with(symbol)) {
            tokens.push(Token { kind: kind.clone(), span: at..at + symbol.len() });
            at += symbol.len();
        } else if c == '\'' || c == '"' {
            let Some(length) = text[at + 1..].find(c) else {
                return Err(FilterError {
                    message: format!("this quote is not closed; add {c} at its end"),
                    text: text.to_string(),
                    span: at..text.len(),
                });
            };
            let end = at + 1 + length + 1;
            tokens.push(Token { kind: TokenKind::Quoted(text[at + 1..end - 1].to_string()), span: at..end });
            at = end;
        } else if is_word(c) {
            let end = text[at..].find(|c| !is_word(c)).map_or(text.len(), |length| at + length);
            let kind = match text[at..end].to_ascii_lowercase().as_str() {
                "and" => TokenKind::And,
                "or" => TokenKind::Or,
                "not" => TokenKind::Not,
                "in" => TokenKind::In,
                _ => TokenKind::Word(text[at..end].to_string()),
            };
            tokens.push(Token { kind, span: at..end });
            at = end;
        } else {
            return Err(FilterError {
                message: format!("'{c}' has no meaning here"),
                text: text.to_string(),
                span: at..at + c.len_utf8(),
            });
        }
    }
    Ok(tokens)
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    next: usize,
}

impl Parser<'_> {
    fn or(&mut self) -> Result<Condition, FilterError> {
        let mut left = self.and()?;
        while self.take(&TokenKind::Or) {
            left = Condition::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Condition, FilterError> {
        let mut left = self.not()?;
        while self.take(&TokenKind::And) {
            left = Condition::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Condition, FilterError> {
        // A deep nest is a mistake or an attack, and would end the stack.
        if self.next > 1_000 {
            return Err(self.error(0..self.text.len(), "this filter is too long"));
        }
        if self.take(&TokenKind::Not) {
            return Ok(Condition::Not(Box::new(self.not()?)));
        }
        if self.take(&TokenKind::Open) {
            let inside = self.or()?;
            self.expect(&TokenKind::Close, "expected ')'")?;
            return Ok(inside);
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Condition, FilterError> {
        let names = || Axis::ALL.map(Axis::name).join(", ");
        let Some(Token { kind: TokenKind::Word(name), span }) = self.peek().cloned() else {
            let message = format!("expected an axis: one of {}", names());
            return Err(self.error(self.here(), &message));
        };
        self.next += 1;
        let axis = Axis::named(&name).ok_or_else(|| {
            let hint = match closest(&name) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("axes are {}", names()),
            };
            self.error(span, &format!("unknown axis '{name}'; {hint}"))
        })?;
        let negated = self.take(&TokenKind::Not);
        if self.take(&TokenKind::In) {
            let values = self.list(axis)?;
            let condition = Condition::In { axis, values };
            return Ok(if negated { Condition::Not(Box::new(condition)) } else { condition });
        }
        let (comparison, at) = match self.peek().cloned() {
            Some(Token { kind: TokenKind::Comparison(comparison), span }) if !negated => (comparison, span),
            _ => return Err(self.error(self.here(), &format!("expected ==, !=, <, <=, >, >= or 'in' after '{axis}'"))),
        };
        self.next += 1;
        if axis.is_text() && !matches!(comparison, Comparison::Equal | Comparison::NotEqual) {
            return Err(self.error(at, &format!("{axis} holds words; compare it with == or !=")));
        }
        Ok(Condition::Compare { axis, comparison, value: self.value(axis)? })
    }

    fn list(&mut self, axis: Axis) -> Result<Vec<AxisValue>, FilterError> {
        self.expect(&TokenKind::Open, "expected '(' after 'in'")?;
        let mut values = vec![self.value(axis)?];
        while self.take(&TokenKind::Comma) {
            values.push(self.value(axis)?);
        }
        self.expect(&TokenKind::Close, "expected ',' or ')'")?;
        Ok(values)
    }

    fn value(&mut self, axis: Axis) -> Result<AxisValue, FilterError> {
        let (text, span) = match self.peek().cloned() {
            Some(Token { kind: TokenKind::Word(text) | TokenKind::Quoted(text), span }) => (text, span),
            _ => return Err(self.error(self.here(), &format!("expected a value of {axis}"))),
        };
        self.next += 1;
        axis.read(&text).map_err(|message| self.error(span, &message))
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self, kind: &TokenKind) -> bool {
        let found = self.peek().is_some_and(|token| token.kind == *kind);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, kind: &TokenKind, message: &str) -> Result<(), FilterError> {
        if self.take(kind) { Ok(()) } else { Err(self.error(self.here(), message)) }
    }

    fn here(&self) -> std::ops::Range<usize> {
        self.peek().map_or(self.text.len()..self.text.len(), |token| token.span.clone())
    }

    fn error(&self, span: std::ops::Range<usize>, message: &str) -> FilterError {
        FilterError { message: message.to_string(), text: self.text.to_string(), span }
    }
}

/// The axis whose name is at most two edits away.
pub(crate) fn closest(name: &str) -> Option<&'static str> {
    near(name, Axis::ALL.map(Axis::name).into_iter())
}

/// The candidate at most two edits away from `name`, the nearest first.
pub(crate) fn near<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|&(edits, candidate)| edits <= 2 && edits < candidate.len())
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

//! Lines for a terminal: pieces of text, each with a look, measured in columns.
//!
//! Pure. The texts are escaped before they come here: see [`escape`](crate::syntax::text::escape).

use std::fmt::Write as _;
use unicode_width::UnicodeWidthChar as _;

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// In columns.
    pub width: usize,
    /// Whether results are coloured.
    pub colour: bool,
    /// Whether every character is ASCII.
    pub ascii: bool,
}

/// What a piece of text looks like where there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// As other text.
    #[default]
    Plain,
    /// Less important.
    Dim,
    /// A title.
    Strong,
    /// A success.
    Ok,
    /// A failure.
    Error,
    /// Not ended.
    Running,
    /// Needs attention.
    Warning,
}

/// A line without its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pieces: Vec<(String, Look)>,
    /// Whether it is shown as the selected one.
    pub is_selected: bool,
}

impl Line {
    /// A line with one piece.
    pub fn of(text: impl Into<String>, look: Look) -> Line {
        Line::default().with(text, look)
    }

    /// The line with another piece behind it.
    pub fn with(mut self, text: impl Into<String>, look: Look) -> Line {
        self.push(text, look);
        self
    }

    /// Adds a piece. A piece without text is left out.
    pub fn push(&mut self, text: impl Into<String>, look: Look) {
        let text = text.into();
        if text.is_empty() {
            return;
        }
        match self.pieces.last_mut() {
            Some((last, last_look)) if *last_look == look => last.push_str(&text),
            _ => self.pieces.push((text, look)),
        }
    }

    /// In columns.
    pub fn width(&self) -> usize {
        self.pieces.iter().map(|(text, _)| columns(text)).sum()
    }

    /// The line with exactly that many columns: cut with an ellipsis, or filled with spaces.
    pub fn fitted(mut self, width: usize) -> Line {
        let mut left = width;
        let mut kept = Vec::with_capacity(self.pieces.len());
        for (text, look) in self.pieces {
            let is_cut = columns(&text) > left;
            let text = cut(&text, left);
            left -= columns(&text);
            kept.push((text, look));
            if is_cut {
                break;
            }
        }
        self.pieces = kept;
        self.push(" ".repeat(left), Look::Plain);
        self
    }

    /// The text alone, without spaces at its end.
    #[cfg(test)]
    pub fn text(&self) -> String {
        let text: String = self.pieces.iter().map(|(text, _)| text.as_str()).collect();
        text.trim_end().to_owned()
    }

    /// As it is written: with colours where the style has them, without spaces at its end.
    pub fn render(&self, style: Style) -> String {
        let mut out = String::new();
        let (last, before) = match self.pieces.split_last() {
            Some((last, before)) => (Some((last.0.trim_end(), last.1)), before),
            None => (None, &[][..]),
        };
        let before = before.iter().map(|(text, look)| (text.as_str(), *look));
        for (text, look) in before.chain(last) {
            self.write_piece(&mut out, text, look, style);
        }
        out
    }

    /// As it is written in that row of the screen, counted from 1. Each piece is put into its column, so that a terminal
    /// that gives a character another width than we do shifts one piece and not the whole row.
    pub fn render_at(&self, row: usize, style: Style) -> String {
        let (mut out, mut column) = (String::new(), 1);
        for (text, look) in &self.pieces {
            // A String takes everything.
            let _ = write!(out, "\x1b[{row};{column}H");
            self.write_piece(&mut out, text, *look, style);
            column += columns(text);
        }
        if self.pieces.is_empty() {
            let _ = write!(out, "\x1b[{row};1H");
        }
        if column <= style.width {
            out.push_str("\x1b[K");
        }
        out
    }

    fn write_piece(&self, out: &mut String, text: &str, look: Look, style: Style) {
        // The selected line has one look: it is seen without colours, and no colour is its background.
        let sgr = if self.is_selected {
            "\x1b[7m"
        } else {
            look.sgr(style.colour)
        };
        out.push_str(sgr);
        if style.ascii {
            out.push_str(&ascii(text));
        } else {
            out.push_str(text);
        }
        if !sgr.is_empty() {
            out.push_str("\x1b[0m");
        }
    }
}

impl Look {
    /// <https://www.ecma-international.org/publications-and-standards/standards/ecma-48/>, 8.3.117
    fn sgr(self, colour: bool) -> &'static str {
        match self {
            _ if !colour => "",
            Look::Plain => "",
            Look::Dim => "\x1b[2m",
            Look::Strong => "\x1b[1m",
            Look::Ok => "\x1b[32m",
            Look::Error => "\x1b[31m",
            Look::Running => "\x1b[36m",
            Look::Warning => "\x1b[33m",
        }
    }
}

const ELLIPSIS: char = '…';

/// At most that many columns, with an ellipsis where something was cut.
pub fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.into();
    }
    if width == 0 {
        return String::new();
    }
    let mut left = width - 1;
    let kept = text.chars().take_while(|c| {
        let fits = column_count(*c) <= left;
        left = left.saturating_sub(column_count(*c));
        fits
    });
    kept.chain([ELLIPSIS]).collect()
}

/// At least that many columns, with spaces behind the text.
pub fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(columns(text));
    format!("{text}{:missing$}", "")
}

/// Exactly that many columns.
pub fn fit(text: &str, width: usize) -> String {
    pad(&cut(text, width), width)
}

/// How many columns a text takes.
pub fn columns(text: &str) -> usize {
    text.chars().map(column_count).sum()
}

/// Each character by itself: terminals do not agree on what several of them take together.
fn column_count(c: char) -> usize {
    c.width().unwrap_or(1)
}

/// The same columns in ASCII. What farspan draws has a likeness, and the rest is a question mark.
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if c.is_ascii() => out.push(c),
            '━' => out.push('='),
            '╌' | '─' | '·' => out.push('-'),
            '✓' => out.push('+'),
            '✗' => out.push('x'),
            '…' => out.push('~'),
            '▲' => out.push('^'),
            '▼' => out.push('v'),
            'µ' => out.push('u'),
            other => out.extend(std::iter::repeat_n('?', column_count(other))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbtest::arbtest;

    const PLAIN: Style = Style {
        width: 80,
        colour: false,
        ascii: false,
    };

    #[test]
    fn wide_characters_take_two_columns() {
        for (text, width) in [
            ("", 0),
            ("abc", 3),
            ("子の段階", 8),
            ("🎉!", 3),
            ("u\u{308}", 1),
            ("ｱｲｳ", 3),
            ("한", 2),
        ] {
            assert_eq!(columns(text), width, "{text}");
        }
        assert_eq!(cut("子の段階", 5), "子の…");
        assert_eq!(cut("子の段階", 4), "子…");
        assert_eq!(fit("子の段階", 4), "子… ");
        assert_eq!(cut("子", 0), "");
    }

    #[test]
    fn a_line_without_utf_8_keeps_its_columns() {
        let line = Line::of("✓ ok 子… ━━", Look::Ok);
        let style = Style {
            ascii: true,
            ..PLAIN
        };
        assert_eq!(line.render(style), "+ ok ??~ ==");
        assert_eq!(line.render(PLAIN), "✓ ok 子… ━━");
    }

    #[test]
    fn colours_are_opened_and_closed_and_a_selection_is_seen_without_them() {
        let mut line = Line::of("a", Look::Plain).with("b", Look::Error);
        let colour = Style {
            colour: true,
            ..PLAIN
        };
        assert_eq!(line.render(PLAIN), "ab");
        assert_eq!(line.render(colour), "a\x1b[31mb\x1b[0m");
        line.is_selected = true;
        assert_eq!(line.render(PLAIN), "\x1b[7ma\x1b[0m\x1b[7mb\x1b[0m");
        assert_eq!(
            line.render_at(3, colour),
            "\x1b[3;1H\x1b[7ma\x1b[0m\x1b[3;2H\x1b[7mb\x1b[0m\x1b[K"
        );
    }

    #[test]
    fn any_line_is_fitted_to_any_width() {
        arbtest(|u| {
            let mut line = Line::default();
            for _ in 0..u.int_in_range(0..=4)? {
                let text = crate::syntax::text::escape(u.arbitrary()?);
                let look = *u.choose(&[Look::Plain, Look::Dim, Look::Error])?;
                line.push(text, look);
            }
            let width = u.int_in_range(0..=60)?;
            let fitted = line.clone().fitted(width);
            assert_eq!(fitted.width(), width, "{line:?}");
            let style = Style {
                ascii: true,
                ..PLAIN
            };
            assert!(fitted.render(style).is_ascii());
            Ok(())
        });
    }
}

//! Keys, from the bytes that a terminal sends. Pure.
//!
//! <https://invisible-island.net/xterm/ctlseqs/ctlseqs.html#h2-PC-Style-Function-Keys>

/// What was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// A character of a text that was pasted: text, and never a command.
    Pasted(char),
}

/// Bytes that do not make a key yet.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pending: Vec<u8>,
    is_pasting: bool,
}

/// No sequence that is a key has more.
const SEQUENCE_BYTES_MAX: usize = 16;

impl Keys {
    /// The keys that are whole with these bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.pending.extend_from_slice(bytes);
        let mut keys = Vec::new();
        let mut used = 0;
        while let Some((length, key)) = next(&self.pending[used..]) {
            used += length;
            match key {
                Some(Typed::Key(Key::Char(c))) if self.is_pasting => keys.push(Key::Pasted(c)),
                Some(Typed::Key(_)) if self.is_pasting => {}
                Some(Typed::Key(key)) => keys.push(key),
                Some(Typed::Paste(is_pasting)) => self.is_pasting = is_pasting,
                None => {}
            }
        }
        self.pending.drain(..used);
        keys
    }

    /// Whether an escape may be a key or the beginning of one.
    pub(super) fn is_undecided(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Nothing has followed for a while: a lone escape is the key of that name.
    pub(super) fn decide(&mut self) -> Option<Key> {
        let was_escape = self.pending == b"\x1b";
        self.pending.clear();
        was_escape.then_some(Key::Escape)
    }
}

enum Typed {
    Key(Key),
    /// A paste begins or ends.
    Paste(bool),
}

/// The bytes of the first key and what it is, if anything; `None` if more bytes are needed.
fn next(bytes: &[u8]) -> Option<(usize, Option<Typed>)> {
    let key = |key| Some(Typed::Key(key));
    Some(match bytes {
        [] | [0x1b] => return None,
        [0x1b, b'[' | b'O', rest @ ..] => {
            let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte));
            match end {
                Some(end) => (end + 3, sequence(&rest[..end], rest[end])),
                None if rest.len() < SEQUENCE_BYTES_MAX => return None,
                None => (bytes.len(), None),
            }
        }
        [0x1b, 0x1b, ..] => (1, key(Key::Escape)),
        // Alt and a key.
        [0x1b, ..] => (2, None),
        [b'\r' | b'\n', ..] => (1, key(Key::Enter)),
        [0x7f | 0x08, ..] => (1, key(Key::Backspace)),
        // Ctrl and a letter, as in less.
        [0x0e, ..] => (1, key(Key::Down)),
        [0x10, ..] => (1, key(Key::Up)),
        [0x06, ..] => (1, key(Key::PageDown)),
        [0x02, ..] => (1, key(Key::PageUp)),
        [..0x20, ..] => (1, None),
        [first, ..] => {
            let length = match first {
                0xc2..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf4 => 4,
                _ => 1,
            };
            let character = bytes.get(..length)?;
            match std::str::from_utf8(character)
                .ok()
                .and_then(|text| text.chars().next())
            {
                Some(c) => (length, key(Key::Char(c))),
                None => (1, None),
            }
        }
    })
}

/// A sequence with these parameters and this last byte.
fn sequence(parameters: &[u8], last: u8) -> Option<Typed> {
    let key = match (parameters, last) {
        (_, b'A') => Key::Up,
        (_, b'B') => Key::Down,
        (_, b'H') | (b"1" | b"7", b'~') => Key::Home,
        (_, b'F') | (b"4" | b"8", b'~') => Key::End,
        (b"5", b'~') => Key::PageUp,
        (b"6", b'~') => Key::PageDown,
        (b"200", b'~') => return Some(Typed::Paste(true)),
        (b"201", b'~') => return Some(Typed::Paste(false)),
        _ => return None,
    };
    Some(Typed::Key(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_however_their_bytes_come() {
        let typed =
            "j\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[H\x1b[4~/äq猫\r\x7f\x1b[1;5A\x1b[24~\x1b\x1b[B";
        let expected = [
            Key::Char('j'),
            Key::Up,
            Key::Down,
            Key::PageUp,
            Key::PageDown,
            Key::Home,
            Key::End,
            Key::Char('/'),
            Key::Char('ä'),
            Key::Char('q'),
            Key::Char('猫'),
            Key::Enter,
            Key::Backspace,
            Key::Up,
            Key::Escape,
            Key::Down,
        ];
        assert_eq!(Keys::default().take(typed.as_bytes()), expected);
        let mut one_by_one = Keys::default();
        let keys = typed.bytes().flat_map(|byte| one_by_one.take(&[byte]));
        assert_eq!(keys.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_lone_escape_is_decided_by_time() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"\x1b"), []);
        assert!(keys.is_undecided());
        assert_eq!(keys.decide(), Some(Key::Escape));
        assert!(!keys.is_undecided());
        assert_eq!(keys.take(b"\x1b["), []);
        assert_eq!(
            (keys.decide(), keys.take(b"q")),
            (None, vec![Key::Char('q')])
        );
    }

    #[test]
    fn what_is_pasted_is_text() {
        let keys = Keys::default().take(b"\x1b[200~q\r\x1b[A/\x1b[201~q");
        let pasted = [Key::Pasted('q'), Key::Pasted('/'), Key::Char('q')];
        assert_eq!(keys, pasted);
    }

    #[test]
    fn any_bytes_are_read() {
        arbtest::arbtest(|u| {
            let mut keys = Keys::default();
            for _ in 0..4 {
                keys.take(u.arbitrary()?);
                assert!(keys.pending.len() < SEQUENCE_BYTES_MAX + 2);
            }
            Ok(())
        })
        .budget_ms(50);
    }
}

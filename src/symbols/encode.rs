//! The bytes that are kept of a file's symbols.
//!
//! `cut` (one byte, 0 for none), then the symbols in the order of the file. Of each: a byte with the kind and what is the rule;
//! how many lines it begins after the one before it, unless that is one, and how many more it has, unless that is none; what
//! it belongs to, if that is new; how many bytes its name shares with the one before it, how many follow, and those. Numbers
//! are LEB128. Most symbols of a large tree are macros for registers, a line each, whose names share their beginnings.

use super::{Extracted, Symbol, SymbolKind};

/// The bits of the first byte that are the kind.
const KIND: u8 = 0x0f;
/// The bits that say what the symbol belongs to.
const CONTAINER: u8 = 0x30;
/// It belongs to nothing ...
const NO_CONTAINER: u8 = 0;
/// ... or to the same as the symbol before it ...
const SAME_CONTAINER: u8 = 0x10;
/// ... or to something else, whose name follows.
const NEW_CONTAINER: u8 = 0x20;
/// It ends on the line that it begins on.
const ONE_LINE: u8 = 0x40;
/// It begins on the line behind that of the symbol before it.
const NEXT_LINE: u8 = 0x80;

/// The bytes of the symbols.
pub(crate) fn encode(extracted: &Extracted) -> Vec<u8> {
    let mut bytes = vec![extracted.cut.map_or(0, |cut| cut as u8)];
    let (mut line, mut name, mut container) = (0, &b""[..], None);
    for symbol in &extracted.symbols {
        let (down, more) = (symbol.line.saturating_sub(line), symbol.end_line.saturating_sub(symbol.line));
        let belongs = match &symbol.container {
            None => NO_CONTAINER,
            same if *same == container => SAME_CONTAINER,
            Some(_) => NEW_CONTAINER,
        };
        let one_line = if more == 0 { ONE_LINE } else { 0 };
        let next_line = if down == 1 { NEXT_LINE } else { 0 };
        bytes.push(symbol.kind as u8 | belongs | one_line | next_line);
        if next_line == 0 {
            put_number(&mut bytes, down);
        }
        if one_line == 0 {
            put_number(&mut bytes, more);
        }
        if let (NEW_CONTAINER, Some(new)) = (belongs, &symbol.container) {
            put_bytes(&mut bytes, new.as_bytes());
        }
        let next = symbol.name.as_bytes();
        let shared = name.iter().zip(next).take_while(|(a, b)| a == b).count();
        put_number(&mut bytes, u32::try_from(shared).unwrap_or(u32::MAX));
        put_bytes(&mut bytes, &next[shared..]);
        (line, name, container) = (symbol.line, next, symbol.container.clone());
    }
    bytes
}

fn put_number(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn put_bytes(bytes: &mut Vec<u8>, more: &[u8]) {
    put_number(bytes, u32::try_from(more.len()).unwrap_or(u32::MAX));
    bytes.extend_from_slice(more);
}

/// A symbol as it is stored, borrowed until the next one is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored<'s> {
    pub(crate) name: &'s [u8],
    pub(crate) kind: SymbolKind,
    pub(crate) line: u32,
    pub(crate) end_line: u32,
    pub(crate) container: &'s [u8],
}

impl Stored<'_> {
    pub(crate) fn to_symbol(self) -> Symbol {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Symbol {
            name: text(self.name),
            kind: self.kind,
            line: self.line,
            end_line: self.end_line,
            container: (!self.container.is_empty()).then(|| text(self.container)),
        }
    }
}

/// Goes over encoded symbols. Nothing is allocated a symbol: a search by name looks at thousands.
#[derive(Debug)]
pub(crate) struct Symbols<'b> {
    rest: &'b [u8],
    line: u32,
    name: Vec<u8>,
    container: &'b [u8],
    damaged: bool,
}

impl<'b> Symbols<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Symbols<'b> {
        let rest = bytes.get(1..).unwrap_or_default();
        Symbols { rest, line: 0, name: Vec::new(), container: b"", damaged: bytes.is_empty() }
    }

    /// Whether the bytes were not what [`encode`] makes. To be asked after the last symbol.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// The next one. Not an iterator, because it lends its name.
    pub(crate) fn next(&mut self) -> Option<Stored<'_>> {
        if self.rest.is_empty() || self.damaged {
            return None;
        }
        let Some((kind, lines)) = self.advance() else {
            self.damaged = true;
            return None;
        };
        let end_line = self.line.saturating_add(lines);
        Some(Stored { name: &self.name, kind, line: self.line, end_line, container: self.container })
    }

    /// Reads one: its kind, and how many more lines it has.
    fn advance(&mut self) -> Option<(SymbolKind, u32)> {
        let first = self.byte()?;
        let kind = SymbolKind::from_code(first & KIND)?;
        let down = if first & NEXT_LINE != 0 { 1 } else { self.number()? };
        self.line = self.line.checked_add(down)?;
        let lines = if first & ONE_LINE != 0 { 0 } else { self.number()? };
        match first & CONTAINER {
            NO_CONTAINER => self.container = b"",
            SAME_CONTAINER => {}
            NEW_CONTAINER => self.container = self.bytes()?,
            _ => return None,
        }
        let shared = self.number()? as usize;
        if shared > self.name.len() {
            return None;
        }
        self.name.truncate(shared);
        let more = self.bytes()?;
        self.name.extend_from_slice(more);
        Some((kind, lines))
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<u32> {
        let mut number = 0u32;
        for shift in (0..32).step_by(7) {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'b [u8]> {
        let len = self.number()? as usize;
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cut;
    use super::*;
    use proptest::prelude::*;

    fn decoded(bytes: &[u8]) -> Option<Extracted> {
        let cut = Cut::from_code(*bytes.first()?);
        let mut stored = Symbols::new(bytes);
        let mut symbols = Vec::new();
        while let Some(symbol) = stored.next() {
            symbols.push(symbol.to_symbol());
        }
        (!stored.is_damaged()).then_some(Extracted { symbols, cut })
    }

    fn symbols() -> impl Strategy<Value = Extracted> {
        let one = (".{0,12}", 1..=13u8, 0..1000u32, 0..1000u32, proptest::option::of("[a-z:]{1,6}"));
        (proptest::collection::vec(one, 0..40), 0..4u8).prop_map(|(all, cut)| {
            let mut line = 0;
            let symbols = all.into_iter().map(|(name, kind, down, lines, container)| {
                line += down;
                let kind = SymbolKind::from_code(kind).unwrap();
                Symbol { name, kind, line, end_line: line + lines, container }
            });
            Extracted { symbols: symbols.collect(), cut: Cut::from_code(cut) }
        })
    }

    proptest! {
        #[test]
        fn symbols_round_trip(extracted in symbols()) {
            prop_assert_eq!(decoded(&encode(&extracted)), Some(extracted));
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let mut symbols = Symbols::new(&bytes);
            while symbols.next().is_some() {}
        }

        #[test]
        fn what_is_cut_off_is_seen(extracted in symbols(), cut: prop::sample::Index) {
            let bytes = encode(&extracted);
            let short = &bytes[..cut.index(bytes.len())];
            // A cut between two symbols is for the checksum to see.
            let known = decoded(short);
            prop_assert!(known.is_none_or(|known| extracted.symbols.starts_with(&known.symbols)));
        }
    }

    #[test]
    fn kinds_have_the_codes_that_are_stored() {
        for (index, kind) in SymbolKind::ALL.into_iter().enumerate() {
            assert_eq!((kind as usize, SymbolKind::from_code(kind as u8)), (index + 1, Some(kind)));
        }
    }

    #[test]
    fn names_that_share_their_beginning_are_small() {
        let symbol = |line| Symbol {
            name: format!("mmVERY_LONG_PREFIX_OF_A_REGISTER_{line:04}"),
            kind: SymbolKind::Macro,
            line,
            end_line: line,
            container: None,
        };
        let extracted = Extracted { symbols: (1..=1000).map(symbol).collect(), cut: None };
        assert!(encode(&extracted).len() < 10_000);
    }
}

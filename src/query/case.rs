//! Smart case: whether a pattern is written as one that does not care for case, by ripgrep's rule.

use super::Mode;
use regex_syntax::ast::{self, Ast, ClassSetItem, Visitor};

/// Whether the pattern has a letter or other literal in it, and none of them is in upper case. `\W` and `\pL` hold none.
pub(super) fn is_lower(mode: Mode, pattern: &str) -> bool {
    let mut seen = Literals::default();
    if mode == Mode::Regex {
        // What is no pattern is refused later.
        let Ok(parsed) = ast::parse::Parser::new().parse(pattern) else { return false };
        let Ok(()) = ast::visit(&parsed, &mut seen);
    } else {
        pattern.chars().for_each(|char| seen.add(char));
    }
    seen.any && !seen.upper
}

#[derive(Default)]
struct Literals {
    any: bool,
    upper: bool,
}

impl Literals {
    fn add(&mut self, char: char) {
        self.any = true;
        self.upper |= char.is_uppercase();
    }
}

impl Visitor for &mut Literals {
    type Output = ();
    type Err = std::convert::Infallible;

    fn finish(self) -> Result<(), Self::Err> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        if let Ast::Literal(literal) = ast {
            self.add(literal.c);
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Self::Err> {
        match item {
            ClassSetItem::Literal(literal) => self.add(literal.c),
            ClassSetItem::Range(range) => [range.start.c, range.end.c].into_iter().for_each(|char| self.add(char)),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_ripgreps() {
        let regex = |pattern| is_lower(Mode::Regex, pattern);
        for pattern in ["foo", r"\Wfoo", r"\pLfoo", "[a-z]x", "fo+|b{2}", "é", "1", r"\x61"] {
            assert!(regex(pattern), "{pattern}");
        }
        for pattern in ["", r"\w+", r"\pL", ".", "Foo", "[A-z]", "[^B]", "(?i)Foo", "É", "a(", r"\x41"] {
            assert!(!regex(pattern), "{pattern}");
        }
        assert!(is_lower(Mode::Substring, "a(") && !is_lower(Mode::Substring, r"\W"));
        assert!(!is_lower(Mode::Substring, "") && is_lower(Mode::Substring, "_"));
    }
}

//! Whether a file defines a name, from a cheap look at its bytes: the lines around each place where the name stands.
//!
//! Knows how definitions are commonly written in many languages, and parses none of them: it says how much a place looks
//! like a definition, from 0 to 1, and is used for ranking alone. Where the symbols of a file are stored they say more.

use memchr::memmem;

/// Places of an identifier in one file that are looked at.
pub(super) const PLACES_MAX: usize = 512;
/// Places of what may be any word: those of a name that a file defines are not many more.
pub(super) const PLACES_OF_WORD_MAX: usize = 64;
/// How far the parameters of a function may reach.
const PARAMETERS_MAX: usize = 4096;
/// How far what follows the parameters may reach, up to the body.
const BEFORE_BODY_MAX: usize = 256;
/// A body shorter than this only passes a call on, or refuses it.
const THIN_BODY: usize = 60;
/// Words before a name that make it the name of a type.
const TYPE_WORDS: [&[u8]; 12] = [
    b"struct",
    b"union",
    b"enum",
    b"class",
    b"trait",
    b"interface",
    b"type",
    b"record",
    b"protocol",
    b"module",
    b"namespace",
    b"object",
];
/// Words before a name that make it the name of a function.
const FUNCTION_WORDS: [&[u8]; 8] = [b"fn", b"func", b"function", b"def", b"fun", b"sub", b"defun", b"macro_rules!"];
/// Words before a name that make it the name of a value.
const VALUE_WORDS: [&[u8]; 5] = [b"const", b"let", b"var", b"val", b"static"];
/// Words that no declaration begins with, though they stand before a name and its parenthesis.
const NOT_TYPES: [&[u8]; 14] = [
    b"return", b"else", b"if", b"while", b"for", b"do", b"switch", b"case", b"goto", b"new", b"throw", b"await", b"in",
    b"and",
];

/// What kind of definition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    /// After `struct`, `class` and the like.
    Type,
    /// After `fn`, `def` and the like.
    Function,
}

/// A place that looks like a definition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Definition {
    /// Where the name stands.
    pub(super) at: usize,
    /// Above 0, at most 1.
    pub(super) strength: f32,
}

/// A name to look for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'n> {
    pub(super) text: &'n [u8],
    pub(super) wanted: Wanted,
    /// Places that are looked at.
    pub(super) places: usize,
}

/// The word that tells which kind of definition a query asks for, if it is one.
pub(super) fn asks_for(word: &str) -> Option<Wanted> {
    let word = word.as_bytes();
    if TYPE_WORDS[..6].contains(&word) {
        return Some(Wanted::Type);
    }
    FUNCTION_WORDS[..5].contains(&word).then_some(Wanted::Function)
}

/// The place in `content` that looks most like a definition of `name`. `lookup` is `content`, or `content` with ASCII
/// letters lowered where `name` may stand in any case.
pub(super) fn find(content: &[u8], lookup: &[u8], name: &Name<'_>) -> Option<Definition> {
    let length = name.text.len();
    let mut best: Option<Definition> = None;
    let mut exported = false;
    for at in memmem::find_iter(lookup, name.text).filter(|&at| stands_alone(content, at, length)).take(name.places) {
        let place = Place::new(content, at, length);
        if place.is_export() {
            exported = true;
            continue;
        }
        let strength = place.strength(name.wanted);
        if strength > best.map_or(0.0, |best| best.strength) {
            best = Some(Definition { at, strength });
        }
    }
    best.map(|best| Definition { strength: (best.strength + if exported { 0.1 } else { 0.0 }).min(1.0), ..best })
}

/// Whether no character of an identifier stands on either side.
pub(super) fn stands_alone(content: &[u8], at: usize, length: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| content.get(before));
    !before.is_some_and(|&byte| is_word(byte)) && !content.get(at + length).is_some_and(|&byte| is_word(byte))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// A place where a name stands.
struct Place<'c> {
    name: &'c [u8],
    /// Its line up to the name.
    before: &'c [u8],
    /// Everything that follows the name.
    after: &'c [u8],
}

impl<'c> Place<'c> {
    fn new(content: &'c [u8], at: usize, length: usize) -> Place<'c> {
        let start = memchr::memrchr2(b'\n', b'\r', &content[..at]).map_or(0, |newline| newline + 1);
        Place { name: &content[at..at + length], before: &content[start..at], after: &content[at + length..] }
    }

    /// `EXPORT_SYMBOL(name)` and its like stand beside a definition.
    fn is_export(&self) -> bool {
        self.before.starts_with(b"EXPORT") && self.before.ends_with(b"(")
    }

    fn strength(&self, wanted: Wanted) -> f32 {
        let types = self.as_type();
        if types > 0.0 {
            return if wanted == Wanted::Function { 0.3 } else { types };
        }
        let function = self.as_function();
        let other = self.as_macro().max(self.as_value());
        match wanted {
            Wanted::Any => function.max(other),
            Wanted::Function => function.max(other * 0.3),
            Wanted::Type => function.max(other) * 0.3,
        }
    }

    /// `#define NAME`.
    fn as_macro(&self) -> f32 {
        let Some(directive) = self.before.trim_ascii_start().strip_prefix(b"#") else { return 0.0 };
        if directive.trim_ascii() != b"define" {
            return 0.0;
        }
        // What is written in lower case and called is a function as a rule; this is a stand-in for it.
        let stands_in = self.after.first() == Some(&b'(') && !self.name.iter().any(u8::is_ascii_uppercase);
        if stands_in { 0.8 } else { 1.0 }
    }

    fn as_type(&self) -> f32 {
        let before = self.before.trim_ascii_end();
        let keyword = last_word(before);
        if before.len() == self.before.len() || !TYPE_WORDS.contains(&keyword) {
            return if before == b"}" && self.after.first() == Some(&b';') { 0.7 } else { self.as_typedef() };
        }
        let modifiers = &before[..before.len() - keyword.len()];
        if !modifiers.iter().all(|&byte| is_word(byte) || matches!(byte, b' ' | b'\t')) {
            return 0.0;
        }
        let after = self.after.trim_ascii_start();
        match after.first() {
            Some(b'{') => 1.0,
            Some(b'<' | b':') => 0.9,
            Some(b'(') if keyword == b"class" || keyword == b"struct" => 0.9,
            Some(b'=') if keyword == b"type" => 0.9,
            Some(b';') if modifiers.starts_with(b"pub") => 0.9,
            _ if keyword == b"type" && is_word(after.first().copied().unwrap_or(0)) => 0.9,
            _ => {
                let next: &[u8] = after.split(|&byte| !is_word(byte)).next().unwrap_or_default();
                let goes_on: [&[u8]; 5] = [b"extends", b"implements", b"where", b"with", b"final"];
                if goes_on.contains(&next) { 0.9 } else { 0.0 }
            }
        }
    }

    fn as_typedef(&self) -> f32 {
        let is = self.before.starts_with(b"typedef ") && self.after.first() == Some(&b';');
        if is { 0.9 } else { 0.0 }
    }

    fn as_function(&self) -> f32 {
        let before = self.before.trim_ascii();
        if FUNCTION_WORDS.contains(&last_token(before)) || (before.starts_with(b"func (") && before.ends_with(b")")) {
            return 1.0;
        }
        // SYSCALL_DEFINE3(name, ...
        if self.before.first().is_some_and(|&byte| is_word(byte))
            && self
                .before
                .strip_suffix(b"(")
                .is_some_and(|name| name.iter().all(|&byte| is_word(byte)) && memmem::find(name, b"DEFINE").is_some())
        {
            return 0.9;
        }
        let after = self.after.trim_ascii_start();
        if after.first() != Some(&b'(') || !self.is_declared(before) {
            return 0.0;
        }
        match body(after) {
            None => 0.0,
            Some(body) => {
                let thin = if body < THIN_BODY { 0.75 } else { 1.0 };
                let inline = memmem::find(self.before, b"inline").is_some();
                thin * if inline { 0.9 } else { 1.0 }
            }
        }
    }

    /// Whether what stands before a name can be what it returns.
    fn is_declared(&self, before: &[u8]) -> bool {
        if before.is_empty() {
            // The type is on the line before, and the name begins its own.
            return self.before.is_empty();
        }
        let plain = |&byte: &u8| {
            is_word(byte)
                || matches!(
                    byte,
                    b' ' | b'\t' | b'*' | b'&' | b':' | b'<' | b'>' | b',' | b'~' | b'(' | b')' | b'[' | b']' | b'@'
                )
        };
        let count = |of: u8| memchr::memchr_iter(of, before).count();
        before.iter().all(plain)
            && count(b'(') == count(b')')
            && !before.split(|&byte| !is_word(byte)).any(|word| NOT_TYPES.contains(&word))
    }

    fn as_value(&self) -> f32 {
        let after = self.after.trim_ascii_start();
        let assigned = after.first() == Some(&b'=') && after.get(1) != Some(&b'=');
        let before = self.before.trim_ascii();
        if VALUE_WORDS.contains(&last_token(before)) && (assigned || after.first() == Some(&b':')) {
            return 0.7;
        }
        let first = before.split(|&byte| !is_word(byte)).next().unwrap_or_default();
        let at_start = self.before.first().is_none_or(|&byte| is_word(byte));
        let of_type = before.iter().all(|&byte| is_word(byte) || matches!(byte, b' ' | b'\t' | b'*'))
            && first != b"extern"
            && !TYPE_WORDS.contains(&last_word(before))
            && !NOT_TYPES.contains(&first);
        // At the start of its line: a variable of a file, or a constant of a module.
        if at_start && of_type && (assigned || (!before.is_empty() && matches!(after.first(), Some(b';' | b'[')))) {
            return 0.6;
        }
        0.0
    }
}

/// The length of the body behind the parameters that `after` begins with; `None` if there is no body.
fn body(after: &[u8]) -> Option<usize> {
    let end = closing(after)?;
    let rest = &after[end..];
    let rest = &rest[..rest.len().min(BEFORE_BODY_MAX)];
    let start = rest.iter().position(|&byte| matches!(byte, b'{' | b';' | b'=' | b'"' | b'#' | b'}'))?;
    let between = &rest[..start];
    // What stands between is attributes, or what is returned: no second call, no condition.
    let plain = |&byte: &u8| is_word(byte) || byte.is_ascii_whitespace() || b"():,-><&*'[].".contains(&byte);
    if rest[start] != b'{' || !between.iter().all(plain) || between.trim_ascii_start().starts_with(b",") {
        return None;
    }
    let body = &after[end + start..];
    let body = &body[..body.len().min(BEFORE_BODY_MAX)];
    Some(memchr::memchr(b'}', body).map_or(body.len(), |end| body[..end].trim_ascii().len()))
}

/// Behind the parenthesis that closes the one at the start.
fn closing(text: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    for at in memchr::memchr3_iter(b'(', b')', b';', &text[..text.len().min(PARAMETERS_MAX)]) {
        match text[at] {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => return None,
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// The identifier at the end of `text`.
fn last_word(text: &[u8]) -> &[u8] {
    let length = text.iter().rev().take_while(|&&byte| is_word(byte)).count();
    &text[text.len() - length..]
}

/// What stands behind the last white space of `text`.
fn last_token(text: &[u8]) -> &[u8] {
    let length = text.iter().rev().take_while(|byte| !byte.is_ascii_whitespace()).count();
    &text[text.len() - length..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, wanted: Wanted) -> Name<'_> {
        Name { text: name.as_bytes(), wanted, places: PLACES_MAX }
    }

    #[track_caller]
    fn strength(content: &str, name: &str) -> f32 {
        let content = content.as_bytes();
        find(content, content, &named(name, Wanted::Any)).map_or(0.0, |found| found.strength)
    }

    #[test]
    fn definitions_of_many_languages() {
        for content in [
            "#define x(a) \\\n  a\n",
            "#  define x\n",
            "struct x {\n",
            "struct x\n{\n",
            "typedef struct x {\n",
            "typedef unsigned long x;\n",
            "enum class x : int {",
            "class x extends Y {",
            "class x(Base):\n",
            "pub struct x<T> {",
            "pub struct x;",
            "type x struct {",
            "type x = string;",
            "interface x {",
            "trait x: Y {",
            "def x(a):\n",
            "  async def x(a):\n",
            "pub(crate) const fn x() {}",
            "func x(a int) {",
            "func (r *R) x(a int) {",
            "export function x(a) {",
            "macro_rules! x {",
            "export const x = 1;",
            "int x(void)\n{\n\treturn 1;\n}",
            "static inline struct page *x(int a,\n\tint b)\n{\n}",
            "static __always_inline __alloc_size(1) void *x(size_t size)\n{\n}",
            "static int\nx(struct task *p, unsigned int state)\n{\n}",
            "    public static void x(int a) throws E {",
            "bool Type::x(int a) const {",
            "void x(int a) __acquires(lock)\n{\n}",
            "SYSCALL_DEFINE3(x, int, fd)\n{",
            "int x = 1;\n",
            "static struct list x[3];\n",
        ] {
            assert!(strength(content, "x") > 0.5, "{content}");
        }
    }

    #[test]
    fn uses_and_declarations_are_none() {
        for content in [
            "#ifdef x\n",
            "#define y x\n",
            "struct x;\n",
            "struct x *p;\n",
            "int f(struct x *p)\n{\n",
            "int x(void);\n",
            "extern int x;\n",
            "extern int x(int a,\n   int b);\n",
            "\treturn x(a);\n",
            "\tif (x(a)) {\n",
            "\telse x(a); {\n",
            "\tx(pos, head) {\n",
            "\ty = x(1);\n",
            "EXPORT_SYMBOL(x);\n",
            "// x (a) is x\n",
            "y_x {",
        ] {
            assert_eq!(strength(content, "x"), 0.0, "{content}");
        }
    }

    #[test]
    fn a_body_is_more_than_a_stand_in() {
        let whole = "int x(int a)\n{\n\tint b = a + 1;\n\tint c = b * 2;\n\tint d = c - a;\n\n\treturn d + c + b;\n}\n";
        let stub = "static inline int x(int a) { return -1; }\n";
        assert!(strength(whole, "x") > strength("#define x(a) y(a, 0)\n", "x"));
        assert!(strength(whole, "x") > strength(stub, "x"));
        assert!(strength(&format!("{stub}EXPORT_SYMBOL(x);\n"), "x") > strength(stub, "x"));
    }

    #[test]
    fn the_kind_that_is_asked_for_comes_first() {
        let content = b"#define x 1\nint x(int a)\n{\n}\nstruct x {\n".as_slice();
        let at = |wanted| find(content, content, &named("x", wanted)).map(|found| found.at);
        assert_eq!(at(Wanted::Type), Some(36));
        assert_eq!(at(Wanted::Function), Some(16));
        assert_eq!(
            (asks_for("struct"), asks_for("fn"), asks_for("page")),
            (Some(Wanted::Type), Some(Wanted::Function), None)
        );
    }
}

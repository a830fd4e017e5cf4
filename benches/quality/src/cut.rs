//! What the cutters of the languages share. Each reads lines, not syntax trees: it takes the functions whose extent the
//! layout of the file tells, and leaves out the rest.

use std::collections::BTreeMap;
use std::path::Path;

/// How many functions were left out, for each reason.
pub(crate) type Reasons = BTreeMap<&'static str, usize>;

/// A language that there is a cutter for. TypeScript counts as JavaScript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Language {
    C,
    JavaScript,
    Python,
    Rust,
}

impl Language {
    pub(crate) const ALL: [Language; 4] = [Language::C, Language::JavaScript, Language::Python, Language::Rust];

    /// As the folders of the corpus have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Language::C => "c",
            Language::JavaScript => "javascript",
            Language::Python => "python",
            Language::Rust => "rust",
        }
    }

    /// The extension of a file of the language.
    pub(crate) fn extension_of(self, path: &Path) -> Option<&'static str> {
        let extensions: &[&'static str] = match self {
            Language::C => &["c"],
            Language::JavaScript => &["js", "mjs", "ts", "tsx", "jsx"],
            Language::Python => &["py"],
            Language::Rust => &["rs"],
        };
        let name = path.file_name()?.to_str()?;
        if [".d.ts", ".min.js"].iter().any(|end| name.ends_with(end)) {
            return None;
        }
        let extension = path.extension()?.to_str()?;
        extensions.iter().find(|&&known| known == extension).copied()
    }

    /// The documented functions of a file, in their order. Functions inside one that was taken are part of it.
    pub(crate) fn cut(self, text: &str, reasons: &mut Reasons) -> Vec<Function> {
        let lines: Vec<&str> = text.lines().collect();
        match self {
            Language::C => crate::cut_c::cut(&lines, reasons),
            Language::JavaScript => crate::cut_javascript::cut(&lines, reasons),
            Language::Python => crate::cut_python::cut(&lines, reasons),
            Language::Rust => crate::cut_rust::cut(&lines, reasons),
        }
    }
}

/// A function with a doc comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Function {
    /// Of the name, from 1.
    pub(crate) line: usize,
    pub(crate) name: String,
    /// Without comment markers.
    pub(crate) doc: String,
    /// The code without the doc comment, indented as if it stood at the top of the file.
    pub(crate) body: String,
    /// Bytes of the body after the signature.
    pub(crate) inner: usize,
}

/// Counts one function as left out.
pub(crate) fn skip(reasons: &mut Reasons, reason: &'static str) {
    *reasons.entry(reason).or_default() += 1;
}

/// How far a line is indented; a tab counts as one.
pub(crate) fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The identifier that `text` begins with.
pub(crate) fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$'))).unwrap_or(text.len());
    &text[..end]
}

/// The lines as one text, less the indent that all of them share, and less blank lines at the end.
pub(crate) fn dedent<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut lines: Vec<&str> = lines.collect();
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
    let shared = lines.iter().filter(|line| !line.trim().is_empty()).map(|line| indent(line)).min().unwrap_or(0);
    let mut text = String::new();
    for line in lines {
        text.push_str(line.get(shared..).unwrap_or_default().trim_end());
        text.push('\n');
    }
    text
}

/// The bytes of the lines without what surrounds the code of each.
pub(crate) fn bytes<'a>(lines: impl Iterator<Item = &'a str>) -> usize {
    lines.map(|line| line.trim().len()).sum()
}

/// The lines of a comment `/** ... */` without its stars.
pub(crate) fn block_comment(lines: &[&str]) -> String {
    let mut doc = Vec::new();
    for line in lines {
        let line = line.trim();
        let line = line.strip_prefix("/**").unwrap_or(line);
        let line = line.strip_suffix("*/").unwrap_or(line);
        let line = line.strip_prefix('*').unwrap_or(line);
        doc.push(line.strip_prefix(' ').unwrap_or(line).trim_end());
    }
    doc.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_know_their_files() {
        let extension = |language: Language, path: &str| language.extension_of(Path::new(path));
        assert_eq!(extension(Language::JavaScript, "a/b.ts"), Some("ts"));
        assert_eq!(extension(Language::JavaScript, "a/b.d.ts"), None);
        assert_eq!(extension(Language::JavaScript, "a/b.min.js"), None);
        assert_eq!(extension(Language::Rust, "a/b.py"), None);
    }

    #[test]
    fn texts_are_dedented() {
        assert_eq!(dedent(["  a", "", "    b  ", " "].into_iter()), "a\n\n  b\n");
        assert_eq!(block_comment(&["/** One", " * two", "   three */"]), "One\ntwo\nthree");
        assert_eq!(block_comment(&["/** One */"]), "One");
    }
}

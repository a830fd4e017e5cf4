//! The definitions of one file, as it is now.

use super::Engine;
use crate::error::QueryError;
use crate::limits::FILE_BYTES_MAX;
use crate::query::{Candidate, Readers, read_each};
use crate::record::path_bytes;
use crate::symbols::{Cut, Extracted, Extractor, Grammar, Symbol};
use crate::text::encoding::{Decoded, decode};
use crate::text::language::Language;
use std::io;
use std::path::{Path, PathBuf};

/// What a file defines.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outline {
    /// The file, relative to the root.
    pub path: PathBuf,
    /// Its language.
    pub language: &'static str,
    /// In the order of the file.
    pub symbols: Vec<Symbol>,
    /// Whether some are missing, and why.
    pub cut: Option<Cut>,
}

pub(super) fn outline(engine: &Engine, path: &Path) -> Result<Outline, QueryError> {
    let failed = |detail: String| QueryError::File { path: path.to_path_buf(), detail };
    let relative = engine
        .relative(path)
        .filter(|relative| !relative.as_os_str().is_empty())
        .ok_or_else(|| failed(format!("not a file below {}: give a path inside of it", engine.root().display())))?;
    // The file itself is not followed when it is a link; the way to it may go through links that stay inside.
    let within = engine.root().join(&relative);
    let parent = within.parent().unwrap_or(&within).canonicalize().map_err(|error| failed(error.to_string()))?;
    let Ok(parent) = parent.strip_prefix(engine.root()) else {
        return Err(failed(format!("a link leads out of {}: give a path inside of it", engine.root().display())));
    };
    let most = engine.config().file_bytes_max;
    if let Ok(metadata) = within.symlink_metadata().map(|metadata| metadata.len())
        && metadata > most
    {
        return Err(failed(format!("it has more than {most} bytes: --max-file-size lifts that limit")));
    }
    let real = parent.join(relative.file_name().unwrap_or_default());
    let bytes = path_bytes(&real);
    let name_start = bytes.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let candidate = Candidate::new(0, &bytes[..name_start], &bytes[name_start..], FILE_BYTES_MAX.min(1 << 16));
    let read =
        |scratch: &mut String, content: io::Result<&[u8]>| -> io::Result<Result<(Language, Extracted), String>> {
            let content = content?;
            let language = Language::detect(&bytes[name_start..], content);
            let Some(grammar) = Grammar::of(language.name(), &bytes[name_start..]) else {
                let language = language.name();
                return Ok(Err(format!("there is no grammar for its language, {language}: a search finds text in it")));
            };
            Ok(match decode(content, scratch) {
                Decoded::Text { text, .. } => Ok((language, Extractor::new().extract(grammar, text))),
                Decoded::Binary => Err("it is not text".into()),
            })
        };
    let found = read_each(&Readers::new(engine.root(), engine.read_patience()), &[candidate], String::new, read).pop();
    let found = found.unwrap_or_else(|| Err(io::Error::other("it was not read")));
    let (language, found) = found.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
    Ok(Outline { path: relative, language: language.name(), symbols: found.symbols, cut: found.cut })
}

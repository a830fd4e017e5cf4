//! `check-ignore`: verdicts in the form and with the exit codes of `git check-ignore`, from all rules that count here.
//!
//! What is not as with git: paths are paths and never pathspecs with wildcards or magic (`:/`); `core.quotePath` is taken to
//! be on; the path of an exclude file is shown as `.git/info/exclude` wherever that lies; and within the work tree of a
//! nested repository the rules are those of that repository, as they are for an index.

use super::args::{CheckIgnoreArgs, CommonArgs};
use super::exit::{Exit, Failure};
use super::options::Options;
use super::{log, output, root};
use leindex_engine::{Engine, Rule, Verdicts, find_repository};
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// Runs the subcommand. Whatever is wrong ends it with git's code for that, 128.
pub(crate) fn run(args: CheckIgnoreArgs, common: &CommonArgs) -> Result<Exit, Failure> {
    // As with git -v shows the rules; what there is of it beyond that is for the log.
    let details = common.verbose > 0;
    let common = &CommonArgs { verbose: common.verbose.saturating_sub(1), ..common.clone() };
    check(&args, details)?;
    let here = std::env::current_dir().map_err(|error| Failure::Git(format!("the working directory: {error}")))?;
    let root = find_repository(&here).unwrap_or(&here).to_path_buf();
    let options = Options::from_args(common).with_rules(&args.rules);
    let tree = root::at(Some(root), options).map_err(as_git)?;
    let ui = output::Ui::new(&tree.options);
    log::start(&tree.options, &ui)?;
    let engine = tree.options.engine(&tree.root).map_err(as_git)?;
    let mut asked = Asked {
        verdicts: verdicts(&engine)?,
        root: engine.root().to_path_buf(),
        here,
        args: &args,
        details,
        ignored: 0,
    };
    let mut out = output::stdout();
    if args.stdin {
        let end = if args.null { b'\0' } else { b'\n' };
        for line in io::stdin().lock().split(end) {
            let line = line.map_err(|error| Failure::Git(format!("stdin: {error}")))?;
            let path = if args.null { line } else { unquoted(line)? };
            let relative = asked.relative(&path)?;
            asked.answer(&path, &relative, &mut out)?;
            // Whoever asks line by line waits for the answer.
            out.flush()?;
        }
    } else {
        // As with git nothing is printed when one of them is wrong.
        let paths = args.paths.iter().map(|path| path.as_bytes());
        let relative: Vec<_> = paths.clone().map(|path| asked.relative(path)).collect::<Result<_, _>>()?;
        for (path, relative) in paths.zip(&relative) {
            asked.answer(path, relative, &mut out)?;
        }
        out.flush()?;
    }
    Ok(if asked.ignored > 0 { Exit::Done } else { Exit::Fatal })
}

fn verdicts(engine: &Engine) -> Result<Verdicts, Failure> {
    engine.verdicts().map_err(|error| as_git(error.into()))
}

/// The combinations that git refuses.
fn check(args: &CheckIgnoreArgs, details: bool) -> Result<(), Failure> {
    let refused = |message: &str| Err(Failure::Git(message.into()));
    match args {
        _ if args.stdin && !args.paths.is_empty() => refused("cannot specify pathnames with --stdin"),
        _ if !args.stdin && args.null => refused("-z only makes sense with --stdin"),
        _ if !args.stdin && args.paths.is_empty() => refused("no path specified"),
        _ if args.quiet && (args.stdin || args.paths.len() > 1) => {
            refused("--quiet is only valid with a single pathname")
        }
        _ if args.quiet && details => refused("cannot have both --quiet and --verbose"),
        _ if args.non_matching && !details => refused("--non-matching is only valid with --verbose"),
        _ => Ok(()),
    }
}

fn as_git(failure: Failure) -> Failure {
    Failure::Git(failure.into_exit().1.unwrap_or_default())
}

struct Asked<'a> {
    verdicts: Verdicts,
    root: PathBuf,
    here: PathBuf,
    args: &'a CheckIgnoreArgs,
    details: bool,
    ignored: u64,
}

impl Asked<'_> {
    fn answer(&mut self, path: &[u8], relative: &[u8], out: &mut impl Write) -> Result<(), Failure> {
        let is_dir = self.root.join(as_path(relative)).symlink_metadata().is_ok_and(|meta| meta.is_dir());
        let tracked = !self.args.no_index && !relative.is_empty() && self.verdicts.is_tracked(relative);
        let rule = self.verdicts.rule(relative, is_dir).filter(|rule| !(tracked && rule.is_gits));
        // Only in detail does a rule that lifts another one count.
        let rule = rule.filter(|rule| rule.ignored || self.details);
        self.ignored += u64::from(rule.is_some());
        if !self.args.quiet && (rule.is_some() || self.args.non_matching) {
            self.write(path, rule.as_ref(), out)?;
        }
        Ok(())
    }

    /// A path as it was given, relative to the root; with a slash at its end if it had one.
    fn relative(&mut self, given: &[u8]) -> Result<Vec<u8>, Failure> {
        if given.is_empty() {
            return Err(Failure::Git("empty string is not a valid pathspec: use . for the current directory".into()));
        }
        let shown = String::from_utf8_lossy(given);
        let outside = || {
            let root = self.root.display();
            Failure::Git(format!("{shown}: '{shown}' is outside repository at '{root}'"))
        };
        let mut clean = PathBuf::new();
        for component in self.here.join(as_path(given)).components() {
            match component {
                Component::ParentDir => {
                    clean.pop();
                }
                Component::CurDir => {}
                other => clean.push(other),
            }
        }
        let relative = clean.strip_prefix(&self.root).map_err(|_| outside())?.to_path_buf();
        let mut above = self.root.clone();
        // With a slash at its end it stands for what a link leads to.
        let checked = if given.ends_with(b"/") { Some(&*relative) } else { relative.parent() };
        for component in checked.into_iter().flat_map(Path::components) {
            above.push(component);
            if above.is_symlink() {
                return Err(Failure::Git(format!("pathspec '{shown}' is beyond a symbolic link")));
            }
        }
        let mut bytes = relative.into_os_string().into_vec();
        if let Some(submodule) = self.verdicts.submodule(&bytes).filter(|_| !self.args.no_index) {
            let submodule = String::from_utf8_lossy(&submodule).into_owned();
            return Err(Failure::Git(format!("Pathspec '{shown}' is in submodule '{submodule}'")));
        }
        if given.ends_with(b"/") && !bytes.is_empty() {
            bytes.push(b'/');
        }
        Ok(bytes)
    }

    fn write(&self, path: &[u8], rule: Option<&Rule>, out: &mut impl Write) -> io::Result<()> {
        let line = rule.map(|rule| rule.line.to_string()).unwrap_or_default();
        let (source, pattern) = rule.map_or((&b""[..], &b""[..]), |rule| (&rule.source, &rule.pattern));
        match (self.details, self.args.null) {
            (false, true) => out.write_all(&[path, b"\0"].concat()),
            (false, false) => out.write_all(&[&quoted(path)[..], b"\n"].concat()),
            (true, true) => {
                out.write_all(&[source, b"\0", line.as_bytes(), b"\0", pattern, b"\0", path, b"\0"].concat())
            }
            (true, false) => {
                let parts = [&quoted(source)[..], b":", line.as_bytes(), b":", pattern, b"\t", &quoted(path), b"\n"];
                out.write_all(&parts.concat())
            }
        }
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// The letters that stand for control characters after a backslash, in C and in git.
const ESCAPES: [(u8, u8); 9] = [
    (b'\x07', b'a'),
    (b'\x08', b'b'),
    (b'\t', b't'),
    (b'\n', b'n'),
    (b'\x0b', b'v'),
    (b'\x0c', b'f'),
    (b'\r', b'r'),
    (b'"', b'"'),
    (b'\\', b'\\'),
];

/// A path as git prints it: in quotes, with C's escapes, when it has bytes that are not plain.
fn quoted(path: &[u8]) -> Vec<u8> {
    let is_plain = |byte: &u8| (b' '..0x7f).contains(byte) && *byte != b'"' && *byte != b'\\';
    if path.iter().all(is_plain) {
        return path.to_vec();
    }
    let mut quoted = b"\"".to_vec();
    for byte in path {
        match ESCAPES.iter().find(|(from, _)| from == byte) {
            Some((_, letter)) => quoted.extend([b'\\', *letter]),
            None if is_plain(byte) => quoted.push(*byte),
            None => quoted.extend(format!("\\{byte:03o}").bytes()),
        }
    }
    quoted.push(b'"');
    quoted
}

/// A line of stdin: a path, in quotes or not.
fn unquoted(line: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let Some(rest) = line.strip_prefix(b"\"") else { return Ok(line) };
    let badly = || Failure::Git("line is badly quoted".into());
    let mut path = Vec::new();
    let mut bytes = rest.iter().copied();
    loop {
        match bytes.next().ok_or_else(badly)? {
            b'"' if bytes.next().is_none() => return Ok(path),
            b'"' => return Err(badly()),
            b'\\' => {
                let byte = bytes.next().ok_or_else(badly)?;
                path.push(match ESCAPES.iter().find(|(_, letter)| *letter == byte) {
                    Some((to, _)) => *to,
                    None => {
                        let digits = [Some(byte), bytes.next(), bytes.next()];
                        let value = digits.iter().try_fold(0_u32, |value, digit| {
                            let digit = digit.filter(|digit| (b'0'..=b'7').contains(digit))?;
                            Some(value * 8 + u32::from(digit - b'0'))
                        });
                        u8::try_from(value.ok_or_else(badly)?).map_err(|_| badly())?
                    }
                });
            }
            byte => path.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_those_of_git() {
        for (path, expected) in [
            (&b"a b/c"[..], &b"a b/c"[..]),
            (b"a\tb", b"\"a\\tb\""),
            (b"\"", b"\"\\\"\""),
            (b"\\", b"\"\\\\\""),
            (b"\xc3\xa9", b"\"\\303\\251\""),
            (b"\x01\x7f", b"\"\\001\\177\""),
        ] {
            assert_eq!(quoted(path), expected, "{}", path.escape_ascii());
            assert_eq!(unquoted(quoted(path)).unwrap(), path);
        }
        for wrong in [&b"\"a"[..], b"\"a\"b", b"\"\\9\"", b"\"\\", b"\"\\777\""] {
            assert!(unquoted(wrong.to_vec()).is_err(), "{}", wrong.escape_ascii());
        }
    }
}

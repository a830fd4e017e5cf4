//! `.leindex.toml` in the root of a tree: the options of the command line as keys.

use super::args::{parse_shards, parse_size};
use super::exit::Failure;
use super::options::Options;
use clap::ValueEnum;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Name of the file.
pub(crate) const NAME: &str = ".leindex.toml";
/// A larger file is no config file.
const BYTES_MAX: u64 = 1 << 20;
/// The keys there are, for the message about one that there is not.
const KEYS: &str = "shards, backend, index-dir, max-file-size, batch-files, io-timeout, wait, embed, model, no-ignore, no-require-git, hidden, \
                    no-hidden, exclude, ignore-file, json, progress, color, verbose";

/// Reads the config file of `root`. Without one, nothing is set.
pub(crate) fn read(root: &Path) -> Result<Options, Failure> {
    let path = root.join(NAME);
    let wrong = |what: &str| Failure::Usage(format!("{}: {what}", path.display()));
    let text = match read_text(&path) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(Options::default()),
        Err(error) => return Err(wrong(&format!("{error}: correct the file, or remove it"))),
    };
    let table = text.parse::<Table>().map_err(|error| {
        let before = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..before].iter().filter(|&&byte| byte == b'\n').count() + 1;
        wrong(&format!("line {line}: {}", error.message()))
    })?;
    parse(&table, root).map_err(|what| wrong(&what))
}

/// The text of the file; `None` when there is no file.
fn read_text(path: &Path) -> io::Result<Option<String>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        // A root that cannot be entered is reported as such, with more to the point than this.
        Err(_) if fs::symlink_metadata(path).is_err() => return Ok(None),
        Err(error) => return Err(error),
    };
    if !metadata.is_file() || metadata.len() > BYTES_MAX {
        return Err(io::Error::other("is no regular file of at most 1 MiB"));
    }
    let mut text = String::new();
    fs::File::open(path)?.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// The options in `table`; the error names the key.
fn parse(table: &Table, root: &Path) -> Result<Options, String> {
    let mut options = Options::default();
    for (key, value) in table {
        set(&mut options, key, value, root).map_err(|what| format!("{key}: {what}"))?;
    }
    if table.contains_key("hidden") && table.contains_key("no-hidden") {
        return Err("hidden: give this key or no-hidden, not both".into());
    }
    Ok(options)
}

fn set(options: &mut Options, key: &str, value: &Value, root: &Path) -> Result<(), String> {
    match key {
        "shards" => options.shards = Some(parse_shards(&number_or_text(value)?)?),
        "backend" => options.backend = Some(choice(value)?),
        "index-dir" => options.index_dir = Some(root.join(text(value)?)),
        "max-file-size" => options.max_file_size = Some(parse_size(&number_or_text(value)?)?),
        "batch-files" => options.batch_files = Some(number(value)?),
        "wait" => options.wait = truth(value)?,
        "embed" => options.embed = Some(choice(value)?),
        "model" => options.model = Some(root.join(text(value)?)),
        "io-timeout" => options.io_timeout = Some(number(value)?),
        "no-ignore" => options.no_ignore = Some(truth(value)?),
        "no-require-git" => options.no_require_git = Some(truth(value)?),
        "hidden" => options.hidden = Some(truth(value)?),
        "no-hidden" => options.hidden = Some(!truth(value)?),
        "exclude" => options.exclude = list(value)?,
        "ignore-file" => {
            let paths = list(value)?;
            options.ignore_file = paths.iter().map(|path| root.join(path)).collect::<Vec<PathBuf>>();
        }
        "json" => options.json = Some(truth(value)?),
        "progress" => options.progress = Some(choice(value)?),
        "color" => options.color = Some(choice(value)?),
        "verbose" => options.verbose = Some(number(value)?),
        _ => return Err(format!("unknown key: use one of {KEYS}")),
    }
    Ok(())
}

fn truth(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "use true or false".into())
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "use a string".into())
}

fn number<T: TryFrom<i64>>(value: &Value) -> Result<T, String> {
    let number = value.as_integer().and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| "use a whole number that is in range".into())
}

fn number_or_text(value: &Value) -> Result<String, String> {
    match value {
        Value::Integer(number) => Ok(number.to_string()),
        Value::String(text) => Ok(text.clone()),
        _ => Err("use a number or a string".into()),
    }
}

/// A string, or a list of them.
fn list(value: &Value) -> Result<Vec<String>, String> {
    let wrong = || "use a list of strings".to_owned();
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(values) => {
            values.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}

/// One of the values that the option of the same name takes.
fn choice<T: ValueEnum>(value: &Value) -> Result<T, String> {
    let names = || {
        let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        values.map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", ")
    };
    value.as_str().and_then(|text| T::from_str(text, false).ok()).ok_or_else(|| format!("use one of {}", names()))
}

#[cfg(test)]
mod tests {
    use super::super::args::{Backend, Embed, Progress, When};
    use super::*;
    use leindex_engine::Shards;

    fn options(text: &str) -> Result<Options, String> {
        parse(&text.parse::<Table>().unwrap(), Path::new("/r"))
    }

    #[test]
    fn every_key() {
        let text = "shards = 3\nbackend = 'threads'\nindex-dir = 'x'\nmax-file-size = '2K'\nbatch-files = 7\nio-timeout = 9\nwait = true\n\
                    embed = 'cpu'\nmodel = 'm'\n                    no-ignore = true\nno-require-git = true\nno-hidden = true\nexclude = ['a', 'b']\n\
                    ignore-file = 'rules'\njson = true\nprogress = 'off'\ncolor = 'never'\nverbose = 2\n";
        let expected = Options {
            shards: Some(Shards::Count(3)),
            backend: Some(Backend::Threads),
            index_dir: Some("/r/x".into()),
            max_file_size: Some(2048),
            batch_files: Some(7),
            io_timeout: Some(9),
            wait: true,
            embed: Some(Embed::Cpu),
            model: Some("/r/m".into()),
            replace_vectors: false,
            no_ignore: Some(true),
            no_require_git: Some(true),
            hidden: Some(false),
            exclude: vec!["a".into(), "b".into()],
            ignore_file: vec!["/r/rules".into()],
            json: Some(true),
            progress: Some(Progress::Off),
            color: Some(When::Never),
            verbose: Some(2),
            trace: None,
        };
        assert_eq!(options(text), Ok(expected));
        for key in KEYS.split(", ") {
            assert!(text.contains(key) || key == "hidden", "{key} is not in the test");
        }
    }

    #[test]
    fn errors_name_the_key() {
        for (text, key) in [
            ("shard = 3", "shard"),
            ("shards = 0", "shards"),
            ("shards = true", "shards"),
            ("batch-files = -1", "batch-files"),
            ("verbose = 300", "verbose"),
            ("exclude = [1]", "exclude"),
            ("no-ignore = 'yes'", "no-ignore"),
            ("color = 'blue'", "color"),
            ("hidden = true\nno-hidden = true", "hidden"),
        ] {
            let error = options(text).unwrap_err();
            assert!(error.starts_with(&format!("{key}: ")), "{text}: {error}");
        }
    }
}

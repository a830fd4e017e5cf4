//! A tree to index, and the command run on it.

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// A tree in a directory of its own, with a home directory that has no settings in it.
pub(crate) struct Tree {
    dir: tempfile::TempDir,
    /// When a file was written last.
    written: Cell<Option<Instant>>,
}

/// The clock of files is coarser than that of processes.
const CLOCK_TICK: Duration = Duration::from_millis(30);

/// How the command ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Tree {
    pub(crate) fn new() -> Tree {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        Tree { dir, written: Cell::default() }
    }

    /// With files of these paths and contents.
    pub(crate) fn with(files: &[(&str, &str)]) -> Tree {
        let tree = Tree::new();
        for (path, content) in files {
            tree.write(path, content);
        }
        tree
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("tree").canonicalize().unwrap()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root().join(path)
    }

    /// Writes a file that is older than the clock's granularity: a younger one is read again by the next run. Setting its time
    /// back is a change too, so commands wait for the next tick.
    pub(crate) fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = fs::File::create(path).unwrap();
        file.write_all(content.as_ref()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        self.written.set(Some(Instant::now()));
    }

    /// The command, to be run in the root, whatever the environment of the tests is.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        if let Some(written) = self.written.take() {
            std::thread::sleep(CLOCK_TICK.saturating_sub(written.elapsed()));
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_leindex-engine"));
        command.args(args).current_dir(self.root()).stdin(Stdio::null());
        for name in ["RUST_LOG", "NO_COLOR", "XDG_CONFIG_HOME", "CLICOLOR_FORCE", "COLUMNS"] {
            command.env_remove(name);
        }
        // Terminals that have links tell so.
        for name in ["TERM_PROGRAM", "VTE_VERSION", "WT_SESSION", "KONSOLE_VERSION", "DOMTERM"] {
            command.env_remove(name);
        }
        command.env("HOME", self.home()).env("TERM", "xterm");
        command
    }

    /// Runs the command in the root.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        self.command(args).output().unwrap().into()
    }

    /// Runs the command and expects this exit code.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, args: &[&str]) -> Done {
        let done = self.run(args);
        assert_eq!(done.code, Some(code), "{args:?}: {}{}", done.text(), done.err);
        done
    }

    /// The paths that `files` lists, in order.
    #[track_caller]
    pub(crate) fn files(&self, args: &[&str]) -> Vec<String> {
        self.expect(0, &[&["files"], args].concat()).lines()
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Done {
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        Done { code: output.status.code(), out: output.stdout, err }
    }
}

impl Done {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    /// Stdout as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Stdout as JSON, a value a line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        self.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The one line on stderr that says why the command failed.
    #[track_caller]
    pub(crate) fn error(&self) -> &str {
        let line = self.err.strip_prefix("leindex-engine: error: ").unwrap_or_else(|| panic!("{:?}", self.err));
        let line = line.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "more than a line: {line}");
        line
    }
}

/// Whether this process is stopped by permissions. If it is not, says that the test proves nothing.
pub(crate) fn permissions_count() -> bool {
    let root = rustix::process::geteuid().is_root();
    if root {
        eprintln!("SKIPPED: root may read and write everything; run this test as another user");
    }
    !root
}

/// A name that is not UTF-8.
pub(crate) fn odd_name() -> &'static Path {
    Path::new(std::ffi::OsStr::from_bytes(b"odd\xff.txt"))
}

/// Keys, their order, and types of a JSON value: `{a:n,b:[s]}`.
pub(crate) fn shape(json: &str) -> String {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let shape = (&mut deserializer).deserialize_any(Shape).unwrap_or_else(|error| panic!("{error}: {json}"));
    deserializer.end().unwrap();
    shape
}

struct Shape;

impl<'de> serde::de::DeserializeSeed<'de> for Shape {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(Shape)
    }
}

impl<'de> Visitor<'de> for Shape {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<String, E> {
        Ok("bool".into())
    }

    fn visit_u64<E>(self, _: u64) -> Result<String, E> {
        Ok("int".into())
    }

    fn visit_f64<E>(self, _: f64) -> Result<String, E> {
        Ok("float".into())
    }

    fn visit_str<E>(self, _: &str) -> Result<String, E> {
        Ok("string".into())
    }

    fn visit_unit<E>(self) -> Result<String, E> {
        Ok("null".into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<String, A::Error> {
        let mut shapes = Vec::new();
        while let Some(shape) = seq.next_element_seed(Shape)? {
            if !shapes.contains(&shape) {
                shapes.push(shape);
            }
        }
        Ok(format!("[{}]", shapes.join("|")))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            members.push(format!("{key}:{}", map.next_value_seed(Shape)?));
        }
        Ok(format!("{{{}}}", members.join(",")))
    }
}

#[test]
fn the_shape_tells_order_and_types() {
    assert_eq!(shape(r#"{"b":1,"a":[1.5,"x"],"c":{"d":null,"e":true}}"#), "{b:int,a:[float|string],c:{d:null,e:bool}}");
    assert_ne!(shape(r#"{"a":1,"b":2}"#), shape(r#"{"b":1,"a":2}"#));
}

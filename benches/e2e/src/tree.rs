//! The tree of a smoke test: small, the same every time, with text of every kind that a section asks for.

use crate::Failure;
use crate::queries::Rng;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

const DIRS: u64 = 12;
const FILES_PER_DIR: u64 = 25;
/// Longer than the clock tick within which the engine takes a file for changed once more.
const SETTLE: Duration = Duration::from_millis(60);
const STEMS: [&str; 16] = [
    "buffer", "schedule", "timeout", "register", "kernel", "mutex", "packet", "device", "inode", "vector", "signal",
    "cursor", "handle", "symbol", "thread", "window",
];

/// Writes the tree.
pub(crate) fn generate(root: &Path) -> Result<(), Failure> {
    let mut rng = Rng::new(7);
    for dir in 0..DIRS {
        let path = root.join(format!("part{}/area{dir}", dir % 3));
        fs::create_dir_all(&path)?;
        for file in 0..FILES_PER_DIR {
            fs::write(path.join(format!("unit{file}.c")), source(&mut rng))?;
        }
    }
    fs::write(root.join("binary.bin"), [0u8, 159, 146, 150].repeat(64))?;
    fs::write(root.join("empty.txt"), "")?;
    fs::write(root.join("crlf.txt"), "schedule_timeout\r\nwindow_cursor(1)\r\n")?;
    fs::write(root.join("latin1.txt"), b"caf\xe9 buffer_device \xfc\n")?;
    fs::write(root.join("greek.md"), "μετρο kernel_signal é 20µs\n")?;
    for dir in ["ranked/tests", "ranked/cursor"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::write(root.join("ranked/defined.c"), "int ranked_window(void)\n{\n}\n")?;
    fs::write(root.join("ranked/used.c"), "ranked_window();\n".repeat(9))?;
    fs::write(root.join("ranked/tests/defined.c"), "int ranked_window(void)\n{\n}\n")?;
    fs::write(root.join("ranked/cursor/vector.c"), "/* The vector of a cursor. */\n")?;
    fs::write(root.join(".hidden"), "mutex_symbol = hidden\n")?;
    std::thread::sleep(SETTLE);
    Ok(())
}

fn word(rng: &mut Rng) -> String {
    let (stem, other) = (STEMS[rng.below(16)], STEMS[rng.below(16)]);
    match rng.below(3) {
        0 => stem.to_owned(),
        1 => format!("{stem}_{other}"),
        _ => format!("{stem}_{other}{}", rng.below(90)),
    }
}

fn source(rng: &mut Rng) -> String {
    let mut text = String::new();
    for line in 0..20 + rng.below(60) {
        let (a, b, c) = (word(rng), word(rng), word(rng));
        let _ = match line % 6 {
            0 => writeln!(text, "#define {a} 0x{:016x}", rng.next()),
            1 => writeln!(text, "static int {a}(struct {b} *{c})"),
            2 => writeln!(text, "\tif ({a} && {b}) goto {c};"),
            3 => writeln!(text, "\t{a} = {b} ({c}); /* {a} of {b}, 2024-05-01 */"),
            4 => writeln!(text, "}}"),
            _ => writeln!(text, "// TODO: {a} {b} {c}  "),
        };
    }
    text
}

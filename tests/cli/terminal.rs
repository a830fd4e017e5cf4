//! On a terminal: headings, colours, cut lines, and a bar; nothing of it where it is not wanted.

use super::support::Tree;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Runs the command on a terminal of this width and returns all that it has shown there.
#[track_caller]
pub(crate) fn on_terminal(tree: &Tree, columns: u16, args: &[&str], environment: &[(&str, &str)]) -> String {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
    let slave = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut command = tree.command(args);
    command.envs(environment.iter().copied());
    command.stdout(slave.try_clone().unwrap()).stderr(slave);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut shown = Vec::new();
    // The read fails once nobody has the other end open any more.
    let _ = File::from(master).read_to_end(&mut shown);
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", String::from_utf8_lossy(&shown));
    String::from_utf8(shown).unwrap().replace("\r\n", "\n")
}

fn indexed() -> Tree {
    let long = format!("{} needle {}\n", "before ".repeat(30), "after ".repeat(30));
    let tree = Tree::with(&[("a.txt", &format!("one needle\n{long}")), ("b.txt", "\tneedle \x1b[2J\n")]);
    // Or they would be racy, and the next run would read them again.
    std::thread::sleep(std::time::Duration::from_millis(30));
    tree.expect(0, &[]);
    tree
}

#[test]
fn hits_are_grouped_by_file_and_cut_to_the_width() {
    let tree = indexed();
    let shown = on_terminal(&tree, 40, &["search", "-F", "needle", "--color", "never"], &[]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[..2], ["a.txt", "1:5:one needle"], "{shown}");
    assert!(lines[2].starts_with("2:212:…") && lines[2].ends_with('…'), "{shown}");
    assert!(lines[2].contains("before  needle after"), "{shown}");
    assert_eq!(lines[2].chars().count(), 40, "{shown}");
    assert_eq!(lines[3..6], ["", "b.txt", "1:2:    needle \\u{1b}[2J"], "{shown}");
}

#[test]
fn colours_only_where_they_are_wanted() {
    let tree = indexed();
    let args = ["search", "-F", "needle"];
    let shown = on_terminal(&tree, 80, &args, &[]);
    assert!(shown.contains("\x1b[35ma.txt\x1b[0m"), "{shown:?}");
    assert!(shown.contains("one \x1b[1;31mneedle\x1b[0m"), "{shown:?}");
    assert!(!on_terminal(&tree, 80, &args, &[("NO_COLOR", "1")]).contains("\x1b[3"));
    assert!(!on_terminal(&tree, 80, &args, &[("TERM", "dumb")]).contains("\x1b[3"));
    let always = ["search", "-F", "needle", "--color", "always"];
    assert!(on_terminal(&tree, 80, &always, &[("NO_COLOR", "1")]).contains("\x1b[35m"));
    let piped = tree.expect(0, &always).text();
    assert!(piped.contains("\x1b[35ma.txt\x1b[0m:\x1b[32m1\x1b[0m:5:one \x1b[1;31mneedle\x1b[0m\n"), "{piped:?}");
    assert!(!tree.expect(0, &args).text().contains("\x1b[3"), "no colours in a pipe");
}

#[test]
fn a_narrow_terminal_breaks_nothing() {
    let tree = indexed();
    for columns in [1, 10, 20] {
        let shown = on_terminal(&tree, columns, &["search", "-F", "needle", "--color", "never"], &[]);
        assert_eq!(shown.matches("needle").count(), 3, "{columns}: {shown}");
        let shown = on_terminal(&tree, columns, &["index"], &[]);
        assert!(shown.contains("unchanged 2"), "{columns}: {shown}");
        on_terminal(&tree, columns, &["--help"], &[]);
    }
}

#[test]
fn the_bar_goes_away_and_plain_progress_has_no_escapes() {
    let tree = indexed();
    let shown = on_terminal(&tree, 100, &["index"], &[]);
    assert!(shown.contains("\x1b["), "there was a bar: {shown:?}");
    let last = shown.rsplit('\x1b').next().unwrap();
    assert!(last.contains("generation 1"), "the summary stands below everything else: {shown:?}");
    for args in [&["index", "--progress", "plain"][..], &["index", "--progress", "off"], &["index", "--json"]] {
        let shown = on_terminal(&tree, 100, args, &[]);
        assert!(!shown.contains('\x1b'), "{args:?}: {shown:?}");
    }
}

#[test]
fn names_cannot_talk_to_the_terminal() {
    let tree = Tree::new();
    tree.write("evil\x1b[31m\nname", "needle");
    tree.expect(0, &[]);
    for args in [&["files", "--color", "never"][..], &["search", "needle", "--color", "never"]] {
        let shown = on_terminal(&tree, 80, args, &[]);
        assert!(shown.contains("evil\\u{1b}[31m\\nname\n"), "{shown:?}");
        assert!(!shown.contains('\x1b'), "{shown:?}");
    }
}

//! Inputs: text like source code, rules and paths, from a fixed seed.

use std::fmt::Write;

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Random {
        Random(7)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

const STEMS: [&str; 24] = [
    "buffer", "schedule", "timeout", "register", "kernel", "mutex", "packet", "device", "inode", "vector", "signal",
    "cursor", "handle", "symbol", "thread", "window", "page", "lock", "queue", "read", "write", "map", "find", "next",
];

/// A name as code has them: two or three stems, some with a word of their own.
fn name(random: &mut Random) -> String {
    let stem = |random: &mut Random| STEMS[random.below(STEMS.len() as u64) as usize];
    let mut name = stem(random).to_owned();
    for _ in 0..1 + random.below(2) {
        name.push('_');
        name.push_str(stem(random));
    }
    // Words of their own, which make a vocabulary of some size.
    if random.below(4) == 0 {
        name.push('_');
        name.extend((0..5).map(|_| char::from(b'a' + random.below(26) as u8)));
    }
    name
}

/// A file of about this many lines.
pub(crate) fn source(random: &mut Random, lines: usize) -> String {
    let mut text = String::from("/* SPDX-License-Identifier: GPL-2.0 */\n#include <linux/sched.h>\n\n");
    for line in 0..lines {
        let (a, b, c) = (name(random), name(random), name(random));
        // Writing to a string cannot fail.
        let _ = match line % 8 {
            0 => writeln!(text, "static int {a}(struct {b} *{c})\n{{"),
            1 => writeln!(text, "\t/* Wait for the {} before it is used again. */", a.replace('_', " ")),
            2..=5 => writeln!(text, "\t{a}->{b} = {c}(&{a}->lock, 0x{:x});", random.below(1 << 20)),
            6 => writeln!(text, "\tif (unlikely(!{b}))\n\t\treturn -EINVAL;"),
            _ => writeln!(text, "\treturn {c}({a});\n}}\n"),
        };
    }
    text
}

/// Lines of a rule file, of the kinds that there are.
pub(crate) fn rules(count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        let _ = match n % 7 {
            0 => writeln!(text, "*.x{n}"),
            1 => writeln!(text, "/dir{n}/"),
            2 => writeln!(text, "name{n}"),
            3 => writeln!(text, "a*{n}?"),
            4 => writeln!(text, "dir/**/f{n}"),
            5 => writeln!(text, "!keep{n}.[ch]"),
            _ => writeln!(text, ".*.{n}"),
        };
    }
    text
}

/// Names of one directory.
pub(crate) fn names(random: &mut Random, count: usize) -> Vec<String> {
    let ends = ["c", "h", "o", "rs", "x7", "x14", "txt"];
    (0..count).map(|_| format!("{}.{}", name(random), ends[random.below(ends.len() as u64) as usize])).collect()
}

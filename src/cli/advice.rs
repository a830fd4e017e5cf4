//! What to do when the rules have left nothing to index.

use leindex_engine::counters::Counts;

/// The message when every entry was ignored, with the rule that did it and how to lift it.
pub(crate) fn nothing_accepted(files: &Counts, first_ignored: Option<&str>) -> Option<String> {
    let accepted = files.seen.saturating_sub(files.ignored + files.skipped);
    let ignored = files.ignored + files.ignored_dirs;
    if accepted > 0 || ignored == 0 {
        return None;
    }
    let what = format!("nothing was accepted: all {ignored} entries were ignored");
    let Some(first) = first_ignored else {
        return Some(format!("{what}, because of their names: --hidden takes those that begin with a dot"));
    };
    let Some((source, pattern)) = split(first) else { return Some(format!("{what}, the first by {first}")) };
    let lift = format!("--exclude {} lifts this rule", quoted(&format!("!{}", from_the_root(source, pattern))));
    let whole = match source {
        "command line" => "leave out the --exclude (or the exclude key of .leindex.toml) that says so".to_owned(),
        "default rules" => lift,
        _ => format!("--no-ignore lifts all rule files, {lift}"),
    };
    Some(format!("{what}, the first by {first}: {whole}"))
}

/// `source:line:pattern` taken apart.
fn split(rule: &str) -> Option<(&str, &str)> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    rule.match_indices(':').find_map(|(at, _)| {
        let (line, pattern) = rule[at + 1..].split_once(':')?;
        is_number(line).then_some((&rule[..at], pattern))
    })
}

/// The pattern as it has to be written on the command line: one that belongs to the place of its file gets that place
/// put before it.
fn from_the_root(source: &str, pattern: &str) -> String {
    let dir = match source.rsplit_once('/') {
        Some((dir, ".gitignore" | ".ignore" | ".leindexignore")) if !dir.starts_with('/') => dir,
        _ => return pattern.to_owned(),
    };
    if pattern.trim_end_matches('/').contains('/') {
        format!("/{dir}/{}", pattern.trim_start_matches('/'))
    } else {
        pattern.to_owned()
    }
}

/// Quoted for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(seen: u64, ignored: u64, ignored_dirs: u64) -> Counts {
        let mut counts = Counts::default();
        (counts.seen, counts.ignored, counts.ignored_dirs) = (seen, ignored, ignored_dirs);
        counts
    }

    #[track_caller]
    fn check(first: &str, expect: &str) {
        let message = nothing_accepted(&counts(2, 2, 1), Some(first)).unwrap();
        assert!(message.contains(expect), "{message}");
        assert!(message.contains(first), "{message}");
    }

    #[test]
    fn the_rule_and_how_to_lift_it() {
        check(".gitignore:1:/*", "--exclude '!/*' lifts this rule");
        check(".gitignore:1:/*", "--no-ignore");
        check("a/b/.gitignore:12:/x:1:y", "--exclude '!/a/b/x:1:y' lifts");
        check("a/b/.ignore:12:it's", r"--exclude '!it'\''s' lifts");
        check("/home/me/ignore:3:a/b", "--exclude '!a/b' lifts");
        check("command line:1:*", "leave out the --exclude");
        let message = nothing_accepted(&counts(1, 1, 0), None).unwrap();
        assert!(message.contains("--hidden"), "{message}");
    }

    #[test]
    fn silent_when_something_was_accepted_or_nothing_ignored() {
        assert_eq!(nothing_accepted(&counts(3, 2, 0), Some("x:1:y")), None);
        assert_eq!(nothing_accepted(&counts(0, 0, 0), None), None);
        assert!(nothing_accepted(&counts(0, 0, 1), Some("x:1:y")).is_some());
    }
}

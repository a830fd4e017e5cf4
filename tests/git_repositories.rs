//! Files of real repositories: what git tracks is never ignored, whatever the form of its index; linked work trees,
//! submodules and repositories within others follow their own rules. Made with git, compared with what git lists.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

mod support;

use leindex_engine::Engine;
use std::path::Path;
use support::{Place, git};

/// What the engine accepts.
fn files(root: &Path) -> Vec<String> {
    let engine = Engine::builder().index_dir(root.join(".git-index-of-tests")).open(root).unwrap();
    let paths = engine.files().unwrap().paths;
    paths.into_iter().map(|path| String::from_utf8(path).unwrap()).collect()
}

/// What git knows and what it would add.
fn listed(root: &Path) -> Vec<String> {
    let out = git(root, &["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let mut paths: Vec<String> = out.split_terminator('\0').map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// A repository in which ignored files are tracked, some of them in ignored directories.
fn repository(place: &Place, name: &str) -> std::path::PathBuf {
    let root = place.root().join(name);
    let write = |path: &str, text: &str| place.write(format!("{name}/{path}"), text);
    write(".gitignore", "*.log\nbuild/\n/only\n!keep.log\n");
    for path in [
        "a.rs",
        "kept.log",
        "other.log",
        "keep.log",
        "build/in.rs",
        "build/out.rs",
        "build/deep/in.rs",
        "only",
        "sub/x.log",
        "sub/in.log",
    ] {
        write(path, "text");
    }
    git(&root, &["init", "--quiet"]);
    git(&root, &["add", "--force", "a.rs", "kept.log", "build/in.rs", "build/deep/in.rs", "only", "sub/in.log"]);
    root
}

#[test]
fn tracked_files_are_not_ignored_in_any_version_of_the_index() {
    for version in ["2", "3", "4"] {
        let place = Place::new();
        let root = repository(&place, "repo");
        git(&root, &["update-index", "--index-version", version]);
        if version == "3" {
            // Has git write extended flags, which is what version 3 is for.
            place.write("repo/later.log", "text");
            git(&root, &["add", "--force", "--intent-to-add", "later.log"]);
        }
        let expected = listed(&root);
        assert!(expected.contains(&"build/deep/in.rs".to_owned()) && !expected.contains(&"build/out.rs".to_owned()));
        assert_eq!(files(&root), expected, "version {version}");
        // From within, too. (A root that is ignored itself is another matter: who names it wants what is in it.)
        assert_eq!(files(&root.join("sub")), ["in.log"], "version {version}, from sub");
        assert_eq!(files(&root.join("build")), ["deep/in.rs", "in.rs", "out.rs"], "version {version}, from build");
    }
}

#[test]
fn split_indexes_and_sha256_are_understood() {
    let place = Place::new();
    let root = repository(&place, "split");
    git(&root, &["update-index", "--split-index"]);
    place.write("split/after.log", "text");
    git(&root, &["add", "--force", "after.log"]);
    assert_eq!(files(&root), listed(&root));
    // Gone from the index, by a bit in the upper half, and still on the disk.
    git(&root, &["rm", "--quiet", "--cached", "kept.log"]);
    let expected = listed(&root);
    assert!(!expected.contains(&"kept.log".to_owned()));
    assert_eq!(files(&root), expected);
    let root = place.root().join("sha256");
    std::fs::create_dir(&root).unwrap();
    git(&root, &["init", "--quiet", "--object-format=sha256"]);
    place.write("sha256/.gitignore", "*.log\n");
    place.write("sha256/x.log", "text");
    place.write("sha256/y.log", "text");
    git(&root, &["add", "--force", "x.log"]);
    assert_eq!(files(&root), [".gitignore", "x.log"]);
}

#[test]
fn linked_work_trees_have_rules_and_an_index_elsewhere() {
    let place = Place::new();
    let root = repository(&place, "repo");
    git(&root, &["commit", "--quiet", "--message", "one"]);
    place.write("repo/.git/info/exclude", "*.tmp\n");
    git(&root, &["worktree", "add", "--quiet", "../linked"]);
    for path in ["linked/x.tmp", "linked/y.log", "linked/new.rs"] {
        place.write(path, "text");
    }
    let linked = place.root().join("linked");
    let expected = listed(&linked);
    assert!(expected.contains(&"kept.log".to_owned()) && !expected.contains(&"x.tmp".to_owned()), "{expected:?}");
    assert_eq!(files(&linked), expected);
}

#[test]
fn submodules_and_nested_repositories_follow_their_own_rules() {
    let place = Place::new();
    let inner = repository(&place, "inner");
    git(&inner, &["commit", "--quiet", "--message", "one"]);
    let outer = repository(&place, "outer");
    place.write("outer/.gitignore", "*.rs\n");
    git(&outer, &["submodule", "--quiet", "add", "../inner", "module"]);
    repository(&place, "outer/nested");
    place.write("outer/nested/.git/info/exclude", "a.rs\nsecret\n");
    place.write("outer/nested/secret", "text");
    // Each by itself, below its place in the outer one.
    let mut expected = Vec::new();
    for (prefix, root) in [("", &outer), ("module/", &outer.join("module")), ("nested/", &outer.join("nested"))] {
        let own = listed(root)
            .into_iter()
            .filter(|path| path != "module" && !path.ends_with('/') && !path.starts_with(".git-"));
        expected.extend(own.map(|path| format!("{prefix}{path}")));
    }
    expected.sort();
    assert!(
        expected.contains(&"module/a.rs".to_owned()) && !expected.contains(&"nested/secret".to_owned()),
        "{expected:?}"
    );
    // The submodule's file `.git` is private data, as a directory of that name is.
    assert_eq!(files(&outer), expected);
}

/// What git does not take for a repository does not end the rules of the one around it.
#[test]
fn what_only_looks_like_a_repository_is_none() {
    let place = Place::new();
    let root = repository(&place, "repo");
    std::fs::create_dir_all(root.join("empty/.git")).unwrap();
    place.write("repo/junk/.git", "junk");
    place.write("repo/gone/.git", "gitdir: /nonexistent/x\n");
    for dir in ["empty", "junk", "gone"] {
        place.write(format!("repo/{dir}/x.log"), "text");
        place.write(format!("repo/{dir}/x.rs"), "text");
    }
    let expected: Vec<String> = listed(&root).into_iter().filter(|path| !path.ends_with(".git")).collect();
    assert!(expected.contains(&"junk/x.rs".to_owned()) && !expected.contains(&"junk/x.log".to_owned()), "{expected:?}");
    assert_eq!(files(&root), expected);
    assert_eq!(files(&root.join("empty")), ["x.rs"]);
}

/// Rules of other tools than git leave out what git tracks, and bring nothing back into an excluded directory.
#[test]
fn other_rules_hold_for_tracked_files_too() {
    let place = Place::new();
    let root = repository(&place, "repo");
    place.write("repo/.ignore", "kept.log\n!out.rs\n");
    let expected: Vec<String> = listed(&root).into_iter().filter(|path| path != "kept.log").collect();
    assert_eq!(files(&root), expected);
}

/// What is tracked and what is excluded is looked at in every run; `update` is told of by their files in `.git`.
#[test]
fn later_runs_follow_the_index_of_git() {
    let place = Place::new();
    git(&place.root(), &["init", "--quiet"]);
    place.write(".gitignore", "*.log\nbuild/\n");
    for path in ["x.log", "y.log", "build/in.rs", "a.rs"] {
        place.write(path, "word");
    }
    let engine = place.engine();
    let queries = [leindex_engine::Query::text("word")];
    support::run(&engine);
    for (step, args) in
        [&["add", "--force", "x.log"][..], &["add", "--force", "build/in.rs"], &["rm", "--cached", "--quiet", "x.log"]]
            .into_iter()
            .enumerate()
    {
        git(&place.root(), args);
        if step == 1 {
            engine.update(&[".git/index"]).wait().unwrap();
        } else {
            support::run(&engine);
        }
        support::assert_as_fresh(&engine, &queries, &format!("after git {args:?}"));
    }
    place.write(".git/info/exclude", "a.rs\n");
    engine.update(&[place.root().join(".git/info/exclude")]).wait().unwrap();
    support::assert_as_fresh(&engine, &queries, "after a new exclude file");
}

/// git's global file holds in every repository, also of a root that is in none, and is anchored there.
#[test]
fn global_rules_hold_in_repositories_within_the_root() {
    let place = Place::new();
    repository(&place, "repo");
    place.write("global", "*.swp\n/top\n");
    for path in ["repo/a.swp", "repo/top", "repo/sub/top", "b.swp", "top"] {
        place.write(path, "text");
    }
    let rules = leindex_engine::RulesConfig { global_file: Some(place.root().join("global")), ..Default::default() };
    let engine = place.engine_with(|builder| builder.rules(rules));
    let paths: Vec<String> =
        engine.files().unwrap().paths.into_iter().map(|path| String::from_utf8(path).unwrap()).collect();
    let has = |path: &str| paths.iter().any(|each| each == path);
    assert!(!has("repo/a.swp") && !has("repo/top") && has("repo/sub/top") && has("b.swp") && has("top"), "{paths:?}");
}

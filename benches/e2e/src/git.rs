//! A git repository of a tree: what a run with nothing changed is compared with, and what that run has to go by.

use crate::{Failure, child};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Settings for making the repository. Its objects are of no interest, and nothing is to go on in the background.
const QUICKLY: [&str; 12] = [
    "-c",
    "core.looseCompression=1",
    "-c",
    "core.autocrlf=false",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
    "-c",
    "user.name=bench",
    "-c",
    "user.email=bench@localhost",
];

impl Drop for Repository {
    fn drop(&mut self) {
        // Other sections use the tree.
        let _ = fs::remove_file(self.link());
    }
}

/// Every file of a tree, committed. The tree gets one file, a `.git` that says where the repository is.
pub(crate) struct Repository {
    tree: PathBuf,
    git_dir: PathBuf,
    /// Entries of its index.
    pub(crate) tracked: u64,
}

impl Repository {
    /// Makes one in `git_dir`; `None` when git is not installed.
    pub(crate) fn of(tree: &Path, git_dir: PathBuf) -> Result<Option<Repository>, Failure> {
        let mut version = Command::new("git");
        version.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if version.status().is_err() {
            return Ok(None);
        }
        if tree.join(".git").exists() {
            return Err(format!("{}: is a git repository already: give a tree that is none", tree.display()).into());
        }
        let mut repository = Repository { tree: tree.to_path_buf(), git_dir, tracked: 0 };
        for arguments in [
            &["init", "-q", "--template="][..],
            &["add", "--all", "--force", "."],
            &["commit", "-q", "--no-gpg-sign", "-m", "the tree"],
        ] {
            child::run(repository.git(&QUICKLY).args(arguments), false)?;
        }
        fs::write(repository.link(), format!("gitdir: {}\n", repository.git_dir.display()))?;
        let listed = child::output(repository.git(&[]).args(["ls-files", "-z"]))?;
        repository.tracked = listed.stdout.iter().filter(|&&byte| byte == 0).count() as u64;
        // Whatever could have changed since it was added is read again now, and the index refreshed.
        for _ in 0..2 {
            repository.status()?;
        }
        Ok(Some(repository))
    }

    /// How long `git status` takes; it has to find nothing.
    pub(crate) fn status(&self) -> Result<f64, Failure> {
        let ended = child::run(self.git(&[]).args(["status", "--porcelain"]), false)?;
        match ended.output.lines().next() {
            None => Ok(ended.wall),
            Some(line) => Err(format!("git status finds a change in a tree that nobody has changed: {line}").into()),
        }
    }

    fn link(&self) -> PathBuf {
        self.tree.join(".git")
    }

    pub(crate) fn remove(self) -> Result<(), Failure> {
        Ok(fs::remove_dir_all(&self.git_dir)?)
    }

    /// A command of git, with git's own defaults but for `settings`.
    fn git(&self, settings: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env_remove("GIT_INDEX_FILE");
        command.arg("--git-dir").arg(&self.git_dir).arg("--work-tree").arg(&self.tree);
        command.args(settings).current_dir(&self.tree);
        command
    }
}

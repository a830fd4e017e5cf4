# The menu: one line a chore. `just` without arguments lists it. The work is in scripts/ and in cargo.

_:
    @just --list --unsorted

# index the current directory, or run any other command
[no-cd]
run *ARGS:
    "{{justfile_directory()}}/scripts/run" {{ARGS}}

# every test
test *ARGS:
    scripts/test {{ARGS}}

# what must hold before a change is taken
ci:
    .ci/run

# format
fmt:
    cargo fmt --all

# lints
lint:
    cargo clippy --workspace --exclude leindex-rivals --all-targets --all-features --locked -- -D warnings

# house rules only
tidy:
    cargo test --test tidy

# the suites that run small by default, at full size
soak:
    LEINDEX_DIFF_CASES=1000000 cargo test --release --all-features --test differential_git
    PROPTEST_CASES=200000 cargo test --release --all-features --test hostile_rules
    PROPTEST_CASES=200000 cargo test --release --test plan_soundness
    LEINDEX_KILLS=1000 cargo test --release --test kill
    LEINDEX_KILLS=500 LEINDEX_KILL_DIR=target cargo test --release --test kill
    LEINDEX_FLIPS=200 cargo test --release --all-features --test corruption
    PROPTEST_CASES=5000 cargo test --release --test incremental
    LEINDEX_POWER_CUTS=1000 LEINDEX_WRITE_FAULTS=100000 cargo test --release --all-features --test power_loss
    cargo test --release --lib store::pages -- --include-ignored

# the portable backend under miri: no C library is needed
miri:
    cargo +nightly miri test -p leindex-fallback --lib

# documentation, with warnings as errors
doc *ARGS:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --exclude leindex-rivals --no-deps --all-features {{ARGS}}

# licences, sources, advisories
deny:
    cargo deny check

# trees to measure on
corpora *ARGS:
    scripts/corpora {{ARGS}}

# the benches at smoke size: they must not rot
bench-smoke:
    cargo run --release -p leindex-bench -- --smoke

# what happens inside, on a tree: just e2e benches/corpora/linux
e2e TREE *ARGS:
    scripts/env "{{TREE}}"
    cargo run --release -p leindex-bench -- --tree "{{TREE}}" {{ARGS}}

# the rivals: their tests, lints and every way once on a small tree
rivals-smoke:
    cargo clippy -p leindex-rivals --all-targets --locked -- -D warnings
    cargo test -p leindex-rivals --locked
    cargo run --release -p leindex-rivals --locked -- --smoke

# the rivals on a tree: just rivals benches/corpora/linux
rivals TREE *ARGS:
    cargo run --release -p leindex-rivals --locked -- --tree "{{TREE}}" {{ARGS}}

# where the time of a workload goes: just flame warm-index
flame WORKLOAD *ARGS:
    scripts/flamegraph {{WORKLOAD}} {{ARGS}}

# how many lines the tests run
coverage *ARGS:
    scripts/coverage {{ARGS}}

# instructions of the hot paths against those of the last commit
instructions *ARGS:
    scripts/instructions {{ARGS}}

# the engine beside others, and what README claims
bench *ARGS:
    scripts/bench {{ARGS}}

# a Debian package
package *ARGS:
    scripts/package {{ARGS}}

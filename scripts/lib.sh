# shellcheck shell=bash
# What the scripts share. Sourced, not run: it sets $repo and defines functions.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf '== %s\n' "$*" >&2; }

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# as_root COMMAND...: as it is for root, through sudo for others.
as_root() {
  if [[ $(id -u) -eq 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "this needs root: $*"
  fi
}

# install PACKAGE...: through apt. With LEINDEX_DRY_RUN set it says what it would install, and ends.
install() {
  if [[ -n ${LEINDEX_DRY_RUN:-} ]]; then
    say "would install: $*"
    exit 0
  fi
  command -v apt-get >/dev/null || die "missing, and there is no apt-get here to install it: $*"
  say "installing: $*"
  # Package lists may be missing or too old for what the mirrors still have.
  as_root apt-get install --yes --no-install-recommends "$@" >&2 && return
  as_root apt-get update >&2
  as_root apt-get install --yes --no-install-recommends "$@" >&2 || die "could not install: $*"
}

# need COMMAND=PACKAGE[,PACKAGE]...: installs the packages of the commands that are missing, all at once.
need() {
  local pair packages=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null && continue
    say "${pair%%=*} is missing"
    IFS=, read -ra more <<<"${pair#*=}"
    packages+=("${more[@]}")
  done
  if [[ ${#packages[@]} -gt 0 ]]; then install "${packages[@]}"; fi
}

# need_rust: cargo and a rustc that is new enough. Debian's own is too old, so this is not for apt to install.
need_rust() {
  local wanted found
  wanted=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$repo/Cargo.toml" | head -n 1)
  if ! command -v cargo >/dev/null && [[ -r ${CARGO_HOME:-$HOME/.cargo}/env ]]; then
    # shellcheck source=/dev/null
    source "${CARGO_HOME:-$HOME/.cargo}/env"
  fi
  command -v cargo >/dev/null || die "cargo is missing: install Rust $wanted or later, for example with rustup"
  found=$(cd "$repo" && rustc --version | cut -d ' ' -f 2)
  [[ $(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1) == "$wanted" ]] ||
    die "rustc is $found, and $wanted or later is needed: for example \`rustup update\`"
}

# need_to_build: what compiling takes. LMDB is C and comes with its crate; Hyperscan is a library of the system.
need_to_build() {
  need cc=gcc,libc6-dev
  need_hyperscan
  need_rust
}

# need_hyperscan: the library behind the feature `hyperscan`, where that exists: on x86-64.
need_hyperscan() {
  [[ $(uname -m) == x86_64 ]] || return 0
  need pkg-config=pkg-config
  pkg-config --exists libhs && return
  say 'libhs is missing'
  install libhyperscan-dev
}

# target_dir: where cargo puts what it builds, absolute.
target_dir() {
  local dir=${CARGO_TARGET_DIR:-$repo/target}
  case $dir in
    /*) printf '%s\n' "$dir" ;;
    *) printf '%s\n' "$PWD/$dir" ;;
  esac
}

# release_engine: sets $engine to a release build of leindex-engine: that of LEINDEX_ENGINE, or one made here.
release_engine() {
  engine=${LEINDEX_ENGINE:-}
  [[ -z $engine ]] || return 0
  need_to_build
  (cd "$repo" && cargo build --release --locked --features hyperscan --bin leindex-engine >&2)
  engine=$(target_dir)/release/leindex-engine
}

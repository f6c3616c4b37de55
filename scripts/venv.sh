# Sourced by the other scripts, from the project's root: `make_venv EXTRA` makes .venv, or brings it up to date, with
# the project installed in place and the packages of pyproject.toml's extra.

say() { printf '%s\n' "$*" >&2; }

# The newest suitable Python of this system; EDGEC_PYTHON names another.
find_python() {
  local name
  for name in ${EDGEC_PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  say "no Python 3.10 or newer; install one, or name it: EDGEC_PYTHON=/path/to/python3"
  return 1
}

# Debian and Ubuntu keep `venv` in a package of its own.
require_venv() {
  local python=$1 version packages
  "$python" -c 'import ensurepip, venv' 2>/dev/null && return
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  packages="python$version-venv"
  if ! command -v apt-get >/dev/null; then
    say "$python has no venv module; install it with this system's package manager"
    return 1
  fi
  if [ "$(id -u)" != 0 ]; then
    say "$python has no venv module; install it: sudo apt-get install $packages"
    return 1
  fi
  say "installing $packages"
  { apt-get -qq update || true; DEBIAN_FRONTEND=noninteractive apt-get -qq -y install "$packages" </dev/null; } >&2
}

make_venv() {
  local extra=$1 python stamp
  if command -v flock >/dev/null; then exec 8<. && flock 8; fi # two scripts at once: one installs, one waits
  if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python) && require_venv "$python" || return 1
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv || return 1
  fi
  # The folder is part of it: an installation in place that was copied with the folder still means the original.
  stamp=$({ pwd; cat pyproject.toml setup.py; } | .venv/bin/python -c \
    'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
  if [ "$(cat ".venv/edgec-$extra" 2>/dev/null)" != "$stamp" ]; then
    say "installing edgec and what it needs into .venv (about 1 GB on disk; minutes the first time)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --retries 10 -e ".[$extra]" >&2 || return 1
    echo "$stamp" >".venv/edgec-$extra"
  fi
  if command -v flock >/dev/null; then exec 8<&-; fi
}

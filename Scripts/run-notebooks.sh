#!/usr/bin/env bash
# Runs every notebook in Notebooks/ from the root of the repository and keeps the outputs.
#   Scripts/run-notebooks.sh           executes in place
#   Scripts/run-notebooks.sh --check   executes copies; fails when their text differs from what is stored
# Needs .build/release/bayesify (make release) and Python 3.11 or newer; makes .venv once.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  "" | --check) ;;
  *) echo "usage: $0 [--check]" >&2; exit 64 ;;
esac
if [ ! -x .build/release/bayesify ]; then
  echo "The command is not built; run this first: make release" >&2
  exit 1
fi

# The environment: made when it is missing or broken, filled again when the requirements change.
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "The notebooks need Python 3.11 or newer as python3 (or name one: PYTHON=python3.12 $0)." >&2
  exit 1
fi
make_environment() {
  rm -rf .venv
  "$python" -m venv .venv >/dev/null 2>&1 || { rm -rf .venv; return 1; }
}
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  echo "Making .venv"
  if ! make_environment; then
    # Debian keeps the module in a package of its own; elsewhere virtualenv may stand in.
    if command -v dpkg-query >/dev/null; then
      bash Scripts/install-packages.sh python3-venv || true
    fi
    if ! make_environment && ! "$python" -m virtualenv --quiet .venv 2>/dev/null; then
      echo "No virtual environment could be made. Run this once, then try again:" >&2
      echo "  sudo apt-get install -y python3-venv    # or, elsewhere: $python -m pip install virtualenv" >&2
      exit 1
    fi
  fi
fi
if ! cmp -s Notebooks/requirements.txt .venv/installed-requirements.txt; then
  echo "Installing Notebooks/requirements.txt into .venv"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r Notebooks/requirements.txt
  cp Notebooks/requirements.txt .venv/installed-requirements.txt
fi

# Nothing of the user's own Jupyter, IPython or matplotlib settings is read or written.  Sockets go to a
# folder with a short name, for their paths may have about a hundred characters.
settings=$PWD/.venv/settings
mkdir -p "$settings"
sockets=$(mktemp -d /tmp/notebooks.XXXXXX)
trap 'rm -rf "$sockets"' EXIT
export JUPYTER_CONFIG_DIR=$settings JUPYTER_DATA_DIR=$settings JUPYTER_RUNTIME_DIR=$sockets
export JUPYTER_PREFER_ENV_PATH=1 IPYTHONDIR=$settings MPLCONFIGDIR=$settings
.venv/bin/python Notebooks/execute.py "$@"

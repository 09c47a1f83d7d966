#!/usr/bin/env bash
# Writes small models with many real versions of Keras, and one network of PyTorch in the layouts of other libraries,
# imports every file, compares the answers, and writes Documentation/ImportMatrix.md from what was measured.
#
#   bash Scripts/import-matrix.sh [FOLDER]
#
# FOLDER (.build/import-matrix) keeps the Python environments, some 8 GB, and the files.  Needed are Python 3.11 for
# Keras 2.12 and later, 3.7 for Keras 2.2.4 and 3.6 for Keras 1.2.2, as python3.11, python3.7 and python3.6 or
# through pyenv; what a machine lacks is left out and said.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-.build/import-matrix}")
generate=$PWD/Tests/Golden/generate
mkdir -p "$folder/layouts"
export TF_CPP_MIN_LOG_LEVEL=3 PYTHONWARNINGS=ignore

python() {
  local found
  found=$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python 2>/dev/null | tail -1 || true)
  [ -n "$found" ] || found=$(command -v "python$1" || true)
  [ -n "$found" ] || { echo "no Python $1 on this machine: left out" >&2; return 1; }
  echo "$found"
}

# environment NAME PYTHON PACKAGE...
environment() {
  local place=$folder/$1 interpreter
  [ -e "$place/ready" ] && return
  interpreter=$(python "$2") || return 1
  "$interpreter" -m venv "$place"
  "$place/bin/pip" install -q -U pip
  "$place/bin/pip" install -q "${@:3}"
  touch "$place/ready"
}

# written LABEL COMMAND...: runs a writer, once.
written() {
  local label=$1
  shift
  [ -e "$folder/layouts/$label/refused.json" ] && return
  "$@" "$folder/layouts/$label" 2>"$folder/$label.log" || { tail -5 "$folder/$label.log" >&2; return 1; }
}

environment newest 3.11 keras==3.15.1 tensorflow-cpu==2.21.0 tf_keras==2.21.0 h5py==3.14.0
written keras-3.15.1 env KERAS_BACKEND=tensorflow "$folder/newest/bin/python" "$generate/make_import_layouts.py"
written tf_keras-2.21 env LAYOUT_LIBRARY=tf_keras "$folder/newest/bin/python" "$generate/make_import_layouts.py"

# Keras 3 needs no more than JAX.
environment jax 3.11 'jax[cpu]==0.4.30' 'numpy<2' h5py rich namex dm-tree absl-py ml_dtypes optree packaging
for version in 3.0.5 3.4.1 3.6.0; do
  [ -e "$folder/keras-$version" ] ||
    "$folder/jax/bin/pip" install -q --no-deps --target "$folder/keras-$version" "keras==$version"
  written "keras-$version" env KERAS_BACKEND=jax PYTHONPATH="$folder/keras-$version" "$folder/jax/bin/python" \
    "$generate/make_import_layouts.py"
done

for release in 2.12.1 2.13.1 2.15.1; do
  minor=${release%.*}
  environment "tf-$minor" 3.11 "tensorflow-cpu==$release" 'numpy<2'
  written "tf-$minor" env LAYOUT_LIBRARY=tensorflow "$folder/tf-$minor/bin/python" "$generate/make_import_layouts.py"
done

if environment keras-2.2 3.7 tensorflow==1.15.5 keras==2.2.4 'h5py<3' 'protobuf<3.21' 'numpy<1.19'; then
  written keras-2.2.4 env LAYOUT_LIBRARY=keras KERAS_BACKEND=tensorflow "$folder/keras-2.2/bin/python" \
    "$generate/make_import_layouts.py"
fi

if environment keras-1.2 3.6 keras==1.2.2 theano==1.0.5 'h5py<3' 'numpy<1.17' 'scipy<1.4' pyyaml six \
  tensorflow==1.5.0 'protobuf<3.18'; then
  for backend in tensorflow theano; do
    written "keras-1.2.2-$backend" env KERAS_BACKEND=$backend "$folder/keras-1.2/bin/python" \
      "$generate/make_keras1_layouts.py"
  done
fi

environment other 3.11 numpy==2.4.6 h5py==3.14.0 safetensors==0.8.0 hdf5storage==0.2.2
"$folder/other/bin/python" "$generate/make_other_layouts.py" "$folder/other-layouts"

swift build -c release --product bayesify
"$folder/newest/bin/python" Scripts/compare-imports.py .build/release/bayesify "$folder/results.json" \
  Documentation/ImportMatrix.md "$folder/other-layouts" "$folder"/layouts/*

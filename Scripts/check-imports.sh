#!/usr/bin/env bash
# Refuses what the compiler lets through: a C library imported outside its adaptor or publicly,
# and code marked unsafe outside the adaptors.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0

refuse() {
  if [ -n "$2" ]; then
    echo "$1" >&2
    echo "$2" >&2
    failed=1
  fi
}

refuse "A C module is imported publicly:" \
  "$(grep -rnE '^\s*(@_exported )?public import C[A-Z]' Sources || true)"
refuse "oneDNN and OpenBLAS belong to BayesKernels:" \
  "$(grep -rnE '^\s*import (COneDNN|COpenBLAS)' Sources | grep -v '^Sources/BayesKernels/' || true)"
refuse "HDF5, libzip, zlib, OpenSSL, libpng and libjpeg-turbo belong to BayesFiles:" \
  "$(grep -rnE '^\s*import (CHDF5|CZip|CZlib|CCrypto|CPNG|CJPEG)' Sources | grep -v '^Sources/BayesFiles/' || true)"
refuse "Open MPI belongs to BayesMPI:" \
  "$(grep -rnE '^\s*import CMPI' Sources | grep -v '^Sources/BayesMPI/' || true)"
refuse "Unsafe code belongs to the adaptors:" \
  "$(grep -rnE '\bunsafe\b|@unchecked Sendable|nonisolated\(unsafe\)' \
    Sources/{BayesTensor,BayesNetwork,BayesPrediction,BayesPosterior,BayesEvaluation,BayesReport} \
    --include='*.swift' | grep -vE '^\S+:\s*///?' || true)"
exit $failed

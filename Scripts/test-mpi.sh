#!/usr/bin/env bash
# Builds what MPI ranks run and runs it with one, two and three of them.
set -euo pipefail
cd "$(dirname "$0")/.."

bash Scripts/install-packages.sh libopenmpi-dev openmpi-bin
swift build --explicit-target-dependency-import-check error --traits MPI --scratch-path .build/mpi \
  --product BayesMPITests

log=.build/mpi/ranks.log

# Runs COUNT ranks with the arguments that follow; more ranks than cores are welcome.
ranks() {
  SWIFT_BACKTRACE=enable=no timeout --kill-after 10 120 mpirun --allow-run-as-root --oversubscribe -n "$1" \
    .build/mpi/debug/BayesMPITests "$@" </dev/null >$log 2>&1
}

fail() {
  cat $log >&2
  echo "MPI: FAILED: $1" >&2
  exit 1
}

for count in 1 2 3; do
  ranks $count || fail "$count rank(s) ended with code $?."
done
for count in 2 3; do
  for mistake in leave disagree; do
    code=0
    ranks $count $mistake || code=$?
    case $code in
      0) fail "$count ranks ended well although one was to $mistake." ;;
      124 | 137) fail "$count ranks hung when one was to $mistake." ;;
    esac
    [ $mistake = leave ] || grep -q "different numbers of elements" $log || fail "$count ranks did not notice."
  done
done
echo "MPI: passed with 1, 2 and 3 ranks; a rank that fails ends the others."

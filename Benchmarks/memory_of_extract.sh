#!/usr/bin/env bash
# Peak memory of `extract` on 10,000 and 60,000 rows of Fashion-MNIST; it must not grow with the rows.
#   bash Benchmarks/memory_of_extract.sh FOLDER   (holds checkpoints/ and data/)
set -euo pipefail
shared=$1
bayesify="$(dirname "$0")/../.build/release/bayesify"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for data in fashion-mnist-test.h5 fashion-mnist-train.h5; do
  python3 - "$bayesify" "$shared" "$data" "$out" <<'PY'
import resource, subprocess, sys
bayesify, shared, data, out = sys.argv[1:]
subprocess.run([bayesify, "extract", f"{shared}/checkpoints/fashion-cnn.h5", "--data", f"{shared}/data/{data}",
                "--scale", "255", "--quiet", "--force", "--output", f"{out}/records.h5"], check=True)
print(f"{data:26} peak {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:6.1f} MiB")
PY
done

#!/usr/bin/env bash
# The main job on the embedded model: a three-exit network on handwritten digits.
# Prints each command before it runs; ends with the path of the report.
set -euo pipefail
cd "$(dirname "$0")/.."

bayesify=.build/release/bayesify
model=Models/digits-early-exit
out=.build/demo
rm -rf "$out"
mkdir -p "$out"

run() {
  echo "\$ ${*/#$bayesify/bayesify}"
  "$@"
  echo
}

run $bayesify inspect $model/digits.h5
run $bayesify fit laplace $model/digits.h5 --data $model/train.h5 --validation $model/validation.h5 \
  --class-names $model/class-names.txt --output $out/posterior.h5
run $bayesify evaluate $model/digits.h5 $out/posterior.h5 --data $model/test.h5 \
  --validation $model/validation.h5 --ood rotated=$model/ood-rotated.h5 --ood noise=$model/ood-noise.h5 \
  --ood letters=$model/ood-letters.h5 --json $out/report.json --html $out/report.html
echo "The report: $PWD/$out/report.html"

# Everything a user or a contributor runs.  Each target installs what is missing first.

.PHONY: demo test avx2 mpi release notebooks check setup clean

# A target that imports a sibling it does not declare is an error.
FLAGS = --explicit-target-dependency-import-check error

## The main job on the embedded model; ends with the path of an HTML report.
demo: release
	@bash Scripts/demo.sh

## All tests, in debug; those of the command run the optimised one, as users do.
test: check release
	@bash Scripts/install-packages.sh python3-jsonschema
	swift build $(FLAGS) --build-tests
	BAYESIFY_COMMAND=$(CURDIR)/.build/release/bayesify swift test $(FLAGS)

## The engine's tests with oneDNN limited to AVX2, as on processors without AVX-512.
avx2: setup
	ONEDNN_MAX_CPU_ISA=AVX2 swift test $(FLAGS) --filter BayesKernelsTests

## What runs on MPI ranks, with one, two and three of them.
mpi:
	@bash Scripts/test-mpi.sh

## The command, optimised: .build/release/bayesify.
release: setup
	swift build $(FLAGS) -c release --product bayesify

## Runs the notebooks and keeps their outputs.
notebooks: release
	bash Scripts/run-notebooks.sh

## What the compiler does not check.
check:
	@bash Scripts/check-imports.sh

setup:
	@bash Scripts/install-packages.sh

clean:
	rm -rf .build .venv

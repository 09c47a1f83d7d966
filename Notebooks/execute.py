"""Executes the notebooks beside this file, from the root of the repository.

Called by Scripts/run-notebooks.sh. Without options the outputs are kept in place, in a form that is the
same whenever the outputs are. With --check nothing is written; the run fails when text outputs differ.
"""

import difflib
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

folder = Path(__file__).resolve().parent
root = folder.parent
SECONDS_A_CELL = 300


def execute(path):
    """The notebook with fresh outputs and without anything that changes from run to run."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    # Sockets in a folder of our own (JUPYTER_RUNTIME_DIR), not ports that others on the machine can reach.
    NotebookClient(
        notebook, timeout=SECONDS_A_CELL, kernel_name="python3", record_timing=False,
        config=Config({"KernelManager": {"transport": "ipc"}}),
        resources={"metadata": {"path": str(root)}}).execute()
    notebook.metadata = nbformat.from_dict({
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number:02}"
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs = [nbformat.from_dict(output) for output in merged(cell.outputs)]
    nbformat.validate(notebook)
    return notebook


def merged(outputs):
    """Joins what one stream said in several messages; how it is cut up depends on timing."""
    result = []
    for output in outputs:
        if result and output.output_type == "stream" == result[-1].output_type and output.name == result[-1].name:
            result[-1].text += output.text
        else:
            result.append(output)
    return result


def text_of(notebook):
    """Every text output, a line each, with the number of its cell."""
    lines = []
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                texts = [output.text]
            else:
                data = output.get("data", {})
                texts = [data[kind] for kind in sorted(data) if kind.startswith("text/")]
                lines += [f"cell {number}: [{kind}]" for kind in sorted(data) if not kind.startswith("text/")]
            lines += [f"cell {number}: {line.rstrip()}" for text in texts for line in text.splitlines()]
    return lines


COLOUR = re.compile(r"\x1b\[[0-9;]*m")
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.]*\w)")


def is_same(one, other):
    """Whether two lines agree but for spaces and the last digit of numbers.

    Processors add in different orders: a last printed digit may turn, by one, and no number by more than
    a thousandth beyond that.
    """
    if one == other:
        return True
    if NUMBER.sub("#", one).split() != NUMBER.sub("#", other).split():
        return False
    for a, b in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True):
        unit = 1.5 * 10 ** -min(len(n.partition(".")[2]) for n in (a, b)) if "." in a and "." in b else 0
        if abs(float(a) - float(b)) > max(unit, 1e-3 * abs(float(a))):
            return False
    return True


def differences(stored, fresh):
    """A readable diff, empty when all lines agree."""
    if len(stored) == len(fresh):
        fresh = [old if is_same(old, new) else new for old, new in zip(stored, fresh)]
    return list(difflib.unified_diff(stored, fresh, "stored", "this run", lineterm="", n=1))


def has_absolute_path(lines):
    return [line for line in lines if str(root) in line or str(Path.home()) + "/" in line]


def main():
    check = sys.argv[1:] == ["--check"]
    failed = 0
    for path in sorted(folder.glob("*.ipynb")):
        name = path.relative_to(root)
        started = time.monotonic()
        try:
            notebook = execute(path)
        except CellExecutionError as error:
            print(f"{name}: a cell failed\n{COLOUR.sub('', str(error))}", file=sys.stderr)
            failed += 1
            continue
        lines = text_of(notebook)
        problems = [f"an absolute path in an output: {line}" for line in has_absolute_path(lines)]
        verdict = "executed"
        if check:
            diff = differences(text_of(nbformat.read(path, as_version=4)), lines)
            verdict = "as stored"
            if diff:
                problems += diff + ["Outputs differ from those stored; if that is meant, run `make notebooks` and commit."]
        elif not problems:
            new = nbformat.writes(notebook) + "\n"
            if new == path.read_text(encoding="utf-8"):
                verdict = "executed, nothing changed"
            else:
                path.write_text(new, encoding="utf-8")
        if problems:
            failed += 1
            print(f"{name}:", *problems, sep="\n", file=sys.stderr)
        else:
            print(f"{name}: {verdict} ({time.monotonic() - started:.0f} s)")
    sys.exit(1 if failed else 0)


main()

#!/usr/bin/env python3
"""Makes the tables of Documentation/Detectors.md from reports of `bayesify evaluate … --detectors all --json`.

    python Scripts/tabulate-detectors.py TITLE=report.json … > tables.md

Scores of every model's predictions and detectors on the network's features, at the last exit: AUROC with its 95 % interval,
foreign rows positive, and the share of test rows lost when 95 % of the foreign rows are found (FPR95) with its interval; seconds
of detectors from reports with --timing.
"""
import json
import sys


def cell(score):
    def interval(values, digits):
        return " [" + ", ".join(f"{value:.{digits}f}" for value in values) + "]" if values else ""

    return (f"{score['auroc']:.3f}{interval(score.get('aurocInterval'), 3)} | "
            f"{score['fpr95']:.3f}{interval(score.get('fpr95Interval'), 3)}")


def main():
    for argument in sys.argv[1:]:
        title, file = argument.split("=", 1)
        with open(file, encoding="utf-8") as source:
            models = json.load(source)["models"]
        for position, known in enumerate(models[0]["exits"][-1]["ood"]):
            name = known["name"]
            rows = []
            for model in models:
                exit = model["exits"][-1]
                for score, values in exit["ood"][position]["scores"].items():
                    if not values["isConstant"]:
                        rows.append((values["auroc"], f"{score} of {model['name']}", cell(values) + " | | "))
                for detector in exit.get("detectors") or []:
                    values = detector["sets"][name]
                    seconds = detector.get("seconds")
                    times = f" | {seconds['fit']:.2f} | {seconds['scoringPerRow'] * 1e6:.1f}" if seconds else " | | "
                    rows.append((values["auroc"], f"{detector['name']} (features)", cell(values) + times))
            print(f"## {title} against {name}\n")
            print("| score | AUROC [95 %] | FPR95 [95 %] | fit, s | scoring, µs a row |\n|---|---|---|--:|--:|")
            for _, label, text in sorted(rows, reverse=True):
                print(f"| {label} | {text} |")
            print()


if __name__ == "__main__":
    main()

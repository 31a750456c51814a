"""Prints mean ± standard deviation over runs as a Markdown table: `python scripts/summarise_runs.py RUN_FOLDER …`.

Runs of the same name and data set (seeds of one experiment) share a row a task.
"""

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any


def main() -> None:
    groups: dict[tuple[str, str, str, str], list[dict[str, Any]]] = defaultdict(list)
    seeds: dict[str, set[int]] = defaultdict(set)
    for folder in map(Path, sys.argv[1:]):
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        name, data = metrics["config"]["name"], metrics["data"]["name"]
        seeds[name].add(metrics["seed"])
        for features, tasks in (("untrained", metrics.get("untrained", {})), ("trained", metrics["tasks"])):
            for task, result in tasks.items():
                groups[name, data, task, features].append(result)
    print("| run | data | task | features | mAP | R1 | mINP | seeds |")
    print("|---|---|---|---|---|---|---|---|")
    for (name, data, task, features), results in sorted(groups.items(), key=lambda item: item[0][:3]):
        cells = [_spread([pick(r) for r in results]) for pick in (_map, _rank1, _minp)]
        print(f"| {name} | {data} | {task} | {features} | {' | '.join(cells)} | {sorted(seeds[name])} |")


def _map(result: dict[str, Any]) -> float:
    return result["mAP"]


def _rank1(result: dict[str, Any]) -> float:
    return result["rank"]["1"]


def _minp(result: dict[str, Any]) -> float:
    return result["mINP"]


def _spread(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


if __name__ == "__main__":
    main()

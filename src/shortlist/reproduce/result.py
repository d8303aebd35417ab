"""Results of recipes: as JSON files that grow by seeds, and as text beside the published rows."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shortlist.errors import SettingsError


def table(result: Mapping[str, Any]) -> str:
    """A result as text: our mean and every published row."""
    names = list(result["mean"])
    count = len(result["runs"])
    rows = [(f"ours ({count} seed{'s' if count > 1 else ''})", result["mean"])]
    rows += [(f"{row['model']} ({row['source']})", row["figures"]) for row in result["published"]]
    width = max(len(name) for name, _ in rows)
    lines = [result["title"], " " * width + "".join(f"{name:>10}" for name in names)]
    for name, figures in rows:
        cells = "".join(f"{figures[metric]:>10.4f}" if metric in figures else " " * 10 for metric in names)
        lines.append(f"{name:<{width}}{cells}")
    return "\n".join(lines)


def overview(folder: Path) -> str:
    """The recipes of a folder, a line each, and where there is a result its table."""
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise SettingsError(f"There are no recipes in {folder.resolve()}. Give the path of one: reproduce FILE.toml.")
    blocks = []
    for file in files:
        result = folder / "results" / f"{file.stem}.json"
        known = table(json.loads(result.read_text(encoding="utf-8"))) if result.is_file() else "no result yet"
        blocks.append(f"{file}\n{known}")
    return "\n\n".join(blocks)


def write_result(result: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Write a result as JSON, whole or not at all, and return it with the runs of other seeds that were there before.

    Those of other settings are replaced.
    """
    whole = dict(result)
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before.get("settings") == whole["settings"]:
            seeds = {run["seed"] for run in whole["runs"]}
            kept = [run for run in before["runs"] if run["seed"] not in seeds]
            whole["runs"] = sorted([*kept, *whole["runs"]], key=lambda run: run["seed"])
            whole["mean"] = mean(whole["runs"])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
    return whole


def mean(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of the runs' test figures by name."""
    return {name: round(statistics.mean(run["test"][name]["value"] for run in runs), 4) for name in runs[0]["test"]}

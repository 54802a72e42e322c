"""Run one benchmark, print its table, and write bench/results/NAME.json.

Ends with 0 whatever the values are, and with something else only when a figure could not be measured.
"""

import importlib
import json
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.rows import Row, table
from fleet.optimizer.cache import processor

HERE = Path(__file__).parent
NAMES = sorted(each.stem for each in HERE.iterdir() if not each.name.startswith(("_", "rows", "results")))


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in NAMES:
        print(f"Name one of {', '.join(NAMES)}: make bench NAME={NAMES[0]}", file=sys.stderr)
        return 2
    name = arguments[0]
    rows: list[Row] = []
    for row in importlib.import_module(f"bench.{name}").run():
        print(table([row]).splitlines()[1], file=sys.stderr, flush=True)  # what comes after it may break
        rows.append(row)
    print(table(rows))
    result = {
        "name": name,
        "machine": f"{processor()}, {len(os.sched_getaffinity(0))} cores",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": [asdict(row) for row in rows],
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(row.value is not None for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

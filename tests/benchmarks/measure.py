"""Runs a piece of work in a process of its own and says what it cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass

__all__ = ["Cost", "cost_of", "print_table"]

_REPORT = """
import json, pathlib, resource, sys
used = resource.getrusage(resource.RUSAGE_SELF)
children = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = used.ru_utime + used.ru_stime + children.ru_utime + children.ru_stime
peak, status = used.ru_maxrss, pathlib.Path("/proc/self/status")
if status.exists():  # ru_maxrss begins with what the process had that started this one
    peak = int(status.read_text().split("VmHWM:")[1].split()[0])
print("COST " + json.dumps([cpu, max(peak, children.ru_maxrss)]), file=sys.stderr)
"""


@dataclass(frozen=True)
class Cost:
    """What a process took: wall and CPU seconds, peak memory, and what it printed."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    printed: str


def cost_of(code: str, *arguments: str) -> Cost:
    """Run Python code in a fresh interpreter; ``sys.argv[1:]`` are the arguments."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code + _REPORT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    wall_s = time.perf_counter() - start
    reports = [line for line in done.stderr.splitlines() if line.startswith("COST ")]
    if done.returncode != 0 or not reports:
        raise SystemExit(f"a benchmark failed:\n{done.stderr}")
    cpu_s, peak_kb = json.loads(reports[-1].removeprefix("COST "))
    return Cost(wall_s, cpu_s, peak_kb / 1024, done.stdout.strip())


def print_table(title: str, rows: list[tuple[str, Cost, str]]) -> None:
    """Print what each way cost, and the goal it is held against."""
    print(f"\n{title}")
    print(f"  {'':52} {'wall s':>8} {'CPU s':>8} {'peak MB':>8}  goal")
    for name, cost, goal in rows:
        print(f"  {name:52} {cost.wall_s:8.2f} {cost.cpu_s:8.2f} {cost.peak_mb:8.0f}  {goal}")

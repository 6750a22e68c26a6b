"""Which check of calibration sees what: false alarms, and power against posteriors that are wrong on purpose.

    python benchmarks/power_of_checks.py [--repetitions 1000] [--wrong 200] [--n 300]

Every check is given replications of three problems with known posteriors, in turn: exact, too narrow, too wide,
shifted, the prior whatever was measured, and without the correlation of the causes. A cell is the share of the
repetitions in which the check objects at 5 %; for wrong posteriors also, in brackets, the lowest share of one problem.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping

import torch

from physgen.diagnostics.calibration import CHECKS
from physgen.diagnostics.known_replications import FAULTS, PROBLEMS, known_replications
from physgen.progress import advancing

LEVEL = 0.05


Hits = dict[str, dict[str, tuple[int, int]]]
"""Check -> problem -> in how many repetitions it objects, and of how many."""


def hits(fault: str, repetitions: range, *, n: int, draws: int, times: int, advance: Callable[[int], None]) -> Hits:
    """Make every check on some repetitions of a fault; a repetition's number decides its problem and its data."""
    found = {name: dict.fromkeys(PROBLEMS, (0, 0)) for name in CHECKS}
    for i in repetitions:
        problem = list(PROBLEMS)[i % len(PROBLEMS)]
        replications = known_replications(problem, n, draws, fault=FAULTS[fault], seed=1000 * i)
        for name, check in CHECKS.items():
            objects, done = found[name][problem]
            failed = not check(replications, times=times, seed=i).passed(LEVEL)
            found[name][problem] = (objects + failed, done + 1)
        advance(1)
    return found


def table(found: Mapping[str, Hits]) -> str:
    """A Markdown table: a row for each check, a column for each fault, percent."""
    lines = ["| | " + " | ".join(FAULTS) + " |", "| --- |" + " ---: |" * len(FAULTS)]
    lines += [f"| {name} | " + " | ".join(_cell(f, found[f][name]) for f in FAULTS) + " |" for name in CHECKS]
    return "\n".join(lines)


def _cell(fault: str, by_problem: Mapping[str, tuple[int, int]]) -> str:
    objects, done = (sum(column) for column in zip(*by_problem.values(), strict=True))
    if fault == "exact":
        return f"{100 * objects / done:.1f}"
    return f"{100 * objects / done:.0f} ({100 * min(o / d for o, d in by_problem.values() if d):.0f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("repetitions", 1000), ("wrong", 200), ("n", 300), ("draws", 100), ("times", 199)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    torch.set_num_threads(1)
    start, found = time.process_time(), {}
    with advancing(sys.stderr.isatty(), given.repetitions + given.wrong * (len(FAULTS) - 1), "repetitions") as advance:
        for fault in FAULTS:
            count = range(given.repetitions if fault == "exact" else given.wrong)
            found[fault] = hits(fault, count, n=given.n, draws=given.draws, times=given.times, advance=advance)
    print(f"{given.repetitions} exact and {given.wrong} wrong repetitions, n = {given.n}, {given.draws} draws: percent")
    print(table(found))
    print(f"{time.process_time() - start:.0f} s of one core")


if __name__ == "__main__":
    main()

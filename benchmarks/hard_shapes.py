"""Every method at its default settings on posteriors of a hard shape: which pass, and whether a failure is announced.

    python benchmarks/hard_shapes.py                                   # all; hours on one core
    python benchmarks/hard_shapes.py --method NUTS Hamiltonian --shape ring --twins 2
    python benchmarks/hard_shapes.py --results hard.jsonl              # cells that are there are not run again
    python benchmarks/hard_shapes.py --compiled --method NUTS          # with compiled densities: half the time
    python benchmarks/hard_shapes.py --minutes 10                      # cells that take longer are given up

Every cell is `twins` runs of one observation, each with random numbers of its own, printed as a Markdown table: how
many were trusted, and what the others say. A run is wrong where a mean, a standard deviation or the mass of a mode is
off by more than 4.5 combined Monte-Carlo standard errors, and by more than 5 % (of the posterior standard deviation, of
itself, of the whole mass). The trusted runs of a cell are judged together as well. A wrong answer that is trusted is a
defect: it is printed as such, and the script ends with 1. The truth is exact draws: see `shapes.py`.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shapes import SHAPES, Shape
from torch import Tensor

import physgen.inversions as inversions
from physgen import compiled
from physgen.diagnostics.convergence import ess
from physgen.inversions.suggestion import NEEDS
from physgen.result import Result
from physgen.status import Status

ERRORS, SHARE = 4.5, 0.05
EXACT = 400_000  # draws
WHY = ("ess", "k_hat", "creep", "border_acceptance")  # statistics that the statuses come from: lowest and highest


@dataclass(frozen=True, eq=False)
class Truth:
    """Of each quantity: its mean and standard deviation (q,) under the posterior; centre and sd (n,) of the causes."""

    mean: Tensor
    sd: Tensor
    centre: Tensor
    scale: Tensor

    @staticmethod
    def of(shape: Shape) -> Truth:
        """From exact draws."""
        x = torch.as_tensor(shape.exact(EXACT, np.random.default_rng(0)))
        q = quantities(shape, x, x.mean(0))
        return Truth(q.mean(0), q.std(0), x.mean(0), x.std(0))


def quantities(shape: Shape, x: Tensor, centre: Tensor) -> Tensor:
    """Causes, squared deviations and, last, whether in the mode: (*, q), of which the means are compared."""
    parts = [x, (x - centre) ** 2]
    return torch.cat(parts if shape.mode is None else [*parts, shape.mode(x).to(x)[..., None]], -1)


def deviation(mean: Tensor, effective: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
    """How far estimates (q,) are off: in combined standard errors, and as shares."""
    error = (mean - truth.mean).abs() / (truth.sd * torch.sqrt(1 / effective + 1 / EXACT))
    n = len(truth.centre)
    # the variance about the estimated mean; its root is compared
    variance = mean[n : 2 * n] - (mean[:n] - truth.centre) ** 2
    sd = (variance.clamp(min=0).sqrt() / truth.scale - 1).abs()
    return error, torch.cat([(mean[:n] - truth.centre).abs() / truth.scale, sd, (mean - truth.mean)[2 * n :].abs()])


def wrong(mean: Tensor, effective: Tensor, truth: Truth) -> bool:
    """Whether estimates (q,) from so many effective draws (q,) are wrong by both measures."""
    error, share = deviation(mean, effective, truth)
    return bool(((error > ERRORS) & (share > SHARE)).any())


def judged(shape: Shape, truth: Truth, result: Result) -> dict[str, Any]:
    """Statuses of the twins, which of them are wrong, and whether those that are trusted are wrong together."""
    q = quantities(shape, result.samples, truth.centre)  # (chain, draw, R, q)
    chains, draws, twins = q.shape[:3]
    own = result.stats.get("ess", torch.full((twins,), torch.inf)).to(q)
    own = torch.where(torch.isfinite(own), own, float(chains * draws))
    if chains > 1:
        effective = torch.minimum(ess(q), own[:, None])
    else:
        effective = (1 / (1 / draws + 1 / own))[:, None].expand(twins, q.shape[-1])
    mean = q.mean((0, 1))
    good = result.trusted
    off = [not bool(torch.isfinite(m).all()) or wrong(m, e, truth) for m, e in zip(mean, effective, strict=True)]
    together = bool(good.any()) and wrong(mean[good].mean(0), effective[good].sum(0), truth)
    worst = deviation(mean[good].mean(0), effective[good].sum(0), truth) if bool(good.any()) else None
    return {
        "status": result.status.tolist(),
        "wrong": off,
        "together": together,
        "errors": None if worst is None else round(float(worst[0].amax()), 2),
        "share": None if worst is None else round(float(worst[1].amax()), 4),
        "range": {
            name: [float(f"{v:.3g}") for v in (value.min(), value.max())]
            for name in WHY
            if (value := result.stats.get(name)) is not None
        },
    }


def cell(name: str, shape: Shape, truth: Truth, twins: int, minutes: float = 0.0) -> dict[str, Any]:
    """What a method makes of the twins, or that it refuses, or takes more minutes of the processor than it may."""
    method, y = getattr(inversions, name)(), shape.y.expand(twins, -1)
    over: list[bool] = []

    def give_up(*_: object) -> None:
        over.append(True)
        raise KeyboardInterrupt

    signal.signal(signal.SIGPROF, give_up)
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, 60 * minutes)
    try:
        if name == "Amortised":
            method = method.fit(shape.problem, y=y)
        result = method(shape.problem, y, seed=1)
    except (TypeError, ValueError) as refusal:
        return {"refused": str(refusal)}
    except KeyboardInterrupt:
        if not over:  # by whoever runs this
            raise
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if over:  # some methods keep what they have, and return
        return {"minutes": minutes}
    return judged(shape, truth, result) | {"seconds": round(time.process_time() - began, 1)}


def words(found: dict[str, Any] | None) -> str:
    """A cell of the table."""
    if found is None:
        return ""
    if "refused" in found:
        return "refused"
    if "minutes" in found:
        return f"no end in {found['minutes']:g} min"
    status = [Status(code) for code in found["status"]]
    bad = sum(w and s == Status.TRUSTED for w, s in zip(found["wrong"], status, strict=True))
    if bad or found["together"]:
        return f"**wrong, trusted** ({bad} of {len(status)})"
    trusted = sum(s == Status.TRUSTED for s in status)
    if trusted == len(status):
        return "passes"
    others = Counter(s.meaning.replace("_", " ") for s in status if s != Status.TRUSTED)
    said = ", ".join(others)
    return said if not trusted else f"{trusted} of {len(status)}; {said}"


def table(found: dict[tuple[str, str], dict[str, Any]], methods: list[str], shapes: list[str]) -> str:
    """Markdown."""
    lines = [" | ".join(["| method", *shapes]) + " |", "| --- " * (len(shapes) + 1) + "|"]
    for method in methods:
        lines.append(" | ".join([f"| `{method}`", *(words(found.get((method, s))) for s in shapes)]) + " |")
    return "\n".join(lines)


def main() -> int:
    """Print the table; 0 if no wrong answer is trusted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=[*NEEDS, "Auto"], nargs="*", default=[*NEEDS, "Auto"])
    parser.add_argument("--shape", choices=SHAPES, nargs="*", default=list(SHAPES))
    parser.add_argument("--twins", type=int, default=4, help="runs of each cell")
    parser.add_argument("--minutes", type=float, default=0.0, help="of the processor that a cell may take (0: any)")
    parser.add_argument("--compiled", action="store_true", help="densities and gradients, as `physgen.compiled` does")
    parser.add_argument("--results", type=Path, help="file of one line for each cell; those in it are not run again")
    asked = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    if asked.results and asked.results.exists():
        lines = (json.loads(line) for line in asked.results.read_text(encoding="utf-8").splitlines())
        found = {(line["method"], line["shape"]): line for line in lines}
    for name in asked.shape:
        shape = SHAPES[name]()
        if asked.compiled:
            shape = replace(shape, problem=replace(shape.problem, forward=compiled(shape.problem.forward)))
        wanted = [method for method in asked.method if (method, name) not in found]
        truth = Truth.of(shape) if wanted else None
        for method in wanted:
            assert truth is not None
            made = {"method": method, "shape": name} | cell(method, shape, truth, asked.twins, asked.minutes)
            found[method, name] = made
            print(json.dumps(made), file=sys.stderr, flush=True)
            if asked.results:
                with asked.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(made) + "\n")
    print(table(found, asked.method, asked.shape))
    return int(any("**" in words(value) for value in found.values()))


if __name__ == "__main__":
    sys.exit(main())

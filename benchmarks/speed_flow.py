"""What the default `Flow` costs: fit on 10 causes and 50,000 samples, decode at 4,096 rows, and a million draws.

    python benchmarks/speed_flow.py
    python benchmarks/speed_flow.py --fit-only

Beside the decode, that of zuko's neural spline flows of the same size: coupling, and autoregressive in the direction
that a flow fitted by maximum likelihood decodes in. Everything runs on one core, or on `--threads` of them: more
pay only where nothing else uses them.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
import torch
import zuko

from physgen.priors.flow import Flow
from physgen.progress import Progress
from physgen.space import Block, Space

CAUSES, SAMPLES, ROWS = 10, 50_000, 4096
TRANSFORMS, BINS, HIDDEN = 6, 8, (48, 48)  # the defaults of Flow.fit


def table() -> tuple[np.ndarray, Space]:
    """Ten causes with bends, two modes, a heteroscedastic one, and two that have supports."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(SAMPLES, CAUSES))
    x = a.copy()
    x[:, 1] = a[:, 0] ** 2 + 0.3 * a[:, 1]
    x[:, 2] = np.exp(0.5 * a[:, 2] + 0.15 * x[:, 1])
    x[:, 3] = 1 / (1 + np.exp(-a[:, 3] - a[:, 0]))
    x[:, 4] = np.sin(2 * a[:, 0]) + 0.2 * a[:, 4]
    x[:, 5] = np.where(rng.random(SAMPLES) < 0.5, 2, -2) + 0.5 * a[:, 5]
    x[:, 6] = x[:, 5] * a[:, 0] + a[:, 6]
    supports = {2: (0, np.inf), 3: (0, 1)}
    return x, Space(*(Block(f"c{i}", support=supports.get(i, (-np.inf, np.inf))) for i in range(CAUSES)))


def best_of(function: Callable[[], object], times: int = 10) -> float:
    """Shortest time, in seconds of this process, which other work on the machine does not lengthen as much."""
    function()
    spent = []
    for _ in range(times):
        start = time.process_time()
        function()
        spent.append(time.process_time() - start)
    return min(spent)


def peers(dtype: torch.dtype) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Decoders of zuko's flows."""
    size = {"transforms": TRANSFORMS, "bins": BINS, "hidden_features": HIDDEN, "activation": torch.nn.SiLU}
    coupling, sequential = (zuko.flows.NSF(CAUSES, passes=p, **size).to(dtype) for p in (2, None))
    return {
        "zuko, coupling": lambda z: coupling().transform.inv(z),
        "zuko, autoregressive": lambda z: sequential().transform.inv(z),
    }


def compare_decode(flow: Flow) -> None:
    """Print rows a second on one core, beside zuko's."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        for dtype in (torch.float32, torch.float64):
            z = torch.randn(ROWS, CAUSES, dtype=dtype, generator=torch.Generator().manual_seed(0))
            own = ROWS / best_of(lambda z=z: flow.decode(z))
            print(f"decode, {dtype!s:13s} physgen {own:8,.0f} a second and core", end="")
            for name, decode in peers(dtype).items():
                rate = ROWS / best_of(lambda z=z, decode=decode: decode(z), 3)
                print(f"   {name} {rate:7,.0f} (ratio {own / rate:.1f})", end="")
            print(flush=True)
    torch.set_num_threads(threads)


def main() -> None:
    """Print the three figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit-only", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    x, causes = table()
    progress: Progress = os.isatty(2)
    start, spent = time.perf_counter(), time.process_time()
    flow = Flow.fit(x, causes=causes, seed=1, progress=progress)
    wall, spent, report = time.perf_counter() - start, time.process_time() - spent, flow.report
    print(
        f"fit, {CAUSES} causes, {SAMPLES:,} samples   {wall:.0f} s ({spent:.0f} s of processor, "
        f"{torch.get_num_threads()} threads)   held-out NLL {report.best:.3f}, normal {report.baseline:.3f}, "
        f"{report.epochs} epochs",
        flush=True,
    )
    if arguments.fit_only:
        return
    compare_decode(flow)
    start, spent = time.perf_counter(), time.process_time()
    flow.sample(1_000_000, seed=1)
    print(
        f"1,000,000 draws, float32   {time.perf_counter() - start:.1f} s ({time.process_time() - spent:.1f} s of "
        f"processor)"
    )


if __name__ == "__main__":
    main()

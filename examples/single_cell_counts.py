"""Single-cell expression: how much of each gene does a cell hold, when only some molecules are caught?

Counts are negative binomial; the share of molecules that is caught (capture efficiency) and the sequencing depth
(library size) differ from cell to cell and are known. A decoder learns which expressions there are; cells that it
makes, counted like cells that it has never seen, must look like these; and counts are inverted for the expression.

The cells are simulated, so that the truth is known: three types, a programme of genes within each type, scatter.

Run: python examples/single_cell_counts.py
"""

from __future__ import annotations

import torch

import physgen as pg
from physgen.diagnostics.c2st import c2st
from physgen.inversions import OptimalEstimation
from physgen.random import normal, single_stream, uniform

GENES, CELLS, HELD_OUT = 12, 6000, 2000
NAMES = [pg.Block(f"gene_{i}", "1", (0.0, float("inf")), "molecules per cell") for i in range(GENES)]


def cells(count: int, seed: int) -> torch.Tensor:
    """Molecules of each gene (count, GENES): exp of type mean, programme times loading, and scatter."""
    kind = (3 * uniform((count,), single_stream(), seed=seed)).long()
    mean = 3 + 0.8 * normal((3, GENES), single_stream(), seed=0, stage=1)
    loading = 0.5 * normal((1, GENES), single_stream(), seed=0, stage=2)
    programme = normal((count, 1), single_stream(), seed=seed, stage=3)
    scatter = 0.2 * normal((count, GENES), single_stream(), seed=seed, stage=4)
    return torch.exp(mean[kind] + programme * loading + scatter)


def circumstances(count: int, seed: int) -> dict[str, torch.Tensor]:
    """Capture efficiency within 0.1 to 0.4, relative library size around 1."""
    capture = 0.1 + 0.3 * uniform((count,), single_stream(), seed=seed, stage=5)
    return {"capture": capture, "library": torch.exp(0.3 * normal((count,), single_stream(), seed=seed, stage=6))}


def caught(x: torch.Tensor, *, capture: torch.Tensor, library: torch.Tensor) -> torch.Tensor:
    """Expected counts (*, GENES) of molecules (*, GENES)."""
    return x * (capture * library)[..., None]


def learned_problem(seed: int = 0) -> pg.Problem:
    """The decoder learned from cells, and how cells are counted."""
    prior = pg.Decoder.fit(cells(CELLS, seed=1), 4, causes=NAMES, hidden=(128, 128), noise="network", seed=seed)
    return pg.Problem(caught, prior, pg.NegativeBinomialNoise(dispersion=0.05))


def profiles_apart(problem: pg.Problem) -> float:
    """C2ST between held-out cells, counted, and as many that the prior makes, counted under the same circumstances."""
    own = circumstances(HELD_OUT, seed=2)
    real = problem.noise.sample(caught(cells(HELD_OUT, seed=2), **own), seed=2)
    _, made = problem.simulate(HELD_OUT, seed=3, **own)
    return c2st(torch.log1p(real), torch.log1p(made)).accuracy


def main() -> None:
    """Print how well generated counts pass for real ones, and how well expression is recovered."""
    problem = learned_problem()
    print(f"C2ST of generated against held-out counts: {profiles_apart(problem):.3f} (0.5: cannot be told apart)")
    truth, own = cells(200, seed=4), circumstances(200, seed=4)
    result = OptimalEstimation()(problem, problem.noise.sample(caught(truth, **own), seed=4), conditions=own)
    good = result.trusted
    rank = (result.draws[:, good] < truth[good]).double().mean(0)
    covered = ((rank > 0.05) & (rank < 0.95)).double().mean()
    print(f"trusted {good.double().mean():.2f}, 90 % intervals cover {covered:.3f}")
    error = (result.draws[:, good].median(0).values.log() - truth[good].log()).abs().mean()
    print(f"expression is known to a factor of {float(error.exp()):.2f}")


if __name__ == "__main__":
    main()

"""What draws of chains come to."""

import torch

from physgen.diagnostics.convergence import ess_bulk
from physgen.inversions.markov import summary

from .known_posteriors import KNOWN


def test_effective_draws_are_those_of_the_spread_too():
    """Chains that jump from side to side, x' = -0.7 x + e: the mean is known from few draws, the spread from many."""
    g = torch.Generator().manual_seed(5)
    e = torch.randn(1, 16, 2000, 2, dtype=torch.float64, generator=g)
    z = [e[:, :, 0]]
    for t in range(1, e.shape[2]):
        z.append(-0.7 * z[-1] + (1 - 0.7**2) ** 0.5 * e[:, :, t])
    z = torch.stack(z, 2)
    known = KNOWN["linear-2"]()
    posterior = known.problem.condition(known.y[None])
    found, draws = float(summary(posterior, z, 4)["ess"]), z[..., 0].numel()
    bulk = float(ess_bulk(posterior.decode(z.permute(1, 2, 0, 3))[:, :, 0]).min())
    theory = (1 - 0.7**2) / (1 + 0.7**2)  # of squares, whose autocorrelation is 0.7^2; that of ranks is a little less
    print(f"of the mean {bulk / draws:.2f}, of both {found / draws:.3f}, theory {theory:.3f}")
    assert bulk > 3 * draws
    assert theory < found / draws < 1.4 * theory

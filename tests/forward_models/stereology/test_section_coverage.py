"""Slow: do the intervals hold the truth as often as they say, over 1,000 simulated sets of 2,000 sections?"""

from __future__ import annotations

import pytest
import torch

import physgen as pg
from physgen.forward_models.stereology.section_noise import SectionSizes
from physgen.forward_models.stereology.spheres_model import Spheres
from physgen.inversions import OptimalEstimation

SETS, SECTIONS = 1000, 2000
PRIOR = pg.Independent(geometric_mean=pg.LogNormal(30.0, 1.0), multiplicative_sd=pg.Uniform(1.02, 4.0))
INVERSION = OptimalEstimation(draws=1000, round_draws=(600, 600, 1200))


def intervals(result, truth):
    """Share of the sets whose 90 % intervals hold the truth, and the relative bias of the posterior means."""
    draws = result.draws
    low, high = torch.quantile(draws, torch.tensor([0.05, 0.95], dtype=draws.dtype), dim=0)
    covered = ((low < truth) & (truth < high)).to(draws.dtype).mean(0)
    return covered, draws.mean(0).mean(0) / truth - 1


def simulated(truth, sets, seed, **conditions):
    noise = SectionSizes(profiles=SECTIONS)
    theta = Spheres()(truth).expand(sets, 2)
    return noise.sample(theta, seed=seed, **{k: torch.tensor(v) for k, v in conditions.items()})


@pytest.mark.slow
@pytest.mark.parametrize("sd", [1.3, 1.5, 1.8])
def test_intervals_of_lognormal_spheres_cover_and_are_not_biased(sd):
    truth = torch.tensor([30.0, sd])
    y = simulated(truth, SETS, seed=int(10 * sd))
    result = INVERSION(pg.Problem(Spheres(), PRIOR, SectionSizes()), y, seed=1)
    covered, bias = intervals(result, truth)
    good = float((result.status == 0).double().mean())
    print(f"sd {sd}: coverage {covered.tolist()}, bias {bias.tolist()}, trusted {good}")
    assert good > 0.99
    assert bool(((covered > 0.87) & (covered < 0.93)).all())
    assert bool((bias.abs() < 0.01).all())


@pytest.mark.slow
def test_a_thin_section_and_a_detection_limit_are_covered_together_and_ignoring_either_biases():
    truth, seen = torch.tensor([30.0, 1.5]), {"thickness": 15.0, "smallest": 12.0}
    y, problem = simulated(truth, 200, seed=5, **seen), pg.Problem(Spheres(), PRIOR, SectionSizes())
    covered, bias = intervals(INVERSION(problem, y, conditions=seen, seed=1), truth)
    print(f"both: coverage {covered.tolist()}, bias {bias.tolist()}")
    # 200 sets: the share of a true 0.9 has the standard deviation 0.021
    assert bool(((covered > 0.83) & (covered < 0.97)).all())
    assert bool((bias.abs() < 0.01).all())
    for known in seen:
        covered, bias = intervals(INVERSION(problem, y[:50], conditions={known: seen[known]}, seed=1), truth)
        print(f"only {known}: coverage {covered.tolist()}, bias {bias.tolist()}")
        assert float(bias.abs().max()) > 0.02
        # five standard deviations, sqrt(0.9 * 0.1 / 50) each, below the 0.9 that honest intervals have
        assert float(covered.min()) < 0.69

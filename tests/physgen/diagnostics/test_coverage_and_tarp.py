"""Expected coverage and TARP: what they count, and what a wrong choice of reference points would let pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from physgen.diagnostics.expected_coverage import LEVELS, expected_coverage
from physgen.diagnostics.known_replications import FAULTS, known_replications
from physgen.diagnostics.tarp import reference_points, tarp

NORMAL = torch.distributions.Normal(0.0, 1.0)


@pytest.mark.parametrize("draws", [99, 100])
def test_marginal_coverage_of_a_narrow_posterior_is_that_of_the_normal(draws: int) -> None:
    found = expected_coverage(known_replications("sizes", 4000, draws, fault=FAULTS["0.8 sd"]), times=19)
    for level, *shares in zip(LEVELS, *found.figures["coverage"].values(), strict=True):
        wanted = 1 - 2 * float(NORMAL.cdf(-0.8 * NORMAL.icdf(torch.tensor((1 + level) / 2))))
        assert shares == pytest.approx([wanted] * 2, abs=4 * (wanted * (1 - wanted) / 4000) ** 0.5 + 0.01)
    assert found.p_value == 0.05
    assert not found.passed()


def test_coverage_of_an_exact_posterior_is_the_level() -> None:
    for kind in ("marginal", "highest-density"):
        found = expected_coverage(known_replications("angles", 4000, 99), kind=kind, times=19)
        for shares in found.figures["coverage"].values():
            assert shares == pytest.approx(LEVELS, abs=4 * 0.5 / 4000**0.5)


def test_central_coverage_is_blind_to_a_shift_and_highest_density_is_not_quite() -> None:
    shifted = known_replications("sizes", 300, 100, fault=FAULTS["shift 0.3 sd"], seed=4)
    assert expected_coverage(shifted, times=199).p_value > 0.01
    assert (
        "conformal" in expected_coverage(known_replications("sizes", 300, 100, fault=FAULTS["0.8 sd"]), times=199).words
    )


def test_tarp_sees_a_posterior_that_ignores_the_data() -> None:
    """With reference points that do not depend on the observation, the prior passes for a posterior."""
    prior = known_replications("sizes", 300, 100, fault=FAULTS["the prior"], seed=8)
    g = torch.Generator().manual_seed(0)
    low, high = prior.truth.amin(0), prior.truth.amax(0)
    box = low + (high - low) * torch.rand(1, 300, 2, generator=g)  # uniform over the box of all truths
    assert tarp(prior, references=box, times=199).passed()
    assert not tarp(prior, times=199).passed()


def test_references_that_know_the_truth_refuse_an_exact_posterior() -> None:
    exact = known_replications("sizes", 300, 100, seed=8)
    assert tarp(exact, times=199).passed()
    g = torch.Generator().manual_seed(0)
    near = exact.truth + 0.1 * torch.randn(1, 300, 2, generator=g)
    assert not tarp(exact, references=near, times=199).passed()


def test_references_depend_on_the_observation_and_not_on_the_own_truth() -> None:
    found = known_replications("angles", 100, 20)
    points, names = reference_points(found)
    assert points.shape == (3, 100, 3)
    assert len(names) == 3
    truth = found.truth.clone()
    truth[::2] += 100 * torch.rand(50, 3)  # the truths of one half move the references of the other half alone
    moved, _ = reference_points(replace(found, truth=truth))
    same = (moved - points).abs().amax((0, 2)) < 1e-9
    assert bool(same[::2].all())
    assert not bool(same[1::2].any())
    correlation = torch.corrcoef(torch.stack([points[0, :, 0], found.truth[:, 0]]))[0, 1]
    assert float(correlation) > 0.7


def test_ranks_by_distance_are_counted() -> None:
    found = known_replications("shares", 60, 20)
    point = torch.full((1, 60, 2), 0.5)
    scale = found.truth.std(0)
    nearer = ((found.draws - 0.5) / scale).norm(dim=-1) < ((found.truth - 0.5) / scale).norm(dim=-1)
    ecp = tarp(found, references=point, times=19).figures["ecp"]["reference 1"]
    wanted = [float((nearer.sum(0) <= i).double().mean()) for i in range(20)]
    assert ecp == pytest.approx(wanted, abs=1e-4)


def test_gaps_in_the_observations() -> None:
    found = known_replications("angles", 120, 30)
    assert found.y is not None
    y = found.y.clone()
    y[::3, 1] = torch.nan
    assert 0 < tarp(replace(found, y=y), times=19).p_value <= 1


def test_bad_input() -> None:
    found = known_replications("sizes", 60, 30)
    with pytest.raises(ValueError, match=r"Unknown kind of coverage 'joint'. Choose from marginal, highest-density."):
        expected_coverage(found, kind="joint")
    with pytest.raises(ValueError, match=r"Highest-density coverage needs the log density of truth and draws."):
        expected_coverage(replace(found, log_prob_truth=None), kind="highest-density")
    with pytest.raises(ValueError, match=r"This check needs the observations."):
        tarp(replace(found, y=None))
    with pytest.raises(ValueError, match=r"Invalid shape \(2, 10, 2\) of references."):
        tarp(found, references=torch.zeros(2, 10, 2))
    with pytest.raises(ValueError, match=r"Too few replications for TARP: 40 trusted of 40. At least 50 are needed"):
        tarp(found.select(slice(0, 40)))

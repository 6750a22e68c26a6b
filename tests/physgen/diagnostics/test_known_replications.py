"""The closed-form posteriors that checks are tried on: against importance sampling of the prior."""

from __future__ import annotations

import pytest
import torch

from physgen.diagnostics.known_replications import FAULTS, PROBLEMS, Fault, known_replications


@pytest.mark.parametrize("problem", PROBLEMS)
def test_draws_follow_prior_times_likelihood(problem: str) -> None:
    n = 4
    exact = known_replications(problem, n, 15_000, seed=5)
    prior = known_replications(problem, n, 60_000, fault=Fault(prior=True), seed=5)
    assert prior.log_likelihood_draws is not None
    assert torch.equal(exact.truth, prior.truth)
    weight = torch.softmax(prior.log_likelihood_draws, 0)[..., None]
    mean = (weight * prior.draws).sum(0)
    sd = (weight * (prior.draws - mean).square()).sum(0).sqrt()
    ess = 1 / weight.square().sum(0)
    assert bool(((exact.draws.mean(0) - mean).abs() < 5 * sd * (1 / ess + 1 / 15_000).sqrt()).all())
    assert bool(((exact.draws.std(0) / sd - 1).abs() < 5 * (1 / ess).sqrt()).all())


@pytest.mark.parametrize("problem", PROBLEMS)
def test_density_is_that_of_the_draws(problem: str) -> None:
    """log posterior - log likelihood is the log prior, but for a constant of each replication."""
    found = known_replications(problem, 6, 50, seed=1)
    assert found.log_prob_draws is not None
    assert found.log_likelihood_draws is not None
    prior = found.log_prob_draws - found.log_likelihood_draws
    if problem == "angles":
        S_a = torch.tensor([[1.0, 0.5, 0.2], [0.5, 2.0, -0.3], [0.2, -0.3, 0.7]])
        wanted = -0.5 * torch.einsum("sni,ij,snj->sn", found.draws, torch.linalg.inv(S_a), found.draws)
    elif problem == "sizes":
        wanted = -2 * found.draws.log().square().sum(-1)
    else:
        wanted = torch.zeros_like(prior)
    off = prior - wanted
    assert float((off - off[0]).abs().max()) < 1e-8


def test_faults_do_what_they_say() -> None:
    exact, narrow, shifted = (
        known_replications("angles", 20, 4000, fault=FAULTS[name]) for name in ("exact", "0.8 sd", "shift 0.3 sd")
    )
    sd = exact.draws.std(0)
    torch.testing.assert_close(narrow.draws.std(0) / sd, torch.full_like(sd, 0.8))
    torch.testing.assert_close((shifted.draws - exact.draws).mean(0) / sd, torch.full_like(sd, 0.3), rtol=0.05, atol=0)
    apart = known_replications("angles", 20, 4000, fault=FAULTS["uncorrelated"])
    assert torch.equal(apart.draws.sort(0).values, exact.draws.sort(0).values)
    correlation = torch.stack([torch.corrcoef(apart.draws[:, i].mT)[0, 1] for i in range(20)])
    assert float(correlation.abs().max()) < 5 / 4000**0.5


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"Unknown problem 'toys'. Choose from angles, sizes, shares."):
        known_replications("toys", 10, 10)

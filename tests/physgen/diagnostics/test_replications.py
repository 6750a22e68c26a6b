"""Replications: made of a problem and an inversion, thinned, selected, refused."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from physgen.diagnostics.known_replications import known_replications
from physgen.diagnostics.posterior_sbc import measured_twice, posterior_replicate
from physgen.diagnostics.replications import Replications, replicate, replications_of
from physgen.diagnostics.sbc import rank_replications, sbc, sbc_ranks
from physgen.noise import CorrelatedGaussianNoise, GaussianNoise
from physgen.priors import Gaussian, Independent, Uniform
from physgen.problem import Problem
from physgen.random import normal
from physgen.result import Result
from physgen.status import Status

A = torch.tensor([[1.0, 0.4], [0.0, 0.5], [-0.7, 1.0]], dtype=torch.float64)


def forward(x: Tensor, tilt: Tensor) -> Tensor:
    return x @ A.to(x).mT + tilt[..., None]


PROBLEM = Problem(forward, Gaussian([0.0, 1.0], [[1.0, 0.3], [0.3, 0.5]]), GaussianNoise(0.5))


@dataclass(frozen=True)
class Exact:
    """The closed-form posterior of `PROBLEM`, or of two measurements of it."""

    draws: int = 60
    scale: float = 1.0
    stats: dict[str, float] = field(default_factory=dict)
    untrusted: float = torch.inf

    def __call__(self, problem: Problem, y: Any, *, conditions: Any = None, seed: int = 0, **_: Any) -> Result:
        y = torch.as_tensor(y, dtype=torch.float64)
        times = y.shape[-1] // 3
        rows = A.repeat(times, 1)
        precision = (
            torch.linalg.inv(torch.tensor([[1.0, 0.3], [0.3, 0.5]], dtype=torch.float64)) + rows.mT @ rows / 0.25
        )
        S = torch.linalg.inv(precision)
        prior = torch.tensor([0.0, 1.0], dtype=torch.float64)
        off = y - torch.as_tensor(conditions["tilt"], dtype=torch.float64).reshape(-1, 1) - prior @ rows.mT
        mean = prior + off @ rows @ S / 0.25
        z = normal((self.draws, 2), torch.arange(len(y)), seed=seed).movedim(1, 0)
        x = mean + self.scale * z @ torch.linalg.cholesky(S).mT
        status = torch.where(y[:, 0].abs() > self.untrusted, int(Status.HEAVY_TAILS), int(Status.TRUSTED))
        stats = {k: torch.full((len(y),), v) for k, v in self.stats.items()}
        given = {k: torch.as_tensor(v).expand(len(y)) for k, v in conditions.items()}
        return Result(x[None], status, stats, problem.prior.causes, y, given)


def test_replicate_simulates_and_inverts() -> None:
    tilt = torch.linspace(-1, 1, 50)
    found = replicate(PROBLEM, Exact(), 50, seed=3, conditions={"tilt": tilt})
    truth, y = PROBLEM.simulate(50, seed=3, tilt=tilt)
    assert torch.equal(found.truth, truth)
    assert found.y is not None
    assert torch.equal(found.y, y)
    assert found.draws.shape == (60, 50, 2)
    assert len(found) == 50
    assert found.log_likelihood_truth is not None
    assert found.log_prob_truth is not None
    prediction = forward(truth, tilt)
    wanted = GaussianNoise(0.5).log_prob(y, prediction)
    torch.testing.assert_close(found.log_likelihood_truth, wanted)
    # up to a constant, the log posterior is log prior + log likelihood
    off = found.log_prob_truth - wanted - PROBLEM.prior.log_prob(truth)
    torch.testing.assert_close(off, off[:1].expand_as(off))


def test_exact_passes_and_narrow_fails() -> None:
    conditions = {"tilt": 0.3}
    assert sbc(sbc_ranks(PROBLEM, Exact(), 300, seed=1, conditions=conditions), times=199).passed()
    assert not sbc(sbc_ranks(PROBLEM, Exact(scale=0.7), 300, seed=1, conditions=conditions), times=199).passed()


def test_draws_are_thinned_to_the_smallest_effective_number() -> None:
    found = replicate(PROBLEM, Exact(draws=90, stats={"ess": 30.7}), 20, conditions={"tilt": 0.0})
    assert len(found.draws) == 30
    whole = replicate(PROBLEM, Exact(draws=90), 20, conditions={"tilt": 0.0})
    # without a statement, from the chain itself: independent draws keep most of theirs
    assert 70 <= len(whole.draws) <= 90
    everyone = Exact(draws=90)(PROBLEM, found.y, conditions={"tilt": 0.0}).draws
    torch.testing.assert_close(found.draws, everyone[::3])
    assert len(replicate(PROBLEM, Exact(draws=90), 20, conditions={"tilt": 0.0}, draws=25).draws) == 25


def test_a_chain_that_moves_slowly_is_thinned() -> None:
    n, S = 25, 2000
    step = normal((S,), torch.arange(n), seed=0).mT
    walk = torch.zeros(S, n)
    for i in range(1, S):
        walk[i] = 0.9 * walk[i - 1] + step[i]
    one = Problem(lambda x: x, Independent(a=Uniform(-20, 20)), GaussianNoise(1.0))
    result = Result(walk[None, ..., None], torch.zeros(n, dtype=torch.int64), {}, one.prior.causes, torch.zeros(n, 1))
    kept = len(replications_of(one, torch.zeros(n, 1), result).draws)
    assert kept == pytest.approx(S * 0.1 / 1.9, rel=0.3)  # (1 - rho) / (1 + rho)


def test_only_trusted_ones_are_used() -> None:
    found = replicate(PROBLEM, Exact(untrusted=1.5), 200, seed=5, conditions={"tilt": 0.0})
    assert found.trusted is not None
    own = found.usable("a test")
    assert len(own) == int(found.trusted.sum()) < 200
    # a selection by what was observed leaves the rest exact
    assert sbc(found, times=199).passed()
    assert sbc(found).n == len(own)


def test_select_and_thin_keep_all_parts() -> None:
    found = known_replications("angles", 10, 30)
    some = found.select(torch.tensor([3, 1])).thin(10)
    assert some.log_prob_draws is not None
    assert found.log_prob_draws is not None
    assert torch.equal(some.draws, found.draws[::3][:, [3, 1]])
    assert torch.equal(some.log_prob_draws, found.log_prob_draws[::3][:, [3, 1]])
    assert torch.equal(some.conditions["angle"], found.conditions["angle"][[3, 1]])


def test_elements_of_a_field_are_spread() -> None:
    found = known_replications("angles", 10, 30)
    assert found.elements(3) is found
    some = found.elements(2)
    assert some.names == ("east", "north")
    assert torch.equal(some.draws, found.draws[..., :2])
    assert some.log_prob_draws is found.log_prob_draws


def test_user_quantities_have_ranks() -> None:
    found = known_replications("angles", 300, 60, seed=2)

    def product(x: Tensor, y: Tensor, angle: Tensor) -> Tensor:
        return x[..., 0] * y[:, 0] + angle

    ranked = rank_replications(found, quantities={"product": product})
    assert ranked.names == ("east", "north", "up", "log likelihood", "product")
    wanted = (
        product(found.draws, found.y, **found.conditions) < product(found.truth, found.y, **found.conditions)
    ).sum(0)
    assert torch.equal(ranked.rank[:, 4], wanted)
    check = sbc(found, quantities={"product": product}, times=99)
    assert check.passed()
    assert "product" in check.parts
    with pytest.raises(ValueError, match=r"The quantity 'bad' returned NaN or the shape"):
        sbc(found, quantities={"bad": lambda x, y, angle: x})


def test_posterior_sbc_around_an_observation() -> None:
    y, conditions = torch.tensor([2.0, 0.5, torch.nan]), {"tilt": 0.2}
    y = torch.tensor([2.0, 0.5, -1.0])
    exact = posterior_replicate(PROBLEM, Exact(draws=300), y, 300, conditions=conditions, seed=1)
    assert exact.y is not None
    assert exact.y.shape == (300, 6)
    assert torch.equal(exact.y[:, :3], y.expand(300, 3))
    assert sbc(exact, times=199).passed()
    # the truths are draws of the posterior given y, and the second measurement has the noise's variance
    first = Exact(draws=300)(PROBLEM, y[None], conditions=conditions, seed=1)
    assert torch.equal(exact.truth, first.draws[:, 0])
    left = exact.y[:, 3:] - forward(exact.truth, torch.tensor(0.2).expand(300))
    assert float(left.std()) == pytest.approx(0.5, rel=0.1)
    wrong = posterior_replicate(PROBLEM, Exact(draws=300, scale=0.7), y, 300, conditions=conditions, seed=1)
    assert not sbc(wrong, times=199).passed()


def test_measured_twice_adds_the_information() -> None:
    noise = CorrelatedGaussianNoise(0.1, 0.1, discrepancy=0.2, length=2.0, coordinate=[0.0, 1.0, 2.0])
    problem = replace(PROBLEM, noise=noise)
    twice = measured_twice(problem, 3)
    y = torch.tensor([[0.5, torch.nan, 1.0]]), torch.tensor([[0.1, 0.2, torch.nan]])
    both = torch.cat(y, -1)
    z = normal((2,), torch.arange(1), seed=0)
    single = [problem.condition(part, tilt=0.1) for part in y]
    joint = twice.condition(both, tilt=0.1)
    log_z = -0.5 * z.square().sum(-1) - 1.8378770664093453
    torch.testing.assert_close(joint.log_prob(z) - log_z, sum(p.log_prob(z) - log_z for p in single))
    prediction, slopes = joint.linearise(z)
    whitener = twice.noise.whiten(both, prediction)
    parts = [noise.whiten(part, prediction[..., :3]) for part in y]
    jacobian = slopes[..., :3, :]
    wanted = sum(w(jacobian).mT @ w(jacobian) for w in parts)
    torch.testing.assert_close(whitener(slopes).mT @ whitener(slopes), wanted)
    gradient = (whitener(slopes).mT @ whitener.residual[..., None])[..., 0]
    torch.testing.assert_close(gradient, sum((w(jacobian).mT @ w.residual[..., None])[..., 0] for w in parts))
    drawn = twice.noise.sample(prediction.expand(2000, -1), like=both.expand(2000, -1))
    assert torch.equal(torch.isnan(drawn[0]), torch.isnan(both[0]))
    assert abs(float(torch.corrcoef(drawn[:, [0, 3]].mT)[0, 1])) < 0.1


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"Too few replications: 5. At least 20 are needed, and 300 are better."):
        replicate(PROBLEM, Exact(), 5, conditions={"tilt": 0.0})
    with pytest.raises(ValueError, match=r"Too few effective draws for a calibration: 7 a replication. At least 20"):
        replicate(PROBLEM, Exact(stats={"ess": 7.9}), 30, conditions={"tilt": 0.0})
    with pytest.raises(
        ValueError, match=r"Too few draws of the observation for 100 replications: 60. Let the inversion"
    ):
        posterior_replicate(PROBLEM, Exact(), torch.zeros(3), 100, conditions={"tilt": 0.0})
    with pytest.raises(ValueError, match=r"does not vouch for its posterior"):
        posterior_replicate(PROBLEM, Exact(untrusted=-1.0), torch.zeros(3), 30, conditions={"tilt": 0.0})
    x, draws = torch.zeros(30, 2), torch.zeros(25, 30, 2)
    with pytest.raises(ValueError, match=r"Invalid truth with NaN or infinite values."):
        Replications(x * torch.nan, draws, ("a", "b"))
    with pytest.raises(ValueError, match=r"Invalid shapes \(30, 2\) of truth and \(25, 30, 2\) of draws with 1 names."):
        Replications(x, draws, ("a",))
    with pytest.raises(ValueError, match=r"Invalid shape \(25,\) of log_prob_truth. Must be \(30,\)."):
        Replications(x, draws, ("a", "b"), log_prob_truth=torch.zeros(25))
    with pytest.raises(ValueError, match=r"Invalid y of 3 rows. Give one for each of the 30 replications."):
        Replications(x, draws, ("a", "b"), y=torch.zeros(3, 4))
    nothing = Replications(x, draws * torch.nan, ("a", "b"))
    with pytest.raises(ValueError, match=r"Too few replications for ranks: 0 trusted of 30. At least 20 are needed"):
        sbc(nothing)

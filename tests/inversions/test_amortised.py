"""Learned posteriors: against closed forms where there are some, and against their own word where they fail."""

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import physgen as pg
from physgen.black_box import blackbox
from physgen.inversions import Amortised
from physgen.inversions.escalation import answered_by
from physgen.io import invert_to_netcdf
from physgen.priors import Prior, where
from physgen.problem import Problem
from physgen.recipe import load_recipe
from physgen.result import Result
from physgen.space import Block, Space
from physgen.status import Status

from .known_posteriors import KNOWN, deviation

RECIPE = Path(__file__).resolve().parents[2] / "examples" / "canopy" / "forest_plots.toml"
SMALL = Amortised(
    simulations=3000,
    epochs=25,
    batch=500,
    learning_rate=1e-2,
    width=48,
    layers=2,
    context=4,
    transforms=2,
    hidden=(16,),
)
SIGMA, K = 0.5, 3
A = torch.from_numpy(np.random.default_rng(0).standard_normal((K + 1, K)))


class Linear:
    """y = gain A x."""

    conditions = Space(Block("gain", support=(0.1, 10.0)))

    def __call__(self, x, /, gain):
        # term by term: a product of other shapes could round differently
        return gain[..., None] * sum(x[..., i : i + 1] * A[:, i].to(x.dtype) for i in range(K))


PROBLEM = Problem(Linear(), pg.Independent(**{f"x{i}": pg.Normal(0, 1) for i in range(K)}), pg.GaussianNoise(SIGMA))


def observed(count=150, seed=1):
    """Observations with gaps, and their gains, from 0.5 to 1.5."""
    gain = torch.linspace(0.5, 1.5, count)
    _, y = PROBLEM.simulate(count, seed=seed, gain=gain)
    y[::3, 1] = torch.nan
    return y, {"gain": gain}


@cache
def fitted():
    y, conditions = observed()
    return SMALL.fit(PROBLEM, y=y, conditions=conditions)


def exact(y, gain):
    """Means (B, k) and covariances (B, k, k) of the linear problem."""
    a = torch.where(torch.isnan(y)[..., None], 0.0, gain[:, None, None] * A)
    covariance = torch.linalg.inv(torch.eye(K) + a.mT @ a / SIGMA**2)
    return (covariance @ a.mT @ y.nan_to_num()[..., None]).squeeze(-1) / SIGMA**2, covariance


def log_evidence(y, gain):
    out = []
    for own, g in zip(y, gain, strict=True):
        have = ~torch.isnan(own)
        a = g * A[have]
        normal = torch.distributions.MultivariateNormal(torch.zeros(len(a)), a @ a.mT + SIGMA**2 * torch.eye(len(a)))
        out.append(normal.log_prob(own[have]))
    return torch.stack(out)


def standardised(z, mean, covariance):
    """Draws (B, S, k) that are standard normal if they follow N(mean, covariance)."""
    return torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), (z - mean[:, None]).mT, upper=False).mT


def test_corrected_answers_of_a_linear_problem_with_gaps_are_the_closed_form():
    y, conditions = observed()
    result = fitted()(PROBLEM, y, conditions=conditions, seed=2)
    assert result.status.tolist() == [Status.TRUSTED] * 150
    assert set(answered_by(result)) == {"Amortised"}
    print(f"median k_hat {result.stats['k_hat'].median():.2f}, ess of 200 draws {result.stats['ess'].median():.0f}")
    mean, covariance = exact(y, conditions["gain"])
    ess = result.stats["ess"]
    off = (result.stats["latent_mean"] - mean) / covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    assert float((off.abs() * ess.sqrt()[:, None]).max()) < 4.5
    white = standardised(result.draws.transpose(0, 1), mean, covariance)
    effective = float((1 / (1 / ess + 1 / 200)).sum())
    assert float(white.mean((0, 1)).abs().max()) < 4 / math.sqrt(effective)
    second = torch.einsum("bsi,bsj->ij", white, white) / (150 * 200)
    assert float((second - torch.eye(K)).abs().max()) < 4 * math.sqrt(2 / effective)
    assert 0.97 < float(second.diagonal().sqrt().min()) < float(second.diagonal().sqrt().max()) < 1.03
    error = result.stats["log_evidence"] - log_evidence(y, conditions["gain"])
    assert float((error.abs() / torch.sqrt(1 / ess - 1 / 200 + 1e-6)).max()) < 4.5
    assert float(error.mean().abs()) < 0.05


def test_uncorrected_draws_are_near_and_say_that_they_are_approximate():
    y, conditions = observed()
    result = replace(fitted(), correct=False)(PROBLEM, y, conditions=conditions)
    assert result.status.tolist() == [Status.APPROXIMATE] * 150
    assert bool(torch.isnan(result.stats["k_hat"]).all())
    mean, covariance = exact(y, conditions["gain"])
    white = standardised(result.draws.transpose(0, 1), mean, covariance)
    assert float(white.mean(1).abs().mean()) < 0.2
    assert 0.85 < float(white.std(1).mean()) < 1.15


def test_what_was_not_simulated_is_escalated_and_reported():
    y, conditions = observed()
    y[7:9] = 40.0 * A.sum(1)  # causes of 40 prior standard deviations
    result = fitted()(PROBLEM, y, conditions=conditions)
    others = [name for name in answered_by(result) if name != "Amortised"]
    assert answered_by(result)[7:9] == ["OptimalEstimation"] * 2
    assert len(others) <= 4
    assert result.status[7:9].tolist() == [Status.TRUSTED] * 2
    mean, covariance = exact(y, conditions["gain"])
    off = (result.draws.mean(0) - mean) / covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    assert float(off[7:9].abs().max()) < 0.5
    alone = replace(fitted(), escalation=())(PROBLEM, y, conditions=conditions)
    assert not bool(alone.trusted[7:9].any())
    assert set(answered_by(alone)) == {"Amortised"}


def test_a_network_of_another_problem_is_corrected_but_not_trusted_alone():
    y, conditions = observed(20)
    sharper = replace(PROBLEM, noise=pg.GaussianNoise(0.4))
    corrected = fitted()(sharper, y, conditions=conditions)
    assert float(corrected.trusted.double().mean()) > 0.9
    with pytest.raises(ValueError, match="another problem"):
        replace(fitted(), correct=False)(sharper, y, conditions=conditions)
    two = Problem(lambda x: x, pg.Independent(a=pg.Normal(0, 1), b=pg.Normal(0, 1)), pg.GaussianNoise(0.1))
    with pytest.raises(ValueError, match="3 latents"):
        fitted()(two, y[:, :2])


def test_a_direct_call_fits_itself_and_streaming_is_the_same(tmp_path):
    y, conditions = observed(40)
    brief = replace(SMALL, epochs=3, simulations=500, escalation=("OptimalEstimation",))
    direct = brief(PROBLEM, y, conditions=conditions, seed=4)
    path = invert_to_netcdf(brief, PROBLEM, y, tmp_path / "a.nc", conditions=conditions, seed=4, chunk=17)
    streamed = Result.from_netcdf(path)
    assert torch.equal(streamed.samples, direct.samples)
    for name, value in direct.stats.items():
        assert torch.equal(streamed.stats[name].nan_to_num(), value.nan_to_num()), name
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]
    curve = streamed.provenance["fit"]
    assert curve["held_out"] == list(direct.provenance["fit"]["held_out"])
    assert len(curve["training"]) == 3
    assert "trained" not in streamed.settings
    other = brief(PROBLEM, y, conditions=conditions, seed=5)
    assert not torch.equal(other.samples, direct.samples)


def test_an_interrupted_job_learns_once(tmp_path, monkeypatch):
    y, conditions = observed(40)
    brief = replace(SMALL, epochs=4, simulations=500, escalation=())
    whole = invert_to_netcdf(brief, PROBLEM, y, tmp_path / "whole.nc", conditions=conditions)
    calls, answer = [], Amortised._answer

    def stop(self, *given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return answer(self, *given)

    monkeypatch.setattr(Amortised, "_answer", stop)
    with pytest.raises(KeyboardInterrupt):
        invert_to_netcdf(brief, PROBLEM, y, tmp_path / "a.nc", conditions=conditions, chunk=12)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nc.fit", "a.nc.partial", "whole.nc"]
    steps = []
    monkeypatch.setattr("physgen.priors.fitting._Run.one_epoch", lambda *a: steps.append(1))
    path = invert_to_netcdf(brief, PROBLEM, y, tmp_path / "a.nc", conditions=conditions, chunk=12)
    assert not steps
    assert torch.equal(Result.from_netcdf(path).samples, Result.from_netcdf(whole).samples)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nc", "whole.nc"]


def test_a_selection_and_a_black_box():
    prior = where(pg.Independent(a=pg.Normal(0, 1), b=pg.Normal(0, 1)), lambda x: x[..., 0] > 0)
    problem = Problem(blackbox(lambda x: x[:, :1] + x[:, 1:]), prior, pg.GaussianNoise(0.5))
    y = torch.tensor([[-1.0], [0.5], [2.0]])
    result = replace(SMALL, accept_ess=30.0)(problem, y, seed=1)
    assert bool(result.trusted.all())
    axis = torch.linspace(-6, 6, 601)
    grid = torch.cartesian_prod(axis[axis > 0], axis)
    for i, own in enumerate(y):
        p = torch.softmax(-0.5 * (grid**2).sum(1) - 0.5 * ((own - grid.sum(1)) / 0.5) ** 2, 0)
        mean = (p[:, None] * grid).sum(0)
        sd = (p[:, None] * (grid - mean) ** 2).sum(0).sqrt()
        assert bool((result.draws[:, i, 0] > 0).all())
        assert float(((result.draws[:, i].mean(0) - mean) / sd).abs().max()) < 4 * math.sqrt(2 / 30)


def test_two_modes():
    """y = x^2: the posterior has two modes, which the flow and its weights must share fairly."""
    problem = Problem(lambda x: x**2, pg.Independent(x=pg.Normal(0, 1)), pg.GaussianNoise(0.2))
    y = torch.full((100, 1), 1.0)
    result = replace(SMALL, escalation=())(problem, y)
    good = result.draws[:, result.trusted, 0]
    print(
        f"trusted {float(result.trusted.double().mean()):.2f}, of positive sign {float((good > 0).double().mean()):.3f}"
    )
    assert float(result.trusted.double().mean()) > 0.9
    assert abs(float((good > 0).double().mean()) - 0.5) < 4 * 0.5 / math.sqrt(float(result.stats["ess"].sum()))


def test_all_that_is_wrong_with_the_simulations_is_said():
    class Undefined(Prior):
        causes, latent_dim = Space("a"), 1

        def decode(self, z, /):
            return z * torch.nan

    problem = Problem(lambda x: x, Undefined(), pg.GaussianNoise(0.1))
    with pytest.raises(ValueError, match="can be simulated"):
        SMALL.fit(problem, y=torch.ones(2, 1))
    half = Problem(lambda x: torch.where(x > 0, x, torch.nan), pg.Independent(a=pg.Normal(0, 1)), pg.GaussianNoise(0.1))
    trained = replace(SMALL, epochs=1).fit(half, y=torch.ones(2, 1)).trained
    assert abs(trained.undefined - 0.5) < 0.05


@pytest.mark.parametrize(
    "wrong",
    [
        {"draws": 2},
        {"escalation": ("Optimal",)},
        {"defence": 0.0},
        {"simulations": 3},
        {"accept_ess": 0.0},
        {"bins": 0},
    ],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Amortised(**wrong)


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_known_posteriors(name):
    """Of many answers to one observation together, whoever gave them."""
    known, copies = KNOWN[name](), 40 if name == "linear-200" else 100
    y = known.y.expand(copies, -1)
    method = Amortised(simulations=5000, epochs=20, batch=250, width=64, layers=2, learning_rate=1e-2)
    result = method(known.problem, y, seed=3)
    good, ess = result.trusted, result.stats["ess"]
    effective = float((1 / (1 / ess[good] + 1 / 200)).sum())
    off = deviation(result.draws[:, good].flatten(0, 1), known, effective)
    error = float((result.stats["log_evidence"][good].nanmean() - known.log_evidence).abs())
    names = answered_by(result)
    counts = {who: names.count(who) for who in sorted(set(names))}
    print(
        f"{name}: {counts}, trusted {good.double().mean():.2f}, ess {ess.median():.0f}, mean {off['mean']:.1f} errors, "
        f"sd {off['low']:.3f} to {off['high']:.3f}, evidence off by {error:.3f}"
    )
    assert float(good.double().mean()) > 0.9
    assert off["mean"] < 4
    slack = 3.5 / math.sqrt(2 * effective)
    assert 0.97 - slack < off["low"] <= off["high"] < 1.03 + slack
    assert error < 0.05 + 4 / math.sqrt(effective)


@pytest.mark.slow
def test_canopy_pixels_of_a_short_training():
    """A fifth of the usual training; `benchmarks/speed_amortised.py` has the whole."""
    problem = load_recipe(RECIPE).problem()
    angles = {"solar_zenith": 40.0, "view_zenith": 5.0, "relative_azimuth": 100.0}
    torch.set_default_dtype(torch.float32)
    x, y = problem.simulate(300, seed=5, **angles)
    y[::10, 3] = torch.nan
    method = Amortised(transforms=4, bins=1, simulations=100_000, epochs=12, escalation=())
    result = method(problem, y, conditions=angles, seed=1)
    stats, good = result.stats, result.trusted
    below = (result.draws[:, good] < x[good]).sum(0)  # 0 to 200, all alike where the draws are the posterior's
    cover = ((below >= 10) & (below <= 190)).double().mean(0)
    print(
        f"median k_hat {stats['k_hat'].median():.2f}, ess {stats['ess'].median():.0f} of 200, "
        f"not trusted {1 - good.double().mean():.3f}, coverage of 90 % intervals {cover.min():.3f} to {cover.max():.3f}"
    )
    assert float(stats["k_hat"].median()) < 0.5
    assert float(good.double().mean()) > 0.85
    error = math.sqrt(0.9 * 0.1 / int(good.sum()))
    assert float((cover - 0.9).abs().max()) < 0.01 + 3.5 * error  # of 14 causes; 200 draws of some 100 effective ones
    assert abs(float(cover.mean()) - 0.9) < 0.02

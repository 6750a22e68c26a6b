"""Swapped priors against the inversion anew, on problems of different kinds; when weights do not do; refusals."""

import math

import pytest
import torch

import physgen as pg
from physgen.diagnostics.prior_ratio import log_densities
from physgen.diagnostics.reweighting import Acceptance, reweight, swapped
from physgen.forward_models.canopy.soil_prior import soil
from physgen.inversions import Grid, OptimalEstimation
from physgen.noise import GaussianNoise, PoissonNoise
from physgen.priors import do, given, shift, where
from physgen.status import Status


def identity(x):
    return x * 1.0


def seasonal():
    return pg.Chain(t=pg.Conditional(lambda day: pg.Normal(0.02 * day, 1.0), support=(-90, 60), units="degC"))


def chain(slope):
    return pg.Chain(
        lai=pg.TruncatedNormal(2.0, 1.5, 0.0, 8.0),
        cab=pg.Conditional(lambda lai: pg.LogNormal(20 + slope * lai, 0.3), support=(0.0, math.inf)),
    )


def rates(low, high):
    """A class of low and one of high values, and how much more frequent the high one has become."""
    base = pg.Independent(x=pg.Normal(0.0, 1.5))
    return base, shift(base, lambda x: torch.where(x[..., 0] > 0, math.log(high), math.log(low)), bound=math.log(high))


def gaussian(mean, scale):
    g = torch.Generator().manual_seed(4)
    half = torch.randn(3, 3, generator=g)
    return pg.Gaussian(mean * torch.ones(3), scale * (half @ half.mT + torch.eye(3)))


A = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, -0.5], [0.3, 0.0, 1.0], [1.0, 1.0, 1.0]])
OE = OptimalEstimation(draws=1000)
GRID = Grid(draws=4000)


def cases():
    """Name -> (forward, noise, old prior, new prior, observations, inversion, keywords of reweight)."""
    one = torch.tensor([[0.3], [1.1], [0.7]])
    step, frequent = rates(0.5, 2.0)
    positive = pg.Independent(r=pg.LogNormal(1.0, 0.6))
    blocks = ("soil_1", "soil_2", "soil_3")
    flat_soil = pg.Independent({**{b: pg.Normal(0, 1) for b in blocks}, "wetness": pg.Uniform(0, 1)})
    noise, wide = GaussianNoise(0.4), pg.Independent(x=pg.Normal(0, 1.5))
    at = {"conditions": {"day": torch.tensor([10.0, 20.0, 30.0])}}
    plain = OptimalEstimation(draws=1000, round_draws=(600, 600, 600, 600))
    return {
        "gaussian": (
            lambda x: x @ A.to(x).mT,
            noise,
            gaussian(0.0, 1.0),
            gaussian(0.3, 0.8),
            torch.ones(2, 4),
            plain,
            {},
        ),
        "bounded": (
            identity,
            noise,
            pg.Independent(x=pg.Uniform(0, 1)),
            pg.Independent(x=pg.Beta(2.0, 3.0)),
            one,
            GRID,
            {},
        ),
        "counts": (
            lambda x: x * torch.tensor([1.0, 2.0]),
            PoissonNoise(),
            pg.Independent(rate=pg.Gamma(2.0, 2.0)),
            pg.Independent(rate=pg.Gamma(3.0, 1.5)),
            torch.tensor([[3.0, 5.0], [1.0, 0.0]]),
            GRID,
            {},
        ),
        "chain": (
            lambda x: x * torch.tensor([1.0, 0.02]),
            noise,
            chain(4.0),
            chain(6.0),
            torch.tensor([[2.0, 0.6], [4.0, 0.9]]),
            GRID,
            {},
        ),
        "learned": (identity, noise, flat_soil, soil(), torch.tensor([[0.2, -0.1, 0.3, 0.5]] * 2), plain, {}),
        "season": (
            identity,
            noise,
            seasonal(),
            seasonal(),
            one,
            GRID,
            {"conditions": {"day": torch.tensor([20.0, 45.0, 10.0])}},
        ),
        "fixed season": (identity, noise, seasonal(), given(seasonal(), day=40.0), one, GRID, {}),
        "class frequency": (identity, noise, step, frequent, one, GRID, {}),
        "selection": (identity, noise, wide, where(wide, lambda x: x[..., 0] > 0.5), one, GRID, {}),
        "two modes": (torch.abs, GaussianNoise(0.3), wide, pg.Independent(x=pg.Normal(0.4, 1.0)), one, GRID, {}),
        "heavy tails": (identity, noise, pg.Independent(x=pg.StudentT(3.0, 0, 1)), wide, one, GRID, {}),
        "not linear": (torch.log, GaussianNoise(0.3), positive, pg.Independent(r=pg.Gamma(2.0, 0.7)), one, GRID, {}),
    }, at


@pytest.mark.parametrize("name", list(cases()[0]))
def test_swap_agrees_with_inversion_anew(name):
    (forward, noise, old, new, y, inversion, more), at = cases()[0][name], cases()[1]
    fixed = at["conditions"] if "season" in name else {}
    problem, other = pg.Problem(forward, old, noise), pg.Problem(forward, new, noise)
    first = inversion(problem, y, conditions=fixed, seed=1)
    found = reweight(first, new, problem=problem, accept=Acceptance(ess=60.0), seed=2, **more)
    assert found.trusted.all(), (found.status, found.stats["k_hat"], found.stats["ess"])
    assert (found.stats["reweighted"] == 1).all()
    anew = inversion(
        other, y, conditions=more.get("conditions", {k: v for k, v in fixed.items() if name == "season"}), seed=3
    )
    ess = 1 / (1 / found.stats["ess"] + 1 / anew.stats.get("ess", torch.full((len(y),), 4000.0)))
    mean, sd = anew.draws.mean(0), anew.draws.std(0)
    error = (found.draws.mean(0) - mean).abs() / sd * ess.sqrt()[:, None]
    spread = (found.draws.std(0) / sd).log().abs() * ess.sqrt()[:, None]
    k_hat, n = float(found.stats["k_hat"].max()), float(found.stats["ess"].min())
    print(f"\n{name}: mean off by {float(error.max()):.1f} errors, k_hat {k_hat:.2f}, effective draws {n:.0f}")
    assert float(error.max()) < 4
    assert float(spread.max()) < 4
    if "log_evidence" in anew.stats and "log_factor" not in new.capabilities:
        torch.testing.assert_close(found.stats["log_evidence"], anew.stats["log_evidence"], atol=0.25, rtol=0)


def by_hand(y, draws, seed=0):
    """x ~ N(0, 1), y = x + N(0, 1): exact posterior draws of many observations."""
    problem = pg.Problem(identity, pg.Independent(x=pg.Normal(0, 1)), GaussianNoise(1.0))
    z = torch.randn(1, draws, len(y), 1, generator=torch.Generator().manual_seed(seed))
    samples = 0.5 * y[None, None, :, None] + math.sqrt(0.5) * z
    status = torch.zeros(len(y), dtype=torch.int64)
    return problem, pg.Result(samples, status, {}, problem.prior.causes, y[:, None])


def test_reweighted_intervals_cover():
    g = torch.Generator().manual_seed(1)
    x = 0.8 + 0.7 * torch.randn(800, generator=g)  # from the new prior
    problem, result = by_hand(x + torch.randn(800, generator=g), draws=400)
    found = reweight(result, pg.Independent(x=pg.Normal(0.8, 0.7)), problem=problem)
    kept = found.trusted
    ranks = (found.draws[..., 0] < x).double().mean(0)[kept]
    cover = float(((ranks > 0.05) & (ranks < 0.95)).double().mean())
    print(f"\n{int(kept.sum())} of 800 by weights; 90 % intervals hold {100 * cover:.1f} % of the truths")
    assert int(kept.sum()) > 600
    assert abs(cover - 0.9) < 3 * math.sqrt(0.09 / int(kept.sum())) + 0.005


def test_extreme_swap_raises_k_hat_and_inverts_anew():
    problem, result = by_hand(torch.tensor([0.0, 1.0, -2.0]), draws=1000)
    far = pg.Independent(x=pg.Normal(9.0, 0.3))
    alone = reweight(result, far, problem=problem)
    assert (alone.stats["k_hat"] > 0.7).all()
    assert alone.status.tolist() == [Status.HEAVY_TAILS] * 3
    assert "not to be trusted" in swapped(alone)
    found = reweight(result, far, problem=problem, inversion=OE, seed=5)
    anew = OE(pg.Problem(identity, far, problem.noise), result.y, seed=5)
    assert found.stats["reweighted"].tolist() == [0, 0, 0]
    torch.testing.assert_close(found.samples, anew.samples)
    torch.testing.assert_close(found.stats["k_hat"], anew.stats["k_hat"])
    assert swapped(found) == "0 of 3 posteriors by weights, 3 inverted anew."


def test_only_what_needs_it_is_inverted_anew():
    problem, result = by_hand(torch.tensor([1.0, -6.0]), draws=1000)
    new = pg.Independent(x=pg.Normal(1.0, 0.6))
    found = reweight(result.labelled("site", site=["a", "b"]), new, problem=problem, inversion=OE)
    assert found.stats["reweighted"].tolist() == [1, 0]
    assert found.samples.shape == result.samples.shape
    assert found.dims == ("site",)
    assert torch.isnan(found.stats["dofs"]).tolist() == [True, False]
    expected = (found.y + 1.0 / 0.36) / (1 + 1 / 0.36)
    sd = (1 + 1 / 0.36) ** -0.5
    assert bool(((found.draws.mean(0) - expected).abs() < 4 * sd / found.stats["ess"].sqrt()[:, None]).all())
    tree = found.to_datatree()
    assert tree["sample_stats/reweighted"].values.tolist() == [1, 0]


def test_a_prior_that_reaches_beyond_the_old_one_is_inverted_anew():
    problem = pg.Problem(identity, pg.Independent(x=pg.Uniform(0, 1)), GaussianNoise(0.5))
    result = GRID(problem, [[0.9]])
    wider = pg.Independent(x=pg.Uniform(0, 3))
    # the weights are all equal, and say nothing of what lies above 1
    alone = reweight(result, wider, problem=problem)
    assert alone.status.tolist() == [Status.HEAVY_TAILS]
    found = reweight(result, wider, problem=problem, inversion=GRID)
    assert found.stats["reweighted"].tolist() == [0]
    assert float(found.draws.max()) > 1.5


def test_missing_observations_stay_and_untrusted_ones_are_asked_again():
    problem, result = by_hand(torch.tensor([0.0, math.nan, 0.5]), draws=200)
    status = torch.tensor([int(Status.TRUSTED), int(Status.NO_DATA), int(Status.HEAVY_TAILS)])
    result = pg.Result(result.samples, status, {}, result.causes, result.y)
    found = reweight(result, pg.Independent(x=pg.Normal(0.1, 1.0)), problem=problem, inversion=OE)
    assert found.status.tolist() == [Status.TRUSTED, Status.NO_DATA, Status.TRUSTED]
    assert found.stats["reweighted"].tolist() == [1, 0, 0]


def test_a_prior_without_density_is_inverted_anew():
    prior = pg.Chain(a=pg.Normal(0, 1), b=lambda a: pg.Normal(a, 1))
    problem = pg.Problem(identity, prior, GaussianNoise(1.0))
    result = OE(problem, torch.tensor([[1.0, 2.0]]))
    with pytest.raises(TypeError, match=r"density of Chain over Chain is not known\. Give priors with 'log_prob'"):
        reweight(result, do(prior, a=1.0), problem=problem)
    found = reweight(result, do(prior, a=1.0), problem=problem, inversion=OE)
    assert found.trusted.all()
    assert (found.draws[..., 0] == 1.0).all()


def test_ratio_of_two_shifts_needs_no_density():
    base = pg.Independent(x=pg.Normal(0, 1))
    half = shift(base, lambda x: -x[..., 0].square())
    new, old = log_densities(half, base, torch.full((3, 1, 1), 2.0), {}, {})
    assert new.tolist() == [[-4.0]] * 3
    assert old.tolist() == [[0.0]] * 3


def test_refusals():
    problem, result = by_hand(torch.tensor([0.0]), draws=200)
    with pytest.raises(ValueError, match=r"new prior has the causes u, the result x\. Give a prior over the same"):
        reweight(result, pg.Independent(u=pg.Normal(0, 1)), problem=problem)
    few = pg.Result(result.samples[:, :20], result.status, {}, result.causes, result.y)
    with pytest.raises(ValueError, match=r"Too few draws to weigh: 20\. Invert with at least 50"):
        reweight(few, problem.prior, problem=problem)
    with pytest.raises(ValueError, match="Unknown condition 'day'"):
        reweight(result, problem.prior, problem=problem, conditions={"day": 3.0})
    lit = pg.Problem(lambda x, sun: x * sun[..., None], problem.prior, problem.noise)
    bright = OE(lit, [[0.3]], conditions={"sun": 1.0})
    with pytest.raises(ValueError, match=r"'sun' is one of the forward model or the noise\. Changing it is another"):
        reweight(bright, problem.prior, problem=lit, conditions={"sun": 2.0})

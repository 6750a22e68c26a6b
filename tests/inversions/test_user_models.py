"""Models that no one tuned for: `Hamiltonian` and `Auto` at default settings, against other methods and longer runs."""

import inspect
import math

import pytest
import torch

import physgen as pg
from physgen.inversions import Auto, Hamiltonian
from physgen.inversions.climb import climb, nearest_normal
from physgen.inversions.gradient import Target
from physgen.status import Status

from . import user_models
from .known_posteriors import linear_gaussian
from .user_models import MODELS


@pytest.mark.parametrize("name", MODELS)
def test_each_is_short(name):
    assert len(inspect.getsource(MODELS[name]).splitlines()) < 30


def test_climbs_of_a_linear_problem_find_its_posterior_and_evidence():
    known = linear_gaussian(3)
    posterior = known.problem.condition(known.y[None])
    target, g = Target(posterior), torch.Generator().manual_seed(0)
    path = climb(target, torch.randn(1, 4, 3, dtype=torch.float64, generator=g))
    eps = torch.randn(1, 16, 3, dtype=torch.float64, generator=g)
    mean, factor, bound = nearest_normal(target, path, eps)
    L = known.problem.prior.factor
    assert float((known.problem.prior.decode(mean) - known.mean).abs().max() / known.sd.min()) < 1e-3
    covariance = L @ factor @ factor.mT @ L.mT
    sd = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    assert torch.allclose(sd, known.sd.expand_as(sd), rtol=1e-6)
    assert float(bound.max() - bound.min()) < 1e-3


def test_starts_are_not_where_a_mode_holds_no_mass():
    """Six values of unknown common noise: the density grows as the noise shrinks, up to b = -24."""
    y = torch.tensor([0.3, -1.2, 0.8, 0.1, -0.5, 1.4], dtype=torch.float64)
    prior = pg.Independent(b=pg.Normal(0, 2), **{f"x{i}": pg.Normal(0, 1) for i in range(6)})

    def likelihood(y, x):
        u = (y - x[..., 1:]) * torch.exp(-x[..., :1])
        return (-0.5 * u * u - x[..., :1] - 0.5 * math.log(2 * math.pi)).sum(-1)

    problem = pg.Problem(lambda x: x, prior, user_models.Likelihood(likelihood))
    target, g = Target(problem.condition(y[None])), torch.Generator().manual_seed(0)
    path = climb(target, torch.randn(1, 4, 7, dtype=torch.float64, generator=g))
    mean, _, bound = nearest_normal(target, path, torch.randn(1, 64, 7, dtype=torch.float64, generator=g))
    _, _, at_the_mode = nearest_normal(target, path[:, :, -1:], torch.randn(1, 64, 7, dtype=torch.float64, generator=g))
    b = torch.linspace(-16, 10, 2001, dtype=torch.float64)
    marginal = torch.distributions.Normal(0, torch.sqrt(1 + torch.exp(2 * b)))
    density = marginal.log_prob(y[:, None]).sum(0) + torch.distributions.Normal(0.0, 2.0).log_prob(b)
    evidence = float(torch.logsumexp(density, 0) + math.log(float(b[1] - b[0])))
    best = 2 * float(mean[0, bound[0].argmax(), 0])  # b of the approximation that is taken
    print(f"evidence {evidence:.1f}, bounds {bound.tolist()}, at the mode {at_the_mode.tolist()}, b {best:.1f}")
    assert float(bound.max()) < evidence + 0.5  # they are estimated from 64 draws
    assert float(at_the_mode.min()) < evidence - 1000  # some climbs lead far out of where the posterior is
    assert float(bound.min()) > evidence - 30
    assert abs(best - float(torch.softmax(density, 0) @ b)) < 2


CHAINS = Hamiltonian(draws=128, chains=64, superchains=8, warm_up=300, accept_ess=4000, max_steps=4000)
# A call of these takes as long for few rows as for many, which chains cannot use. Importance sampling knows nothing of
# them; asked for itself, as `Auto` would go on to chains where it is not trusted.
LONGER = dict.fromkeys(("lotka-volterra", "elimination"), Auto(draws=20_000, methods=("Pathfinder",)))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_default_settings_agree_with_a_longer_run(name):
    problem, y = MODELS[name]()
    long = LONGER.get(name, CHAINS)(problem, y, seed=2)
    assert bool(long.trusted)
    for method in (Hamiltonian(), Auto()):
        one = method(problem, y, seed=1)
        off = [user_models.apart(one, long, power) for power in (1, 2)]
        bias = float(((one.draws.mean(0) - long.draws.mean(0)).abs() / long.draws.std(0)).max())
        status = Status(int(one.status)).meaning
        print(f"{name}, {type(method).__name__}: {status}, off by {off[0]:.2f} and {off[1]:.2f} errors, {bias:.3f} sd")
        assert bool(one.trusted)
        assert max(off) < 4.5
        assert bias < math.hypot(0.05, 2 / math.sqrt(float(long.stats["ess"])))  # that of the longer run included


def eight_schools_by_quadrature(y, sd):
    """Means and standard deviations of mu, tau and eight effects: a sum over (mu, tau), the effects in closed form."""
    mu = torch.linspace(-30, 40, 351, dtype=torch.float64)[:, None]
    tau = torch.linspace(-12, 7, 951, dtype=torch.float64).exp()
    variance, offset = (sd**2)[:, None, None] + tau**2, y[:, None, None] - mu
    density = (-0.5 * offset**2 / variance - 0.5 * variance.log()).sum(0)
    density = density - 0.5 * (mu / 5) ** 2 - torch.log1p((tau / 5) ** 2) + tau.log()
    weight = density.flatten().softmax(0).reshape(density.shape)
    first = torch.cat([torch.stack([mu.expand_as(weight), tau.expand_as(weight)]), tau * offset / variance])
    second = first**2
    second[2:] += (sd**2)[:, None, None] / variance
    mean, square = ((weight * part).sum((1, 2)) for part in (first, second))
    return mean, (square - mean**2).sqrt()


@pytest.mark.slow
def test_eight_schools_have_no_bias():
    """Twelve times over: of an answer by itself, Monte-Carlo error would hide it."""
    problem, y = MODELS["eight schools"]()
    mean, sd = eight_schools_by_quadrature(y, problem.noise.absolute)
    result = Hamiltonian()(problem, y.expand(12, -1), seed=7)
    assert bool(result.trusted.all())
    off = (result.draws.mean(0) - mean) / sd
    print(f"worst of each {off.abs().amax(1).tolist()}, on average {off.mean(0).tolist()}")
    assert float(off.abs().max()) < 0.05
    assert float(off.mean(0).abs().max()) < 4 / math.sqrt(float(result.stats["ess"].sum()))


def test_likelihoods_have_no_quadratic_model_and_say_so():
    with pytest.raises(TypeError, match="only evaluates"):
        user_models.Likelihood(lambda y, p: y.sum(-1)).sample(torch.zeros(3))

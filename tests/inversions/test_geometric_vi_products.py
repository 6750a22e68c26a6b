"""Products with the Jacobian against the Jacobian itself, for every kind of noise."""

import pytest
import torch

from physgen.inversions.geometric_vi_products import Linearised
from physgen.noise import CorrelatedGaussianNoise, GaussianNoise, PoissonNoise, ShotNoise, StudentTNoise
from physgen.priors import Independent, LogNormal, Normal
from physgen.problem import Problem

NOISES = {
    "gaussian": GaussianNoise(0.1, relative=0.05),
    "poisson": PoissonNoise(5.0, 1.0),
    "student": StudentTNoise(5.0, 0.1),
    "shot": ShotNoise(0.2, 0.1),
    "correlated": CorrelatedGaussianNoise(0.1, discrepancy=0.2, length=2.0, coordinate=range(5)),
}
A = torch.rand(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", NOISES)
def test_products_are_those_of_the_whitened_jacobian(name):
    prior = Independent(a=LogNormal(1.0, 0.3), b=Normal(0, 1), c=LogNormal(0.5, 0.4))
    problem = Problem(lambda x: torch.exp(x @ A.mT / 2), prior, NOISES[name])
    y = problem.simulate(1, seed=1)[1]
    y[0, 2] = torch.nan
    posterior = problem.condition(y)
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    local = Linearised(posterior, z)
    prediction, J = posterior.linearise(z[:, None])
    whitener = problem.noise.whiten(y, prediction)
    whitened = whitener(J)[:, 0]
    v, u = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    assert torch.allclose(local.push(v), torch.einsum("srk,sk->sr", whitened, v))
    assert torch.allclose(local.pull(u), torch.einsum("srk,sr->sk", whitened, u))
    assert torch.allclose(local.residual, whitener.residual[:, 0])


def test_a_model_that_is_constant_adds_nothing():
    prior = Independent(a=Normal(0, 1), b=Normal(0, 1))
    problem = Problem(lambda x: torch.ones_like(x), prior, GaussianNoise(0.1))
    local = Linearised(problem.condition(torch.zeros(1, 2)), torch.zeros(3, 2))
    v = torch.ones(3, 2)
    assert torch.equal(local.precision(v), v)

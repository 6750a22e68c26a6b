"""Proposal densities against SciPy's, their draws against their densities."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_normal, multivariate_t

from physgen.inversions.student_mixture import StudentMixture, around, effective, mixture
from physgen.random import normal, uniform


def definite(shape, k, seed):
    a = torch.from_numpy(np.random.default_rng(seed).standard_normal((*shape, k, k)))
    return a @ a.mT + 0.3 * torch.eye(k)


def example(k=3, observations=2):
    """Two Student-t components, a Gaussian, and a fifth of the prior."""
    mean = torch.from_numpy(np.random.default_rng(1).standard_normal((observations, 3, k)))
    factor = torch.linalg.cholesky(0.2 * definite((observations, 3), k, 2))
    weight = torch.tensor([0.1, 0.4, 0.3]).expand(observations, -1)
    return StudentMixture(weight, mean, factor, (6, 0, 4))


def sample(q, count, seed=0):
    index = torch.arange(len(q.mean))
    normals = normal((count, q.mean.shape[-1]), index, seed=seed, stage=1)
    return q.sample(normals, uniform((count, max(q.df) // 2), index, seed=seed, stage=2))


def scipy_density(q, b, x):
    k = q.mean.shape[-1]
    total = (1 - float(q.weight[b].sum())) * multivariate_normal(np.zeros(k), np.eye(k)).pdf(x)
    for c, df in enumerate(q.df):
        scale = (q.factor[b, c] @ q.factor[b, c].T).numpy()
        mean, weight = q.mean[b, c].numpy(), float(q.weight[b, c])
        part = multivariate_t(mean, scale, df=df) if df else multivariate_normal(mean, scale)
        total = total + weight * part.pdf(x)
    return total


@pytest.mark.parametrize("k", [1, 3, 9])
def test_the_density_is_scipys(k):
    q = example(k)
    z = 2 * torch.from_numpy(np.random.default_rng(5).standard_normal((2, 40, k)))
    for b in range(2):
        expected = np.log(scipy_density(q, b, z[b].numpy()))
        np.testing.assert_allclose(q.log_prob(z)[b], expected.reshape(-1), rtol=1e-10, atol=1e-10)


def test_far_out_the_density_does_not_vanish():
    z = torch.full((2, 1, 3), 1e4)
    assert bool(torch.isfinite(example().log_prob(z)).all())


def test_draws_follow_the_density():
    q, count = example(k=1, observations=2), 20000
    z = sample(q, count)
    grid = np.linspace(-60, 60, 240001)
    for b in range(2):
        density = np.exp(q.log_prob(torch.from_numpy(grid).expand(2, -1)[..., None])[b].numpy())
        cdf = np.cumsum(density) * (grid[1] - grid[0])
        # draws are stratified over the components, which only brings them closer to the density
        assert kstest(z[b, :, 0].numpy(), lambda x, cdf=cdf: np.interp(x, grid, cdf)).pvalue > 1e-3


def test_importance_weights_integrate_to_one():
    """E_q[p / q] = 1 for a density p inside q: in many dimensions, where no grid reaches."""
    q = example(k=7, observations=3)
    z = sample(q, 20000, seed=3)
    inner = torch.stack([multivariate_log_prob(z[b], q.mean[b, 1], q.factor[b, 1]) for b in range(3)])
    ratio = torch.exp(inner - q.log_prob(z))
    assert float(ratio.max()) <= 1 / 0.4 + 1e-9  # p has 0.4 of q
    error = ratio.std(-1) / 20000**0.5
    assert bool(((ratio.mean(-1) - 1).abs() < 4 * error).all())


def multivariate_log_prob(z, mean, factor):
    return torch.distributions.MultivariateNormal(mean, scale_tril=factor).log_prob(z)


def test_every_component_gets_its_share():
    q = example(k=2, observations=1)
    far = StudentMixture(q.weight, 100.0 * torch.tensor([[[1.0, 0], [2, 0], [3, 0]]]), q.factor, q.df)
    z = sample(far, 100)
    nearest = (z[0, :, :1] / 100).round().clamp(0, 3).flatten().long()
    assert torch.bincount(nearest, minlength=4).tolist() == [20, 10, 40, 30]


def test_selection():
    q = example(observations=5)
    rows = torch.tensor([3, 0])
    z = torch.from_numpy(np.random.default_rng(6).standard_normal((5, 11, 3)))
    assert torch.equal(q.select(rows).log_prob(z[rows]), q.log_prob(z)[rows])


def test_densities_do_not_depend_on_the_other_observations():
    """To the last bit, for components as few and as many as the rounds use."""
    for components in (2, 9):
        mean = torch.from_numpy(np.random.default_rng(7).standard_normal((13, components, 5)))
        factor = torch.linalg.cholesky(definite((13, components), 5, 8))
        weight = torch.full((13, components), 0.95 / components)
        q = StudentMixture(weight, mean, factor, (0,) * (components - 1) + (6,))
        z = sample(q, 200)
        whole = q.log_prob(z)
        for rows in ([4], [12, 3], [0, 1, 2, 3, 4, 5, 6]):
            index = torch.tensor(rows)
            assert torch.equal(q.select(index).log_prob(z[index]), whole[index])


def test_a_proposal_around_a_gaussian_posterior_weighs_it_nearly_equally():
    k, observations = 6, 4
    information = 50 * definite((observations,), k, 9)
    covariance = torch.linalg.inv(torch.eye(k) + information)
    mean = torch.from_numpy(np.random.default_rng(10).standard_normal((observations, k)))
    q = around(mean[:, None], covariance[:, None], torch.ones(observations, 1), 0.05)
    z = sample(q, 1000)
    assert bool((q.weight.sum(-1) - 0.95).abs().max() < 1e-12)
    target = torch.stack(
        [multivariate_log_prob(z[b], mean[b], torch.linalg.cholesky(covariance[b])) for b in range(observations)]
    )
    log_weight = target - q.log_prob(z)
    # bounded: the posterior itself is most of its proposal, and the wider parts keep every weight below 1 / share
    assert float(log_weight.exp().max()) < 2
    weight = torch.softmax(log_weight, -1)
    assert float(effective(weight).min()) > 0.75 * 1000


def test_a_mixture_of_linearisations_covers_its_draws():
    random, k = np.random.default_rng(11), 2
    z = torch.from_numpy(random.standard_normal((3, 500, k)) * [2.0, 0.1])
    weight = torch.full((3, 500), 1 / 500)
    means, factors = z[:, :4], 0.1 * torch.eye(k).expand(3, 4, k, k)
    q = mixture(means, factors, z, weight, 0.1)
    assert bool((q.weight.sum(-1) - 0.9).abs().max() < 1e-12)
    density = q.log_prob(z)
    assert bool(torch.isfinite(density).all())
    # the wide component has at least the spread of the draws, wherever the linearisations are
    own = torch.linalg.cholesky(torch.stack([torch.cov(part.T) for part in z]))
    wide = q.factor[:, -1]
    excess = wide @ wide.mT - own @ own.mT
    assert float(torch.linalg.eigvalsh(excess).min()) > -1e-3


def test_effective_number_of_draws():
    weight = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    assert effective(weight).tolist() == [4.0, 1.0, 2.0]

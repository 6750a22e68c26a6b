"""Priors side by side, against the closed forms of a linear model with Gaussian priors."""

import numpy as np
import pytest
import torch
from scipy import stats

import physgen as pg
from physgen.comparison_dataset import comparison_dataset
from physgen.diagnostics.averaging_kernel import information
from physgen.diagnostics.overlap import overlap
from physgen.diagnostics.prior_comparison import compare_priors, compare_results
from physgen.inversions import Grid, OptimalEstimation

K = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, -0.5], [0.3, 0.2, 0.1], [1.0, 1.0, 1.0]])
NOISE = 0.5
Y = torch.tensor([[1.0, 0.2, 0.3, 1.5], [4.0, 3.0, 1.0, 8.0]])
MEANS = {"near": torch.zeros(3), "far": torch.tensor([2.0, 2.0, 2.0])}
COVARIANCE = torch.tensor([[1.0, 0.5, 0.0], [0.5, 2.0, 0.3], [0.0, 0.3, 0.5]])


@pytest.fixture(scope="module")
def compared():
    torch.set_default_dtype(torch.float64)
    priors = {name: pg.Gaussian(mean.double(), COVARIANCE.double()) for name, mean in MEANS.items()}
    problem = pg.Problem(lambda x: x @ K.double().mT, priors["near"], pg.GaussianNoise(NOISE))
    method = OptimalEstimation(draws=4000)
    return compare_priors(problem, priors, Y.double(), method)


def closed():
    S_a, A = COVARIANCE.double(), K.double()
    S_y = A @ S_a @ A.mT + NOISE**2 * torch.eye(4)
    gain = S_a @ A.mT @ torch.linalg.inv(S_y)
    return gain @ A, S_a - gain @ A @ S_a, S_y


def test_information_of_a_linear_model_is_exact(compared):
    kernel, _, _ = closed()
    expected = kernel.diagonal().expand(2, 2, 3)
    torch.testing.assert_close(compared.from_data, expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(compared.dofs, kernel.trace().expand(2, 2), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(compared.from_prior, 1 - expected, rtol=1e-8, atol=1e-8)


def test_evidence_contraction_and_rank(compared):
    _, posterior, S_y = closed()
    wanted = [[stats.multivariate_normal(K.double() @ m.double(), S_y).logpdf(y) for y in Y] for m in MEANS.values()]
    np.testing.assert_allclose(compared.log_evidence, wanted, atol=0.05)
    assert compared.rank.tolist() == [[1, 2], [2, 1]]
    exact = 1 - posterior.diagonal() / COVARIANCE.double().diagonal()
    # of 4,096 prior draws, and posterior draws that stand for some 200 effective ones at least
    assert float((compared.contraction - exact).abs().max()) < 4 * float((1 - exact).max()) * (2 / 200) ** 0.5
    ratio = (posterior.diagonal() / COVARIANCE.double().diagonal()).sqrt()
    assert bool((compared.overlap < 1).all())
    assert compared.overlap[0, 0].argmin() == ratio.argmin()


def test_table_and_labelled_arrays(compared):
    text = str(compared)
    assert "near" in text
    assert "log evidence" in text
    data = comparison_dataset(compared)
    assert dict(data.sizes) == {"prior": 2, "observation": 2, "cause": 3}
    assert data.disagreement.shape == (2, 3)
    assert float(data.disagreement.min()) > 0


def test_averaging_kernel_follows_the_derivative_of_the_mode():
    # noise-free data at z = 0, where the prior does not pull: the derivative of the mode is the kernel, exactly
    prior = pg.Chain(a=pg.LogNormal(1.0, 0.4), b=lambda a: pg.Normal(2 * a, 0.5))
    problem = pg.Problem(lambda x: x[..., :1] * x[..., 1:], prior, pg.GaussianNoise(0.3))
    truth = prior.decode(torch.zeros(1, 2))
    step = 1e-4
    moved = torch.cat([truth, *(truth + sign * step * torch.eye(2)[i] for i in range(2) for sign in (1, -1))])
    method = OptimalEstimation(tolerance=1e-16, iterations=100)
    modes = prior.decode(method(problem, problem.forward(moved)).stats["latent_mean"])
    derivative = torch.stack([(modes[1] - modes[2]), (modes[3] - modes[4])], -1) / (2 * step)
    found = information(problem.condition(problem.forward(truth)), torch.zeros(1, 2))
    torch.testing.assert_close(found.averaging_kernel[0], derivative, rtol=1e-3, atol=1e-3)
    assert float(found.dofs) == pytest.approx(float(found.from_data.sum()))
    assert bool(((found.contraction >= 0) & (found.contraction <= 1)).all())


@pytest.mark.parametrize(("shift", "sd"), [(0.0, 1.0), (1.0, 1.0), (3.0, 1.0), (0.5, 0.2), (0.0, 0.02)])
def test_overlap_of_normals(shift, sd):
    g = torch.Generator().manual_seed(0)
    first, second = torch.randn(4000, 50, generator=g), shift + sd * torch.randn(4000, 50, generator=g)
    x = np.linspace(-6, 6, 200001)
    exact = np.trapezoid(np.minimum(stats.norm.pdf(x), stats.norm.pdf(x, shift, sd)), x)
    found = overlap(first, second)
    assert float((found.mean() - exact).abs()) < 0.03
    # a monotone change of the quantity changes nothing
    torch.testing.assert_close(overlap(first.exp(), second.exp()), found)


def test_a_black_box_has_no_averaging_kernel_and_a_grid_an_evidence():
    priors = {"wide": pg.Independent(x=pg.Normal(0, 2)), "narrow": pg.Independent(x=pg.Normal(0, 1))}
    problem = pg.Problem(pg.blackbox(lambda x: x * 1.0), priors["wide"], pg.GaussianNoise(1.0))
    found = compare_priors(problem, priors, [[0.5], [torch.nan]], Grid(draws=400))
    assert torch.isnan(found.dofs).all()
    assert found.rank.tolist() == [[2, 0], [1, 0]]
    expected = [stats.norm(0, 5**0.5).logpdf(0.5), stats.norm(0, 2**0.5).logpdf(0.5)]
    np.testing.assert_allclose(found.log_evidence[:, 0], expected, atol=1e-3)
    assert torch.isnan(found.overlap[:, 1]).all()


def test_refusals():
    prior = pg.Independent(x=pg.Normal(0, 1))
    problem = pg.Problem(lambda x: x * 1.0, prior, pg.GaussianNoise(1.0))
    with pytest.raises(ValueError, match=r"comparison of 1 prior\. Give at least two"):
        compare_priors(problem, {"a": prior}, [[0.0]], Grid())
    with pytest.raises(ValueError, match=r"The prior 'b' has the causes u, the problem x\. Give priors over the same"):
        compare_priors(problem, {"a": prior, "b": pg.Independent(u=pg.Normal(0, 1))}, [[0.0]], Grid())
    with pytest.raises(ValueError, match="Unknown condition 'day'"):
        compare_priors(problem, {"a": prior, "b": prior}, [[0.0]], Grid(), conditions={"day": 1.0})
    with pytest.raises(ValueError, match=r"Results of a for the priors a, b\. Give one for each"):
        compare_results(problem, {"a": prior, "b": prior}, {"a": Grid(draws=50)(problem, [[0.0]])})
    with pytest.raises(ValueError, match=r"Too few draws for an overlap: 10\. It needs at least 50"):
        overlap(torch.zeros(10, 1), torch.zeros(100, 1))

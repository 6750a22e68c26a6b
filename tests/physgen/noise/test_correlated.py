"""The recursion against the dense covariance."""

import numpy as np
import pytest
import torch
from scipy.special import gamma, kv
from scipy.stats import multivariate_normal

from physgen.noise import CorrelatedGaussianNoise, GaussianNoise
from physgen.random import NOISE_STAGE, normal, single_stream

NU = {"exponential": 0.5, "matern32": 1.5, "matern52": 2.5}
LABELS = np.array(list("RTRRTTRTQR"))
rng = np.random.default_rng(7)
t = rng.uniform(0, 100, 10)
t[4] = t[7]  # one coordinate, two groups
t[2] = t[3]  # one coordinate, one group
f = rng.uniform(0.1, 1, (3, 10))
y = f[0] + rng.normal(0, 0.1, 10)


def matern(u, nu):
    """Rasmussen & Williams (2006), eq. 4.14."""
    a = np.sqrt(2 * nu) * np.where(u > 0, u, 1)
    return np.where(u > 0, 2 ** (1 - nu) / gamma(nu) * a**nu * kv(nu, a), 1.0)


def dense(f, kernel, relative=0.0, relative_discrepancy=0.0, length=30.0, between=0.0):
    """S_e of one prediction f (m,)."""
    d = np.sqrt(0.05**2 + (relative_discrepancy * f) ** 2)
    g = np.where(LABELS[:, None] == LABELS, 1, between)
    rho = matern(np.abs(t[:, None] - t) / length, NU[kernel])
    return np.diag(0.02**2 + (relative * f) ** 2) + d[:, None] * d * g * rho


def noise(kernel="exponential", relative=0.0, relative_discrepancy=0.0, length=30.0, between=0.0):
    return CorrelatedGaussianNoise(
        0.02,
        relative,
        discrepancy=0.05,
        relative_discrepancy=relative_discrepancy,
        length=length,
        coordinate=t,
        kernel=kernel,
        groups=LABELS,
        between=between,
    )


SETTINGS = [
    {"kernel": kernel, "between": between, **relative}
    for kernel in NU
    for between in (-0.5, 0.0, 0.4, 1.0)
    for relative in ({}, {"relative": 0.1}, {"relative": 0.05, "relative_discrepancy": 0.2})
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_dense_reference(settings):
    made, Y, F = noise(**settings), torch.from_numpy(y), torch.from_numpy(f)
    whitener = made.whiten(Y, F)
    factor = whitener(torch.eye(10, dtype=torch.float64).expand(3, 10, 10)).numpy()
    order = np.argsort(t, kind="stable")
    for row in range(3):
        S = dense(f[row], **settings)
        expected = multivariate_normal(f[row], S).logpdf(y)
        assert made.log_prob(Y, F[row]).item() == pytest.approx(expected, rel=1e-11)
        np.testing.assert_allclose(factor[row].T @ factor[row] @ S, np.eye(10), atol=1e-11)
        cholesky = np.linalg.cholesky(S[order][:, order])
        chi = np.linalg.solve(cholesky, (y - f[row])[order])
        np.testing.assert_allclose(made.standardise(Y, F)[row].numpy()[order], chi, atol=1e-11)


def test_short_length_is_independent_noise():
    apart = CorrelatedGaussianNoise(0.02, discrepancy=0.05, length=1e-3, coordinate=np.arange(10.0))
    independent = GaussianNoise((0.02**2 + 0.05**2) ** 0.5)
    Y, F = torch.from_numpy(y), torch.from_numpy(f)
    torch.testing.assert_close(apart.log_prob(Y, F), independent.log_prob(Y, F), rtol=1e-13, atol=1e-13)


def test_no_discrepancy_is_gaussian_noise():
    Y, F = torch.from_numpy(y), torch.from_numpy(f)
    none = CorrelatedGaussianNoise(0.02, 0.1, discrepancy=0.0, length=30.0, coordinate=t)
    white = GaussianNoise(0.02, 0.1)
    torch.testing.assert_close(none.log_prob(Y, F), white.log_prob(Y, F), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(none.standardise(Y, F), white.standardise(Y, F), rtol=1e-13, atol=1e-13)


def test_many_bands_do_not_average_a_shared_error_out():
    """With an infinite length the mean of m bands keeps the variance discrepancy^2 + absolute^2 / m."""
    m = 500
    made = CorrelatedGaussianNoise(0.02, discrepancy=0.05, length=1e9, coordinate=range(m))
    one = torch.ones(m, dtype=torch.float64)
    whitened = made.whiten(one, one)(one[:, None])
    assert (1 / whitened.square().sum()).item() == pytest.approx(0.05**2 + 0.02**2 / m, rel=1e-6)


def test_standardise_undoes_sample():
    F = torch.from_numpy(f)
    made = noise("matern52", 0.1, 0.2, between=0.4)
    z = normal((3, 10), single_stream(), seed=9, stage=NOISE_STAGE)
    torch.testing.assert_close(made.standardise(made.sample(F, seed=9), F), z, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kernel", NU)
def test_settings_can_be_fitted_by_their_gradient(kernel):
    Y, F = torch.from_numpy(y), torch.from_numpy(f)

    def log_prob(absolute, discrepancy, relative_discrepancy, length, between):
        made = CorrelatedGaussianNoise(
            absolute,
            discrepancy=discrepancy,
            relative_discrepancy=relative_discrepancy,
            length=length,
            coordinate=t,
            kernel=kernel,
            groups=LABELS,
            between=between,
        )
        return made.log_prob(Y, F)

    start = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.02, 0.05, 0.1, 30.0, 0.3)]
    assert torch.autograd.gradcheck(log_prob, start)


def test_a_zero_prediction_leaves_the_gradient_finite():
    made = CorrelatedGaussianNoise(0.02, discrepancy=0.0, relative_discrepancy=0.1, length=30.0, coordinate=t)
    F = torch.from_numpy(f).clone()
    F[:, 3] = 0
    F.requires_grad_()
    (gradient,) = torch.autograd.grad(made.log_prob(torch.from_numpy(y), F).sum(), F)
    assert torch.isfinite(gradient).all()
    assert torch.isfinite(made.whiten(torch.from_numpy(y), F.detach()).residual).all()


def test_a_full_leaf_spectrum():
    """Reflectance and transmittance at 1 nm; halves that share no correlation have densities that multiply."""
    wavelength = np.arange(400.0, 2501.0)
    kw = {"discrepancy": 0.01, "relative_discrepancy": 0.05, "length": 50.0}
    both = CorrelatedGaussianNoise(0.002, **kw, coordinate=np.tile(wavelength, 2), groups=["R"] * 2101 + ["T"] * 2101)
    half = CorrelatedGaussianNoise(0.002, **kw, coordinate=wavelength)
    F = torch.from_numpy(rng.uniform(0.05, 0.5, (3, 4202)))
    Y = both.sample(F)
    Y[1, ::7] = torch.nan
    expected = half.log_prob(Y[:, :2101], F[:, :2101]) + half.log_prob(Y[:, 2101:], F[:, 2101:])
    torch.testing.assert_close(both.log_prob(Y, F), expected, rtol=1e-12, atol=0)


def test_jacobian_needs_the_rows_of_the_residual():
    whitener = noise().whiten(torch.from_numpy(y), torch.from_numpy(f))
    with pytest.raises(ValueError, match="Jacobian"):
        whitener(torch.ones(10, 2, dtype=torch.float64))


GOOD = {"discrepancy": 0.01, "length": 50.0, "coordinate": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        ({"discrepancy": -0.1}, ValueError, "Invalid discrepancy -0.1"),
        ({"discrepancy": [0.1, 0.1]}, ValueError, "discrepancy 2, coordinate 3"),
        ({"length": 0.0}, ValueError, "Invalid length 0. Must be finite and greater than 0"),
        ({"length": [1.0, 2.0, 3.0]}, ValueError, "Invalid length of shape"),
        ({"coordinate": [1.0, float("nan"), 3.0]}, ValueError, "Invalid coordinate"),
        ({"coordinate": 3.0}, TypeError, "Invalid coordinate 3.0"),
        ({"coordinate": ["blue", "green", "red"]}, TypeError, "Invalid coordinate"),
        ({"kernel": "gaussian"}, ValueError, "Unknown kernel 'gaussian'. Choose from exponential"),
        ({"groups": "RT"}, ValueError, "2 labels"),
        ({"groups": "RTT", "between": 1.5}, ValueError, "Invalid between 1.5"),
        ({"groups": "RTQ", "between": -0.6}, ValueError, "within -0.5 to 1"),
        ({"absolute": 0.0}, ValueError, "both 0"),
    ],
)
def test_bad_settings(changed, error, match):
    with pytest.raises(error, match=match):
        CorrelatedGaussianNoise(**(GOOD | changed))

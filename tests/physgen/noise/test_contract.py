"""What every noise must do. A new noise is one line in CASES."""

from __future__ import annotations

import pytest
import torch

from physgen.noise import (
    CorrelatedGaussianNoise,
    GaussianNoise,
    NegativeBinomialNoise,
    PoissonNoise,
    ShotNoise,
    StudentTNoise,
)

M = 7
A = torch.tensor([0.05, 0.1, 0.08, 0.06, 0.12, 0.07, 0.09], dtype=torch.float64)
R = torch.tensor([0.1, 0.2, 0.05, 0.3, 0.15, 0.1, 0.25], dtype=torch.float64)
T = torch.tensor([490.0, 2190.0, 560.0, 560.0, 842.0, 665.0, 705.0], dtype=torch.float64)
GROUPS = "RTRTRTR"
ALL = list(range(M))


def correlated(keep, relative=0.0, **kw):
    return CorrelatedGaussianNoise(
        A[keep],
        relative * R[keep],
        discrepancy=1.5 * A[keep],
        relative_discrepancy=2 * relative * R[keep],
        length=150.0,
        coordinate=T[keep],
        **kw,
    )


def groups(keep):
    return {"groups": [GROUPS[i] for i in keep], "between": 0.4}


# each makes the noise of the bands in `keep`
CASES = {
    "gaussian": lambda keep: GaussianNoise(0.1),
    "gaussian-bands": lambda keep: GaussianNoise(A[keep]),
    "gaussian-relative": lambda keep: GaussianNoise(A[keep], R[keep]),
    "student": lambda keep: StudentTNoise(9.0, A[keep]),
    "student-relative": lambda keep: StudentTNoise(9.0, A[keep], R[keep]),
    "poisson": lambda keep: PoissonNoise(),
    "poisson-bands": lambda keep: PoissonNoise(100 * A[keep], 10 * R[keep]),
    "negative-binomial": lambda keep: NegativeBinomialNoise(0.3),
    "negative-binomial-excess": lambda keep: NegativeBinomialNoise(0.0, 1.2, exposure=3.0),
    "negative-binomial-bands": lambda keep: NegativeBinomialNoise(A[keep], R[keep], 100 * A[keep], 10 * R[keep]),
    "shot": lambda keep: ShotNoise(0.3, 0.1),
    "shot-bands": lambda keep: ShotNoise(R[keep], A[keep]),
    "correlated": lambda keep: correlated(keep),
    "correlated-groups": lambda keep: correlated(keep, kernel="matern32", **groups(keep)),
    "correlated-relative": lambda keep: correlated(keep, relative=1.0),
    "correlated-all": lambda keep: correlated(keep, relative=1.0, kernel="matern52", **groups(keep)),
}


@pytest.fixture(params=CASES)
def make(request):
    return CASES[request.param]


def simulated(make, *shape, missing=True):
    """A noise, measurements (4, M) of which some are missing, and predictions (*shape, M) near the truth."""
    noise = make(ALL)
    rng = torch.Generator().manual_seed(3)
    truth = 0.3 + 2 * torch.rand(4, M, generator=rng, dtype=torch.float64)
    y = noise.sample(truth, seed=1)
    if missing:
        y[1, 2], y[2, [0, 3, 6]] = torch.nan, torch.nan
    f = truth * (1 + 0.2 * torch.rand(*shape, 4, M, generator=rng, dtype=torch.float64))
    return noise, y, f


def transposed_factor(noise, y, f):
    """L^T (*, r, M), by the whitener of the identity."""
    eye = torch.eye(M, dtype=f.dtype).expand(*f.shape, M)
    whitener = noise.whiten(y, f)
    return whitener, whitener(eye)


def test_shapes_and_rows_are_those_of_a_loop_to_the_last_bit(make):
    noise, y, f = simulated(make, 3)
    log_prob, chi = noise.log_prob(y, f), noise.standardise(y, f)
    whitener, factor = transposed_factor(noise, y, f)
    assert log_prob.shape == (3, 4)
    assert chi.shape == whitener.residual.shape == (3, 4, M)
    for draw in range(3):
        for row in range(4):
            one = noise.whiten(y[row], f[draw, row])
            assert torch.equal(noise.log_prob(y[row], f[draw, row]), log_prob[draw, row])
            assert torch.equal(noise.standardise(y[row], f[draw, row]), chi[draw, row])
            assert torch.equal(one.residual, whitener.residual[draw, row])
            assert torch.equal(one(torch.eye(M, dtype=f.dtype)), factor[draw, row])


def test_rows_do_not_depend_on_the_batch_or_the_layout(make):
    noise, y, f = simulated(make)
    y, f = y.repeat(67, 1), f.repeat(67, 1) * torch.linspace(0.9, 1.1, 268, dtype=torch.float64)[:, None]
    whole = noise.log_prob(y, f)
    parts = [noise.log_prob(y[i : i + 13], f[i : i + 13]) for i in range(0, len(y), 13)]
    assert torch.equal(whole, torch.cat(parts))
    assert torch.equal(whole, noise.log_prob(y, f.T.contiguous().T))


def test_nan_is_the_same_problem_without_the_element(make):
    noise, y, f = simulated(make, 2)
    whitener, factor = transposed_factor(noise, y, f)
    for row in range(4):
        keep = [i for i in ALL if not y[row, i].isnan()]
        drop = [i for i in ALL if i not in keep]
        small, ys, fs = make(keep), y[row, keep], f[:, row, keep]
        torch.testing.assert_close(noise.log_prob(y, f)[:, row], small.log_prob(ys, fs), rtol=1e-12, atol=1e-12)
        chi = noise.standardise(y, f)[:, row]
        torch.testing.assert_close(chi[:, keep], small.standardise(ys, fs), rtol=1e-12, atol=1e-12)
        assert (chi[:, drop] == 0).all()
        assert (whitener.residual[:, row][:, drop] == 0).all()
        one = small.whiten(ys, fs)
        small_factor = one(torch.eye(len(keep), dtype=f.dtype).expand(2, -1, -1))
        torch.testing.assert_close(whitener.residual[:, row][:, keep], one.residual, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(factor[:, row][:, keep][..., keep], small_factor, rtol=1e-12, atol=1e-12)
        assert (factor[:, row][:, drop] == 0).all()
        assert (factor[:, row][..., drop] == 0).all()


def test_nothing_measured_says_nothing(make):
    noise, y, f = simulated(make)
    y, f = torch.full_like(y, torch.nan), f.requires_grad_()
    assert (noise.log_prob(y, f) == 0).all()
    assert (noise.standardise(y, f) == 0).all()
    assert (noise.whiten(y, f).residual == 0).all()
    (gradient,) = torch.autograd.grad(noise.log_prob(y, f).sum(), f)
    assert (gradient == 0).all()


def test_gradient_against_finite_differences(make):
    noise, y, f = simulated(make)
    assert torch.autograd.gradcheck(lambda f: noise.log_prob(y, f), f.requires_grad_())


def test_score_of_whiten_is_the_gradient(make):
    noise, y, f = simulated(make, 2)
    whitener, factor = transposed_factor(noise, y, f)
    f.requires_grad_()
    (gradient,) = torch.autograd.grad(noise.log_prob(y, f).sum(), f)
    score = (factor.mT @ whitener.residual[..., None])[..., 0]
    torch.testing.assert_close(score, gradient, rtol=1e-11, atol=1e-11)
    assert (gradient[:, y.isnan()] == 0).all()


def test_whiten_fits_a_jacobian_as_its_factor_does(make):
    noise, y, f = simulated(make)
    jacobian = torch.randn(4, M, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whitener, factor = transposed_factor(noise, y, f)
    torch.testing.assert_close(whitener(jacobian), factor @ jacobian, rtol=1e-12, atol=1e-12)


def test_score_of_samples_has_mean_zero_and_the_information_as_covariance(make, request):
    noise, _, f = simulated(make, missing=False)
    n = 20_000
    f = f[0].expand(n, M)
    y = noise.sample(f, seed=5)
    # every row has the same f, and so the same factor
    _, factor = transposed_factor(noise, y[:1], f[:1])
    s = noise.whiten(y, f).residual @ factor[0]
    assert (s.mean(0).abs() < 5 * s.std(0) / n**0.5).all()
    information = factor[0].mT @ factor[0]
    products = s[:, :, None] * s[:, None, :]
    error = 5 * products.std(0) / n**0.5
    difference = products.mean(0) - information
    if request.node.callspec.params["make"] in ("correlated-relative", "correlated-all", "negative-binomial-excess"):
        # S_e^-1, or 1 / variance, leaves out what the spread tells: the true information is larger
        assert (difference.diagonal() > -error.diagonal()).all()
    else:
        assert (difference.abs() < error).all()


def test_standardised_samples_have_unit_variance_and_no_correlation(make):
    noise, _, f = simulated(make, missing=False)
    n = 20_000
    f = f[0].expand(n, M)
    r = noise.standardise(noise.sample(f, seed=6), f)
    assert (r.mean(0).abs() < 5 / n**0.5).all()
    products = r[:, :, None] * r[:, None, :]
    error = 5 * products.std(0) / n**0.5
    assert ((products.mean(0) - torch.eye(M, dtype=torch.float64)).abs() < error).all()


def test_sample_is_a_function_of_the_seed(make):
    noise, _, f = simulated(make)
    assert torch.equal(noise.sample(f, seed=2), noise.sample(f, seed=2))
    assert not torch.equal(noise.sample(f, seed=2), noise.sample(f, seed=3))
    # the first rows of a longer run are those of a shorter one
    assert torch.equal(noise.sample(f, seed=2)[:2], noise.sample(f[:2], seed=2))


def test_sample_like_is_missing_where_the_measurement_is(make):
    noise, y, f = simulated(make, 2)
    s = noise.sample(f, seed=2, like=y)
    assert torch.equal(s.isnan(), y.isnan().expand(2, 4, M))
    measured = ~s.isnan()
    assert torch.equal(s[measured], noise.sample(f, seed=2)[measured])
    shared = noise.sample(f[0, 0], seed=2, like=y)
    assert shared.shape == (4, M)
    assert not torch.equal(shared[0], shared[3])


def test_float32_follows_the_prediction(make):
    noise, y, f = simulated(make, 2)
    g = f.float()
    whitener, factor = transposed_factor(noise, y, g)
    for value in (noise.log_prob(y, g), noise.standardise(y, g), noise.sample(g), whitener.residual, factor):
        assert value.dtype == torch.float32
    # y keeps its own rounding: 1e-7 of y over the smallest sd, 0.05
    torch.testing.assert_close(noise.log_prob(y, g).double(), noise.log_prob(y, f), rtol=2e-4, atol=2e-4)
    torch.testing.assert_close(noise.standardise(y, g).double(), noise.standardise(y, f), rtol=2e-4, atol=2e-4)


def test_device_follows_the_prediction(make, device):
    noise, y, f = simulated(make, 2)
    on = f.to(device)
    for method in (noise.log_prob, noise.standardise):
        assert method(y, on).device == on.device
        torch.testing.assert_close(method(y, on).cpu(), method(y, f), rtol=1e-11, atol=1e-11)
    residual = noise.whiten(y, on).residual
    torch.testing.assert_close(residual.cpu(), noise.whiten(y, f).residual, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(noise.sample(on, like=y).cpu(), noise.sample(f, like=y), equal_nan=True)


def test_the_default_dtype_does_not_matter(make):
    _, y, f = simulated(make)
    before = torch.get_default_dtype()
    answers = []
    for default in (torch.float64, torch.float32):
        torch.set_default_dtype(default)
        made = make(ALL)
        answers.append((made.log_prob(y, f), made.standardise(y, f), made.sample(f), made.whiten(y, f).residual))
    torch.set_default_dtype(before)
    assert all(torch.equal(a, b) for a, b in zip(*answers, strict=True))


def test_another_number_of_bands_is_an_error(make):
    noise, y, f = simulated(make)
    for method in (noise.log_prob, noise.whiten, noise.standardise):
        with pytest.raises(ValueError, match=r"Invalid .* bands"):
            method(y[:, :3], f)


def test_settings_of_bands_must_fit_the_prediction():
    for make in (CASES["gaussian-relative"], CASES["student"], CASES["poisson-bands"], CASES["correlated"]):
        with pytest.raises(ValueError, match="Invalid prediction with 3 bands"):
            make(ALL).sample(torch.ones(2, 3, dtype=torch.float64))

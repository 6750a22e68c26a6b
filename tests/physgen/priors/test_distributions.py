"""Every distribution against SciPy, finite differences and itself."""

import math

import numpy as np
import pytest
import scipy.stats as st
import torch

from physgen.priors import (
    Beta,
    Empirical,
    Exponential,
    Gamma,
    HalfCauchy,
    HalfNormal,
    LogNormal,
    LogUniform,
    Normal,
    Stretched,
    StudentT,
    TruncatedNormal,
    Uniform,
)

SAMPLE = st.gamma(3).rvs(400, random_state=1)

# constructor, its numbers, which of them decode and encode differentiate, the same distribution in SciPy
TABLE = {
    "normal": (Normal, (1.0, 2.0), (0, 1), st.norm(1, 2)),
    "log-normal": (LogNormal, (0.3, 0.5), (0, 1), st.lognorm(0.5, scale=0.3)),
    "uniform": (Uniform, (-1.0, 3.0), (0, 1), st.uniform(-1, 4)),
    "log-uniform": (LogUniform, (0.1, 20.0), (0, 1), st.loguniform(0.1, 20)),
    "truncated": (TruncatedNormal, (2.0, 3.0, 0.0, 12.0), (0, 1, 2, 3), st.truncnorm(-2 / 3, 10 / 3, 2, 3)),
    "truncated-tail": (TruncatedNormal, (-1.0, 0.5, 2.0, 3.0), (0, 1, 2, 3), st.truncnorm(6, 8, -1, 0.5)),
    "truncated-below": (TruncatedNormal, (1.0, 2.0, 0.5), (0, 1, 2), st.truncnorm(-0.25, math.inf, 1, 2)),
    "truncated-above": (
        lambda mean, sd, high: TruncatedNormal(mean, sd, high=high),
        (1.0, 2.0, 0.5),
        (0, 1, 2),
        st.truncnorm(-math.inf, -0.25, 1, 2),
    ),
    "truncated-narrow": (TruncatedNormal, (0.0, 1.0, 0.5, 0.51), (0, 1, 2, 3), st.truncnorm(0.5, 0.51)),
    "half-normal": (HalfNormal, (2.0,), (0,), st.halfnorm(scale=2)),
    "half-cauchy": (HalfCauchy, (2.0,), (0,), st.halfcauchy(scale=2)),
    "student": (StudentT, (3.0, 1.0, 2.0), (1, 2), st.t(3, 1, 2)),
    "student-wild": (StudentT, (0.7, 0.0, 1.0), (1, 2), st.t(0.7)),
    "gamma": (Gamma, (2.5, 0.3), (1,), st.gamma(2.5, scale=0.3)),
    "gamma-small": (Gamma, (0.3, 1.0), (1,), st.gamma(0.3)),
    "exponential": (Exponential, (2.0,), (0,), st.expon(scale=2)),
    "beta": (Beta, (2.0, 5.0), (), st.beta(2, 5)),
    "beta-horned": (Beta, (0.5, 0.8, -1.0, 3.0), (2, 3), st.beta(0.5, 0.8, -1, 4)),
    "stretched": (lambda low, high: Stretched(Beta(2, 5), low, high), (-1.0, 3.0), (0, 1), st.beta(2, 5, -1, 4)),
    "empirical": (lambda: Empirical(SAMPLE), (), (), None),
    "empirical-positive": (lambda: Empirical(SAMPLE, 0), (), (), None),
    "empirical-negative": (lambda: Empirical(-SAMPLE, high=0), (), (), None),
    "empirical-bounded": (lambda: Empirical(SAMPLE, 0, 20), (), (), None),
}
EVERY = pytest.mark.parametrize("name", TABLE)
KNOWN = pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row[3] is not None])


def make(name):
    constructor, numbers, _, _ = TABLE[name]
    return constructor(*numbers)


def slope(distribution, z):
    z = z.clone().requires_grad_()
    return torch.autograd.grad(distribution.decode(z).sum(), z)[0]


def rounding(distribution, z, x):
    """The change of z that one rounding of x (or of its bounds) makes."""
    bounds = [abs(float(b)) for b in distribution.support if math.isfinite(b)]
    size = x.abs().clamp(min=max(bounds, default=0.0))
    return torch.finfo(x.dtype).eps * (size / slope(distribution, z) + z.abs() + 1)


@KNOWN
def test_decode_is_scipys_quantile(name):
    z = torch.linspace(-4, 4, 33, dtype=torch.float64)
    distribution, scipy = make(name), TABLE[name][3]
    x = distribution.decode(z)
    back = torch.from_numpy(np.where(z < 0, st.norm.ppf(scipy.cdf(x)), st.norm.isf(scipy.sf(x))))
    # SciPy's own distribution functions of truncated variables are good to about 1e-12
    assert ((back - z).abs() < 20 * rounding(distribution, z, x) + 1e-11).all()


@KNOWN
def test_log_prob_is_scipys(name):
    distribution, scipy = make(name), TABLE[name][3]
    x = distribution.decode(torch.linspace(-5, 5, 41, dtype=torch.float64))
    np.testing.assert_allclose(distribution.log_prob(x), scipy.logpdf(x), rtol=1e-11, atol=1e-11)


@EVERY
def test_log_prob_is_the_change_of_variables(name):
    distribution, z = make(name), torch.linspace(-4, 4, 41, dtype=torch.float64)
    log_prob = -0.5 * z**2 - 0.5 * math.log(2 * math.pi) - slope(distribution, z).log()
    # near a bound that is not 0, rounding of x moves the density where that diverges
    torch.testing.assert_close(distribution.log_prob(distribution.decode(z)), log_prob, rtol=1e-10, atol=1e-8)


@EVERY
@pytest.mark.parametrize(("dtype", "reach"), [(torch.float64, 8), (torch.float32, 5)])
def test_encode_inverts_decode_to_rounding(name, dtype, reach):
    distribution, z = make(name), torch.linspace(-reach, reach, 65, dtype=dtype)
    x = distribution.decode(z)
    assert x.dtype == dtype
    back = distribution.encode(x)
    assert back.dtype == dtype
    allowed = 40 * rounding(distribution, z, x) + 1e-11  # distances from a truncation keep 11 digits
    # where one step of x is a large step of z there is nothing to compare
    fine = allowed < 0.1
    assert fine[z.abs() <= 2].all()
    assert ((back - z).abs() <= allowed)[fine].all()


@EVERY
@pytest.mark.parametrize(("dtype", "reach"), [(torch.float64, 8), (torch.float32, 5)])
def test_tails_stay_inside_with_finite_slopes(name, dtype, reach):
    distribution, z = make(name), torch.linspace(-reach, reach, 65, dtype=dtype)
    x = distribution.decode(z)
    low, high = distribution.support
    assert ((x > low) & (x < high)).all()
    assert (x.diff() >= 0).all()
    derivative = slope(distribution, z)
    assert derivative.dtype == dtype
    assert torch.isfinite(derivative).all()
    assert (derivative[z.abs() <= 3] > 0).all()
    assert torch.isfinite(distribution.log_prob(x)).all()


@EVERY
def test_float32_agrees_with_float64(name):
    distribution, z = make(name), torch.linspace(-5, 5, 33)
    torch.testing.assert_close(
        distribution.decode(z.float()).double(), distribution.decode(z.double()), rtol=2e-5, atol=0
    )


@EVERY
def test_slopes_in_every_mode_against_finite_differences(name):
    constructor, numbers, differentiable, _ = TABLE[name]
    numbers = [torch.tensor(v, dtype=torch.float64, requires_grad=i in differentiable) for i, v in enumerate(numbers)]
    z = torch.tensor([-2.5, -0.3, 0.0, 1.7], dtype=torch.float64, requires_grad=True)
    x, unit = constructor(*numbers).decode(z).detach(), slope(make(name), z)
    u = torch.zeros(4, dtype=torch.float64, requires_grad=True)  # steps of x in units of dx/dz
    modes = {"check_forward_ad": True, "check_batched_grad": True, "check_batched_forward_grad": True, "rtol": 1e-4}
    assert torch.autograd.gradcheck(lambda z, *v: constructor(*v).decode(z), (z, *numbers), **modes)
    assert torch.autograd.gradcheck(lambda u, *v: constructor(*v).encode(x + unit * u), (u, *numbers), **modes)
    assert torch.autograd.gradgradcheck(lambda z, *v: constructor(*v).decode(z), (z, *numbers), rtol=1e-3)


@KNOWN
def test_slopes_of_the_density_in_every_parameter(name):
    constructor, numbers, _, _ = TABLE[name]
    numbers = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in numbers]
    x = constructor(*numbers).decode(torch.tensor([-0.8, 0.0, 1.5], dtype=torch.float64)).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *v: constructor(*v).log_prob(x), (x, *numbers), check_forward_ad=True)


@EVERY
def test_vmap_of_decode_and_encode_is_the_batch(name):
    distribution, z = make(name), torch.linspace(-3, 3, 6, dtype=torch.float64).reshape(3, 2)
    x = distribution.decode(z)
    torch.testing.assert_close(torch.func.vmap(distribution.decode, in_dims=1, out_dims=1)(z), x, rtol=1e-14, atol=0)
    torch.testing.assert_close(torch.func.vmap(torch.func.vmap(distribution.encode))(x), distribution.encode(x))
    gradients = torch.func.vmap(torch.func.vmap(torch.func.grad(distribution.decode)))(z)
    torch.testing.assert_close(gradients, slope(distribution, z))


@EVERY
def test_outside_the_support_there_is_no_density_and_no_latent(name):
    distribution = make(name)
    low, high = distribution.support
    outside = [low, low - 1, high, high + 1, math.nan, math.inf, -math.inf]
    x = torch.tensor([v for v in outside if not low < v < high], dtype=torch.float64, requires_grad=True)
    inside = distribution.decode(torch.zeros(1, dtype=torch.float64))
    log_prob = distribution.log_prob(torch.cat([x, inside]))
    assert torch.isneginf(log_prob[:-1]).all()
    assert torch.isnan(distribution.encode(x)).all()
    if log_prob.requires_grad:  # a sum over possible values has finite gradients
        gradient = torch.autograd.grad(torch.where(torch.isfinite(log_prob), log_prob, 0).sum(), x)[0]
        assert torch.isfinite(gradient).all()


@KNOWN
def test_tensor_parameters_broadcast_and_equal_numbers(name):
    constructor, numbers, _, _ = TABLE[name]
    z = torch.linspace(-3, 3, 7, dtype=torch.float64)
    x = constructor(*numbers).decode(z)
    tensors = constructor(*(torch.full((2, 1), v, dtype=torch.float64) for v in numbers))
    torch.testing.assert_close(tensors.decode(z), x.expand(2, 7), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(tensors.encode(x), z.expand(2, 7), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(tensors.log_prob(x), constructor(*numbers).log_prob(x).expand(2, 7))


@pytest.mark.parametrize("make", [lambda s: Gamma(s, 1.0), lambda s: Beta(s, 2.0), lambda s: StudentT(s, 0.0, 1.0)])
def test_unknown_slope_in_a_shape_is_an_error_in_both_modes(make):
    z, shape = torch.zeros(3), torch.tensor(2.0, requires_grad=True)
    with pytest.raises(TypeError, match="no derivative"):
        make(shape).decode(z).sum().backward()
    with pytest.raises(TypeError, match="no derivative"):
        torch.func.jvp(lambda s: make(s).decode(z), (torch.tensor(2.0),), (torch.tensor(1.0),))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normal(0, 0), "Invalid sd 0 of Normal"),
        (lambda: Normal(math.inf, 1), "must be finite"),
        (lambda: LogNormal(-1, 1), "Invalid median -1"),
        (lambda: Uniform(1, 1), "The lower one must be smaller"),
        (lambda: Uniform(0, math.inf), "must be finite"),
        (lambda: LogUniform(0, 1), "greater than 0"),
        (lambda: TruncatedNormal(0, 1, 3, 2), "Invalid bounds 3 and 2"),
        (lambda: Beta(1, math.nan), "Invalid b nan"),
        (lambda: Exponential(-2), "Invalid scale -2"),
    ],
)
def test_invalid_numbers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_text_as_a_parameter_is_a_type_error():
    with pytest.raises(TypeError, match=r"Invalid mean 'high' of Normal\. Give a number or a tensor"):
        Normal("high", 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda bad: Normal(0, bad),
        lambda bad: Uniform(0, bad),
        lambda bad: TruncatedNormal(0, 1, 0, bad),
        lambda bad: Gamma(bad, 1),
        lambda bad: HalfCauchy(bad),
    ],
)
def test_an_invalid_element_of_a_tensor_gives_nan_there_only(make):
    x = make(torch.tensor([1.0, -1.0, 2.0])).decode(torch.full((3,), 0.5))
    assert torch.isnan(x).tolist() == [False, True, False]


def test_labels_are_kept():
    distribution = LogNormal(0.3, 0.5, units="m2 m-2", long_name="leaf area index")
    assert (distribution.units, distribution.long_name) == ("m2 m-2", "leaf area index")
    assert Normal(0, 1).units == "1"

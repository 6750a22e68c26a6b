"""Bases of a decoder: each map against its density, SciPy's distributions, and what a decoder learns with it."""

import math

import numpy as np
import pytest
import scipy.stats as st
import torch

from physgen.priors.base_conditional import ConditionalBase
from physgen.priors.base_factored import FactoredBase
from physgen.priors.base_normal import NormalBase
from physgen.priors.bases import BASES, base_from_json
from physgen.priors.decoder import Decoder
from physgen.priors.fitting import Training
from physgen.priors.frame import Frame
from physgen.priors.given import given
from physgen.priors.storage import load_prior, save_prior
from physgen.rows import jacobian
from physgen.space import Space
from physgen.testing import check_prior

CARD = dict.fromkeys(
    ("title", "learned_from", "units", "range", "intended_use", "not_for", "fit", "licence"), "of a test"
)
KINDS = ["normal", "laplace", "mixture", "spline"]
SEGMENTS = ConditionalBase({"segment": (2, 5, 9)})


def frame(conditions=()):
    """Of conditions named, with mean 4 and deviation 2."""
    c = len(conditions)
    one = torch.ones(c, dtype=torch.float64)
    zero = torch.zeros(3, c, dtype=torch.float64)
    return Frame(Space("a", "b", "c"), zero.new_zeros(3), zero, torch.eye(3), tuple(conditions), 4 * one, 2 * one)


def disturbed(made):
    """The map with other parameters than those that it begins with, in float64."""
    generator = torch.Generator().manual_seed(3)
    made = made.double()
    for p in made.parameters():
        p.data += 0.5 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    return made.requires_grad_(False)


def grid(rows=64):
    return torch.linspace(-4, 4, rows, dtype=torch.float64).expand(2, rows).contiguous()


MAPS = {
    **{k: (lambda k=k: disturbed(FactoredBase(k).made(2, frame(), seed=1)), torch.zeros(0, 64)) for k in KINDS},
    "each": (lambda: disturbed(FactoredBase(["spline", "mixture"]).made(2, frame(), seed=1)), torch.zeros(0, 64)),
    "conditional": (
        lambda: disturbed(SEGMENTS.made(2, frame(["segment"]), seed=1)),
        torch.full((1, 64), 0.5),
    ),
    "number": (
        lambda: disturbed(ConditionalBase(hidden=(4,)).made(2, frame(["day"]), seed=1)),
        torch.linspace(-1, 1, 64)[None],
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_density_is_that_of_the_map(name):
    """p(s) = phi(z) / (ds/dz): the slope by automatic differentiation, against the density written down."""
    make, context = MAPS[name]
    made, context, z = make(), context.double(), grid()
    s, slope = torch.func.jvp(lambda v: made(v, context), (z,), (torch.ones_like(z),))
    assert (slope > 0).all()
    expected = torch.distributions.Normal(0, 1).log_prob(z) - slope.log()
    torch.testing.assert_close(made.log_density(s, context), expected, rtol=1e-8, atol=1e-8)
    step = 1e-6
    difference = (made(z + step, context) - made(z - step, context)) / (2 * step)
    torch.testing.assert_close(slope, difference, rtol=1e-5, atol=1e-6)


def test_laplace_is_scipy_s():
    z = torch.linspace(-8, 8, 65, dtype=torch.float64)[None]
    s = FactoredBase("laplace").made(1, frame(), seed=0)(z, z[:0])
    expected = np.sign(z) * st.laplace(scale=math.sqrt(0.5)).isf(st.norm.sf(z.abs()))
    np.testing.assert_allclose(s, expected, rtol=1e-9, atol=1e-12)
    low = torch.full((1, 1), -12.0, dtype=torch.float32)
    assert torch.isfinite(FactoredBase("laplace").made(1, frame(), seed=0)(torch.cat([low, -low]), low[:0])).all()


def test_mixture_is_the_quantile_of_scipy_s_distribution_functions():
    made = MAPS["mixture"][0]()
    weight, mean, sd = (p[:, 1, 0].numpy() for p in (made.maps[0].parts()[0].exp(), *made.maps[0].parts()[1:]))
    sd = np.exp(sd)
    z = grid()
    s = made(z, z[:0])[1].numpy()
    share = (weight[:, None] * st.norm.cdf((s - mean[:, None]) / sd[:, None])).sum(0)
    np.testing.assert_allclose(share, st.norm.cdf(z[1]), rtol=1e-9)


def test_conditional_base_of_each_level():
    made = MAPS["conditional"][0]()
    levels = (torch.tensor([2.0, 5.0, 9.0], dtype=torch.float64) - 4) / 2
    mean, log_sd = made.moments(levels[None])
    assert len({round(float(v), 6) for v in mean[0]}) == 3
    weights = made.parameters_of.weights[0]
    torch.testing.assert_close(mean, weights[:2] + made.parameters_of.biases[0][:2])
    assert torch.isnan(made(torch.zeros(2, 1), torch.full((1, 1), 0.1))).all()
    assert log_sd.shape == (2, 3)


@pytest.mark.parametrize("base", [NormalBase(), FactoredBase(["mixture", "laplace"], 4, 6), SEGMENTS])
def test_settings_return(base):
    again = base_from_json(base.to_json())
    assert again == base or again.to_json() == base.to_json()
    assert type(again) is BASES[base.kind]


def sources(rows=1000):
    """Two causes: a two-peaked one and a scaled Laplace one, a little mixed, with noise."""
    rng = np.random.default_rng(4)
    s = np.stack([rng.choice([-2, 2], rows) + 0.5 * rng.normal(size=rows), rng.laplace(size=rows)], 1)
    return s @ np.array([[1.0, 0.3], [0.2, 1.0]]) + 0.05 * rng.normal(size=s.shape)


def test_a_fitting_base_raises_the_likelihood():
    """A linear decoder with a normal base makes normal causes only.

    The other bases win back what the two-peaked source is farther from normal: its negentropy is
    ln(2 pi e 4.25) / 2 - ln 2 - ln(2 pi e 0.25) / 2 = 0.72 nats, that of the Laplace source 0.07.
    """
    x, rows = sources(), torch.from_numpy(sources())
    settings = {"hidden": (), "training": Training(epochs=60, batch=100, learning_rate=0.05)}
    reached = {
        name: float(Decoder.fit(x, 2, base=base, **settings).bound(rows, draws=20).mean())
        for name, base in (("normal", None), ("mixture", FactoredBase("mixture")), ("spline", FactoredBase("spline")))
    }
    print(f"\nbound by base, in nats a sample: { {k: round(v, 3) for k, v in reached.items()} }")
    for name in ("mixture", "spline"):
        assert 0.5 * 0.72 < reached[name] - reached["normal"] < 0.72 + 0.07 + 0.1


def segments(rows=600):
    rng = np.random.default_rng(5)
    u = rng.choice([2.0, 5.0, 9.0], rows)
    code = u[:, None] * [0.5, -0.2] + np.where(u > 4, 0.3, 1.5)[:, None] * rng.normal(size=(rows, 2))
    return np.stack([code[:, 0], code[:, 1], code[:, 0] + np.sin(code[:, 1])], 1) + 0.1 * rng.normal(size=(rows, 3)), u


@pytest.fixture(scope="module")
def segmented():
    x, u = segments()
    training = Training(epochs=80, learning_rate=0.02)
    return Decoder.fit(x, 2, conditions={"segment": u}, base=SEGMENTS, hidden=(16,), training=training)


def test_conditions_act_through_the_code_alone(segmented):
    x, u = segments()
    for level in (2.0, 5.0, 9.0):
        draws = segmented.sample(2000, segment=level, dtype=torch.float64)
        own = x[u == level]
        np.testing.assert_allclose(draws.mean(0), own.mean(0), atol=0.35)
        np.testing.assert_allclose(draws.std(0), own.std(0), rtol=0.35)
    code = torch.randn(2, 8, dtype=torch.float32)
    low, high = (segmented.network.decode(code, torch.full((1, 8), v).float())[0] for v in (-1.0, 1.0))
    assert torch.equal(low, high)


def test_stored_bases_return(segmented, tmp_path):
    again = load_prior(save_prior(segmented, tmp_path / "c", CARD))
    assert torch.equal(again.sample(20, seed=1, segment=5.0), segmented.sample(20, seed=1, segment=5.0))
    fast = {"hidden": (4,), "training": Training(epochs=2)}
    for base in (FactoredBase(["mixture", "spline"]), FactoredBase("laplace")):
        made = Decoder.fit(segments()[0], 2, base=base, **fast)
        again = load_prior(save_prior(made, tmp_path / "f", CARD))
        assert torch.equal(again.sample(20, seed=1), made.sample(20, seed=1))


def test_contract(segmented):
    fast = {"hidden": (4,), "training": Training(epochs=2)}
    check_prior(given(segmented, segment=5.0))
    check_prior(Decoder.fit(segments()[0], 2, base=FactoredBase(["mixture", "laplace"]), **fast))
    check_prior(Decoder.fit(segments()[0], 2, base=FactoredBase("spline"), **fast))


def test_derivatives_at_zero_and_under_transforms(segmented):
    """An inversion starts at z = 0, and takes its Jacobians in batches."""
    fast = {"hidden": (4,), "training": Training(epochs=2)}
    for base in ("laplace", "mixture", "spline"):
        prior = Decoder.fit(segments()[0], 2, base=FactoredBase(base), **fast)
        z = torch.zeros(3, prior.latent_dim, dtype=torch.float64)
        _, j = jacobian(prior.decode, z)
        step = 1e-5 * torch.eye(prior.latent_dim, dtype=torch.float64)
        numeric = torch.stack([(prior.decode(z[0] + e) - prior.decode(z[0] - e)) / 2e-5 for e in step], -1)
        torch.testing.assert_close(j[0], numeric, rtol=1e-5, atol=1e-7)
    one = torch.func.vmap(lambda z, s: segmented.decode(z, segment=s))(
        torch.zeros(3, 5, dtype=torch.float64), torch.tensor([2.0, 5.0, 9.0], dtype=torch.float64)
    )
    two = segmented.decode(torch.zeros(3, 5, dtype=torch.float64), segment=torch.tensor([2.0, 5.0, 9.0]).double())
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FactoredBase("cauchy"), "Unknown kind of element 'cauchy'. Must be one of normal, laplace"),
        (lambda: FactoredBase("mixture", components=1), "Invalid components 1"),
        (lambda: ConditionalBase({"u": (1, 1)}), "Invalid levels of 'u'"),
        (lambda: fit(FactoredBase(["laplace"])), "Invalid base of 1 elements. The code has 2"),
        (lambda: fit(SEGMENTS), "A conditional base without conditions"),
        (lambda: fit(ConditionalBase({"u": (0, 1)}), {"segment": segments()[1]}), "Unknown label 'u'"),
        (lambda: fit(ConditionalBase({"segment": (2, 5)}), {"segment": segments()[1]}), "Unknown segment 9"),
    ],
)
def test_unusable_bases_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def fit(base, conditions=None):
    return Decoder.fit(segments()[0], 2, conditions=conditions, base=base, training=Training(epochs=1))


def test_unknown_label_is_refused(segmented):
    with pytest.raises(ValueError, match=r"Unknown segment 3\. Its 3 values lie from 2 to 9"):
        segmented.sample(4, segment=3.0)

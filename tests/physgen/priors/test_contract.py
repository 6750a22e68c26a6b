"""What every prior promises: one line in a table of constructors runs it all."""

import math

import numpy as np
import pytest
import scipy.stats as st
import torch

from physgen.priors import (
    GAN,
    ICA,
    PPCA,
    AdversarialICA,
    AdversarialTraining,
    Beta,
    CausalFlow,
    Chain,
    Composed,
    Conditional,
    ConditionalBase,
    Decoder,
    Diffusion,
    Discrepancy,
    Empirical,
    Exponential,
    FactoredBase,
    Flow,
    FlowMatching,
    Gamma,
    Gaussian,
    HalfCauchy,
    HalfNormal,
    Independent,
    InfoGAN,
    Joint,
    LogNormal,
    LogUniform,
    Normal,
    Physics,
    SmoothField,
    SpikeSlab,
    StudentT,
    Training,
    TruncatedNormal,
    Uniform,
    given,
)
from physgen.priors.closed_loop_prior import Updated
from physgen.rows import jacobian
from physgen.space import Block, Space

SAMPLE, FAST = np.random.default_rng(0).gamma(3, size=(200, 3)), Training(epochs=3)
GAME = AdversarialTraining(epochs=3)
POSITIVE = Space(*(Block(f"c{i}", "1", (0.0, math.inf)) for i in range(3)))
DAYS = {"day": np.linspace(1, 365, 200)}


def line(theta, correction):
    """A known map, a + b i, with a correction for each i."""
    i = torch.arange(3.0).to(theta)
    return theta[:, :1] + theta[:, 1:] * i + correction(i.expand(len(theta), -1)[..., None])[..., 0]


TABLE = {
    "gaussian": lambda: Gaussian([1.0, -2.0], [[2.0, 0.6], [0.6, 1.0]]),
    "ppca": lambda: PPCA([0.0, 1, 2], [[1.0], [0.0], [0.0]], [2.0], 0.3, causes=("a", "b", "c")),
    "normals": lambda: Independent(a=Normal(1, 2), b=LogNormal(0.3, 0.5), c=HalfNormal(2)),
    "bounded": lambda: Independent(a=Uniform(-1, 3), b=LogUniform(0.1, 20), c=TruncatedNormal(2, 3, 0, 12)),
    "tails": lambda: Independent(a=HalfCauchy(1), b=StudentT(3, 0, 2), c=Exponential(2)),
    "shapes": lambda: Independent(a=Gamma(2.5, 0.3), b=Beta(2, 5)),
    "learned": lambda: Independent(a=Empirical(st.gamma(3).rvs(300, random_state=0), 0, 20)),
    "chain": lambda: Chain(
        lai=TruncatedNormal(2, 3, 0, 12),
        cab=Conditional(lambda lai: TruncatedNormal(45, 30, 20 + 2.5 * lai, 90 - lai), support=(20, 90)),
        cw=lambda lai, cab: LogNormal(0.01 * (1 + lai) * torch.exp(-0.01 * cab), 0.3),
        scale=lambda cw: StudentT(4, cw, cw),
    ),
    "conditioned": lambda: Chain(
        a=Conditional(lambda day: Normal(0.01 * day, 1 + 0.001 * day), support=(-math.inf, math.inf)),
        b=Conditional(lambda a, day: Uniform(-day, torch.exp(a)), support=(-366, math.inf)),
    ),
    "intervened": lambda: Chain(a=LogNormal(1, 0.5), b=lambda a: Normal(a, 1)).do(a=3.0),
    "flow": lambda: Flow.fit(SAMPLE, causes=POSITIVE, transforms=2, training=FAST),
    "conditioned flow": lambda: Flow.fit(SAMPLE, causes=POSITIVE, conditions=DAYS, transforms=2, training=FAST),
    "causal flow": lambda: CausalFlow.fit(SAMPLE, {"c1": ["c0"], "c2": ["c0", "c1"]}, causes=POSITIVE, training=FAST),
    "decoder": lambda: Decoder.fit(SAMPLE, 2, causes=POSITIVE, hidden=(8,), training=FAST),
    "factored decoder": lambda: Decoder.fit(
        SAMPLE, 2, causes=POSITIVE, hidden=(8,), base=FactoredBase(["mixture", "spline"]), training=FAST
    ),
    "sparse decoder": lambda: Decoder.fit(
        SAMPLE, 2, conditions=DAYS, hidden=(8,), base=ConditionalBase(), sparse=SpikeSlab(), training=FAST
    ),
    "composed": lambda: Composed(
        CausalFlow.fit(SAMPLE[:, :2], {"c1": ["c0"]}, causes=["c0", "c1"], training=FAST),
        Flow.fit(SAMPLE[:, 2:], conditions={"c1": SAMPLE[:, 1]}, transforms=2, training=FAST),
    ),
    "physics": lambda: Physics.fit(
        SAMPLE, line, Independent(a=Normal(3, 1), b=Normal(0, 1)), Discrepancy(1), training=FAST
    ),
    "given": lambda: given(TABLE["conditioned"](), day=100.0),
    "diffusion": lambda: Diffusion.fit(SAMPLE, causes=POSITIVE, hidden=(8,), steps=4, training=FAST),
    "flow matching": lambda: FlowMatching.fit(
        SAMPLE, causes=POSITIVE, conditions=DAYS, hidden=(8,), steps=3, training=FAST
    ),
    "ica": lambda: ICA.fit(np.random.default_rng(0).laplace(size=(500, 2))),
    "adversarial ica": lambda: AdversarialICA.fit(SAMPLE, post_nonlinear=True, training=GAME),
    "gan": lambda: GAN.fit(SAMPLE, 2, causes=POSITIVE, conditions=DAYS, hidden=(8,), training=GAME),
    "infogan": lambda: InfoGAN.fit(SAMPLE, 1, causes=POSITIVE, hidden=(8,), training=GAME),
    "joint": lambda: Joint(TABLE["gaussian"](), Independent(p=Uniform(0, 1)), order=["x0", "p", "x1"]),
    "smooth field": lambda: SmoothField([0.0, 0.2, 1.0], log=True, amplitude=0.7, length=LogNormal(0.4, 0.3)),
    "known smooth field": lambda: SmoothField([0.0, 0.2, 1.0], log=True, amplitude=0.7, length=0.4, level_sd=0.3),
    "updated": lambda: Updated(TABLE["bounded"](), Gaussian([0.2, -0.5, 0], np.diag([0.3, 0.6, 1.0]))),
}
EVERY = pytest.mark.parametrize("name", TABLE)
THIN = ("intervened", "decoder", "factored decoder", "sparse decoder", "physics", "gan", "infogan", "smooth field")
DENSE = pytest.mark.parametrize("name", [name for name in TABLE if name not in THIN])
# whose first cause depends on the first latent alone
MIXED = (*THIN, "flow", "conditioned flow", "diffusion", "flow matching", "ica", "adversarial ica")
STEPWISE = [n for n in TABLE if n not in MIXED]


def conditions(prior, batch=()):
    days = torch.linspace(1, 365, max(math.prod(batch), 2), dtype=torch.float64)
    return {k: days[: math.prod(batch)].reshape(batch) for k in prior.takes.names}


def latents(prior, *batch):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*batch, prior.latent_dim, dtype=torch.float64, generator=generator)


@EVERY
def test_shapes_and_dtypes(name):
    prior = TABLE[name]()
    for dtype in (torch.float32, torch.float64):
        for batch in ((), (4,), (3, 4)):
            own = {k: v.to(dtype) for k, v in conditions(prior, batch[-1:]).items()}
            x = prior.decode(latents(prior, *batch).to(dtype), **own)
            assert x.shape == (*batch, prior.causes.size)
            assert x.dtype == dtype
            if "log_prob" in prior.capabilities:
                assert prior.log_prob(x, **own).shape == batch
                assert prior.log_prob(x, **own).dtype == dtype
            if "encode" in prior.capabilities:
                assert prior.encode(x, **own).shape == (*batch, prior.latent_dim)
                assert prior.encode(x, **own).dtype == dtype


@EVERY
def test_a_batch_equals_a_loop(name):
    prior = TABLE[name]()
    z, own = latents(prior, 5), conditions(prior, (5,))
    x = prior.decode(z, **own)
    for i in range(5):
        one = {k: v[i] for k, v in own.items()}
        torch.testing.assert_close(prior.decode(z[i], **one), x[i], rtol=1e-13, atol=0)
        if "log_prob" in prior.capabilities:
            whole = prior.log_prob(x, **own)[i]
            torch.testing.assert_close(prior.log_prob(x[i], **one), whole, rtol=1e-13, atol=1e-13)


@DENSE
def test_encode_inverts_decode(name):
    prior = TABLE[name]()
    z, own = latents(prior, 50), conditions(prior, (50,))
    torch.testing.assert_close(prior.encode(prior.decode(z, **own), **own), z, rtol=0, atol=1e-11)


@EVERY
def test_jacobian_against_finite_differences(name):
    prior = TABLE[name]()
    z, own = latents(prior, 4), conditions(prior, (4,))
    _, exact = jacobian(lambda rows: prior.decode(rows, **own), z)
    step = 1e-5
    for j in range(prior.latent_dim):
        shift = step * torch.eye(prior.latent_dim, dtype=torch.float64)[j]
        difference = (prior.decode(z + shift, **own) - prior.decode(z - shift, **own)) / (2 * step)
        torch.testing.assert_close(exact[..., j], difference, rtol=1e-7, atol=1e-8)


@EVERY
def test_forward_and_reverse_mode_agree(name):
    prior = TABLE[name]()
    z, own = latents(prior), conditions(prior)
    forward, reverse = (
        mode(lambda row: prior.decode(row, **own))(z) for mode in (torch.func.jacfwd, torch.func.jacrev)
    )
    torch.testing.assert_close(forward, reverse, rtol=1e-12, atol=1e-14)


@DENSE
def test_log_prob_is_the_change_of_variables(name):
    prior = TABLE[name]()
    z, own = latents(prior, 20), conditions(prior, (20,))
    x, dx = jacobian(lambda rows: prior.decode(rows, **own), z)
    standard = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0).log_prob(z).sum(-1)
    expected = standard - torch.linalg.slogdet(dx).logabsdet
    torch.testing.assert_close(prior.log_prob(x, **own), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", STEPWISE)
def test_draws_follow_the_density_of_the_first_cause(name):
    """Kolmogorov-Smirnov test against the cumulative sum of exp(log_prob), the other causes kept at one value."""
    prior = TABLE[name]()
    own = conditions(prior)
    z = latents(prior, 2000)
    z[:, 1:] = 0
    draws = prior.decode(z, **own)[:, 0].numpy()
    path = torch.zeros(20001, prior.latent_dim, dtype=torch.float64)
    path[:, 0] = torch.linspace(-7, 7, 20001)
    x, dx = jacobian(lambda rows: prior.decode(rows, **own), path)
    others = torch.linalg.slogdet(dx[:, 1:, 1:]).logabsdet + 0.5 * math.log(2 * math.pi) * (prior.latent_dim - 1)
    density = torch.exp(prior.log_prob(x, **own) + others)
    mass = torch.cumulative_trapezoid(density, x[:, 0])
    assert float(mass[-1]) == pytest.approx(1, abs=1e-4)
    assert st.kstest(draws, lambda v: np.interp(v, x[1:, 0], mass)).pvalue > 1e-3


@EVERY
def test_draws_lie_in_the_declared_support_and_depend_on_the_seed(name):
    prior = TABLE[name]()
    own = conditions(prior)
    x = prior.sample(500, seed=7, dtype=torch.float64, **own)
    for block, columns in zip(prior.causes, x.split([b.size for b in prior.causes], -1), strict=True):
        assert (columns > block.support[0]).all()
        assert (columns < block.support[1]).all()
    assert torch.equal(x, prior.sample(500, seed=7, dtype=torch.float64, **own))
    assert not torch.equal(x, prior.sample(500, seed=8, dtype=torch.float64, **own))


@EVERY
def test_wrong_length_is_refused(name):
    prior = TABLE[name]()
    with pytest.raises(ValueError, match="The last axis must hold"):
        prior.decode(torch.zeros(prior.latent_dim + 1), **conditions(prior))


@pytest.mark.parametrize("name", ["bounded", "shapes", "chain"])
def test_outside_the_support_the_density_vanishes(name):
    prior = TABLE[name]()
    x = prior.decode(latents(prior), **conditions(prior))
    for i in range(len(prior.causes)):
        low = prior.causes.blocks[i].support[0]
        if math.isfinite(low):
            moved = x.clone()
            moved[i] = low - 0.1
            assert torch.isneginf(prior.log_prob(moved))

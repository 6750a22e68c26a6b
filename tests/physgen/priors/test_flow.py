"""Flows: what they learn, under which conditions, and what they refuse."""

import math

import numpy as np
import pytest
import scipy.stats as st
import torch

from physgen.priors.fitting import Training
from physgen.priors.flow import Flow
from physgen.priors.storage import load_prior, save_prior
from physgen.priors.support_map import SupportMap
from physgen.rows import jacobian
from physgen.space import Block, Space
from physgen.testing import check_prior

SPACE = Space(
    Block("lai", "m2 m-2", (0, math.inf)),
    Block("cover", "1", (0, 1)),
    Block("depth", "m", (-math.inf, 0)),
    Block("level", "K"),
)
CARD = {
    "title": "a flow of a test",
    "learned_from": "random numbers",
    "units": "m2 m-2, 1, m, K",
    "range": "some",
    "intended_use": "tests",
    "not_for": "anything else",
    "fit": "see report",
    "licence": "none",
}


def table(rows=400, seed=0):
    """Four dependent causes on four kinds of support, and a condition that moves the last."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(rows, 4))
    day = rng.uniform(0, 365, rows)
    lai = np.exp(0.5 * a[:, 0])
    cover = 1 - np.exp(-0.5 * lai * np.exp(0.3 * a[:, 1]))
    depth = -np.exp(0.4 * a[:, 2] + 0.5 * a[:, 0])
    return np.stack([lai, cover, depth, 0.05 * day + a[:, 3] * (1 + 0.3 * a[:, 0] ** 2)], 1), day


@pytest.fixture(scope="module")
def learned():
    x, day = table(1200)
    return Flow.fit(x, causes=SPACE, conditions={"day": day}, transforms=4, training=Training(epochs=12), seed=2)


def test_contract(learned):
    check_prior(learned, {"day": 120.0})


@pytest.mark.parametrize("n", [1, 2, 3])
def test_contract_of_few_causes(n):
    x = np.random.default_rng(1).gamma(3, size=(200, n))
    causes = [Block(f"c{i}", support=(0, math.inf)) for i in range(n)]
    check_prior(Flow.fit(x, causes=causes, transforms=2, training=Training(epochs=3)))


def test_support_map_keeps_supports_and_slopes():
    support = SupportMap(SPACE)
    u = torch.linspace(-9, 9, 400, dtype=torch.float64).expand(4, 400).clone().requires_grad_()
    x = support.decode(u)
    for column, block in zip(x, SPACE, strict=True):
        assert (column > block.support[0]).all()
        assert (column < block.support[1]).all()
    near = u.detach().abs()[0] < 6
    torch.testing.assert_close(support.encode(x)[:, near], u[:, near], rtol=1e-7, atol=1e-7)
    (slope,) = torch.autograd.grad(x.sum(), u)
    torch.testing.assert_close(support.log_slopes(u)[:, near].exp(), slope[:, near], rtol=1e-10, atol=0)


def test_decode_has_the_bits_of_every_chunk(learned):
    """float64, whatever the number of rows beside a row."""
    z = torch.randn(5000, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    day = torch.linspace(0, 365, 5000, dtype=torch.float64)
    x = learned.decode(z, day=day)
    lp = learned.log_prob(x, day=day)
    back = learned.encode(x, day=day)
    for count in (1, 2, 3, 6, 7, 8, 9, 10, 33, 1000, 4097):
        cut = slice(3, 3 + count)
        assert torch.equal(learned.decode(z[cut], day=day[cut]), x[cut])
        assert torch.equal(learned.log_prob(x[cut], day=day[cut]), lp[cut])
        assert torch.equal(learned.encode(x[cut], day=day[cut]), back[cut])


def test_gradient_through_decode(learned):
    z = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    _, exact = jacobian(lambda rows: learned.decode(rows, day=100.0), z)
    for j in range(4):
        step = 1e-6 * torch.eye(4, dtype=torch.float64)[j]
        difference = (learned.decode(z + step, day=100.0) - learned.decode(z - step, day=100.0)) / 2e-6
        torch.testing.assert_close(exact[..., j], difference, rtol=1e-7, atol=1e-8)


def test_forward_mode_is_reverse_mode_in_a_flow_that_was_never_called():
    x, day = table(120)
    flow = Flow.fit(x, causes=SPACE, conditions={"day": day}, transforms=2, training=Training(epochs=2))
    z = torch.linspace(-1, 1, 4, dtype=torch.float64)
    forward, reverse = (mode(lambda r: flow.decode(r, day=5.0))(z) for mode in (torch.func.jacfwd, torch.func.jacrev))
    torch.testing.assert_close(forward, reverse, rtol=1e-12, atol=1e-14)


def test_condition_moves_the_cause(learned):
    """The condition was built to raise the last cause by 0.05 a day."""
    for day in (60.0, 300.0):
        mean = float(learned.sample(4000, seed=5, day=day)[:, 3].mean())
        assert mean == pytest.approx(0.05 * day, abs=0.5)


def test_report(learned):
    report = learned.report
    assert report.samples == 1080
    assert report.held_out_samples == 120
    assert report.best == min(report.held_out) < report.baseline
    assert len(report.training) == report.epochs <= 12


def test_density_integrates_to_one():
    x = np.random.default_rng(3).beta(2, 3, size=(300, 2))
    x[:, 1] = 0.5 * x[:, 0] + 0.5 * x[:, 1]
    flow = Flow.fit(
        x, causes=[Block("a", support=(0, 1)), Block("b", support=(0, 1))], transforms=4, training=Training(epochs=8)
    )
    nodes = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    grid = torch.cartesian_prod(nodes, nodes)
    assert float(flow.log_prob(grid).exp().mean()) == pytest.approx(1, abs=2e-3)


@pytest.mark.slow
def test_learns_a_density_that_is_known():
    """A bend and two modes, in closed form: the likelihood of fresh samples comes within 0.1 nat of the truth."""
    rng = np.random.default_rng(4)
    a = rng.normal(size=(12_000, 3))
    x = np.stack([a[:, 0], a[:, 0] ** 2 + 0.5 * a[:, 1], np.where(rng.random(12_000) < 0.5, 2, -2) + 0.5 * a[:, 2]], 1)
    flow = Flow.fit(x[:10_000], seed=1)
    test = x[10_000:]
    mixture = np.log(0.5 * st.norm.pdf(test[:, 2], 2, 0.5) + 0.5 * st.norm.pdf(test[:, 2], -2, 0.5))
    truth = st.norm.logpdf(test[:, 0]) + st.norm.logpdf(test[:, 1], test[:, 0] ** 2, 0.5) + mixture
    lost = truth - flow.log_prob(torch.from_numpy(test)).numpy()
    assert abs(lost.mean()) < 0.1
    draws = flow.sample(4000, seed=1, dtype=torch.float64).numpy()
    for j in range(3):
        assert st.ks_2samp(draws[:, j], test[:, j]).statistic < 0.05


def test_stored_flow_returns(learned, tmp_path):
    path = save_prior(learned, tmp_path / "flow", CARD)
    again = load_prior(path)
    assert again.causes == learned.causes
    assert again.report == learned.report
    one, two = (p.sample(50, seed=1, dtype=torch.float64, day=10.0) for p in (learned, again))
    assert torch.equal(one, two)


def without(value, row=3, column=1):
    x, _ = table()
    x[row if row is not None else slice(None), column] = value
    return x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flow.fit(table(90)[0]), "Too few samples: 90 for 4 causes and 0 conditions. Give at least 100"),
        (lambda: Flow.fit(without(np.nan), causes=SPACE), r"Missing or infinite values of cover\. "),
        (lambda: Flow.fit(without(0.5, None), causes=SPACE), r"No variation in cover\. Leave"),
        (
            lambda: Flow.fit(without(1.0), causes=SPACE),
            "Invalid cover 1 in 1 of 400 rows. Must lie within 0 to 1, both",
        ),
        (lambda: Flow.fit(table()[0][:, [0, 1, 0]]), "One cause is a linear combination of others"),
        (lambda: Flow.fit(table()[0][:, 0]), r"Give \(samples, causes\)"),
        (lambda: Flow.fit(table()[0], causes=["a"]), "Invalid causes with 1 elements"),
        (lambda: Flow.fit(table()[0], conditions={"day": [1.0]}), "Invalid condition 'day' of shape"),
        (lambda: Flow.fit(table()[0], conditions={"x0": table()[1]}), "x0 is both a cause and a condition"),
        (lambda: Flow.fit(table()[0], conditions={"day": np.ones(400)}), "No variation in day"),
        (lambda: Training(held_out=0.9), "Invalid held_out 0.9. Must lie within 0 to 0.5"),
        (lambda: Training(epochs=0), "Invalid epochs 0. It must be at least 1"),
    ],
)
def test_unusable_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({}, "Missing condition 'day'"),
        ({"day": 1.0, "dya": 2.0}, "Unknown condition 'dya'. Did you mean 'day'?"),
        ({"day": torch.ones(4)}, "do not fit rows of shape"),
    ],
)
def test_conditions_are_checked(learned, conditions, message):
    with pytest.raises(ValueError, match=message):
        learned.decode(torch.zeros(3, 4), **conditions)

"""Causal flows: the graph is kept exactly, interventions and counterfactuals follow it."""

import math

import numpy as np
import pytest
import torch

from physgen.priors.causal_flow import CausalFlow
from physgen.priors.fitting import Training
from physgen.priors.storage import load_prior, save_prior
from physgen.priors.wrappers import counterfactual, do
from physgen.rows import jacobian
from physgen.space import Block, Space
from physgen.testing import check_prior

GRAPH = {"b": ["a"], "d": ["c", "season"], "e": ["b", "d"]}
SPACE = Space("a", Block("b", support=(0, math.inf)), Block("c", support=(0, 1)), "d", "e")
CARD = dict.fromkeys(
    ("title", "learned_from", "units", "range", "intended_use", "not_for", "fit", "licence"), "of a test"
)


def table(rows=600, seed=0, gain=1.0):
    """Two chains, a -> b and (c, season) -> d, that meet in e; the only path from a to e goes through b."""
    rng = np.random.default_rng(seed)
    u, season = rng.normal(size=(rows, 5)), rng.uniform(0, 1, rows)
    a = u[:, 0]
    b = np.exp(0.5 * gain * a + 0.3 * u[:, 1])
    c = 1 / (1 + np.exp(-u[:, 2]))
    d = 3 * c * season + 0.3 * u[:, 3]
    return np.stack([a, b, c, d, np.log(b) * d + 0.2 * u[:, 4]], 1), season


@pytest.fixture(scope="module")
def learned():
    x, season = table()
    training = Training(epochs=30, learning_rate=0.01)
    return CausalFlow.fit(x, GRAPH, causes=SPACE, conditions={"season": season}, training=training, hidden=(16,))


def latents(*batch):
    return torch.randn(*batch, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def test_contract(learned):
    check_prior(learned, {"season": 0.4})


def test_contract_after_an_intervention(learned):
    check_prior(do(learned, b=1.5), {"season": 0.4})


def test_forbidden_entries_of_the_jacobian_are_exactly_zero(learned):
    z = latents(20)
    x, dx = jacobian(lambda rows: learned.decode(rows, season=0.4), z)
    _, dz = jacobian(lambda rows: learned.encode(rows, season=0.4), x)
    names = learned.causes.names
    parents = {n: {p for p in GRAPH.get(n, ()) if p in names} for n in names}
    ancestors = {"a": set(), "b": {"a"}, "c": set(), "d": {"c"}, "e": {"a", "b", "c", "d"}}
    for i, child in enumerate(names):
        for j, other in enumerate(names):
            allowed = other == child or other in parents[child]
            assert bool((dz[:, i, j] != 0).all()) if allowed else bool((dz[:, i, j] == 0).all())
            reached = other == child or other in ancestors[child]
            assert bool((dx[:, i, j] != 0).all()) if reached else bool((dx[:, i, j] == 0).all())


def test_intervention_moves_descendants_only(learned):
    z = latents(50)
    before, after = learned.decode(z, season=0.4), learned.do(b=1.5).decode(z, season=0.4)
    assert (after[:, 1] == 1.5).all()
    assert torch.equal(after[:, [0, 2, 3]], before[:, [0, 2, 3]])
    assert (after[:, 4] != before[:, 4]).all()


def test_counterfactual_keeps_the_noise(learned):
    """In the truth e is log(b) d plus noise: setting b moves it by (log b' - log b) d."""
    rows, season = table(200, seed=5)
    x, season = torch.from_numpy(rows), torch.from_numpy(season)
    same = counterfactual(learned, x, {}, season=season)
    torch.testing.assert_close(same, x, rtol=1e-9, atol=1e-9)
    middle = x[(x[:, 1] > 0.7) & (x[:, 1] < 1.5)]
    season = season[(x[:, 1] > 0.7) & (x[:, 1] < 1.5)]
    moved = counterfactual(learned, middle, {"b": 1.2}, season=season)
    assert torch.equal(moved[:, [0, 2, 3]], middle[:, [0, 2, 3]].to(moved)) or torch.allclose(
        moved[:, [0, 2, 3]], middle[:, [0, 2, 3]], rtol=1e-9
    )
    expected = (math.log(1.2) - middle[:, 1].log()) * middle[:, 3]
    error = (moved[:, 4] - middle[:, 4]) - expected
    assert float(error.square().mean().sqrt()) < 0.25 * float(expected.square().mean().sqrt())


def test_a_changed_mechanism_is_the_one_whose_likelihood_falls(learned):
    (old, s), (new, t) = table(2000, seed=7), table(2000, seed=8, gain=-1.0)
    before = learned.log_mechanisms(torch.from_numpy(old), season=torch.from_numpy(s)).mean(0)
    after = learned.log_mechanisms(torch.from_numpy(new), season=torch.from_numpy(t)).mean(0)
    fall = before - after
    assert int(fall.argmax()) == 1
    assert float(fall[1]) > 1
    assert float(fall[[0, 2, 3]].abs().max()) < 0.2


def test_stored_flow_returns(learned, tmp_path):
    for prior in (learned, learned.do(a=0.3)):
        path = save_prior(prior, tmp_path / "flow", CARD)
        again = load_prior(path)
        assert again.graph == learned.graph
        assert again.intervened == prior.intervened
        one, two = (p.sample(50, seed=1, season=0.2) for p in (prior, again))
        assert torch.equal(one, two)


def triangle(rows, seed):
    """The non-linear triangle of Sanchez-Martin et al. (2022) and Javaloy et al. (2023)."""
    u = np.random.default_rng(seed).normal(size=(rows, 3))
    x1 = u[:, 0] + 1
    x2 = 2 * x1**2 + u[:, 1]
    return np.stack([x1, x2, 20 / (1 + np.exp(-(x2**2) + x1)) + u[:, 2]], 1)


@pytest.mark.slow
def test_mean_under_an_intervention_on_the_triangle():
    """do(x2 = 0.5): E[20 / (1 + exp(x1 - 0.25))] = 6.98; among samples with x2 near 0.5 the mean is 42 % higher.

    A third of the mass of x1 lies where no sample has x2 near 0.5, so that the answer rests on how the mechanism
    goes on there. Weight decay makes it go on smoothly, and the spread of three fits says how far to trust it: single
    ones were 2 to 5 % off.
    """
    z, weight = np.polynomial.hermite_e.hermegauss(60)
    truth = float((weight * 20 / (1 + np.exp(z + 1 - 0.25))).sum() / weight.sum())
    x = triangle(40_000, 0)
    near = np.abs(x[:, 1] - 0.5) < 0.1
    assert x[near, 2].mean() / truth - 1 > 0.35
    training = Training(epochs=15, batch=512, learning_rate=0.02, weight_decay=0.3)
    graph = {"x2": ["x1"], "x3": ["x1", "x2"]}
    fits = [CausalFlow.fit(x, graph, causes=["x1", "x2", "x3"], training=training, seed=seed) for seed in range(3)]
    means = [float(flow.do(x2=0.5).sample(50_000, seed=3)[:, 2].mean()) for flow in fits]
    assert np.mean(means) == pytest.approx(truth, rel=0.05)
    assert np.ptp(means) < 0.1 * truth


def fit(graph, **more):
    return CausalFlow.fit(table()[0], graph, causes=SPACE, **more)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fit({"a": ["b"], "b": ["a"]}), r"The causes act on themselves: '.' <- '.' <- '.'\. Remove one"),
        (lambda: fit({"a": ["a"]}), "The causes act on themselves"),
        (lambda: fit({"b": ["aa"]}), "Unknown name 'aa' in the graph. The names are a, b, c, d, e"),
        (lambda: fit({"f": ["a"]}), "Unknown name 'f' in the graph"),
        (lambda: fit({}, conditions={"season": table()[1]}), "The condition 'season' acts on no cause"),
    ],
)
def test_unusable_graphs_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_unusable_interventions_are_refused(learned):
    with pytest.raises(ValueError, match="Unknown name 'z'"):
        do(learned, z=1.0)
    with pytest.raises(ValueError, match=r"Invalid value -1 for 'b'. Must lie within 0 to inf"):
        do(learned, b=-1.0)
    with pytest.raises(TypeError, match="CausalFlow has no 'log_prob'"):
        do(learned, b=1.0).log_prob(torch.zeros(5), season=0.3)
    with pytest.raises(TypeError, match="CausalFlow has no 'encode'"):
        counterfactual(do(learned, b=1.0), torch.zeros(5), {"a": 0.0}, season=0.3)

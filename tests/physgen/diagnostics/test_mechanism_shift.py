"""A changed mechanism is found, and the others are not accused, though their parents' distribution changes too."""

import math

import numpy as np
import pytest
import torch

from physgen.diagnostics.mechanism_shift import MechanismShift, legendre, mechanism_shift
from physgen.diagnostics.mechanism_shift_fit import localise_shift
from physgen.priors.fitting import Training

GRAPH = {"b": ["a"], "c": ["a", "b"]}
FAST = Training(epochs=30, learning_rate=0.01, batch=128)


def simulate(rows, seed, change):
    """a -> b, (a, b) -> c; half of the rows under a changed mechanism. Causes, noises of one model, environment."""
    u = np.random.default_rng(seed).normal(size=(rows, 3))
    env = np.arange(rows) >= rows // 2
    a = u[:, 0] + (env if change == "a" else 0)
    b = np.where(env & (change == "b"), -1.0, 1.0) * a + u[:, 1]
    spread = np.where(env & (change == "c"), 1.7, 1.0)
    c = np.sin(a) + 0.5 * b + spread * u[:, 2]
    pooled = np.stack([(a - 0.5 * (change == "a")) / (1.25**0.5 if change == "a" else 1), b - a, c - np.sin(a) - b / 2])
    return np.stack([a, b, c], 1), torch.from_numpy(pooled.T.copy()), torch.from_numpy(env)


def outcome(rows, seed, change, times=200):
    x, z, env = simulate(rows, seed, change)
    x = torch.from_numpy(x)
    return mechanism_shift(z, [x[:, :0], x[:, :1], x[:, :2]], env, names=["a", "b", "c"], times=times, seed=seed)


def test_the_changed_mechanism_is_found():
    for change in "abc":
        found = outcome(1000, 3, change)
        assert found.changed() == (change,)
        assert found.information["abc".index(change)] == found.information.max()


def test_a_sign_that_flips_is_found_though_the_noises_look_alike():
    """With one model of both, z of b is -2 a + u or u: told apart given a only if a counts, as when E z = 0 in both."""
    rng = np.random.default_rng(0)
    a, env = rng.normal(size=2000), np.arange(2000) >= 1000
    z = torch.from_numpy(np.where(env, -1, 1) * a)  # standard normal in both environments
    a, env = torch.from_numpy(a), torch.from_numpy(env)
    assert float(mechanism_shift(z[:, None], [a[:0].expand(2000, 0)], env).p_value) > 0.05
    assert float(mechanism_shift(z[:, None], [a[:, None]], env).p_value) < 0.01


def test_false_alarms_are_as_often_as_stated():
    """P-values of what did not change are uniform, while a, which both others depend on, is shifted."""
    p = torch.stack([outcome(400, seed, "a", times=99).p_value for seed in range(60)])
    share = (p[:, 1:] < 0.2).double().mean()
    assert float(share) == pytest.approx(0.2, abs=3 * math.sqrt(0.2 * 0.8 / 120))
    assert bool((p[:, 0] < 0.05).all())


def test_information_of_a_shifted_mean():
    """Small shifts d of a standard normal noise: the environment says d^2 / 8 nats."""
    rng = np.random.default_rng(1)
    env = torch.arange(40_000) % 2
    z = torch.from_numpy(rng.normal(size=40_000)) + 0.4 * (env - 0.5)
    found = mechanism_shift((z / math.sqrt(1.04))[:, None], [z[:, None][:, :0]], env, times=20)
    assert float(found.information) == pytest.approx(0.4**2 / 8, rel=0.1)


def test_legendre_polynomials_are_orthonormal():
    u, w = np.polynomial.legendre.leggauss(20)
    p = legendre(torch.from_numpy((u + 1) / 2), 4)
    torch.testing.assert_close(p.mT @ (torch.from_numpy(w / 2)[:, None] * p), torch.eye(5, dtype=torch.float64))


def test_holm_stops_at_the_first_that_is_not_small_enough():
    found = MechanismShift(("a", "b", "c"), torch.tensor([0.04, 0.01, 0.02]), torch.zeros(3))
    assert found.changed(0.05) == ("a", "b", "c")
    assert found.changed(0.039) == ("b",)
    assert found.changed(0.02) == ()


def test_from_samples_and_the_graph():
    x, _, env = simulate(800, 5, "b")
    found = localise_shift(x, env, GRAPH, causes=["a", "b", "c"], training=FAST)
    assert found.changed() == ("b",)


@pytest.mark.slow
def test_found_and_false_alarms_from_samples():
    """Noises come from fitted flows: each change is found, and nothing else more often than stated."""
    found, false, runs = 0, 0, 0
    for change in "abc":
        for seed in range(8):
            x, _, env = simulate(1000, 100 + seed, change)
            p = localise_shift(x, env, GRAPH, causes=["a", "b", "c"], training=FAST, times=200, seed=seed)
            found += change in p.changed()
            false += bool(set(p.changed()) - {change})
            runs += 1
    print(f"changed mechanism found in {found} of {runs}, another accused in {false} of {runs} (level 0.05)")
    assert found == runs
    assert false <= 4  # 0.05 x 24 = 1.2; more than 4 has the chance 0.7 %


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda z, e: mechanism_shift(z, [z[:, :0]], e), "2 noises, 1 sets of parents"),
        (lambda z, e: mechanism_shift(z, [z[:, :0]] * 2, e * 2), "Each must be 0 or 1"),
        (lambda z, e: mechanism_shift(z, [z[:, :0]] * 2, e * 0), "Too few rows of one environment: 0"),
        (lambda z, e: mechanism_shift(z, [z[:, :0], z[:5]], e), "Give one row for each of the 200 rows"),
        (lambda z, e: mechanism_shift(z / 0, [z[:, :0]] * 2, e), "NaN or infinite"),
    ],
)
def test_unusable_input_is_refused(make, message):
    z = torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        make(z, torch.arange(200) % 2)

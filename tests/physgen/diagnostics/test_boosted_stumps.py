"""Boosting of stumps against a plain loop over all splits, and on functions that it can and cannot learn."""

import numpy as np
import pytest
import torch

from physgen.diagnostics.boosted_stumps import fit_stumps


def columns(n, k, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, k)))


def test_equals_a_plain_loop():
    x, rounds, rate = columns(200, 3), 15, 0.3
    y = torch.stack([x[:, 0] + x[:, 1] ** 2, x[:, 2].abs()], 1)
    found = fit_stumps(x, y, rounds=rounds, rate=rate)
    for f in range(2):
        prediction = np.full(200, float(y[:, f].mean()))
        gained = np.zeros(3)
        for _ in range(rounds):
            residual = y[:, f].numpy() - prediction
            best = (0.0, 0, None)
            for c in range(3):
                for edge in np.quantile(x[:, c].numpy(), np.arange(1, 32) / 32):
                    left = x[:, c].numpy() <= edge
                    step = np.where(left, residual[left].mean(), residual[~left].mean())
                    gain = (residual**2).sum() - ((residual - step) ** 2).sum()
                    best = max(best, (gain, c, step), key=lambda b: b[0])
            before = ((y[:, f].numpy() - prediction) ** 2).sum()
            prediction = prediction + rate * best[2]
            gained[best[1]] += before - ((y[:, f].numpy() - prediction) ** 2).sum()
        np.testing.assert_allclose(found(x)[:, f], prediction, atol=1e-10)
        np.testing.assert_allclose(
            found.importance[:, f], gained / (200 * float(y[:, f].var(correction=0))), atol=1e-10
        )


def test_additive_functions_are_learned_and_interactions_are_not():
    x, fresh = columns(3000, 3), columns(1000, 3, seed=1)

    def targets(x):
        return torch.stack([torch.sin(2 * x[:, 0]) + x[:, 1], x[:, 0] * x[:, 1]], 1)

    model = fit_stumps(x, targets(x))
    explained = 1 - (targets(fresh) - model(fresh)).square().mean(0) / targets(fresh).var(0)
    assert float(explained[0]) > 0.97
    assert float(explained[1]) < 0.2
    assert float(model.importance[2, 0]) < 0.01
    assert float(model.importance[:, 0].sum()) == pytest.approx(1, abs=0.02)


def test_constant_columns_and_targets():
    x = torch.cat([columns(100, 1), torch.full((100, 1), 0.1).double()], 1)
    model = fit_stumps(x, torch.cat([x[:, :1], torch.full((100, 1), 0.3).double()], 1))
    assert float(model.importance[1, 0]) == 0
    assert model.importance[:, 1].tolist() == [0, 0]
    assert bool(torch.isfinite(model(x)).all())


def test_refused():
    x = columns(60, 2)
    with pytest.raises(ValueError, match="At least 50"):
        fit_stumps(x[:49], x[:49])
    with pytest.raises(ValueError, match="0 rounds"):
        fit_stumps(x, x, rounds=0)

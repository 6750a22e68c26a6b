"""The classifier two-sample test against the accuracy of the best classifier."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from physgen.diagnostics.c2st import c2st
from physgen.diagnostics.classifier import train_detector


def draws(n, d=1, *, shift=0.0, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) + shift)


def ring(n, seed=0):
    """On a ring with the mean and covariance of N(0, I)."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n)
    r = np.sqrt(2 - 2 * 0.01)
    return torch.from_numpy(np.stack([r * np.cos(angle), r * np.sin(angle)], 1) + 0.1 * rng.standard_normal((n, 2)))


@pytest.mark.parametrize("classifier", ["logistic", "network"])
@pytest.mark.parametrize("delta", [0.0, 1.0, 2.0])
def test_accuracy_between_two_normals(classifier, delta):
    found = c2st(draws(5000, seed=1), draws(5000, shift=delta, seed=2), classifier=classifier)
    assert found.accuracy == pytest.approx(norm.cdf(delta / 2), abs=0.02)
    assert (found.p_value < 1e-10) == (delta > 0)


def test_the_network_sees_what_mean_and_covariance_do_not():
    # the best accuracy is 0.87: a ring of width 0.1 holds 26 % of N(0, I)
    assert c2st(draws(1000, 2, seed=1), ring(1000)).accuracy > 0.82
    assert c2st(draws(1000, 2, seed=1), ring(1000), classifier="logistic").accuracy < 0.75


def test_logistic_regression_sees_a_covariance():
    x = draws(1500, 2, seed=3)
    y = draws(1500, 2, seed=4) @ torch.linalg.cholesky(torch.tensor([[1.0, 0.9], [0.9, 1.0]]).double()).mT
    assert c2st(x, y, classifier="logistic").accuracy > 0.65


def test_classes_of_unequal_size_weigh_the_same():
    found = c2st(draws(4000, seed=1), draws(400, shift=1.0, seed=2), classifier="logistic")
    assert found.accuracy == pytest.approx(norm.cdf(0.5), abs=4 * 0.5 / 400**0.5 * 0.5)
    assert c2st(draws(4000, seed=1), draws(400, seed=2), classifier="logistic").accuracy < 0.55


def test_seeded():
    x, y = draws(100, 2, seed=1), draws(100, 2, shift=0.5, seed=2)
    assert c2st(x, y, seed=3) == c2st(x, y, seed=3)


def test_a_detector_scores_any_shape():
    detector = train_detector(draws(300, 2, seed=1), draws(300, 2, shift=3.0, seed=2), kind="logistic")
    score = detector(torch.tensor([[[0.0, 0.0], [3.0, 3.0]]]).double())
    assert score.shape == (1, 2)
    assert float(score[0, 0]) < 0 < float(score[0, 1])


def test_refused():
    x = draws(60)
    with pytest.raises(ValueError, match=r"Too few real samples.*At least 50"):
        c2st(x[:49], x)
    with pytest.raises(ValueError, match="Unknown classifier 'forest'"):
        c2st(x, x, classifier="forest")
    with pytest.raises(ValueError, match="number of folds 1"):
        c2st(x, x, folds=1)
    with pytest.raises(ValueError, match="NaN"):
        c2st(x, torch.full_like(x, torch.nan))

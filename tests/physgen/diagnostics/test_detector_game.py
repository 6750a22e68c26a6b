"""The detectors' game: known equilibria, the minimax theorem, and priors that differ from nature in one way each."""

import numpy as np
import pytest
import torch

from physgen.diagnostics.classifier import train_detector
from physgen.diagnostics.detector_game import detection_rates, detector_game


@pytest.mark.parametrize(
    ("payoff", "value", "rows", "columns"),
    [
        ([[1, -1], [-1, 1]], 0, [1 / 2] * 2, [1 / 2] * 2),  # matching pennies
        ([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], 0, [1 / 3] * 3, [1 / 3] * 3),  # stone, scissors, paper
        # rows minimise: value (ad - bc) / (a + d - b - c), rows (d - c, a - b), columns (d - b, a - c), over the same
        ([[3.0, 1.0], [2.0, 4.0]], 2.5, [0.5, 0.5], [0.75, 0.25]),
        ([[0.9, 0.6], [0.7, 0.55]], 0.7, [0, 1], [1, 0]),  # a saddle point
    ],
)
def test_known_games(payoff, value, rows, columns):
    found = detector_game(payoff)
    assert found.value == pytest.approx(value, abs=1e-9)
    np.testing.assert_allclose(found.priors, rows, atol=1e-9)
    np.testing.assert_allclose(found.detectors, columns, atol=1e-9)


def test_no_side_gains_by_deviating():
    for seed in range(20):
        a = torch.from_numpy(np.random.default_rng(seed).uniform(size=(4, 6)))
        found = detector_game(a)
        assert float((found.priors @ a).max()) == pytest.approx(found.value, abs=1e-9)
        assert float((a @ found.detectors).min()) == pytest.approx(found.value, abs=1e-9)


def test_a_mixture_can_be_harder_to_expose_than_any_prior():
    # nature has two modes; each prior has one of them, and each detector knows one fault
    rng = np.random.default_rng(0)

    def modes(n, which):
        return torch.from_numpy(rng.standard_normal((n, 1)) + np.where(which, 4.0, -4.0)[:, None])

    real = modes(2000, rng.uniform(size=2000) < 0.5)
    left, right = modes(2000, np.zeros(2000, bool)), modes(2000, np.ones(2000, bool))
    half = 1000
    detectors = {
        "of left": train_detector(real[:half], left[:half], kind="logistic"),
        "of right": train_detector(real[:half], right[:half], kind="logistic"),
    }
    rates = detection_rates(real[half:], {"left": left[half:], "right": right[half:]}, detectors)
    found = detector_game(rates)
    # either is told from nature in 3 of 4 cases by its detector; their mixture is nature itself
    assert rates.diagonal().numpy() == pytest.approx(0.75, abs=0.03)
    assert found.value == pytest.approx(0.5, abs=0.03)
    assert found.priors.numpy() == pytest.approx(0.5, abs=0.08)


def test_a_score_of_zero_counts_half():
    rates = detection_rates(torch.zeros(5, 1), {"a": torch.ones(5, 1)}, {"none": lambda x: torch.zeros(len(x))})
    assert rates.tolist() == [[0.5]]


def test_refused():
    with pytest.raises(ValueError, match=r"Invalid rates of shape \(3,\)\. Give"):
        detector_game([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="NaN"):
        detector_game([[1.0, float("nan")]])
    x = torch.zeros(5, 1)
    with pytest.raises(ValueError, match="Too few players: 0 priors"):
        detection_rates(x, {}, {"d": lambda x: x[:, 0]})
    with pytest.raises(ValueError, match="Invalid score of the detector d"):
        detection_rates(x, {"a": x}, {"d": lambda x: x})

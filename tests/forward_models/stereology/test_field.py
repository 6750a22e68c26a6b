"""Edge weights against the share of positions, and simulated discs in a frame."""

import math

import numpy as np
import pytest
import torch

from physgen.forward_models.stereology.field import Frame, number_per_area


def test_the_weight_is_the_inverse_share_of_positions():
    frame = Frame(10.0, 6.0)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 10, 200000), rng.uniform(0, 6, 200000)
    for w, h in ((1.0, 1.0), (4.0, 2.0), (9.0, 0.5)):
        share = float(frame.inside(x, y, w, h).double().mean())
        assert float(frame.weights([w], [h])) * share == pytest.approx(1, abs=5 * math.sqrt(1 / share / 200000))
    assert torch.equal(frame.weights([2.0]), frame.weights([2.0], [2.0]))


def test_edge_correction_is_unbiased_for_discs_in_a_frame():
    """Discs of 1 to 8 in a frame of 20 x 14: number, mean diameter and histogram; without weights all are wrong."""
    rng, frame, rate = np.random.default_rng(1), Frame(20.0, 14.0), 0.02
    fields, margin = 3000, 5.0
    n = rng.poisson(rate * (20 + 2 * margin) * (14 + 2 * margin) * fields)
    d = rng.choice([1.0, 4.0, 8.0], n, p=[0.3, 0.3, 0.4])
    x, y = rng.uniform(-margin, 20 + margin, n), rng.uniform(-margin, 14 + margin, n)
    inside = frame.inside(x, y, d).numpy()
    weights = frame.weights(d[inside])
    per_area, error = number_per_area(weights, frame.area * fields)
    assert abs(float(per_area) - rate) < 3.5 * float(error)
    assert float(error) == pytest.approx(rate / math.sqrt(weights.numel()), rel=0.35)
    for size, share in ((1.0, 0.3), (4.0, 0.3), (8.0, 0.4)):
        own, own_error = number_per_area(weights[d[inside] == size], frame.area * fields)
        assert abs(float(own) - share * rate) < 3.5 * float(own_error)
    plain = inside.sum() / (frame.area * fields)
    touching = ((np.abs(x - 10) < 10 + d / 2) & (np.abs(y - 7) < 7 + d / 2)).sum() / (frame.area * fields)
    assert plain < 0.8 * rate
    assert touching > 1.3 * rate


@pytest.mark.parametrize("sides", [(0.0, 1.0), (1.0, -1.0), (math.inf, 1.0), (math.nan, 1.0)])
def test_bad_frames(sides):
    with pytest.raises(ValueError, match="of a frame") as error:
        Frame(*sides)
    assert str(error.value).count(". ") == 1


def test_a_box_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match="2 x 7 in row 1"):
        Frame(10.0, 6.0).weights([1.0, 2.0], [1.0, 7.0])
    with pytest.raises(ValueError, match="row 0"):
        Frame(10.0, 6.0).weights([-1.0])

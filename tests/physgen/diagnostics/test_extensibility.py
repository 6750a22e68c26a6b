"""Errors of generation beyond the learned range, in closed form."""

import math

import pytest
import torch

from physgen.diagnostics.extensibility import beyond, out_of_range_error


def test_a_map_that_extends_and_one_that_stops():
    asked = beyond((0.0, 2.0), reach=0.5, count=4001)
    assert float(asked[0]) == -1
    assert float(asked[-1]) == 3
    exact = out_of_range_error(lambda v: v[:, None].expand(-1, 3), lambda x: x.mean(1), asked, (0.0, 2.0))
    assert exact.outside == pytest.approx(0, abs=1e-6)
    stops = out_of_range_error(lambda v: v.clamp(0, 2)[:, None], lambda x: x[:, 0], asked, (0.0, 2.0))
    assert stops.inside == 0
    # uniform up to 1 beyond a range of width 2: sqrt(1/3) / 2
    assert stops.outside == pytest.approx(math.sqrt(1 / 3) / 2, rel=1e-3)


def test_refused():
    v = torch.linspace(0, 1, 9)
    with pytest.raises(ValueError, match=r"Too few values: 9 within the range, 0 beyond\. Give two"):
        out_of_range_error(lambda v: v, lambda x: x, v, (0.0, 1.0))
    with pytest.raises(ValueError, match="Invalid range"):
        out_of_range_error(lambda v: v, lambda x: x, v, (1.0, 1.0))
    with pytest.raises(ValueError, match="Give one for each of 9 values"):
        out_of_range_error(lambda v: v[:3], lambda x: x, v, (0.0, 0.5))
    with pytest.raises(ValueError, match="NaN"):
        out_of_range_error(lambda v: v * math.nan, lambda x: x, v, (0.0, 0.5))
    with pytest.raises(ValueError, match="count 7"):
        beyond((0.0, 1.0), count=7)

"""What every inversion begins with: conditions, screening, numbers of the observations."""

import pytest
import torch

from physgen.inversions.inversion import prepare
from physgen.noise import GaussianNoise
from physgen.priors import Gaussian
from physgen.problem import Problem
from physgen.space import Block, Space
from physgen.status import Status


def forward(x, /, gain):
    return x * gain[..., None]


forward.observables = Space(Block("low", support=(0.0, 1.0)), Block("high", support=(-1.0, 10.0)))
PROBLEM = Problem(forward, Gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]]), GaussianNoise(0.1))


def test_screening_and_numbers():
    nan, inf = torch.nan, torch.inf
    y = torch.tensor([[[0.5, 5.0], [nan, nan]], [[1.5, 5.0], [nan, -1.5]], [[nan, 9.0], [-inf, nan]]])
    posterior, screen, index = prepare(PROBLEM, y, {"gain": 2.0}, torch.arange(6).reshape(3, 2))
    assert posterior.batch == (3, 2)
    assert posterior.conditions["gain"].tolist() == [[2.0, 2.0]] * 3
    bad = Status.OUT_OF_RANGE
    assert screen.tolist() == [Status.TRUSTED, Status.NO_DATA, bad, bad, Status.TRUSTED, bad]
    assert index.tolist() == [0, 1, 2, 3, 4, 5]


def test_numbers_are_in_order_unless_given():
    y = torch.full((2, 2, 2), 0.5)
    assert prepare(PROBLEM, y, {"gain": 1.0}, None)[2].tolist() == [0, 1, 2, 3]
    assert prepare(PROBLEM, y, {"gain": 1.0}, [[7, 2], [9, 4]])[2].tolist() == [7, 2, 9, 4]
    assert prepare(PROBLEM, y[0, 0], {"gain": 1.0}, None)[2].tolist() == [0]
    assert prepare(PROBLEM, y[0, 0], {"gain": 1.0}, 5)[2].tolist() == [5]


@pytest.mark.parametrize(("wrong", "refused"), [(1, False), (2, False), (3, True), (4, True)])
def test_most_out_of_range_means_wrong_units(wrong, refused):
    y = torch.full((4, 2), 0.5)
    y[:wrong, 0] = 3000.0
    if not refused:
        screen = prepare(PROBLEM, y, {"gain": 1.0}, None)[1]
        assert int((screen == Status.OUT_OF_RANGE).sum()) == wrong
        return
    with pytest.raises(ValueError, match=rf"{wrong} of 4 .*\. Check the units") as caught:
        prepare(PROBLEM, y, {"gain": 1.0}, None)
    assert "digital numbers" in str(caught.value)
    assert prepare(PROBLEM, y, {"gain": 1.0}, torch.arange(4))[1].tolist()[:wrong] == [Status.OUT_OF_RANGE] * wrong


def test_conditions_are_those_of_the_problem():
    with pytest.raises((TypeError, ValueError), match="gain"):
        prepare(PROBLEM, [0.5, 0.5], None, None)
    with pytest.raises((TypeError, ValueError), match="gian"):
        prepare(PROBLEM, [0.5, 0.5], {"gain": 1.0, "gian": 1.0}, None)

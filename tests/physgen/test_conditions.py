"""Conditions: who takes which, misspelt and missing ones, and shapes."""

from __future__ import annotations

import math

import pytest
import torch

from physgen.conditions import Takes, align, check_names, takes
from physgen.space import Block, Space


def function(x, sun, view=0.0, *, day):
    return x * sun * view * day


class Callable_:
    def __call__(self, x, /, sun):
        return x


class Module(torch.nn.Module):
    def forward(self, x, sun, view=0.0):
        return x


class Declared:
    conditions = Space("sun", "view")

    def __call__(self, x, **conditions):
        return x


class Noise:
    def log_prob(self, y, prediction, exposure):
        return y


@pytest.mark.parametrize(
    ("part", "found"),
    [
        (function, Takes(frozenset({"sun", "day"}), frozenset({"view"}))),
        (lambda x: x, Takes()),
        (lambda x, **kw: x, Takes(everything=True)),
        (Callable_(), Takes(frozenset({"sun"}))),
        (Module(), Takes(frozenset({"sun"}), frozenset({"view"}))),
        (Declared(), Takes(frozenset({"sun", "view"}))),
        (torch.exp, Takes()),
    ],
)
def test_a_part_takes_what_it_names(part: object, found: Takes) -> None:
    assert takes(part) == found


def test_parameters_before_the_conditions_do_not_count() -> None:
    assert takes(Noise(), "log_prob", 2) == Takes(frozenset({"exposure"}))


def test_a_part_may_say_what_it_takes() -> None:
    class Wrapped:
        takes = Takes(frozenset({"sun"}))

        def __call__(self, x, **kw):
            return x

    assert takes(Wrapped()) == Takes(frozenset({"sun"}))


def test_together_a_condition_is_required_if_one_part_requires_it() -> None:
    both = Takes(frozenset({"a"}), frozenset({"b"})) | Takes(frozenset({"b"}), frozenset({"c"}))
    assert both == Takes(frozenset({"a", "b"}), frozenset({"c"}))
    assert both.pick({"a": 1, "c": 2, "d": 3}) == {"a": 1, "c": 2}
    assert (both | Takes(everything=True)).pick({"d": 3}) == {"d": 3}


def test_a_misspelt_condition_never_vanishes() -> None:
    taken = Takes(frozenset({"solar_zenith"}), frozenset({"day"}))
    check_names({"solar_zenith": 30}, taken)
    with pytest.raises(ValueError, match=r"Unknown condition 'solar_zenit'\. Did you mean 'solar_zenith'\?"):
        check_names({"solar_zenit": 30, "solar_zenith": 30}, taken)
    with pytest.raises(ValueError, match="The parts take no condition"):
        check_names({"x": 1}, Takes())
    with pytest.raises(ValueError, match="Missing condition 'solar_zenith'"):
        check_names({"day": 1}, taken)


LIKE = torch.zeros((), dtype=torch.float32)


@pytest.mark.parametrize("value", [30, 30.0, [30.0], torch.tensor([[30.0]], dtype=torch.float64)])
def test_a_shared_condition_takes_the_shape_of_the_batch(value) -> None:
    out = align({"sun": value}, (2, 3), LIKE, {})["sun"]
    assert out.shape == (2, 3)
    assert out.dtype == torch.float32
    assert bool((out == 30).all())


def test_a_condition_with_a_shape_of_its_own() -> None:
    vector = torch.arange(4.0)
    assert torch.equal(align({"w": vector}, (2,), LIKE, {"w": (4,)})["w"], torch.stack([vector, vector]))
    each = torch.arange(8.0).reshape(2, 4)
    assert torch.equal(align({"w": each}, (2,), LIKE, {"w": (4,)})["w"], each)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (torch.zeros(3), ValueError, r"Invalid shape \(3,\) of condition 'sun'"),
        (torch.zeros(3, 2), ValueError, "one for each observation"),
        (torch.zeros(1, 1, 1), ValueError, "Invalid shape"),
        ("noon", TypeError, "Give numbers"),
        (None, TypeError, "Give numbers"),
        (math.nan, ValueError, "Every value must be finite"),
        (torch.tensor([1.0, math.inf]), ValueError, "Every value must be finite"),
    ],
)
def test_a_condition_that_does_not_fit_is_refused(value, error, message: str) -> None:
    with pytest.raises(error, match=message):
        align({"sun": value}, (2,), LIKE, {})


def test_a_vector_condition_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        align({"w": torch.zeros(2, 5)}, (2,), LIKE, {Block("w", shape=(4,)).name: (4,)})

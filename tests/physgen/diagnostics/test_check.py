"""The answer of a check, and several of them together."""

from __future__ import annotations

import pytest

from physgen.diagnostics.check import Check, adjusted


def of(p_value: float) -> Check:
    return Check("a check", 1.0, p_value, "Something was found. Do something.", {"x": p_value}, 10, {"levels": [0.5]})


def test_passes_above_its_level() -> None:
    assert of(0.06).passed()
    assert not of(0.05).passed()
    assert of(0.05).passed(0.01)


def test_holm_by_hand() -> None:
    assert adjusted([of(0.01), of(0.04), of(0.03)]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjusted([of(0.9), of(0.8)]) == [1.0, 1.0]
    assert adjusted([]) == []


def test_goes_into_a_file_and_back() -> None:
    assert Check.from_dict(of(0.2).as_dict()) == of(0.2)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"Invalid p-value nan of the check 'a check'. Must lie within 0 to 1."):
        of(float("nan"))
    with pytest.raises(ValueError, match=r"Invalid level 5. Must lie between 0 and 1."):
        of(0.2).passed(5)

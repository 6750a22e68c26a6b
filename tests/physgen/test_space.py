"""Spaces: order, slices, flattening and its inverse."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from physgen.space import Block, Coordinate, Space

FIELD = Block("field", "kg m-3", (0, math.inf), shape=(2, 3), dims=("row", "column"))
SPACE = Space(Block("lai", "m2 m-2", (0, 12)), FIELD, "hotspot")


def test_sizes_and_slices() -> None:
    assert SPACE.names == ("lai", "field", "hotspot")
    assert (len(SPACE), SPACE.size) == (3, 8)
    assert [SPACE.slice(name) for name in SPACE.names] == [slice(0, 1), slice(1, 7), slice(7, 8)]
    assert "field" in SPACE
    assert "fields" not in SPACE


def test_element_names_follow_the_row_major_order_of_flattening() -> None:
    x = torch.arange(8.0)
    assert SPACE.element_names[5] == "field[1,1]"
    assert SPACE.unflatten(x)["field"][1, 1] == x[5]


@pytest.mark.parametrize("batch", [(), (4,), (2, 5), (0,)])
def test_flatten_inverts_unflatten(batch: tuple[int, ...]) -> None:
    x = torch.randn(*batch, 8, generator=torch.Generator().manual_seed(0))
    parts = SPACE.unflatten(x)
    assert parts["lai"].shape == batch
    assert parts["field"].shape == (*batch, 2, 3)
    assert torch.equal(SPACE.flatten(parts), x)


def test_flatten_broadcasts_batches() -> None:
    values = {"lai": torch.tensor(1.0), "field": torch.ones(4, 1, 2, 3), "hotspot": torch.arange(5.0)}
    x = SPACE.flatten(values)
    assert x.shape == (4, 5, 8)
    assert torch.equal(x[2, :, 7], torch.arange(5.0))


def test_blocks_get_dims_and_keep_their_own_coordinates() -> None:
    given = {"wavelength": Coordinate("spectrum_dim_0", (400, 500), "nm")}
    block = Block("spectrum", shape=(2,), coordinates=given)
    assert block.dims == ("spectrum_dim_0",)
    given.clear()
    assert block.coordinates["wavelength"].values == (400, 500)


def test_spaces_are_copied_with_the_modules_that_hold_them() -> None:
    assert copy.deepcopy(SPACE) == SPACE


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Block(""), "without a name"),
        (lambda: Block("a", shape=(2,), dims=("x", "y")), "one name per axis"),
        (lambda: Block("a", support=(1.0, 1.0)), "lower end must be smaller"),
        (lambda: Space("a", "b", "a"), "a name of its own"),
        (lambda: SPACE.block("lia"), "Unknown name 'lia'"),
        (lambda: SPACE.unflatten(torch.zeros(4, 7)), "must hold the 8 elements"),
        (lambda: SPACE.unflatten(torch.tensor(1.0)), "must hold the 8 elements"),
        (lambda: SPACE.flatten({"lai": torch.tensor(1.0)}), "exactly"),
        (
            lambda: SPACE.flatten({"lai": torch.ones(()), "field": torch.ones(3, 2), "hotspot": torch.ones(())}),
            r"must end in \(2, 3\)",
        ),
    ],
)
def test_bad_spaces_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

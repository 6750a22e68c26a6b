"""How a batch is cut, and how the cuts lie in the file."""

from __future__ import annotations

import itertools
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import torch

from physgen.netcdf_file import rectangles, tile
from physgen.result import Result
from physgen.space import Space


@pytest.mark.parametrize("batch", [(), (1,), (7,), (4, 5), (3, 2, 5), (100,), (2, 70)])
@pytest.mark.parametrize("limit", [1, 3, 8, 1000])
def test_rectangles_cover_the_batch_once(batch: tuple[int, ...], limit: int) -> None:
    count = np.zeros(batch, dtype=int)
    for cut in rectangles(batch, limit):
        assert count[cut].size <= limit
        count[cut] += 1
    assert (count == 1).all()


def test_small_tiles_end_where_large_ones_do() -> None:
    for batch in itertools.product((1, 3, 110, 300), (1, 5, 64, 1000)):
        for n, small, large in zip(batch, tile(batch, 64), tile(batch, 4096), strict=True):
            assert large == n or large % small == 0


@pytest.mark.parametrize(
    ("shape", "block"),
    [
        ((1, 200, 10_000), (1, 200, 512)),  # 1 MiB in float64: 200 draws of at most 655 observations
        ((1, 4, 10_000), (1, 4, 4096)),
        ((2, 300_000, 3), (1, 131_072, 1)),
        ((4, 100, 3, 7), (4, 100, 3, 7)),
    ],
)
def test_all_draws_of_an_observation_are_stored_together(
    shape: tuple[int, ...], block: tuple[int, ...], tmp_path: Path
) -> None:
    batch = shape[2:]
    zeros = torch.zeros(*shape, 1, dtype=torch.float64)
    result = Result(zeros, torch.zeros(batch, dtype=torch.int64), {}, Space("a"), zeros[0, 0])
    with netCDF4.Dataset(result.to_netcdf(tmp_path / "r.nc")) as file:
        assert tuple(file["posterior/a"].chunking()) == block
        filters = file["posterior/a"].filters()
        assert (filters["zlib"], filters["shuffle"], filters["complevel"]) == (True, True, 1)

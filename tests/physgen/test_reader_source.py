"""Readers: a function that turns a file into one observation, and rows of text that are one observation."""

import numpy as np
import pytest

from physgen.observations import read_observations
from physgen.recipe import ObservationsSection, RecipeError

READER = """
import numpy as np

def read(path, *, factor=1.0):
    if factor < 0:
        raise ValueError("Invalid factor. Must be positive.")
    return factor * np.loadtxt(path), {"limit": 0.5 * factor}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sizes.txt").write_text("1.5\n2.5\n4.0\n")
    (tmp_path / "own_reader_of_sizes.py").write_text(READER)
    return tmp_path


def test_a_reader_of_the_user(folder):
    section = ObservationsSection(
        file="sizes.txt", reader="own_reader_of_sizes:read", settings={"factor": 2.0}, conditions={"smallest": "limit"}
    )
    read = read_observations(section, folder)
    assert read.dims == ()
    assert np.array_equal(read.y, [3.0, 5.0, 8.0])
    assert float(read.conditions["smallest"]) == 1.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reader": "label-imag"}, "Did you mean 'label-image'"),
        ({"reader": "own_reader_of_sizes:read", "settings": {"factor": -1.0}}, "Invalid factor"),
        ({"reader": "own_reader_of_sizes:read", "settings": {"facto": 1.0}}, "facto"),
        ({"reader": "own_reader_of_sizes:read", "conditions": {"smallest": "limits"}}, "Did you mean 'limit'"),
    ],
)
def test_a_reader_that_cannot_serve_is_named(folder, changes, words):
    with pytest.raises(RecipeError, match=words):
        read_observations(ObservationsSection(file="sizes.txt", **changes), folder)


def table(folder, text="grain,Area\n1,10.5\n2,\n3,7.25\n"):
    (folder / "grains.csv").write_text(text)
    return folder


def test_all_rows_of_a_table_are_one_observation(tmp_path):
    section = ObservationsSection(file="grains.csv", columns=["Area"], dimension="row", scale=2.0)
    read = read_observations(section, table(tmp_path))
    assert read.dims == ()
    assert np.array_equal(read.y, [21.0, np.nan, 14.5], equal_nan=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dimension": "profile", "columns": ["Area"]}, "Invalid dimension 'profile'"),
        ({"dimension": "row"}, "Name the one"),
        ({"dimension": "row", "columns": ["Area", "grain"]}, "2 columns"),
        ({"dimension": "row", "columns": ["area"]}, "Did you mean 'Area'"),
        ({"dimension": "row", "columns": ["Area"], "conditions": {"field_area": "Area"}}, "Give a number"),
    ],
)
def test_rows_that_cannot_be_one_observation(tmp_path, settings, words):
    with pytest.raises(RecipeError, match=words):
        read_observations(ObservationsSection(file="grains.csv", **settings), table(tmp_path))


def test_a_size_that_is_no_number_is_named_with_its_row(tmp_path):
    section = ObservationsSection(file="grains.csv", columns=["Area"], dimension="row")
    with pytest.raises(RecipeError, match=r"'large' in column 'Area', row 3"):
        read_observations(section, table(tmp_path, "grain,Area\n1,10.5\n2,large\n"))

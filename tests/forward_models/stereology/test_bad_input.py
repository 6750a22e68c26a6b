"""Bad input, through the command line and from Python: two sentences, exit code 2, nothing written."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from skimage.io import imsave
from typer.testing import CliRunner

import physgen as pg
from physgen.cli import app
from physgen.forward_models.stereology.bodies import StarBody
from physgen.forward_models.stereology.label_image import measure_sections
from physgen.forward_models.stereology.section_noise import SectionSizes
from physgen.forward_models.stereology.size_measures import section_sizes
from physgen.forward_models.stereology.spheres_model import Spheres
from physgen.inversions import OptimalEstimation

RECIPE = """
[forward]
model = "spheres"
{counts}
[prior]
model = "independent"
[prior.causes]
geometric_mean = {{ distribution = "LogNormal", median = 30.0, sigma = 1.0 }}
multiplicative_sd = {{ distribution = "Uniform", low = 1.02, high = 4.0 }}
{number}
[noise]
model = "section-sizes"
[inversion]
method = "optimal-estimation"
[observations]
file = "{file}"
{how}
[observations.conditions]
{conditions}
[output]
file = "posterior.nc"
picture = "posterior.png"
"""
NUMBER = 'number_density = { distribution = "LogNormal", median = 5e3, sigma = 1.0 }'
TABLE = 'columns = ["d"]\ndimension = "row"'
GOOD = SectionSizes(profiles=300).sample(torch.tensor([15.0, 1.5], dtype=torch.float64), seed=1).tolist()


def with_row(value, row=4):
    return [*GOOD[:row], value, *GOOD[row + 1 :]]


# what is in the table, conditions of the recipe, whether spheres are counted
TABLES = {
    "negative": (with_row(-3.0), "", False),
    "zero": (with_row(0.0), "", False),
    "text": (with_row("big"), "", False),
    "few": (GOOD[:9], "", False),
    "below the limit": (with_row(2.0), "smallest = 5.0", False),
    "no field area": (GOOD, "", True),
}


def invert(folder, **parts):
    """Run the command line; its exit code, and what it said on stderr."""
    settings = {"counts": "", "number": "", "how": TABLE, "conditions": "", **parts}
    if settings.pop("counted", False):
        settings |= {"counts": "counts = true", "number": NUMBER}
    (folder / "recipe.toml").write_text(RECIPE.format(**settings))
    answer = CliRunner().invoke(app, ["invert", str(folder / "recipe.toml"), "--out", str(folder / "out")])
    return answer.exit_code, answer.stderr


def refused(folder, **parts):
    """What is said of bad input: two sentences; nothing may have been written."""
    code, said = invert(folder, **parts)
    print(said.strip())
    assert code == 2
    assert said.startswith("Error: ")
    # a sentence ends with a stop, a blank and a capital letter
    assert len(re.split(r"\. (?=[A-Z])", said.strip())) == 2
    assert not [p for p in (folder / "out").glob("*") if p.suffix in (".nc", ".png")]
    return said


@pytest.mark.parametrize("case", TABLES)
def test_a_bad_table_is_refused(case, tmp_path):
    values, conditions, counted = TABLES[case]
    (tmp_path / "table.csv").write_text("d\n" + "\n".join(map(str, values)) + "\n")
    said = refused(tmp_path, file="table.csv", conditions=conditions, counted=counted)
    if case in ("negative", "zero", "text", "below the limit"):
        assert re.search(r"\brow (4|5|6)\b|\bline (4|5|6)\b", said)


def test_areas_given_as_diameters_are_doubted_and_inverted(tmp_path):
    areas = [3.14159 / 4 * d**2 for d in GOOD]
    (tmp_path / "table.csv").write_text("d\n" + "\n".join(map(str, areas)) + "\n")
    code, said = invert(tmp_path, file="table.csv")
    print(said.strip())
    assert code == 0
    assert re.search(r"Warning: .*areas.*say measure='area'\.", said)
    assert (tmp_path / "out" / "posterior.nc").exists()
    (tmp_path / "table.csv").write_text("d\n" + "\n".join(map(str, GOOD)) + "\n")
    assert "Warning" not in invert(tmp_path, file="table.csv")[1]


@pytest.mark.parametrize("case", ["not integers", "one label"])
def test_a_bad_label_image_is_refused(case, tmp_path):
    image = np.zeros((60, 60), np.float32 if case == "not integers" else np.uint8)
    image[10:30, 10:30] = 0.5 if case == "not integers" else 1
    if case == "one label":
        image[40:50, 40:50] = 1
    imsave(tmp_path / "image.tif", image, check_contrast=False)
    said = refused(tmp_path, file="image.tif", how='reader = "label-image"')
    assert ("whole numbers" if case == "not integers" else "two profiles") in said


@pytest.mark.parametrize("value", [-3.0, 0.0, float("nan"), "big", None])
def test_a_bad_size_is_refused_from_python_with_its_row(value):
    with pytest.raises((TypeError, ValueError), match=r"Invalid size .* in row 5\. [A-Z].*\.") as error:
        section_sizes(with_row(value))
    print(error.value)


@pytest.mark.parametrize("value", [-3.0, 0.0])
def test_a_bad_size_stops_an_inversion(value):
    prior = pg.Independent(geometric_mean=pg.LogNormal(30.0, 1.0), multiplicative_sd=pg.Uniform(1.02, 4.0))
    problem = pg.Problem(Spheres(), prior, SectionSizes())
    with pytest.raises(ValueError, match=r"Invalid size .* in row 4\. Sizes of profiles must be positive\."):
        OptimalEstimation()(problem, torch.tensor(with_row(value), dtype=torch.float64))


def test_label_images_from_python():
    for image in (np.full((9, 9), 0.5), np.pad(np.ones((4, 4), int), 3)):
        with pytest.raises((TypeError, ValueError), match=r"[A-Z].*\. [A-Z].*\.") as error:
            measure_sections(image)
        print(error.value)


def test_a_body_whose_radius_is_not_positive_is_refused():
    coefficients = torch.zeros(1, 4, dtype=torch.float64)
    coefficients[0, 0], coefficients[0, 2] = 3.5, 5.0
    with pytest.raises(ValueError, match=r"[A-Z].*radius.*\. [A-Z].*\.") as error:
        StarBody.from_real(coefficients)
    print(error.value)

"""Label images: measures of known figures, edge correction of digitised discs, bad input, and the real nuclei."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from physgen.forward_models.stereology.label_image import measure_sections

ROOT = Path(__file__).parents[3]
Y, X = np.mgrid[:400, :300] + 0.5


def figures():
    """A disc, an ellipse along the rows, a square in the corner."""
    image = np.zeros((400, 300), int)
    image[(Y - 100.2) ** 2 + (X - 100.7) ** 2 < 40**2] = 1
    image[((Y - 250.3) / 60) ** 2 + ((X - 150.7) / 30) ** 2 < 1] = 7
    image[350:, 250:] = 9
    return image


def test_known_figures():
    s = measure_sections(figures(), 0.5)
    assert s.label.tolist() == [1, 7, 9]
    exact = torch.tensor([math.pi * 400, math.pi * 30 * 15, 625]).double()
    torch.testing.assert_close(s.area, exact, rtol=2e-3, atol=0)
    torch.testing.assert_close(s.equivalent_diameter, 2 * (exact / math.pi).sqrt(), rtol=1e-3, atol=0)
    torch.testing.assert_close(s.major_axis[:2], torch.tensor([40.0, 60.0]).double(), rtol=2e-3, atol=0)
    torch.testing.assert_close(s.minor_axis[:2], torch.tensor([40.0, 30.0]).double(), rtol=2e-3, atol=0)
    torch.testing.assert_close(s.aspect[:2], torch.tensor([1.0, 0.5]).double(), rtol=3e-3, atol=0)
    ellipse = math.pi * (3 * 45 - math.sqrt(105 * 75))  # Ramanujan 1914
    torch.testing.assert_close(s.perimeter[:2], torch.tensor([40 * math.pi, ellipse]).double(), rtol=0.01, atol=0)
    assert s.touches_border.tolist() == [False, False, True]
    assert s.box_width.tolist() == [40, 30, 25]
    assert s.box_height.tolist() == [40, 60, 25]
    assert s.field_area == 200 * 150
    assert s.area_fraction == pytest.approx((figures() > 0).mean())
    assert float(s.weight[2]) == 0
    assert float(s.weight[1]) == pytest.approx(149.5 * 199.5 / ((149.5 - 30) * (199.5 - 60)))


def test_oblong_pixels():
    """Every other row: the pixel is twice as high, and the measures stay."""
    full, half = measure_sections(figures(), 1.0), measure_sections(figures()[::2], (2.0, 1.0))
    for name in ("area", "major_axis", "minor_axis", "box_width"):
        torch.testing.assert_close(getattr(full, name), getattr(half, name), rtol=0.01, atol=0)
    assert bool(half.perimeter.isnan().all())
    assert half.field_area == full.field_area


def test_pieces_of_one_label_are_one_profile():
    image = np.zeros((60, 60), int)
    image[10:20, 10:20] = image[30:40, 10:20] = 2
    image[10:15, 40:45] = 3
    s = measure_sections(image)
    assert len(s) == 2
    assert s.area.tolist() == [200, 25]
    assert s.box_height.tolist() == [30, 5]


def test_edge_correction_is_unbiased_for_digitised_discs():
    """Small images, where the border cuts most discs, in a window larger by what can reach in."""
    rng, rows, columns, rate, fields, reach = np.random.default_rng(2), 40, 60, 0.002, 250, 15
    y, x = np.mgrid[:rows, :columns] + 0.5
    n = rng.poisson(rate * (rows + 2 * reach) * (columns + 2 * reach) * fields)
    r = rng.uniform(3, 12, n)
    b, a = rng.uniform(-reach, rows + reach, n), rng.uniform(-reach, columns + reach, n)
    # no two discs may overlap: each pair that does not share a pixel shares an image
    total, square, met = 0.0, 0.0, 0
    near = (np.maximum(np.abs(b - rows / 2) - rows / 2, 0) < r) & (
        np.maximum(np.abs(a - columns / 2) - columns / 2, 0) < r
    )
    discs = [(y - v) ** 2 + (x - u) ** 2 < s * s for v, u, s in zip(b[near], a[near], r[near], strict=True)]
    queue = [disc for disc in discs if disc.any()]
    while queue:
        image, left = np.zeros((rows, columns), int), []
        for disc in queue[:40]:
            if (image[disc] > 0).any():
                left.append(disc)
            else:
                image[disc] = image.max() + 1
        queue = left + queue[40:]
        met += int(image.max())
        if image.max() == 1:  # one label alone is refused: a border pixel beside it counts nothing
            free = np.argwhere(image[:, 0] == 0)[0, 0]
            image[free, 0] = 2
        s = measure_sections(image)
        total, square = total + float(s.weight.sum()), square + float(s.weight.square().sum())
    area = s.frame.area * fields
    assert s.frame.area == (rows - 1) * (columns - 1)
    assert met == len([d for d in discs if d.any()])
    assert abs(total / area - rate) < 3.5 * math.sqrt(square) / area
    assert met / (rows * columns * fields) > 1.4 * rate


@pytest.mark.parametrize(
    ("labels", "size", "kind", "words"),
    [
        (np.ones((5, 5)), 1.0, TypeError, "type float64"),
        (np.ones((5, 5), bool), 1.0, TypeError, "a mask"),
        (np.ones((5, 5), int), 1.0, ValueError, "one label 1"),
        (np.zeros((5, 5), int), 1.0, ValueError, "without a profile"),
        (-figures(), 1.0, ValueError, "label -9"),
        (np.ones((5, 5, 5), int), 1.0, ValueError, "shape"),
        (np.ones((0, 5), int), 1.0, ValueError, "shape"),
        (figures(), 0.0, ValueError, "pixel size"),
        (figures(), (1.0, math.nan), ValueError, "pixel size"),
        (figures(), (1.0, 1.0, 1.0), TypeError, "pixel size"),
        (figures(), "small", TypeError, "pixel size"),
    ],
)
def test_bad_input_stops_in_two_sentences(labels, size, kind, words):
    with pytest.raises(kind, match=words) as error:
        measure_sections(labels, size)
    assert str(error.value).count(". ") == 1


@pytest.fixture(scope="module")
def nuclei():
    with xr.open_dataset(ROOT / "data" / "platynereis_nuclei.nc") as data:
        return data["label"].values


def test_the_sections_of_the_nuclei_hold_their_volume(nuclei):
    """Delesse (1847): the mean area fraction of all planes is the volume fraction."""
    assert len(np.unique(nuclei)) == 37
    seen = [measure_sections(plane).area_fraction for plane in nuclei if len(np.unique(plane)) > 2]
    lone = [(plane > 0).mean() for plane in nuclei if len(np.unique(plane)) == 2]
    assert (sum(seen) + sum(lone)) / len(nuclei) == pytest.approx((nuclei > 0).mean(), rel=1e-12)


@pytest.mark.slow
def test_the_sizes_of_the_nuclei_follow_from_their_sections(tmp_path):
    spec = importlib.util.spec_from_file_location("nuclei_sections", ROOT / "examples" / "nuclei_sections.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    found = example.main(str(tmp_path / "picture.png"))
    assert found["status"] == 0
    assert found["mean"][1] == pytest.approx(found["true mean"], rel=0.12)
    assert (
        found["distance of posterior median"] < found["distance of EM, smoothed"] < found["distance of Saltykov"] < 0.25
    )
    assert found["number by EM"] == pytest.approx(found["true number"], rel=0.2)
    assert (tmp_path / "picture.png").stat().st_size > 10000

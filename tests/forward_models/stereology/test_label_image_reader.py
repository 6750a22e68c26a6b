"""Label images as observations: discs drawn at random are counted without bias, whatever the border cuts."""

import math

import numpy as np
import pytest

from physgen.forward_models.stereology.label_image_reader import read_label_image

SIDE, SMALL, LARGE = 400, 6.0, 24.0


def plane(random, count=60):
    """Discs of two radii, in equal numbers per area, whose centres also lie outside; none hides another."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    image, centres = np.zeros((SIDE, SIDE), np.uint16), []
    radii = random.permutation(np.repeat([SMALL, LARGE], count // 2))
    for radius in radii:
        for _ in range(200):
            x, y = random.uniform(-30, SIDE + 30, 2)
            if all(math.hypot(x - a, y - b) > 2 * LARGE + 2 for a, b, _ in centres):  # the same for both radii
                centres.append((x, y, radius))
                image[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = len(centres)
                break
    per_area = np.array([sum(r == size for *_, r in centres) for size in (SMALL, LARGE)]) / (SIDE + 60) ** 2
    return image, per_area


def test_discs_are_counted_without_the_borders_bias(tmp_path):
    random, found, true = np.random.default_rng(1), np.zeros(2), np.zeros(2)
    for _ in range(12):
        image, per_area = plane(random)
        from skimage.io import imsave

        imsave(tmp_path / "plane.tif", image, check_contrast=False)
        sizes, numbers = read_label_image(tmp_path / "plane.tif", pixel_size=2.0)
        # um of discs drawn on pixels
        found += np.array([(sizes < 60).sum(), (sizes > 60).sum()]) / (numbers["field_area"] * 1e6 / 4)
        true += per_area
        assert np.allclose(sizes[sizes > 60], 4 * LARGE, rtol=0.02)
        assert numbers["smallest"] == pytest.approx(4 * math.sqrt(4 / math.pi))
    # some 250 discs of either radius: the standard error of their ratio is 9 %
    assert found / true == pytest.approx([1, 1], abs=0.25)
    assert (found[1] / found[0]) / (true[1] / true[0]) == pytest.approx(1, abs=0.3)


def test_a_stack_is_read_plane_by_plane(tmp_path):
    import xarray as xr

    random = np.random.default_rng(2)
    planes = np.stack([plane(random)[0] for _ in range(4)])
    xr.Dataset({"labels": (("z", "y", "x"), planes)}).to_netcdf(tmp_path / "stack.nc")
    every, one = (read_label_image(tmp_path / "stack.nc", planes=p) for p in (1, 4))
    assert len(every[0]) > 2.5 * len(one[0])
    assert every[1]["field_area"] == pytest.approx(4 * one[1]["field_area"], rel=0.05)
    assert read_label_image(tmp_path / "stack.nc", measure="area")[0].max() == pytest.approx(
        math.pi * LARGE**2, rel=0.02
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"measure": "radius"}, "Unknown measure"),
        ({"planes": 0}, "at least 1"),
        ({"pixel_size": -1.0}, "Invalid pixel size"),
    ],
)
def test_settings_out_of_range(tmp_path, settings, words):
    from skimage.io import imsave

    imsave(tmp_path / "plane.tif", plane(np.random.default_rng(3))[0], check_contrast=False)
    with pytest.raises(ValueError, match=words):
        read_label_image(tmp_path / "plane.tif", **settings)


def test_a_mask_is_refused(tmp_path):
    from skimage.io import imsave

    imsave(tmp_path / "mask.png", (plane(np.random.default_rng(3))[0] > 0).astype(np.uint8), check_contrast=False)
    with pytest.raises(ValueError, match="profiles are numbered"):
        read_label_image(tmp_path / "mask.png")

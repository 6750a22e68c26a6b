"""Build velocity_map_image.nc: a photoelectron image of O2-, its four quadrants folded onto one.

The source is the image of electrons from O2- that PyAbel carries: 1,024 x 1,024 pixels of counts, round about the
vertical axis through its centre (the laser's polarisation).

- Centre: the peak of the image's convolution with itself, which is where the image is most like itself turned by half
  a circle, to a fraction of a pixel by parabolas. It lies within a tenth of a pixel of the middle of a pixel, so that
  the quadrants are folded pixel by pixel, and no count is interpolated. Row and column of the centre have no partner
  and are left out.
- Bins of 2 x 2 pixels keep the file small; the rings are wider. Offsets and heights are those of the bins' middles.
- The counts scatter more than a Poisson distribution does: squared differences of two quadrants exceed their sum by
  the factor `dispersion`, which is measured here, in bins of more than 20 counts (it is about 1.1 where the image is
  dark; an uneven gain of the detector may be the reason). `events` are the folded counts divided by it and rounded:
  as many events as have the relative scatter that was found, for a Poisson likelihood.

    python data/build/velocity_map_image.py o2_velocity_map_image.txt.bz2 data/velocity_map_image.nc
"""

from __future__ import annotations

import itertools

import numpy as np
import xarray as xr
from write import arguments, write

BIN, SIDE = 2, 230  # pixels; bins
_FEWEST = 20


def symmetry_centre(image: np.ndarray) -> tuple[float, float]:
    """Row and column about which the image is most like itself turned by half a circle."""
    shape = tuple(2 * n for n in image.shape)
    spectrum = np.fft.rfft2(image, shape)
    likeness = np.fft.irfft2(spectrum**2, shape)
    i, j = np.unravel_index(likeness.argmax(), shape)
    return (i + _vertex(likeness[i - 1 : i + 2, j])) / 2, (j + _vertex(likeness[i, j - 1 : j + 2])) / 2


def _vertex(v: np.ndarray) -> float:
    """Where the parabola through three points has its vertex."""
    return float(0.5 * (v[0] - v[2]) / (v[0] - 2 * v[1] + v[2]))


def quadrants(image: np.ndarray, row: int, column: int) -> np.ndarray:
    """The four quadrants (4, height, offset), from the centre outwards, in bins."""
    above, below = image[row - 1 :: -1], image[row + 1 :]
    four = [half[:, cut] for half in (above, below) for cut in (slice(column - 1, None, -1), slice(column + 1, None))]
    side = BIN * SIDE
    return np.stack([q[:side, :side].reshape(SIDE, BIN, SIDE, BIN).sum(axis=(1, 3)) for q in four])


def overdispersion(four: np.ndarray) -> float:
    """Mean of (a - b)^2 / (a + b) over pairs of quadrants of equal totals, which is 1 for Poisson counts."""
    scaled = four * (four.sum(axis=(1, 2)).mean() / four.sum(axis=(1, 2)))[:, None, None]
    parts = []
    for a, b in itertools.combinations(scaled, 2):
        good = a + b > _FEWEST
        parts.append(((a - b)[good] ** 2 / (a + b)[good]).mean())
    return float(np.mean(parts))


def main() -> None:
    """Read, find the centre, fold, write."""
    a = arguments(__doc__, "image")
    image = np.loadtxt(a.image)
    centre = symmetry_centre(image)
    four = quadrants(image, *(round(c) for c in centre))
    dispersion, counts = overdispersion(four), four.sum(axis=0)
    kept, total = counts.sum(), image.sum()
    print(f"centre {centre[0]:.2f}, {centre[1]:.2f}; {100 * kept / total:.2f} % of {total:.0f} counts are kept")
    print(f"quadrants hold {four.sum(axis=(1, 2)).astype(int).tolist()} counts, overdispersion {dispersion:.2f}")
    middle = 0.5 * (BIN + 1) + BIN * np.arange(SIDE)
    pixel, dims = {"units": "pixel"}, ("height", "offset")
    dataset = xr.Dataset(
        {
            "counts": (dims, counts.astype("int32"), {"units": "1", "long_name": "counts of the four quadrants"}),
            "events": (
                dims,
                np.rint(counts / dispersion).astype("int32"),
                {"units": "1", "long_name": "counts divided by their overdispersion, rounded"},
            ),
            "dispersion": ((), dispersion, {"units": "1", "long_name": "variance over mean of the counts in a bin"}),
        },
        coords={
            "height": ("height", middle, pixel | {"long_name": "distance from the centre along the axis of symmetry"}),
            "offset": ("offset", middle, pixel | {"long_name": "distance from the axis of symmetry"}),
        },
        attrs={
            "title": "Photoelectron velocity map image of O2-, four quadrants folded onto one",
            "source": "PyAbel/PyAbel, examples/data/O2-ANU1024.txt.bz2",
            "licence": "MIT",
            "citation": "Hickstein, Gibson, Yurchak, Das & Ryazanov 2019, Rev. Sci. Instrum. 90:065115",
            "comment": f"centre at row {centre[0]:.2f}, column {centre[1]:.2f} of the source, counted from 0",
        },
    )
    write(dataset, a.output, "velocity_map_image.py", [a.image])


if __name__ == "__main__":
    main()

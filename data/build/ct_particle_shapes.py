"""Build ct_particle_shapes.nc: spherical-harmonic shapes of 3,320 particles, most of them from X-ray tomography.

Coefficients are kept to 16 bits of mantissa (a relative 8e-6, a thousandth of what the cut at degree 16 leaves out),
which compresses well. `sika-fib` comes in a unit of about a millimetre: its lengths are multiplied by 1,000, so that
everything is in um, that set nominally. `least_radius`, computed here, marks the bodies that are none: the truncated
series falls to 0 or below in some direction.

    python data/build/ct_particle_shapes.py ct_particle_shapes.npz data/ct_particle_shapes.nc
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from write import arguments, write

from physgen.forward_models.stereology.bodies import least_radius
from physgen.forward_models.stereology.bodies_ct import CT_SETS

MILLIMETRES = ("sika-fib",)
COLUMNS = {  # name: (column of the source, power of length, long name); the extents are about the origin
    "x_low": (0, 1, "least x"),
    "x_high": (1, 1, "greatest x"),
    "y_low": (2, 1, "least y"),
    "y_high": (3, 1, "greatest y"),
    "z_low": (4, 1, "least z"),
    "z_high": (5, 1, "greatest z"),
    "volume": (6, 3, "volume"),
    "surface": (7, 2, "surface area"),
    "relative_surface": (8, 0, "surface area over that of the sphere of equal volume"),
    "equivalent_diameter": (9, 1, "diameter of the sphere of equal volume"),
    "moment": (10, 2, "trace of the second moment over the volume"),
    "degree": (11, 0, "degree of the series that the figures describe"),
    "curvature": (12, 0, "integrated Gauss curvature over 4 pi; 1 for an exact integration"),
    "length": (13, 1, "length: the longest chord"),
    "width": (14, 1, "width: the longest chord at right angles to the length"),
    "thickness": (15, 1, "thickness: the longest chord at right angles to both"),
}
UNITS = {0: "1", 1: "um", 2: "um2", 3: "um3"}


def rounded(values: np.ndarray, bits: int = 16) -> np.ndarray:
    """float32 values to so many bits of mantissa."""
    mantissa, exponent = np.frexp(values.astype(np.float64))
    return np.ldexp(np.round(mantissa * 2.0**bits) / 2.0**bits, exponent).astype(np.float32)


def main() -> None:
    """Rescale, round, mark, write."""
    a = arguments(__doc__, "shapes")
    with np.load(a.shapes) as source:
        name, geometry, anm = source["name"], source["geometry"].astype(float), source["anm"]
    file_set = np.array([n.partition("/")[0] for n in name])
    unit = np.where(np.isin(file_set, MILLIMETRES), 1000.0, 1.0)
    re, im = rounded(anm.real * unit[:, None]), rounded(anm.imag * unit[:, None])
    least = least_radius(torch.complex(torch.tensor(re).double(), torch.tensor(im).double())).numpy()
    print("no positive radius:", ", ".join(f"{n} ({r:.2f})" for n, r in zip(name, least, strict=True) if r <= 0))
    number = [int(n.rpartition("-")[2].removesuffix(".dat")) for n in name]
    degree = [n for n in range(17) for _ in range(n + 1)]
    coefficient = ("particle", "coefficient")
    variables = {
        "coefficient_re": (coefficient, re, {"long_name": "real part of a_nm, m >= 0", "units": "um"}),
        "coefficient_im": (coefficient, im, {"long_name": "imaginary part of a_nm, m >= 0", "units": "um"}),
        "n": ("coefficient", np.array(degree, "int8"), {"long_name": "degree", "units": "1"}),
        "m": (
            "coefficient",
            np.array([i - n * (n + 1) // 2 for i, n in enumerate(degree)], "int8"),
            {"long_name": "order; a_n,-m = (-1)^m conj(a_nm)", "units": "1"},
        ),
        "set": (
            "particle",
            np.array([CT_SETS.index(s) for s in file_set], "int8"),
            {"long_name": "index into set_name", "units": "1"},
        ),
        "set_name": ("set_index", list(CT_SETS), {"long_name": "name of the set of particles"}),
        "number": ("particle", np.array(number, "int32"), {"long_name": "number of the file in its set", "units": "1"}),
        "least_radius": (
            "particle",
            least.astype("float32"),
            {"long_name": "least radius over all directions; not positive: no body", "units": "um"},
        ),
    }
    for key, (column, power, words) in COLUMNS.items():
        values = (geometry[:, column] * unit**power).astype("float32")
        variables[key] = ("particle", values, {"long_name": words, "units": UNITS[power]})
    dataset = xr.Dataset(
        variables,
        attrs={
            "title": "Spherical-harmonic shapes of cement, sand and aggregate particles, boxes and ellipsoids",
            "source": "jwbullard/THAMES, particle shape set; X-ray tomography of particles, E. J. Garboczi",
            "licence": "MIT",
            "citation": "Garboczi 2002, Cem. Concr. Res. 32:1621",
            "comment": "r(theta, phi) = sum a_nm Y_nm, degree 16 at most; the other figures describe the body at "
            "`degree`. Sizes of sika-fib are nominal (its unit is about a millimetre).",
        },
    )
    write(dataset, a.output, "ct_particle_shapes.py", [a.shapes])


if __name__ == "__main__":
    main()

"""Build quartz_sections.nc: sections of 2,661 quartz grains in a mylonite, as ImageJ measured them.

Every row is kept, in its order. The equivalent diameter is that of the circle of the same area, 2 sqrt(area / pi).

    python data/build/quartz_sections.py quartz_mylonite_sections.tsv data/quartz_sections.nc
"""

from __future__ import annotations

import csv

import numpy as np
import xarray as xr
from write import arguments, write

COLUMNS = {
    "area": ("Area", "um2", "area of the section"),
    "circularity": ("Circ", "1", "4 pi area over the square of the perimeter"),
    "feret": ("Feret", "um", "largest caliper"),
    "feret_minimum": ("MinFeret", "um", "smallest caliper"),
    "aspect_ratio": ("AR", "1", "axis ratio of the fitted ellipse"),
    "solidity": ("Solidity", "1", "area over that of the convex hull"),
}


def main() -> None:
    """Read, label, write."""
    a = arguments(__doc__, "table")
    with a.table.open(newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    variables = {
        name: ("profile", np.array([float(row[column]) for row in rows]), {"long_name": words, "units": units})
        for name, (column, units, words) in COLUMNS.items()
    }
    diameter = 2 * np.sqrt(variables["area"][1] / np.pi)
    words = {"long_name": "diameter of the circle of the same area", "units": "um"}
    variables["equivalent_diameter"] = ("profile", diameter, words)
    print(f"{len(rows)} grains, equivalent diameters {diameter.min():.2f} to {diameter.max():.2f} um")
    dataset = xr.Dataset(
        variables,
        attrs={
            "title": "Sections of recrystallised quartz grains in a mylonite",
            "source": "marcoalopez/GrainSizeTools, example data set of a quartz mylonite",
            "licence": "Apache-2.0",
            "citation": "Lopez-Sanchez 2018, J. Open Source Softw. 3:863",
        },
    )
    single = {"dtype": "float32"}
    write(dataset, a.output, "quartz_sections.py", [a.table], {n: single for n in COLUMNS if n != "area"})


if __name__ == "__main__":
    main()

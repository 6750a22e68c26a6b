"""Build platynereis_nuclei.nc: 36 nuclei of a marine annelid, labelled by hand in three dimensions.

One time point of a stack of nuclei of Platynereis dumerilii, with a number for each nucleus and 0 outside. Nothing is
changed but the type of integer. Neither the file nor the repository that it comes from states the size of a voxel; its
name there, "rescaled(256x256x103)", says that the stack was resampled, as one does to make voxels cubic. Cubic voxels
are therefore assumed, not known, and lengths are in their edges. Printed are the mean standard deviations of the nuclei
along the axes: those wholly inside are as long along y as along x, and 1.4 times as long along z. Either the nuclei are
aligned, or the optics or the voxels are longer there.

    python data/build/platynereis_nuclei.py platynereis_nuclei_labels.tif data/platynereis_nuclei.nc
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from skimage.io import imread
from write import arguments, write


def spread(label: np.ndarray, number: int) -> np.ndarray | None:
    """Standard deviation of a nucleus along z, y, x; None if it touches the border."""
    at = np.argwhere(label == number)
    inside = (at.min(0) > 0).all() and (at.max(0) < np.array(label.shape) - 1).all()
    return at.std(0) if inside else None


def main() -> None:
    """Check, print, write."""
    a = arguments(__doc__, "labels")
    label = imread(a.labels)
    numbers = np.unique(label[label > 0])
    if label.shape != (103, 256, 256) or len(numbers) != 36 or numbers[-1] > 127:
        raise ValueError(f"Invalid labels: {label.shape}, {len(numbers)} nuclei. Expected (103, 256, 256) and 36.")
    spreads = [s for number in numbers if (s := spread(label, number)) is not None]
    print(f"{len(spreads)} of 36 nuclei inside, mean spread along z, y, x: {np.mean(spreads, 0).round(2)} voxels")
    attrs = {
        "long_name": "number of the nucleus, 0 outside",
        "units": "1",
        "comment": "edges of voxels are the unit of length; cubic voxels are assumed (the source does not say)",
    }
    dataset = xr.Dataset(
        {"label": (("z", "y", "x"), label.astype("int8"), attrs)},
        attrs={
            "title": "36 nuclei of Platynereis dumerilii, labelled by hand in 3D",
            "source": "haesleinhuepf/BioImageAnalysisNotebooks, Platynereis_tp7_channel1_rescaled(256x256x103)_gt.tif",
            "licence": "CC-BY-4.0",
            "citation": "Ozpolat et al., doi:10.5281/zenodo.1063531 (images); BioImageAnalysisNotebooks (labels)",
        },
    )
    write(dataset, a.output, "platynereis_nuclei.py", [a.labels])


if __name__ == "__main__":
    main()

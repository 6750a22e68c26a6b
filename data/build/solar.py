"""Build solar.nc: solar irradiance above the atmosphere, band means 1 nm wide, 400 to 2500 nm.

The source has steps of 0.5 nm. The mean over [w - 0.5, w + 0.5] nm is the trapezoid of its three samples (weights
1/4, 1/2, 1/4); at 2500 nm, where the source ends, the mean of the last two samples weighted 1/3, 2/3.

    python data/build/solar.py tsis1_solar_irradiance_0p5nm.txt data/solar.nc
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from write import arguments, write


def main() -> None:
    """Average to 1 nm and write, in W m-2 nm-1."""
    a = arguments(__doc__, "tsis")
    wavelength, irradiance = np.loadtxt(a.tsis).T
    centres = np.arange(400.0, 2501.0)
    i = np.searchsorted(wavelength, centres - 0.1)  # the source is off by rounding here and there
    np.testing.assert_allclose(wavelength[i], centres)
    right = np.minimum(i + 1, wavelength.size - 1)
    weight = np.stack([np.full(i.size, 0.25), np.full(i.size, 0.5), np.where(right > i, 0.25, 0.0)])
    mean = (weight * np.stack([irradiance[i - 1], irradiance[i], irradiance[right]])).sum(0) / weight.sum(0)
    dataset = xr.Dataset(
        {
            "irradiance": (
                "wavelength",
                mean / 1000.0,  # the source is in mW m-2 nm-1
                {
                    "long_name": "solar irradiance above the atmosphere at one astronomical unit, mean over 1 nm",
                    "units": "W m-2 nm-1",
                    "cell_methods": "wavelength: mean",
                },
            )
        },
        coords={"wavelength": ("wavelength", centres, {"long_name": "wavelength", "units": "nm"})},
        attrs={
            "title": "TSIS-1 hybrid solar reference spectrum at 1 nm",
            "source": "isofit/isofit-data, tsis_f0",
            "licence": "Apache-2.0",
            "citation": "Coddington et al. 2021, Geophys. Res. Lett. 48:e2020GL091709",
        },
    )
    par = mean[:300].sum() / 1000.0
    print(f"irradiance {mean.sum() / 1000:.1f} W m-2 over 400-2500 nm, {par:.1f} W m-2 over 400-700 nm")
    write(dataset, a.output, "solar.py", [a.tsis], {"irradiance": {"dtype": "float32"}})


if __name__ == "__main__":
    main()

"""How measured leaf spectra differ from PROSPECT: the noise for inverting leaves."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from physgen.noise import CorrelatedGaussianNoise

from .tables import check_wavelengths

ABSOLUTE = 0.003  # of a spectrophotometer with an integrating sphere; no matter beside the discrepancy
DISCREPANCY = 0.05
LENGTH = 20.0  # nm


def leaf_noise(
    wavelengths: Sequence[float] | Tensor, *, discrepancy: float = DISCREPANCY, length: float = LENGTH
) -> CorrelatedGaussianNoise:
    """Noise of the reflectance and transmittance of a measured leaf about `Leaf`.

    The discrepancy, independent in reflectance and transmittance, is correlated over neighbouring wavelengths, so that
    a spectrum says about as much at every 10 nm as at every nanometre. Its two numbers, and two spreads of `leaves`,
    are chosen for the 90 % intervals of chlorophyll, carotenoids, water and dry matter of the 66 leaves of LOPEX,
    scored against the chemistry (``benchmarks/lopex_leaves.py --fit``, with cross-validation); so they include what
    the chemists erred. The evidence of the spectra alone would choose a discrepancy that is smaller and smoother, under
    which the intervals hold too few leaves: what the model does wrong is alike in all leaves, which makes residuals
    easy to predict, and contents no better.

    Parameters
    ----------
    wavelengths : sequence of float (w,)
        nm, within 400 to 2500.
    discrepancy : float
        Standard deviation of the correlated part, in reflectance or transmittance.
    length : float
        Correlation length, nm.

    Returns
    -------
    CorrelatedGaussianNoise
        Of 2 w bands, reflectance first.

    Raises
    ------
    ValueError
        If a wavelength is out of range.

    References
    ----------
    Hosgood et al. (1994), *Leaf Optical Properties EXperiment 93 (LOPEX93)*, EUR 16095 EN. Kennedy & O'Hagan (2001),
    JRSS B 63:425: the discrepancy. Brynjarsdottir & O'Hagan (2014), Inverse Problems 30:114007: why parameters go
    wrong where it is left out or too narrow.
    """
    w = check_wavelengths(wavelengths).tolist()
    return CorrelatedGaussianNoise(
        ABSOLUTE,
        discrepancy=discrepancy,
        length=length,
        coordinate=[*w, *w],
        groups=["reflectance"] * len(w) + ["transmittance"] * len(w),
    )

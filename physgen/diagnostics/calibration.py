"""All checks of calibration at once, and the verdict in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..progress import Progress, advancing
from .check import Check, adjusted
from .contraction import z_score
from .exchange import TIMES
from .expected_coverage import expected_coverage
from .local_c2st import local_c2st
from .pit import pit_uniformity
from .replications import Replications
from .sbc import sbc
from .scores import scores
from .tarp import tarp

LEVEL = 0.05
ELEMENTS = 30  # of a field of causes, which are tested


def _highest_density(replications: Replications, *, times: int = TIMES, seed: int = 0) -> Check:
    return expected_coverage(replications, kind="highest-density", times=times, seed=seed)


def _energy(replications: Replications, *, times: int = TIMES, seed: int = 0) -> Check:
    return scores(replications, kind="energy", times=times, seed=seed)


CHECKS: dict[str, Callable[..., Check]] = {
    "SBC ranks": sbc,
    "PIT": pit_uniformity,
    "z-score": z_score,
    "marginal coverage": expected_coverage,
    "highest-density coverage": _highest_density,
    "TARP": tarp,
    "local C2ST": local_c2st,
    "CRPS": scores,
    "energy score": _energy,
}
"""Name -> a check, called with replications, `times` and `seed`."""


def calibration(
    replications: Replications, *, times: int = TIMES, seed: int = 0, progress: Progress = False
) -> tuple[list[Check], dict[str, str]]:
    """Every check that these replications allow; of a field of causes, 30 elements are tested.

    Parameters
    ----------
    replications : Replications
    times, seed
        See `physgen.diagnostics.exchange.exchange_test`.
    progress : bool or callable
        See `physgen.progress.advancing`.

    Returns
    -------
    (list of Check, dict of str to str)
        The checks, and for those that cannot be made, why.

    Raises
    ------
    ValueError
        If no check can be made, as replications or draws are too few.
    """
    replications = replications.usable("a calibration").elements(ELEMENTS)
    found, skipped = [], {}
    with advancing(progress, len(CHECKS), "checks") as advance:
        for name, check in CHECKS.items():
            try:
                found.append(check(replications, times=times, seed=seed))
            except ValueError as error:
                skipped[name] = str(error)
            advance(1)
    if not found:
        raise ValueError(next(iter(skipped.values())))
    return found, skipped


def verdict(checks: Sequence[Check], level: float = LEVEL) -> tuple[bool, str]:
    """Whether none of the checks objects, all of them taken together, and the verdict in two sentences.

    Each p-value is raised for the number of checks (see `adjusted`), so that a sound method fails in the share `level`
    of the cases at most.
    """
    objecting = [c for c, p in zip(checks, adjusted(checks), strict=True) if p <= level]
    alone = [c.name for c in checks if c.p_value <= level]
    if not objecting and alone:
        return True, (
            f"None of {len(checks)} checks objects at the level {level:g}, all taken together, but by themselves "
            f"{len(alone)} would ({', '.join(alone)}). Make more simulations to know."
        )
    if not objecting:
        return True, (
            f"None of {len(checks)} checks objects at the level {level:g}, all taken together. On average over what "
            "the prior makes, the intervals hold the truth as often as they say."
        )
    names = ", ".join(c.name for c in objecting)
    worst = min(objecting, key=lambda c: c.p_value)
    return False, f"{len(objecting)} of {len(checks)} checks object ({names}). {worst.words}"

"""Simulated profiles: spheres that a plane or a slab meets, one by one."""

from __future__ import annotations

import torch
from scipy import stats
from torch import Tensor

from physgen.random import NOISE_STAGE, single_stream, uniform

from .microscope import Microscope, log_number
from .section_rows import LOG_UNITS
from .sizes import Sizes

_BLOCK = 1 << 12  # profiles whose parameters are held at once
_ROUNDS = 1000  # of rejection, where small profiles are not seen
_COUNT_STAGE = NOISE_STAGE + (1 << 20)


def simulate_profiles(sizes: Sizes, theta: Tensor, microscope: Microscope, m: int, *, seed: int) -> Tensor:
    """Radii (R, m) of profiles that are seen, given parameters (R, p).

    A plane meets a sphere with a probability that grows as its radius, at a distance from its centre that is uniform;
    a slab of thickness t holds the equator of a share t / (t + 2 E[R] cos phi) of the spheres that it shows. Profiles
    that are too small to be seen are drawn again.

    Raises
    ------
    RuntimeError
        If hardly any profile is large enough to be seen.
    """
    rows = torch.arange(len(theta), device=theta.device)[:, None].expand(-1, m).reshape(-1)
    out, pending = _draw(sizes, theta, microscope, rows, (len(theta), m), seed, 0), rows
    if microscope.smallest is None:
        return out.reshape(len(theta), m)
    for attempt in range(1, _ROUNDS):
        pending = torch.nonzero(out <= microscope.smallest[rows]).squeeze(-1)
        if not len(pending):
            return out.reshape(len(theta), m)
        again = _draw(sizes, theta, microscope, rows[pending], (len(theta), m), seed, attempt, pending)
        out = out.index_copy(0, pending, again)
    raise RuntimeError(
        f"Of {len(rows)} profiles, {len(pending)} stayed below the detection limit in {_ROUNDS} attempts. "
        "Lower the condition smallest, or take a prior of larger spheres."
    )


def number_of_profiles(
    sizes: Sizes, prediction: Tensor, microscope: Microscope, field_area: Tensor, most: int, *, seed: int
) -> Tensor:
    """Number (R) of profiles on fields of the areas (R), in mm2; the predictions (R, p + 1) end with N_V in mm-3.

    Raises
    ------
    ValueError
        If one is larger than `most`.
    """
    theta, number = prediction[:, :-1], prediction[:, -1]
    log_expected = number.log() + field_area.log() + log_number(sizes, theta, microscope) + LOG_UNITS
    u = uniform((len(theta),), single_stream(), seed=seed, stage=_COUNT_STAGE)
    n = torch.as_tensor(stats.poisson.ppf(u.numpy(), log_expected.exp().double().cpu().numpy())).to(prediction)
    if bool((n > most).any()):
        raise ValueError(
            f"A field holds {int(n.max())} profiles, more than the {most} that are drawn. Raise the noise's setting "
            "profiles, or take a smaller field_area."
        )
    return n


def _draw(
    sizes: Sizes,
    theta: Tensor,
    microscope: Microscope,
    rows: Tensor,
    shape: tuple[int, int],
    seed: int,
    attempt: int,
    which: Tensor | None = None,
) -> Tensor:
    """One radius for each of the rows, from the random numbers at the places `which` of an array of that shape."""
    numbers = uniform((*shape, 3), single_stream(), seed=seed, stage=NOISE_STAGE + attempt).reshape(-1, 3)
    u, v, w = (numbers if which is None else numbers[which]).to(theta).unbind(-1)
    own, z = theta[rows], torch.special.ndtri(u)
    cosine = None if microscope.cap is None else torch.tanh(microscope.cap)[rows]

    def quantile(biased: bool) -> Tensor:
        if which is None:
            return sizes.quantile(z.reshape(shape), theta, biased=biased).reshape(-1)
        parts = zip(z.split(_BLOCK), own.split(_BLOCK), strict=True)
        return torch.cat([sizes.quantile(a, b, biased=biased) for a, b in parts])

    R = quantile(True)
    r = R * torch.sqrt(1 - (v if cosine is None else v * cosine).square())
    if microscope.thickness is None:
        return r
    cut = 2 * sizes.moment(1, theta)[rows] * (1 if cosine is None else cosine)
    t = microscope.thickness[rows]
    return torch.where(w * (t + cut) < t, quantile(False), r)

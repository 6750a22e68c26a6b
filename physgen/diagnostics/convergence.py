"""Convergence of Markov chains: R-hat, effective sample size, autocorrelation time, for many quantities at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FFT_NUMBERS = 1 << 22  # numbers transformed at once


def rhat(x: Tensor) -> Tensor:
    """Rank-normalised split R-hat, the larger of bulk and tail (Vehtari et al. 2021, eqs 4, 14 and section 4.2).

    Parameters
    ----------
    x : Tensor (chain, draw, *rest)
        At least four draws. One chain is enough, as each is split into halves.

    Returns
    -------
    Tensor (*rest)
        Near 1 where all halves agree; above 1.01 they do not. NaN where x is constant or has a NaN.

    References
    ----------
    Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021, *Rank-normalization, folding, and localization: an improved
    R-hat for assessing convergence of MCMC*, Bayesian Analysis 16.
    """
    rest = _check(x)
    halves = split_chains(x.reshape(*x.shape[:2], -1))
    out = torch.maximum(_ratio(rank_normalise(halves)), _ratio(rank_normalise(folded(halves))))
    return out.reshape(rest)


def nested_rhat(x: Tensor, superchains: int) -> Tensor:
    """Nested R-hat: whether groups of short chains, each from one start, have forgotten it.

    Parameters
    ----------
    x : Tensor (chain, draw, *rest)
        The chains of a superchain side by side.
    superchains : int
        Number of groups of the same size: at least 2, of at least 2 chains.

    Returns
    -------
    Tensor (*rest)
        sqrt(1 + B / W), with B the variance between the means of superchains and W that within them. At
        stationarity B / W is about one over the effective draws of a superchain. NaN where x is constant.

    Raises
    ------
    ValueError
        If the chains cannot be grouped so.

    References
    ----------
    Margossian, Hoffman, Sountsov, Riou-Durand, Vehtari & Gelman 2024, *Nested R-hat*, Bayesian Analysis, eqs 5 to 8.
    """
    rest = _check(x)
    if superchains < 2 or x.shape[0] % superchains or x.shape[0] < 2 * superchains:
        raise ValueError(
            f"Invalid {superchains} superchains of {x.shape[0]} chains. Give at least 2, of at least 2 chains each."
        )
    x = x.reshape(superchains, -1, x.shape[1], *rest)
    means = x.mean(2)
    within = means.var(1) + x.var(2).mean(1)
    return torch.sqrt(1 + means.mean(1).var(0) / within.mean(0))


def folded(x: Tensor) -> Tensor:
    """Distances of x (chain, draw, *rest) from the median over chains and draws: what diagnoses the spread.

    The median is the mean of the two middle values where they are even in number.
    """
    ordered = x.flatten(0, 1).sort(0).values
    count = len(ordered)
    return (x - (ordered[(count - 1) // 2] + ordered[count // 2]) / 2).abs()


def ess_bulk(x: Tensor) -> Tensor:
    """Effective sample size of the bulk: `ess` of the rank-normalised split chains (Vehtari et al. 2021, section 3).

    Parameters and result are those of `ess`, but at least eight draws are needed.
    """
    _check(x, fewest=8)
    return ess(rank_normalise(split_chains(x)))


def ess(x: Tensor) -> Tensor:
    """Effective sample size for the mean, of chains taken as they are.

    The sum of autocorrelations runs over Geyer's initial monotone sequence (Geyer 1992, section 3.3; Vehtari et al.
    2021, eqs 10 to 13).

    Parameters
    ----------
    x : Tensor (chain, draw, *rest)
        At least four draws.

    Returns
    -------
    Tensor (*rest)
        All draws where x is constant; NaN where it has a NaN.
    """
    rest = _check(x)
    x = x.reshape(*x.shape[:2], -1)
    chains, draws = x.shape[:2]
    acov = _autocovariance(x, x.mean(1, keepdim=True))
    within = acov[0] * draws / (draws - 1)
    total = acov[0] if chains == 1 else acov[0] + x.mean(1).var(0)
    rho = 1 - (within - acov) / total
    rho[0] = 1
    tau = _initial_monotone(rho).clamp(min=1 / math.log10(chains * draws))
    constant = x.amax((0, 1)) == x.amin((0, 1))
    return torch.where(constant, float(chains * draws), chains * draws / tau).reshape(rest)


def autocorrelation_time(x: Tensor, window: float = 5.0) -> Tensor:
    """Integrated autocorrelation time, in draws, of chains that explore one distribution.

    tau = 1 + 2 sum_t rho_t over a window of lags that ends at the first t >= `window` tau (Sokal 1997, section 3).
    The autocovariance is averaged over the chains before it is normalised (Goodman & Weare 2010, section 4), and
    taken about the mean of all of them, so that a chain stuck on its own shows as a long time.

    Parameters
    ----------
    x : Tensor (chain, draw, *rest)
        At least four draws; the estimate holds once there are 50 tau of them or more.
    window : float
        Larger is less biased and noisier.

    Returns
    -------
    Tensor (*rest)
        1 for independent draws; NaN where x is constant or has a NaN.

    References
    ----------
    Sokal 1997, *Monte Carlo methods in statistical mechanics: foundations and new algorithms*.
    """
    rest = _check(x)
    x = x.reshape(*x.shape[:2], -1)
    acov = _autocovariance(x, x.mean((0, 1), keepdim=True))
    taus = 2 * torch.cumsum(acov / acov[0], dim=0) - 1
    lag = torch.arange(len(taus), dtype=taus.dtype, device=taus.device)[:, None]
    beyond = lag >= window * taus
    end = torch.where(beyond.any(0), beyond.to(torch.int8).argmax(0), len(taus) - 1)
    return taus.gather(0, end[None]).reshape(rest)


def split_chains(x: Tensor) -> Tensor:
    """Halves of each chain as chains of their own, ``(2 chain, draw // 2, *rest)``; an odd middle draw is left out."""
    half = x.shape[1] // 2
    return torch.cat([x[:, :half], x[:, -half:]])


def rank_normalise(x: Tensor) -> Tensor:
    """Normal scores of the ranks among all chains and draws, ties averaged (Vehtari et al. 2021, eq. 14; Blom 1958).

    Same shape as x ``(chain, draw, *rest)``; NaN for a quantity that has a NaN.
    """
    flat = x.reshape(*x.shape[:2], -1).flatten(0, 1).mT.contiguous()
    ordered, where = flat.sort(-1)
    count = flat.shape[-1]
    position = torch.arange(count, device=x.device)
    differs = torch.ones_like(ordered, dtype=torch.bool)
    differs[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = torch.where(differs, position, 0).cummax(-1).values  # of the ties
    ends = torch.cat([differs[:, 1:], differs[:, :1]], dim=-1)
    last = torch.where(ends, position, count - 1).flip(-1).cummin(-1).values.flip(-1)
    rank = (first + last + 2).to(x.dtype) / 2
    z = torch.special.ndtri((rank - 0.375) / (count + 0.25))
    z = torch.where(torch.isnan(ordered[:, -1:]), torch.nan, z)  # a NaN sorts last
    return torch.empty_like(z).scatter_(-1, where, z).mT.reshape(x.shape)


def _check(x: Tensor, fewest: int = 4) -> tuple[int, ...]:
    """The shape of the quantities."""
    if x.ndim < 2 or x.shape[0] < 1 or x.shape[1] < fewest:
        raise ValueError(
            f"Invalid shape {tuple(x.shape)} of chains. Give (chain, draw, ...) with {fewest} draws or more."
        )
    return tuple(x.shape[2:])


def _ratio(x: Tensor) -> Tensor:
    """R-hat of chains (chain, draw, R) as they are (Vehtari et al. 2021, eqs 1 to 4)."""
    draws = x.shape[1]
    between, within = x.mean(1).var(0), x.var(1).mean(0)
    return torch.sqrt(between / within + (draws - 1) / draws)


def _autocovariance(x: Tensor, centre: Tensor) -> Tensor:
    """Autocovariance (draw, R) of x (chain, draw, R) about a centre, averaged over the chains, each lag over n."""
    chains, draws, quantities = x.shape
    length = 1 << (2 * draws - 1).bit_length()  # zeros behind: no lag wraps around
    block = max(1, _FFT_NUMBERS // (length * max(quantities, 1)))
    power = sum(
        torch.fft.rfft(part - mean, n=length, dim=1).abs().square().sum(0)
        for part, mean in zip(x.split(block), centre.expand(chains, -1, -1).split(block), strict=True)
    )
    return torch.fft.irfft(power, n=length, dim=0)[:draws] / (draws * chains)


def _initial_monotone(rho: Tensor) -> Tensor:
    """-1 + 2 sum of autocorrelations (draw, R) over Geyer's initial monotone sequence."""
    draws = len(rho)
    last = max(0, (draws - 3) // 2)
    pairs = rho[0 : 2 * last + 2 : 2] + rho[1 : 2 * last + 2 : 2]
    ended = pairs <= 0
    end = torch.where(ended.any(0), ended.to(torch.int8).argmax(0), last)[None]
    inside = torch.arange(last + 1, device=rho.device)[:, None] < end
    total = torch.where(inside, pairs.cummin(0).values, 0).sum(0)
    # half a pair more lessens the bias of strongly negative autocorrelation
    even, pair = rho.gather(0, 2 * end)[0], pairs.gather(0, end)[0]
    return -1 + 2 * total + torch.where(pair >= 0, even, even.clamp(min=0))

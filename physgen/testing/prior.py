"""Whether a prior keeps the contract of `physgen.priors.Prior`, and has the capabilities that it states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from ..conditions import takes
from ..priors import Prior
from ..problem import log_normal
from ..random import normal, single_stream
from ..rows import jacobian
from ..space import Space
from .cases import at_dtype, bounds, condition_rows, row_count
from .gradients import check_gradients
from .report import Findings, Report
from .row_map import RowMap, check_answer, check_rows, same

_CAPABILITIES = ("log_prob", "encode", "score", "do", "log_factor")
_DRAWS = 4000
_UNLIKELY = 1e-6


def check_prior(
    prior: Prior, conditions: Mapping[str, Any] | None = None, *, seed: int = 0, tolerance: float = 1e-6
) -> Report:
    """Tell the author of a prior what is wrong with it.

    Parameters
    ----------
    prior : Prior
    conditions : mapping, optional
        Those that the prior requires, one value each.
    seed : int
        Of the draws.
    tolerance : float
        Relative, of derivatives, densities and round trips.

    Returns
    -------
    Report
        The checks that it passed; prints as a list.

    Raises
    ------
    CheckError
        With every finding: shapes, batching, supports, gradients of `decode`, `sample` against `decode`, `encode`
        against `decode`, `log_prob` against the change of variables
        ``log p(x) = log N(z) - log |det dx/dz|`` (Rezende & Mohamed 2015, eq. 5; up to a constant for a weighted
        prior), `score`, `do`, `log_factor`, and capabilities that are stated and not there, or there and not stated.
    ValueError
        If a condition is unknown or missing.
    """
    findings = Findings(type(prior).__name__)
    _declaration(prior, findings)
    if findings.found:
        return findings.report()
    case = _case(prior, conditions, seed)
    x = check_answer(case, findings)
    if x is None:
        return findings.report()
    _causes(prior, x, findings)
    check_rows(case, x, findings)
    check_gradients(case, x, None, findings, tolerance)
    _sample(prior, case, findings)
    checks: dict[str, Callable[[Prior, RowMap, Tensor, Findings, float], None]] = {
        "encode": _encode,
        "log_prob": _log_prob,
        "score": _score,
        "log_factor": _log_factor,
        "do": _do,
    }
    for capability, check in checks.items():
        if capability in prior.capabilities:
            with findings.check(f"capability {capability!r}", "Give the method, or do not state the capability."):
                check(prior, case, x, findings, tolerance)
        else:
            _lacks(prior, capability, case, x, findings)
    return findings.report()


def _declaration(prior: Any, findings: Findings) -> None:
    with findings.check("what it declares", "It needs causes, latent_dim and capabilities."):
        if not isinstance(prior, Prior):
            findings.add(f"The prior is a {type(prior).__name__}. Derive it from physgen.priors.Prior.")
            return
        if not isinstance(prior.causes, Space) or prior.causes.size == 0:
            findings.add("The prior has no causes. Name them: causes = Space(Block('lai', 'm2 m-2', (0, 12)), ...).")
        if not isinstance(prior.latent_dim, int) or prior.latent_dim < 1:
            findings.add(f"The prior's latent_dim is {prior.latent_dim!r}. It must be a positive integer.")
        unknown = sorted(set(prior.capabilities) - set(_CAPABILITIES))
        if unknown:
            findings.add(f"Unknown capabilities {unknown}. There are {', '.join(_CAPABILITIES)}.")


def _case(prior: Prior, conditions: Mapping[str, Any] | None, seed: int) -> RowMap:
    k = prior.latent_dim
    rows = row_count(k, prior.causes.size)
    like = torch.empty((), dtype=torch.float64)
    taken = takes(prior, "decode")
    made = condition_rows(conditions, taken, getattr(prior, "conditions", None), torch.arange(rows), like)
    z = normal((rows, k), single_stream(), seed=seed)
    names = tuple(f"latent {i}" for i in range(k))
    single = at_dtype(prior, torch.float32)
    return RowMap(prior.decode, z, taken.pick(made), names, single.decode, "latents", "causes")


def _causes(prior: Prior, x: Tensor, findings: Findings) -> None:
    with findings.check("causes inside their supports", "decode must return the causes that the prior declares."):
        if x.shape[-1] != prior.causes.size:
            findings.add(
                f"decode returned {x.shape[-1]} causes and the prior declares {prior.causes.size}. "
                "The last axis must hold every element of causes."
            )
            return
        low, high = bounds(prior.causes, x)
        for j, name in enumerate(prior.causes.element_names):
            if bool(((x[:, j] < low[j]) | (x[:, j] > high[j])).any()):
                findings.add(
                    f"decode returned {name} between {float(x[:, j].min()):.4g} and {float(x[:, j].max()):.4g}. "
                    f"Its declared support is {float(low[j]):g} to {float(high[j]):g}."
                )


def _shared(case: RowMap) -> dict[str, Tensor]:
    return {k: v[0] for k, v in case.conditions.items()}


def _sample(prior: Prior, case: RowMap, findings: Findings) -> None:
    n, shared = prior.causes.size, _shared(case)
    with findings.check("shape and dtype of sample", "sample(shape, seed=, dtype=, **conditions) gives (*shape, n)."):
        for shape in (5, (2, 3)):
            for dtype in (torch.float32, torch.float64):
                own = at_dtype(prior, dtype)
                x = own.sample(shape, seed=1, dtype=dtype, **{k: v.to(dtype) for k, v in shared.items()})
                wanted = (*((shape,) if isinstance(shape, int) else shape), n)
                if tuple(x.shape) != wanted or x.dtype != dtype:
                    findings.add(f"sample({shape}) gave {tuple(x.shape)} of {x.dtype}. It must be {wanted} of {dtype}.")
    with findings.check("draws are a function of the seed", "Draw with physgen.random, which takes the seed."):
        one, again, other = (prior.sample(20, seed=s, dtype=torch.float64, **shared) for s in (1, 1, 2))
        if not torch.equal(one, again):
            findings.add("sample gave other draws for the same seed. Use no random numbers but those of the seed.")
        if torch.equal(one, other):
            findings.add("sample gave the same draws for two seeds. Pass the seed on to the random numbers.")
    if "log_factor" in prior.capabilities:
        findings.skip("sample against decode", "a weighted prior draws by rejection")
        return
    with findings.check("sample against decode", "Both must follow x = g(z) with z ~ N(0, I)."):
        z = normal((_DRAWS, prior.latent_dim), single_stream(), seed=11)
        expected = prior.decode(z, **shared)
        drawn = prior.sample(_DRAWS, seed=12, dtype=torch.float64, **shared)
        for j, name in enumerate(prior.causes.element_names):
            p = stats.ks_2samp(drawn[:, j].detach().numpy(), expected[:, j].detach().numpy()).pvalue
            if p < _UNLIKELY / n:
                findings.add(
                    f"Draws of {name} do not follow the latents (Kolmogorov-Smirnov p = {p:.1g}). "
                    "sample must be decode of standard normal latents."
                )


def _encode(prior: Prior, case: RowMap, x: Tensor, findings: Findings, tolerance: float) -> None:
    z = prior.encode(x, **case.conditions)
    if z.shape != case.x.shape:
        findings.add(f"encode returned the shape {tuple(z.shape)}. It must be {tuple(case.x.shape)}.")
        return
    _close(prior.decode(z, **case.conditions), x, "decode(encode(x)) and x", findings, tolerance)
    if prior.latent_dim == prior.causes.size:
        _close(z, case.x, "encode(decode(z)) and z", findings, tolerance)


def _close(found: Tensor, wanted: Tensor, what: str, findings: Findings, tolerance: float) -> None:
    error = ((found - wanted).abs() / wanted.abs().amax(0).clamp(min=1e-300)).max()
    if not bool(error <= tolerance):
        findings.add(f"{what} differ by {float(error):.3g} of the largest value. They must be inverse to each other.")


def _log_prob(prior: Prior, case: RowMap, x: Tensor, findings: Findings, tolerance: float) -> None:
    found = prior.log_prob(x, **case.conditions)
    if found.shape != x.shape[:-1]:
        findings.add(f"log_prob returned the shape {tuple(found.shape)}. It must be {tuple(x.shape[:-1])}.")
        return
    rows = [prior.log_prob(r, **{k: v[i] for k, v in case.conditions.items()}) for i, r in enumerate(x)]
    same(torch.stack(rows), found, "log_prob of a row of shape (n,) and in a batch", findings)
    _outside(prior, case, x, findings)
    if prior.latent_dim != prior.causes.size:
        findings.skip("log_prob against the change of variables", "latents and causes differ in number")
        return
    wanted = log_normal(case.x) - torch.linalg.slogdet(jacobian(case, case.x)[1]).logabsdet
    what = "log N(z) - log |det dx/dz|"
    if "log_factor" in prior.capabilities:
        wanted = wanted + prior.log_factor(x, **case.conditions)
        # rows where the factor is 0 in probability say nothing about the constant
        usable = torch.isfinite(wanted)
        found, wanted, what = found[usable], wanted[usable], f"{what} + log_factor(x) up to a constant"
        found, wanted = found - found[:1], wanted - wanted[:1]
    error = (found - wanted).abs()
    if not bool((error <= tolerance * (1 + wanted.abs())).all()):
        row = int(error.nan_to_num(torch.inf).argmax())
        findings.add(
            f"log_prob is {float(found[row]):.6g} where the change of variables gives {float(wanted[row]):.6g}. "
            f"It must be {what} at x = decode(z)."
        )


def _outside(prior: Prior, case: RowMap, x: Tensor, findings: Findings) -> None:
    for j, (name, *ends) in enumerate(zip(prior.causes.element_names, *bounds(prior.causes, x), strict=True)):
        for end, sign in zip(ends, (-1, 1), strict=True):
            if bool(torch.isfinite(end)):
                beyond = x.clone()
                beyond[:, j] = end + sign * (0.01 + 0.1 * end.abs())
                value = prior.log_prob(beyond, **case.conditions)
                if not bool((value == -torch.inf).all()):
                    findings.add(
                        f"log_prob is {float(value[0]):.4g} at {name} = {float(beyond[0, j]):.4g}. "
                        "It must be -inf outside the support."
                    )


def _score(prior: Prior, case: RowMap, x: Tensor, findings: Findings, tolerance: float) -> None:
    method = getattr(prior, "score", None)
    if method is None:
        findings.add("The prior states 'score' and has no method score(x, **conditions). Give it, or do not state it.")
        return
    found = method(x, **case.conditions)
    if found.shape != x.shape:
        findings.add(f"score returned the shape {tuple(found.shape)}. It must be {tuple(x.shape)}.")
    elif "log_prob" in prior.capabilities:
        leaf = x.clone().requires_grad_(True)
        wanted = torch.autograd.grad(prior.log_prob(leaf, **case.conditions).sum(), leaf)[0]
        _close(found, wanted, "score(x) and the gradient of log_prob", findings, tolerance)


def _log_factor(prior: Prior, case: RowMap, x: Tensor, findings: Findings, tolerance: float) -> None:
    value = prior.log_factor(x, **case.conditions)
    if value.shape != x.shape[:-1]:
        findings.add(f"log_factor returned the shape {tuple(value.shape)}. It must be {tuple(x.shape[:-1])}.")
    elif not bool((value <= tolerance).all()):
        findings.add(f"log_factor reaches {float(value.max()):.4g}. Its upper bound must be 0, or rejection is biased.")


def _do(prior: Prior, case: RowMap, x: Tensor, findings: Findings, tolerance: float) -> None:
    name = next((b.name for b in prior.causes if not b.shape), None)
    if name is None:
        findings.skip("intervention", "no cause is a scalar")
        return
    j, value = prior.causes.slice(name).start, float(x[0, prior.causes.slice(name)])
    after = prior.do(**{name: value})
    drawn = after.sample(5, seed=0, dtype=torch.float64, **_shared(case))
    if not bool(((drawn[:, j] - value).abs() <= tolerance * (1 + abs(value))).all()):
        findings.add(f"After do({name}={value:.4g}) its draws differ from that. An intervention sets the cause.")
    if after.latent_dim != prior.latent_dim or after.causes.names != prior.causes.names:
        findings.add("do changed the latents or the causes. It must keep the layout of both.")
    if "log_prob" in after.capabilities:
        findings.add(f"After do({name}=...) the prior states 'log_prob'. A fixed cause has no density: drop it.")


def _lacks(prior: Prior, capability: str, case: RowMap, x: Tensor, findings: Findings) -> None:
    """What is not stated must not answer."""
    with findings.check(f"no capability {capability!r}", "What is not stated must raise TypeError."):
        method = getattr(prior, capability, None)
        if method is None:
            return
        try:
            first = prior.causes.names[0]
            answer = method(**{first: 0.5}) if capability == "do" else method(x, **case.conditions)
        except TypeError:
            return
        if capability == "log_factor" and not bool((answer != 0).any()):
            return
        findings.add(f"It answers {capability} and does not state so. Add it to capabilities, or raise TypeError.")

"""Whether a noise keeps the contract of `physgen.noise.Noise`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from ..conditions import takes
from ..noise import Noise
from .cases import at_dtype, condition_rows, row_count
from .gradients import check_gradients
from .report import Findings, Report
from .rosenblatt import conditionals, grid
from .row_map import RowMap, check_answer, check_rows, same

_DRAWS = 600  # whose ranks are found
_MANY = 4000  # whose covariance is found
_FEW = 8  # of the draws
_ELEMENTS = 6  # of y that are integrated over
_UNLIKELY = 1e-6
_SIGMA = 5.5  # standard errors; of about 30 moments
_EXACT = 1e-5  # of log densities found by quadrature


def check_noise(
    noise: Noise,
    prediction: Any,
    conditions: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    tolerance: float = 1e-6,
) -> Report:
    """Tell the author of a noise what is wrong with it.

    Parameters
    ----------
    noise : Noise
    prediction : array_like (*, m')
        Typical predictions, as the forward model returns them.
    conditions : mapping, optional
        Those that the noise requires, one value each or one for each row of `prediction`.
    seed : int
        Of the draws.
    tolerance : float
        Relative, of derivatives.

    Returns
    -------
    Report
        The checks that it passed; prints as a list.

    Raises
    ------
    CheckError
        With every finding: shapes, batching, dtype, gradients; NaN in y that is not exactly "not measured" (the
        density must be what is left after integrating over that element); draws that do not follow `log_prob`
        (ranks of each element given those before it, Rosenblatt 1952, must be uniform); a whitener that is not the
        score; `standardise` that does not give unit variance.
    ValueError
        If a condition is unknown or missing.
    """
    findings = Findings(type(noise).__name__)
    if not isinstance(noise, Noise):
        findings.add(f"The noise is a {type(noise).__name__}. Derive it from physgen.noise.Noise.")
        return findings.report()
    f, own = _rows(noise, prediction, conditions)
    y = _sample(noise, f, own, findings, seed)
    if y is None:
        return findings.report()
    case = _case(noise, f, y, own)
    value = check_answer(case, findings)
    if value is None:
        return findings.report()
    check_rows(case, value, findings)
    check_gradients(case, value, None, findings, tolerance)
    _missing(noise, f, y, own, findings)
    _distribution(noise, f, own, findings, seed)
    _whiten(noise, f, y, own, findings, tolerance)
    _standardise(noise, f, y, own, findings, seed)
    return findings.report()


def _rows(noise: Noise, prediction: Any, conditions: Mapping[str, Any] | None) -> tuple[Tensor, dict[str, Any]]:
    """Predictions ``(R, m')`` and conditions ``(R, *own)``."""
    f = torch.as_tensor(prediction).to(torch.float64)
    f = f.reshape(-1, f.shape[-1])
    index = torch.arange(row_count(f.shape[-1]), device=f.device)
    space = getattr(noise, "conditions", None)
    own = condition_rows(conditions, takes(noise, "log_prob", 2), space, index, f.new_empty(()))
    return f[index % len(f)], own


def _case(noise: Noise, f: Tensor, y: Tensor, own: Mapping[str, Tensor]) -> RowMap:
    """log_prob as a map of predictions."""

    def log_prob(p: Tensor, y: Tensor, **conditions: Tensor) -> Tensor:
        return noise.log_prob(y, p, **conditions)[..., None]

    def single(p: Tensor, y: Tensor, **conditions: Tensor) -> Tensor:
        return at_dtype(noise, torch.float32).log_prob(y, p, **conditions)[..., None]

    names = tuple(f"prediction {i}" for i in range(f.shape[-1]))
    return RowMap(log_prob, f, own, names, single, "predictions", "log density", {"y": y})


def _sample(noise: Noise, f: Tensor, own: Mapping[str, Tensor], findings: Findings, seed: int) -> Tensor | None:
    before = len(findings.found)
    y: Any = None
    with findings.check("draws", "sample(prediction, seed=, like=, **conditions) gives (*, m)."):
        y, again, other = (noise.sample(f, seed=s, **own) for s in (seed, seed, seed + 1))
        if y.shape[:-1] != f.shape[:-1]:
            findings.add(
                f"sample gave the shape {tuple(y.shape)} for predictions {tuple(f.shape)}. "
                "It must keep every axis but the last."
            )
        if not torch.equal(y, again):
            findings.add("sample gave other draws for the same seed. Use no random numbers but those of the seed.")
        if torch.equal(y, other):
            findings.add("sample gave the same draws for two seeds. Pass the seed on to the random numbers.")
        if not bool(torch.isfinite(y).all()):
            findings.add("sample gave values that are not finite. Without `like`, every element is measured.")
        if y.dtype != f.dtype or noise.sample(f.float(), seed=seed, **_float(own)).dtype != torch.float32:
            findings.add("The draws do not have the dtype of the prediction. They must follow it.")
    if len(findings.found) > before:
        return None
    with findings.check("NaN where `like` has NaN", "sample must pass the NaN of `like` on."):
        like = torch.zeros_like(y)
        like[0, 0] = torch.nan
        if not torch.equal(torch.isnan(noise.sample(f, seed=seed, like=like, **own)), torch.isnan(like)):
            findings.add("The draws are NaN elsewhere than `like` is. NaN there, and only there, says not measured.")
    return y


def _float(own: Mapping[str, Tensor]) -> dict[str, Any]:
    return {k: v.float() for k, v in own.items()}


def _missing(noise: Noise, f: Tensor, y: Tensor, own: Mapping[str, Tensor], findings: Findings) -> None:
    """What can be said of NaN without an integral."""
    with findings.check("NaN in y", "NaN means not measured: mask it, and keep it out of the gradient."):
        none = noise.log_prob(torch.full_like(y, torch.nan), f, **own)
        if bool((none != 0).any()):
            findings.add(f"With nothing measured log_prob is {float(none[0]):.4g}. It must be 0.")
        gone = y.clone()
        gone[:, 0] = torch.nan
        leaf = f.clone().requires_grad_(True)
        value = noise.log_prob(gone, leaf, **own)
        if not bool(torch.isfinite(value).all()):
            findings.add("log_prob is not finite when an element of y is NaN. NaN means that it was not measured.")
            return
        (slope,) = torch.autograd.grad(value.sum(), leaf)
        if not bool(torch.isfinite(slope).all()):
            findings.add(
                "The gradient of log_prob is not finite when an element of y is NaN. "
                "Replace NaN by a number before any arithmetic: torch.where alone does not keep it out."
            )


def _distribution(noise: Noise, f: Tensor, own: Mapping[str, Tensor], findings: Findings, seed: int) -> None:
    """Draws and NaN against integrals of the density."""
    f, own = f[:1].expand(_DRAWS, -1), {k: v[:1].expand(_DRAWS, *v.shape[1:]) for k, v in own.items()}

    def density(rows: int) -> Callable[[Tensor], Tensor]:
        def log_prob(y: Tensor) -> Tensor:
            lead = y.shape[:-2]
            cut = {k: v[:rows].expand(*lead, rows, *v.shape[1:]) for k, v in own.items()}
            return noise.log_prob(y, f[:rows].expand(*lead, rows, -1), **cut)

        return log_prob

    with findings.check("NaN and draws against integrals of the density", "It must answer for y with NaN."):
        y = noise.sample(f, seed=seed + 2, **own)
        ranks = []
        for j in range(min(_ELEMENTS, y.shape[-1])):
            before, total, _ = conditionals(density(_FEW), y[:_FEW], j, grid(y[:, j], 1601))
            _marginal(before, total, j, findings)
            ranks.append(conditionals(density(_DRAWS), y, j, grid(y[:, j], 141, reach=6.0))[2])
        _uniform(torch.stack(ranks, dim=-1), findings)


def _uniform(ranks: Tensor, findings: Findings) -> None:
    """Ranks ``(N, m)`` must be uniform, and their normal scores of zero mean, unit variance and no correlation."""
    p = stats.kstest(ranks.flatten().numpy(), "uniform").pvalue
    e = torch.special.ndtri(ranks.clamp(1e-6, 1 - 1e-6))
    variance_error = (e.mT @ e / len(e) - torch.eye(e.shape[-1]).to(e)) / (1 + torch.eye(e.shape[-1]).to(e)).sqrt()
    off = len(e) ** 0.5 * max(float(variance_error.abs().max()), float(e.mean(0).abs().max()))
    if p < _UNLIKELY or off > _SIGMA:
        findings.add(
            f"The draws of sample do not follow log_prob (their ranks are {off:.1f} standard errors off, and uniform "
            f"with p = {p:.1g}). Both must state the same distribution, with its scale and its correlations."
        )


def _marginal(before: Tensor, total: Tensor, element: int, findings: Findings) -> None:
    error = float((before - total).abs().max())
    if error <= _EXACT:
        return
    if element == 0:
        findings.add(
            f"The density of element 0 integrates to {float(total[0].exp()):.6g}. "
            "It must integrate to 1: look for a factor that is missing."
        )
    else:
        findings.add(
            f"With element {element} NaN, log_prob is {float(before[0]):.6g}, and integrated over that element "
            f"{float(total[0]):.6g}. NaN must leave exactly the density of the other elements."
        )


def _whiten(
    noise: Noise, f: Tensor, y: Tensor, own: Mapping[str, Tensor], findings: Findings, tolerance: float
) -> None:
    try:
        noise.whiten(y, f, **own)
    except TypeError as error:  # how a noise says that it has none
        findings.skip("whiten against the score", str(error))
        return
    advice = "whiten(y, prediction) returns a Whitener: residual (*, r), and L^T J of a Jacobian (*, m', k)."
    with findings.check("whiten against the score", advice):
        eye = torch.eye(f.shape[-1], dtype=f.dtype, device=f.device)
        for missing in (False, True):
            seen = y.clone()
            seen[:, 0] = torch.where(torch.tensor(missing), torch.nan, seen[:, 0])
            leaf = f.clone().requires_grad_(True)
            (score,) = torch.autograd.grad(noise.log_prob(seen, leaf, **own).sum(), leaf)
            whitener = noise.whiten(seen, f, **own)
            found = (whitener(eye.expand(len(f), *eye.shape)).mT @ whitener.residual[..., None])[..., 0]
            off = (found - score).abs().max() / score.abs().max()
            if not bool(off <= tolerance):
                findings.add(
                    f"The whitener's score differs from the gradient of log_prob by {float(off):.3g} of its largest "
                    f"value{' where an element of y is NaN' if missing else ''}. L times residual must be that "
                    "gradient, or an inversion stops beside the mode."
                )
    with findings.check("whiten under draws (2, R, m')", advice):
        draws = noise.whiten(y, torch.stack([f, f]), **own).residual
        one = noise.whiten(y, f, **own).residual
        same(draws, torch.stack([one, one]), "Residuals under draws (2, R, m') and row by row", findings)


def _standardise(noise: Noise, f: Tensor, y: Tensor, own: Mapping[str, Tensor], findings: Findings, seed: int) -> None:
    try:
        noise.standardise(y, f, **own)
    except TypeError as error:  # how a noise says that it has none
        findings.skip("standardise", str(error))
        return
    with findings.check("standardise", "It returns residuals (*, m) of unit variance and no correlation."):
        gone = y.clone()
        gone[:, 0] = torch.nan
        if bool((noise.standardise(gone, f, **own)[:, 0] != 0).any()):
            findings.add("standardise is not 0 where y is NaN. What was not measured has no residual.")
        draws = {k: v[:1].expand(_MANY, *v.shape[1:]) for k, v in own.items()}
        many = f[:1].expand(_MANY, -1)
        e = noise.standardise(noise.sample(many, seed=seed + 3, **draws), many, **draws)
        products = e[:, :, None] * e[:, None, :]
        standard_error = products.std(0) / _MANY**0.5
        off = (products.mean(0) - torch.eye(e.shape[-1]).to(e)).abs() / standard_error.clamp(min=1e-12)
        if bool((off > _SIGMA).any()):
            i, j = divmod(int(off.argmax()), e.shape[-1])
            findings.add(
                f"Residuals {i} and {j} of draws have the covariance {float(products.mean(0)[i, j]):.4g}, not "
                f"{float(i == j):g}. They must have unit variance and no correlation, or chi2 misleads."
            )

"""Posterior modes by batched Levenberg-Marquardt in latent space, and the Laplace approximation around them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from physgen.problem import Posterior
from physgen.small_matrices import cholesky, inverse, product, solve

_TRIES = 5  # damped steps from one linearisation


@dataclass(frozen=True, eq=False)
class Modes:
    """One mode for each of B observations.

    Attributes
    ----------
    z : Tensor (B, k)
        The mode (or the last point, where not converged).
    information : Tensor (B, k, k)
        A^T A, with A the whitened Jacobian in the latents: what the measurement adds to the prior's identity.
    log_prob : Tensor (B,)
        Unnormalised log posterior density of z.
    converged : boolean Tensor (B,)
    undefined : boolean Tensor (B,)
        Whether a prediction was not finite on the way.
    iterations : integer Tensor (B,)
        Linearisations used.
    """

    z: Tensor
    information: Tensor
    log_prob: Tensor
    converged: Tensor
    undefined: Tensor
    iterations: Tensor

    def select(self, rows: slice | Tensor) -> Modes:
        """Some of the observations."""
        return Modes(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def replaced(self, rows: Tensor, other: Modes) -> Modes:
        """These modes, with those of `other` at `rows` where they are better."""
        old = self.log_prob[rows]
        better = (other.log_prob > old) | torch.isnan(old) | (other.converged & ~self.converged[rows])
        at, new = rows[better], {}
        for name in ("z", "information", "log_prob", "converged", "undefined"):
            new[name] = getattr(self, name).index_copy(0, at, getattr(other, name)[better])
        return Modes(**new, iterations=self.iterations.index_add(0, rows, other.iterations))


def maximise(posterior: Posterior, start: Tensor, *, iterations: int, tolerance: float) -> Modes:
    """Climb from `start` to a mode of every observation.

    Steps are those of Fisher scoring, (I + A^T A + lambda I) dz = A^T r - z (Rodgers 2000, eq. 5.36, in coordinates
    where S_a = I), with the damping of Madsen, Nielsen & Tingleff 2004, section 3.2. Each observation has a damping
    of its own and leaves the batch when its Newton decrement g^T H^-1 g, the squared distance to the mode in
    posterior standard deviations, falls below `tolerance`; it then takes that last step.

    Parameters
    ----------
    posterior : Posterior
        Of B observations on one axis.
    start : Tensor (B, k)
    iterations : int
        Linearisations at most.
    tolerance : float
        Of the Newton decrement.
    """
    total, k = start.shape
    z, log_prob = start.clone(), posterior.log_prob(start)
    information = start.new_zeros(total, k, k)
    converged = torch.zeros(total, dtype=torch.bool, device=z.device)
    undefined = torch.isnan(log_prob)
    used = torch.zeros(total, dtype=torch.int64, device=z.device)
    damping, growth = start.new_zeros(total), start.new_full((total,), 2.0)
    active = torch.nonzero(~undefined).squeeze(-1)
    identity = torch.eye(k, dtype=z.dtype, device=z.device)
    for _ in range(iterations):
        if not active.numel():
            break
        here = posterior.select(active)
        gradient, curvature, finite = quadratic_model(here, z[active])
        used[active] += 1
        undefined[active] |= ~finite
        information[active] = curvature
        newton = solve(cholesky(curvature + identity), gradient[..., None]).squeeze(-1)
        decrement = (gradient * newton).sum(-1)
        arrived = finite & (decrement < tolerance)
        z[active[arrived]] += newton[arrived]
        converged[active[arrived]] = True
        going = finite & ~arrived
        moved = _damped_step(here, active, going, gradient, curvature + identity, z, log_prob, damping, growth)
        # float32 can no longer see an improvement this small: the step was within rounding of the mode
        stalled = going & ~moved & (decrement < 1e-2)
        converged[active[stalled]] = True
        # where no step was good, the damping goes on growing from the next linearisation
        active = active[moved | (going & ~stalled & (damping[active] < 1e12))]
    return Modes(z, information, posterior.log_prob(z), converged, undefined, used)


def quadratic_model(posterior: Posterior, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient (B, k) of the log posterior at z (B, k), A^T A (B, k, k), and where both are finite."""
    prediction, jacobian = posterior.linearise(z)
    noise, prior = posterior.problem.noise, posterior.problem.prior
    whitener = noise.whiten(posterior.y, prediction, **posterior.problem.noise_takes.pick(posterior.conditions))
    a = whitener(jacobian)
    gradient = (a * whitener.residual[..., None]).sum(-2) - z
    if "log_factor" in prior.capabilities:
        own = posterior.problem.prior_takes.pick(posterior.conditions)
        with torch.enable_grad():
            leaf = z.detach().requires_grad_(True)
            factor = prior.log_factor(prior.decode(leaf, **own), **own)
            if factor.requires_grad:  # a hard selection is flat wherever it is finite
                gradient = gradient + torch.autograd.grad(factor.sum(), leaf, materialize_grads=True)[0]
    curvature = product(a.mT, a)
    finite = torch.isfinite(gradient).all(-1) & torch.isfinite(curvature).all(-1).all(-1)
    gradient = torch.where(finite[:, None], gradient, 0)
    return gradient, torch.where(finite[:, None, None], curvature, 0), finite


def _damped_step(
    posterior: Posterior,
    active: Tensor,
    going: Tensor,
    gradient: Tensor,
    hessian: Tensor,
    z: Tensor,
    log_prob: Tensor,
    damping: Tensor,
    growth: Tensor,
) -> Tensor:
    """Try steps of growing damping for the `going` rows; updates z, log_prob, damping, growth; says which moved."""
    moved = torch.zeros_like(going)
    identity = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
    pending = torch.nonzero(going).squeeze(-1)
    for _ in range(_TRIES):
        if not pending.numel():
            break
        at = active[pending]
        g, lam = gradient[pending], damping[at]
        factor = cholesky(hessian[pending] + lam[:, None, None] * identity)
        step = solve(factor, g[..., None]).squeeze(-1)
        value = posterior.select(pending).log_prob(z[at] + step)
        predicted = 0.5 * (step * (g + lam[:, None] * step)).sum(-1)
        gain = (value - log_prob[at]) / predicted
        good = torch.isfinite(value) & (gain > 1e-3)
        z[at[good]] += step[good]
        log_prob[at[good]] = value[good]
        shrink = (1 - (2 * gain - 1) ** 3).clamp(1 / 3, 2)
        damping[at] = torch.where(good, lam * shrink, torch.where(lam > 0, lam * growth[at], 1.0))
        damping[at] = torch.where(good & (damping[at] < 1e-2), torch.zeros_like(lam), damping[at])
        growth[at] = torch.where(good, torch.full_like(lam, 2.0), 2 * growth[at])
        moved[pending[good]] = True
        pending = pending[~good]
    return moved


def laplace_statistics(information: Tensor) -> dict[str, Tensor]:
    """What the measurement added to the prior, from A^T A in the latents (Rodgers 2000, chapter 2).

    Parameters
    ----------
    information : Tensor (*batch, k, k)

    Returns
    -------
    dict of Tensor
        latent_covariance (I + A^T A)^-1; averaging_kernel (I + A^T A)^-1 A^T A; dofs, its trace; and
        information_content, 1/2 ln |I + A^T A|, in nats.
    """
    identity = torch.eye(information.shape[-1], dtype=information.dtype, device=information.device)
    factor = cholesky(identity + information)
    covariance = inverse(factor)
    kernel = solve(factor, information)
    return {
        "latent_covariance": covariance,
        "averaging_kernel": kernel,
        "dofs": kernel.diagonal(dim1=-2, dim2=-1).sum(-1),
        "information_content": factor.diagonal(dim1=-2, dim2=-1).log().sum(-1),
    }

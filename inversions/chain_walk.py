"""What is kept of the moves of gradient chains, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from physgen.problem import Posterior
from physgen.status import Status

from .chain_settings import Settings
from .gradient import Target
from .markov import at_borders, judge, summary
from .step_size import halvings

# Share of the moves beyond which the answer is not trusted, and the step shortened. A divergence is a chain that did
# not enter a place where it would have stayed: few of them stand for much mass.
DIVERGENCES = 5e-5
# Of the acceptance elsewhere, that at the border of the draws: chains that stay there for want of a shorter step have
# not entered what lies beyond. On a walk of unknown noise the share was 0 to 0.45, on round shapes and rings above 0.9.
_STICKY = 0.6


@dataclass(frozen=True, eq=False)
class Walk:
    """Moves of the chains of b observations, of which every so many-th leads to a draw.

    Attributes
    ----------
    z : Tensor (b, C, S, k)
        The draws: latents.
    begun, accept : Tensor (b, C, S, k) and (b, C, S)
        Where the moves to the draws began, and their acceptance; NaN where the prior excludes the place that was tried,
        or none was.
    accepted : Tensor (b,)
        Sum over all trajectories of the mean acceptance, 0 where the prior excludes the place.
    divergences : integer Tensor (b,)
        Of all trajectories.
    trajectories : integer Tensor (b,)
    """

    z: Tensor
    begun: Tensor
    accept: Tensor
    accepted: Tensor
    divergences: Tensor
    trajectories: Tensor

    def select(self, rows: Tensor) -> Walk:
        """Of some of the observations."""
        z, begun, accept = self.z[rows], self.begun[rows], self.accept[rows]
        return Walk(z, begun, accept, self.accepted[rows], self.divergences[rows], self.trajectories[rows])

    def thinned(self) -> Walk:
        """With every other draw."""
        z, begun, accept = (part[:, :, 1::2] for part in (self.z, self.begun, self.accept))
        return replace(self, z=z, begun=begun, accept=accept)

    def then(self, later: Walk) -> Walk:
        """These moves and those that the chains made next."""
        pairs = ((self.z, later.z), (self.begun, later.begun), (self.accept, later.accept))
        z, begun, accept = (torch.cat(pair, 2) for pair in pairs)
        accepted, divergences = self.accepted + later.accepted, self.divergences + later.divergences
        return Walk(z, begun, accept, accepted, divergences, self.trajectories + later.trajectories)

    @cached_property
    def excess(self) -> Tensor:
        """How many times as many divergences (b,) there were as an answer may have."""
        return self.divergences / (DIVERGENCES * self.trajectories * self.z.shape[1])

    @cached_property
    def border(self) -> Tensor:
        """Acceptance at the worst border of the draws over that of all (b,).

        What ended where the prior excludes the causes is left out, and so is a border where all moves did.
        """
        least = torch.nan_to_num(at_borders(self.begun, self.accept), nan=torch.inf).amin((1, 2))
        return least.clamp(max=1) / self.accept.flatten(1, 2).nanmean(1)

    @property
    def halvings(self) -> Tensor:
        """How many times (b,) the step had better be halved."""
        return halvings(self.excess).clamp(min=self.border < _STICKY)

    def judged(self, posterior: Posterior, target: Target, method: Settings) -> dict[str, Tensor]:
        """The draws' summary and statistics (b, ...), with a status: trusted, or what is lacking."""
        out = summary(posterior, self.z, getattr(method, "superchains", method.chains))
        agreed = {"accept_rhat": method.accept_rhat, "accept_ess": method.accept_ess}
        status = judge(target, torch.zeros_like(self.divergences), out["rhat"], out["ess"], **agreed)
        for lacking, why in (
            (self.border < _STICKY, Status.CHAINS_TOO_SHORT),
            (self.excess > 1, Status.TOO_MANY_DIVERGENCES),
        ):
            status = torch.where(lacking & (status == Status.TRUSTED), int(why), status)
        return out | {
            "status": status,
            "acceptance_fraction": self.accepted / self.trajectories,
            "border_acceptance": self.border,
            "divergences": self.divergences,
            "nonfinite": target.undefined,
        }

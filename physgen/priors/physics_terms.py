"""Terms that keep a network from doing what the known map could, each a function of one step of a fit of `Physics`.

Takeishi & Kalousis (2021), Physics-integrated variational autoencoders for robust and interpretable generative
modeling, *NeurIPS* 34, section 3.3. Without them a flexible correction explains all of the samples and leaves the
physical parameters without meaning. Distances are in standardised causes w, so that their weights have no units.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .autoencoder_terms import Step
from .columns import total


@dataclass(frozen=True, eq=False, kw_only=True)
class PhysicsStep(Step):
    """What a step of a fit of `Physics` knows.

    Parameters
    ----------
    full, reduced : Tensor (n, B)
        What the known map gives for the codes with the correction, and without.
    cleansed : Tensor (n, B)
        The samples without the effect of the correction, as the inference of the physical parameters sees them.
    drawn, inferred : Tensor (p, B)
        Latents of physical parameters from their prior, and what is inferred of the known map's values for them.
    """

    full: Tensor
    reduced: Tensor
    cleansed: Tensor
    drawn: Tensor
    inferred: Tensor


def physics_switch(step: Step) -> Tensor:
    """E |full - reduced|^2: the known map by itself should explain as much as it can (the paper's R_PPC)."""
    own = _of_physics(step, "physics_switch")
    return total((own.full - own.reduced).square()).mean()


def physics_cleanse(step: Step) -> Tensor:
    """E |cleansed - reduced|^2: what the parameters are inferred from looks like the known map's (R_DA,1, eq. 11)."""
    own = _of_physics(step, "physics_cleanse")
    return total((own.cleansed - own.reduced.detach()).square()).mean()


def physics_augment(step: Step) -> Tensor:
    """E |inferred - drawn|^2: of what the known map makes by itself the parameters are found again (R_DA,2, eq. 12)."""
    own = _of_physics(step, "physics_augment")
    return total((own.inferred - own.drawn).square()).mean()


def _of_physics(step: Step, name: str) -> PhysicsStep:
    if not isinstance(step, PhysicsStep):
        raise TypeError(f"The term {name!r} needs a known map. Fit `Physics`, or leave the term out.")
    return step

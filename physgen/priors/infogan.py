"""InfoGAN: a generative adversarial network some of whose latents can be read from the samples again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .adversarial_terms import info
from .adversarial_training import AdversarialReport
from .columns import Casts, in_column_blocks
from .gan import GAN, fit_generator
from .gan_network import Recogniser
from .prior import Prior
from .storage import storable


@storable("infogan")
class InfoGAN(Prior):
    """A `GAN` and q(c | x), the first latents c given what was made of them: made by `InfoGAN.fit`.

    Generator and recogniser make a lower bound of the mutual information between c and x large, so that each element of
    c moves the causes in a way that can be seen. The codes are continuous, N(0, I) as every latent is; the paper's
    categorical ones would make x = g(z) jump.

    Parameters
    ----------
    gan : GAN
    recogniser : Recogniser

    Attributes
    ----------
    codes : int
        How many of the latents, the first ones, are recognised.
    report : AdversarialReport or None
        Its figure "mutual_information" is the bound in nats, before the first epoch and after each.

    References
    ----------
    Chen, Duan, Houthooft, Schulman, Sutskever & Abbeel (2016), InfoGAN: interpretable representation learning by
    information maximizing generative adversarial nets, *NeurIPS* 29, eq. 6.
    """

    capabilities = frozenset()

    def __init__(self, gan: GAN, recogniser: Recogniser) -> None:
        self.gan, self.recogniser = gan, recogniser.requires_grad_(False)
        self.causes, self.takes, self.latent_dim = gan.causes, gan.takes, gan.latent_dim
        self.codes = recogniser.codes
        self._casts = Casts(recogniser)

    def __repr__(self) -> str:
        return f"InfoGAN({self.gan!r}, codes={self.codes})"

    @property
    def report(self) -> AdversarialReport | None:
        """That of the game."""
        return self.gan.report

    @classmethod
    def fit(cls, table: Any, codes: int, *, code: int | None = None, weight: float = 0.02, **settings: Any) -> InfoGAN:
        """Learn generator and recogniser from samples.

        Parameters
        ----------
        table : array_like (N, n)
            One row a sample, in the units of the causes.
        codes : int
            How many latents are recognised, at least 1.
        code : int, optional
            Length of the generator's whole code; as many by default.
        weight : float
            Lambda: of the bound of the mutual information.
        **settings
            The others of `fit_generator`.

        Raises
        ------
        ValueError
            As `fit_generator`.
        """
        if isinstance(codes, bool) or not isinstance(codes, int) or codes < 1:
            raise ValueError(f"Invalid number of codes {codes!r}. It must be a whole number, at least 1.")
        gan, recogniser = fit_generator(table, code or codes, codes=codes, weight=weight, **settings)
        if recogniser is None:
            raise TypeError("The fit has no recogniser. Give at least one code.")
        return cls(gan, recogniser)

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        return self.gan.decode(z, **conditions)

    def code(self, x: Tensor, /, **conditions: Any) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each ``(*, codes)``, of q(c | x) of causes ``(*, n)``."""
        self.causes.check(x)
        frame, network = self.gan.frame, self._casts(x)
        columns, context, lead = frame.spread(x, conditions)

        def block(columns: Tensor, context: Tensor) -> Tensor:
            mean, log_sd = network(frame.encode(columns, context)[0], context)
            return torch.cat([mean, log_sd.exp()])

        made = frame.gather(in_column_blocks(block, columns, context), lead)
        return made[..., : self.codes], made[..., self.codes :]

    def information(self, shape: int = 2000, *, seed: int = 0, **conditions: Any) -> Tensor:
        """The bound of the mutual information, ``()`` in nats, by as many draws."""
        z = self.sample_latents(shape, seed=seed, **conditions)
        mean, sd = self.code(self.decode(z, **conditions), **conditions)
        return info(z[..., : self.codes].mT, mean.mT, sd.log().mT).mean()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same prior of."""
        tensors, settings = self.gan.state()
        own = {f"recogniser.{n}": t for n, t in self.recogniser.state_dict().items()}
        shape = {"codes": self.codes, "hidden": self.recogniser.hidden}
        return tensors | own, settings | {"recogniser": shape}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> InfoGAN:
        """The prior of `state`."""
        gan = GAN.from_state(tensors, settings)
        recogniser = Recogniser(gan.causes.size, context=len(gan.frame.conditions), **settings["recogniser"])
        own = {n.removeprefix("recogniser."): t for n, t in tensors.items() if n.startswith("recogniser.")}
        recogniser.load_state_dict(own)
        return cls(gan, recogniser)

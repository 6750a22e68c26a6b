"""The base of a decoder: a map from standard normal latents to its code, and the simplest one."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .frame import Frame
from .standard_normal import log_density


class CodeMap(nn.Module, abc.ABC):
    """s = b(z, context), element by element and increasing in z ~ N(0, 1): what a base becomes in a network.

    Axes are (elements, rows). The parameters are learned with the decoder's.

    Attributes
    ----------
    owns_context : bool
        Whether the conditions act through the code alone: neither decoder nor encoder see them then.
    linear : bool
        Whether decoder and encoder get a linear part beside the network, which the fit begins with.
    """

    owns_context = False
    linear = False

    @abc.abstractmethod
    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        """Code ``(k, R)`` of latents ``(k, R)``."""

    @abc.abstractmethod
    def log_density(self, code: Tensor, context: Tensor) -> Tensor:
        """log p(s_j | context) of each element, ``(k, R)``."""

    def log_ratio(self, code: Tensor, context: Tensor) -> Tensor | None:
        """log p(code | context) - log of its mean over contexts, ``(R,)``; None where the context changes nothing."""
        return None


class Base(abc.ABC):
    """Settings of a base: plain values, of which a network makes its own map."""

    kind: str

    @abc.abstractmethod
    def made(self, code: int, frame: Frame, *, seed: int) -> CodeMap:
        """The map for a code of this length, under the frame's conditions.

        Raises
        ------
        ValueError
            If code or conditions are not those that the base is made for.
        """

    def check(self, conditions: Mapping[str, Any]) -> None:
        """Refuse values of conditions that the base is not made for (those that a transform hides are not seen).

        Raises
        ------
        ValueError
            If a label has an unknown value.
        """
        return

    @abc.abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain values, `kind` among them."""


@dataclass(frozen=True)
class NormalBase(Base):
    """The code is standard normal: s = z."""

    kind = "normal"

    def made(self, code: int, frame: Frame, *, seed: int) -> CodeMap:
        return NormalMap()

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind}


class NormalMap(CodeMap):
    """s = z."""

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        return z

    def log_density(self, code: Tensor, context: Tensor) -> Tensor:
        return log_density(code)

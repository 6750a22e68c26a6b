"""Spaces: named blocks of quantities, flattened onto the last axis of a tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Coordinate:
    """Labels or values along one dimension of a block.

    Parameters
    ----------
    dim : str
        The dimension that the coordinate runs along.
    values : tuple
        One label (text or number) for each element of that dimension.
    units : str
        CF units, empty for labels.
    long_name : str
        What the coordinate is.
    """

    dim: str
    values: tuple[Any, ...]
    units: str = ""
    long_name: str = ""


@dataclass(frozen=True)
class Block:
    """One named quantity: a scalar, or an array with named dimensions.

    Parameters
    ----------
    name : str
        Identifier, as the field writes it (``lai``, ``cab``).
    units : str
        CF units; "1" for a dimensionless quantity.
    support : (float, float)
        The open interval of values that the quantity can take.
    long_name : str
        What it is, in words.
    shape : tuple of int
        Empty for a scalar.
    dims : tuple of str
        A name for each axis of `shape`.
    coordinates : mapping of str to Coordinate
        Labels along the dimensions, by coordinate name.

    Raises
    ------
    ValueError
        If dims and shape differ in length, or the support is empty.
    """

    name: str
    units: str = "1"
    support: tuple[float, float] = (-math.inf, math.inf)
    long_name: str = ""
    shape: tuple[int, ...] = ()
    dims: tuple[str, ...] = ()
    coordinates: Mapping[str, Coordinate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        dims = tuple(self.dims) or tuple(f"{self.name}_dim_{i}" for i in range(len(self.shape)))
        object.__setattr__(self, "dims", dims)
        object.__setattr__(self, "coordinates", dict(self.coordinates))
        if not self.name:
            raise ValueError("Invalid block without a name. Give every block of a space a name.")
        if len(dims) != len(self.shape):
            raise ValueError(f"Invalid dims {dims} for block {self.name!r}. Give one name per axis of {self.shape}.")
        if not self.support[0] < self.support[1]:
            raise ValueError(f"Invalid support {self.support} for block {self.name!r}. The lower end must be smaller.")

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Space:
    """Named blocks in a fixed order, side by side on the last axis of a tensor.

    Parameters
    ----------
    blocks : Block or str
        Text stands for a scalar block of that name.

    Raises
    ------
    ValueError
        If two blocks share a name.

    Examples
    --------
    >>> space = Space(Block("lai", "m2 m-2", (0, 12)), "hotspot")
    >>> space.size, space.names
    (2, ('lai', 'hotspot'))
    """

    blocks: tuple[Block, ...]

    def __init__(self, *blocks: Block | str) -> None:
        made = tuple(Block(b) if isinstance(b, str) else b for b in blocks)
        object.__setattr__(self, "blocks", made)
        names = [b.name for b in made]
        if len(set(names)) != len(names):
            raise ValueError(f"Invalid space with the names {names}. Every block needs a name of its own.")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the blocks, in order."""
        return tuple(b.name for b in self.blocks)

    @property
    def size(self) -> int:
        """Length of the flattened axis."""
        return sum(b.size for b in self.blocks)

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def block(self, name: str) -> Block:
        """The block of that name; `ValueError` if there is none."""
        if name not in self.names:
            raise ValueError(f"Unknown name {name!r}. The names of this space are {', '.join(self.names)}.")
        return self.blocks[self.names.index(name)]

    def slice(self, name: str) -> slice:
        """Where the block lies on the flattened axis."""
        self.block(name)
        start = 0
        for b in self.blocks:
            if b.name == name:
                break
            start += b.size
        return slice(start, start + self.block(name).size)

    @property
    def element_names(self) -> tuple[str, ...]:
        """One label per element of the flattened axis: ``lai``, ``field[0,1]``."""
        names: list[str] = []
        for b in self.blocks:
            if b.shape:
                names += [f"{b.name}[{','.join(map(str, index))}]" for index in _indices(b.shape)]
            else:
                names.append(b.name)
        return tuple(names)

    def unflatten(self, x: Tensor) -> dict[str, Tensor]:
        """Split ``(*, size)`` into one tensor ``(*, *shape)`` per block.

        Raises
        ------
        ValueError
            If the last axis is not `size` long.
        """
        self.check(x)
        parts = x.split([b.size for b in self.blocks], dim=-1)
        return {b.name: p.reshape((*p.shape[:-1], *b.shape)) for b, p in zip(self.blocks, parts, strict=True)}

    def flatten(self, values: Mapping[str, Tensor]) -> Tensor:
        """Join one tensor ``(*, *shape)`` per block into ``(*, size)``; batches broadcast.

        Raises
        ------
        ValueError
            If a block is missing, unknown, or of the wrong trailing shape.
        """
        if set(values) != set(self.names):
            raise ValueError(f"Invalid names {sorted(values)}. This space has exactly {list(self.names)}.")
        parts = []
        for b in self.blocks:
            value = torch.as_tensor(values[b.name])
            lead = value.shape[: value.ndim - len(b.shape)]
            if tuple(value.shape[len(lead) :]) != b.shape:
                raise ValueError(f"Invalid shape {tuple(value.shape)} of {b.name!r}. It must end in {b.shape}.")
            parts.append(value.reshape(*lead, b.size))
        batch = torch.broadcast_shapes(*(p.shape[:-1] for p in parts))
        return torch.cat([p.expand(*batch, p.shape[-1]) for p in parts], dim=-1)

    def check(self, x: Tensor) -> None:
        """Raise `ValueError` unless the last axis of `x` is `size` long."""
        if x.ndim == 0 or x.shape[-1] != self.size:
            raise ValueError(
                f"Invalid shape {tuple(x.shape)}. The last axis must hold the {self.size} elements of {self.names}."
            )


def _indices(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    if not shape:
        yield ()
        return
    for i in range(shape[0]):
        for rest in _indices(shape[1:]):
            yield (i, *rest)

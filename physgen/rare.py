"""Rare cases of elementwise functions: skipped where no element is one, and computed where nobody can look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_UNSEEN = ContextVar("unseen", default=False)


def some(mask: Tensor) -> bool:
    """Whether an element of a mask is true, or may be: while `unseen` holds, nobody knows.

    What is computed if so must be the same, to the bit, for the elements that are not rare.
    """
    return _UNSEEN.get() or bool(mask.any())


def is_unseen() -> bool:
    """Whether a function is being written down, or computed as it will be written down."""
    return _UNSEEN.get()


@contextmanager
def unseen() -> Iterator[None]:
    """A context in which a function is written down for a compiler, and not one number of its arguments is known."""
    token = _UNSEEN.set(True)
    try:
        yield
    finally:
        _UNSEEN.reset(token)

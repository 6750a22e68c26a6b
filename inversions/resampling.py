"""Equally weighted draws from weighted ones: `physgen.diagnostics.resampling` under the name that inversions use."""

from physgen.diagnostics.resampling import systematic

__all__ = ["systematic"]

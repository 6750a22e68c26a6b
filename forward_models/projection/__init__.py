"""Projection along lines of sight: the Abel transform of what is round about an axis or a point."""

from .abel_model import AbelProjection
from .abel_transform import abel, inverse_abel

__all__ = ["AbelProjection", "abel", "inverse_abel"]

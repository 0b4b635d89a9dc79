"""Is an explanation sound? Measures of attributions, and of what a model makes of them."""

from intgrad.audit import metrics

__all__ = ["metrics"]

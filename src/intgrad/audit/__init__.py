"""Is an explanation sound? Measures of attributions, and of what a model makes of them."""

from intgrad.audit import metrics
from intgrad.audit.noising import Noise, Trial, adaptive_noise

__all__ = ["Noise", "Trial", "adaptive_noise", "metrics"]

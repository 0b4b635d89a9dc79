"""Is an explanation sound? Measures of attributions, checks of methods, and what a model makes of them.

``intgrad.audit.run`` looks at a method with the checks named in ``CHECKS``. The parts are functions of
their own: `metrics`, and those below.
"""

from intgrad.audit import metrics
from intgrad.audit.checks import USUAL
from intgrad.audit.consistency import Consistency, CScore, soft_iou
from intgrad.audit.duplicates import Duplicates, duplicates
from intgrad.audit.edits import Edits, edit_effect, paired
from intgrad.audit.finding import Explain, Finding
from intgrad.audit.noising import Noise, Trial, adaptive_noise
from intgrad.audit.randomisation import (
    Dependence,
    class_randomisation,
    label_randomisation,
    model_randomisation,
    randomised,
)
from intgrad.audit.run import CHECKS, Audit, run
from intgrad.audit.stability import noise_stability, sensitivity_max
from intgrad.audit.task import Measured
from intgrad.audit.thresholds import Threshold

__all__ = [
    "CHECKS",
    "USUAL",
    "Audit",
    "CScore",
    "Consistency",
    "Dependence",
    "Duplicates",
    "Edits",
    "Explain",
    "Finding",
    "Measured",
    "Noise",
    "Threshold",
    "Trial",
    "adaptive_noise",
    "class_randomisation",
    "duplicates",
    "edit_effect",
    "label_randomisation",
    "metrics",
    "model_randomisation",
    "noise_stability",
    "paired",
    "randomised",
    "run",
    "sensitivity_max",
    "soft_iou",
]

"""Metrics of attributions: each is one function, rows first, on the device of what it is given.

What asks a model: `deletion`, `insertion`, `diff_id`, `lerf`, `aopc`, `abpc`, `infidelity`,
`scaled_infidelity`, `monotonicity` for any input; `road` for pictures; `comprehensiveness`,
`sufficiency`, `log_odds` and their means over fractions for texts. What looks at one map:
`total_variation`, `autvc`, `gini`. What compares two: `kendall`, `spearman`, `cosine`,
`sign_agreement`, `top_k_intersection`. What compares a map with the truth: `iou`, `dice`, `auprc`,
`auroc`, `pointing_game`; for spans of tokens `iou_f1`, `token_f1`.

Values are taken with their sign: for magnitudes pass ``a.values.abs()``. Numbers come back in
float64, one a row, (rows,).
"""

from intgrad.audit.agreement import (
    Agreement,
    agreement,
    cosine,
    kendall,
    sign_agreement,
    spearman,
    top_k_intersection,
)
from intgrad.audit.curves import Curve, deletion, diff_id, insertion
from intgrad.audit.erasure import (
    aopc_comprehensiveness,
    aopc_sufficiency,
    comprehensiveness,
    log_odds,
    sufficiency,
    top_fraction,
)
from intgrad.audit.faithfulness import (
    abpc,
    aopc,
    infidelity,
    lerf,
    monotonicity,
    scaled_infidelity,
)
from intgrad.audit.localisation import auprc, auroc, dice, iou, pointing_game
from intgrad.audit.maps import autvc, gini, total_variation
from intgrad.audit.road import road
from intgrad.audit.spans import iou_f1, token_f1

__all__ = [
    "Agreement",
    "Curve",
    "abpc",
    "agreement",
    "aopc",
    "aopc_comprehensiveness",
    "aopc_sufficiency",
    "auprc",
    "auroc",
    "autvc",
    "comprehensiveness",
    "cosine",
    "deletion",
    "dice",
    "diff_id",
    "gini",
    "infidelity",
    "insertion",
    "iou",
    "iou_f1",
    "kendall",
    "lerf",
    "log_odds",
    "monotonicity",
    "pointing_game",
    "road",
    "scaled_infidelity",
    "sign_agreement",
    "spearman",
    "sufficiency",
    "token_f1",
    "top_fraction",
    "top_k_intersection",
    "total_variation",
]

"""What intgrad says when it cannot go on: every message gives what came, what was expected, what to do.

::

    Exception
    └── IntgradError
        ├── InputError      (ValueError)    what was passed in: shapes, types, devices, values
        ├── TargetError     (ValueError)    the number to be explained cannot be found in the output
        ├── ModelError      (RuntimeError)  what the model did: it failed, mixed rows, returned NaN
        ├── Unsupported     (TypeError)     parts that do not go together, named with one that does
        ├── NotConverged    (UserWarning)   the tolerance was not met; warned, or raised if ``strict``
        └── ToleranceRaised (UserWarning)   a half type cannot meet the usual tolerance; only warned
"""

from __future__ import annotations


class IntgradError(Exception):
    """Any error intgrad raises on purpose."""


class InputError(IntgradError, ValueError):
    """What was passed in cannot be used: shape, dtype, device, or a value that is not finite."""


class TargetError(IntgradError, ValueError):
    """The target does not name one number a row in the model's output."""


class ModelError(IntgradError, RuntimeError):
    """The model did something no attribution can stand on."""


class Unsupported(IntgradError, TypeError):
    """Two parts that do not go together, or an ability that is missing."""


class NotConverged(IntgradError, UserWarning):
    """The error of some row is above its tolerance. A warning; an error with ``strict=True``."""


class ToleranceRaised(IntgradError, UserWarning):
    """Rounding in a half type exceeds the usual tolerance, so rows are held to its floor instead."""

"""Checks of a whole data set before training: `ioub check_data`."""

from ioub_jax.data.audit.audit import Audit, OpenedData, Use, audit_data_set, pixels_line, unopened
from ioub_jax.data.audit.findings import HEADINGS, Finding

__all__ = [
    "HEADINGS",
    "Audit",
    "Finding",
    "OpenedData",
    "Use",
    "audit_data_set",
    "pixels_line",
    "unopened",
]

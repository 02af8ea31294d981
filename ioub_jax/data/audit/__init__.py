"""Checks a whole data set before it is trained on: `ioub check_data`."""

from ioub_jax.data.audit.audit import Audit, OpenedData, audit_data_set, opening_options
from ioub_jax.data.audit.findings import HEADINGS, Finding

__all__ = ["HEADINGS", "Audit", "Finding", "OpenedData", "audit_data_set", "opening_options"]

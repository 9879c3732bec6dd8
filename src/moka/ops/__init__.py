"""The table of operations. Each family's module enters its records on import."""

import importlib
import pkgutil

from moka.ops.table import OPSETS, OperationRecord, lookup, operation, records

__all__ = ["OPSETS", "OperationRecord", "lookup", "operation", "records"]

for _family in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_family.name}")

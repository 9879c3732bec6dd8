"""The classifier's last operation: from probabilities to a label."""

from __future__ import annotations

from typing import Any

import torch

from moka.errors import ProgramError
from moka.ops.table import FP32, T, operation


@operation("ios15", T=FP32)
def classify(probabilities: T, *, classes: Any) -> tuple[Any, dict[Any, float]]:
    """The label of the largest probability, and the probability of every label.

    probabilities: as many elements as there are classes, in any shape; classes: a list of strings or of int64.
    Results: the label, a string or an int64 scalar; a dictionary from labels to probabilities. The first of equal ones wins.
    """
    labels = [label.item() if hasattr(label, "item") else label for label in classes]
    values: list[float] = probabilities.reshape(-1).tolist()
    if len(labels) != len(values):
        raise ProgramError(f"classify: there are {len(labels)} classes, but probabilities has {len(values)} elements")
    best = labels[int(torch.argmax(probabilities))]
    return best if isinstance(best, str) else torch.tensor(best), dict(zip(labels, values, strict=True))

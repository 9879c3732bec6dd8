"""`classify` as coremltools writes it: the classes are a literal bound to the operation, not a constant of the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import moka
from moka.errors import ProgramError
from moka.ops import lookup


def classifier(labels: list[Any]) -> Any:
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    @mb.program(input_specs=[mb.TensorSpec((1, 3))], opset_version=ct.target.iOS15)  # type: ignore[untyped-decorator]
    def program(x: Any) -> Any:
        return mb.softmax(x=x, name="probabilities")

    config = ct.ClassifierConfig(labels, predicted_feature_name="label", predicted_probabilities_output="probabilities")
    return ct.convert(program, classifier_config=config, compute_precision=ct.precision.FLOAT32)


@pytest.mark.parametrize("labels", [["tabby", "dog", "élan"], [7, -1, 2**40]], ids=["strings", "int64"])
def test_a_classifier_of_coremltools(labels: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "classifier.mlpackage"
    classifier(labels).save(str(path))
    outputs = moka.load(path).predict({"x": np.log([[0.25, 0.125, 0.625]]).astype(np.float32)})
    assert outputs["label"] == labels[2]
    assert type(outputs["label"]) is type(labels[2])
    (probabilities,) = (value for value in outputs.values() if isinstance(value, dict))
    assert probabilities == pytest.approx(dict(zip(labels, [0.25, 0.125, 0.625], strict=True)), abs=1e-6)


def test_there_must_be_a_class_for_every_probability() -> None:
    with pytest.raises(ProgramError, match="2 classes, but probabilities has 3 elements"):
        lookup("classify", "ios15").kernel(torch.ones(1, 3), classes=["a", "b"])

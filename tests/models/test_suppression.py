"""Non-maximum suppression against ONNX Runtime's operator; the recommender and the probit regressor against sums by NumPy and SciPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import onnxruntime
import pytest
import scipy.integrate
import scipy.stats
from onnx import TensorProto, helper

import moka
from tests.models.classical import Array, Dictionary, Double, Int64, load, transformer


def suppression(classes: int, *, per_class: bool = False, rows: tuple[int, int] | None = None) -> Any:
    features = [("confidence", Array(1, classes)), ("coordinates", Array(1, 4))]
    specification = transformer([*features, ("iou", Double()), ("threshold", Double())], [(f"{name}_out", item) for name, item in features])
    message = specification.nonMaximumSuppression
    message.pickTop.perClass = per_class
    message.iouThreshold, message.confidenceThreshold = 0.4, 0.3
    message.confidenceInputFeatureName, message.coordinatesInputFeatureName = "confidence", "coordinates"
    message.iouThresholdInputFeatureName, message.confidenceThresholdInputFeatureName = "iou", "threshold"
    message.confidenceOutputFeatureName, message.coordinatesOutputFeatureName = "confidence_out", "coordinates_out"
    for feature in [*specification.description.input[:2], *specification.description.output]:
        array = feature.type.multiArrayType
        size = array.shape[1]
        del array.shape[:]
        if rows is not None and feature.name.endswith("_out"):
            array.shapeRange.sizeRanges.add(lowerBound=rows[0], upperBound=rows[1])
            array.shapeRange.sizeRanges.add(lowerBound=size, upperBound=size)
    for feature in specification.description.input[2:]:
        feature.type.isOptional = True
    return specification


def onnx_suppression(boxes: Any, scores: Any, overlap: float, threshold: float) -> Any:
    """Indices of the boxes kept by ONNX Runtime, for one class."""
    operator = helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "threshold"], ["kept"], center_point_box=1)
    constants = [
        helper.make_tensor("most", TensorProto.INT64, [1], [10_000]),
        helper.make_tensor("iou", TensorProto.FLOAT, [1], [overlap]),
        helper.make_tensor("threshold", TensorProto.FLOAT, [1], [threshold]),
    ]
    inputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, None, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1, None]),
    ]
    outputs = [helper.make_tensor_value_info("kept", TensorProto.INT64, [None, 3])]
    model = helper.make_model(helper.make_graph([operator], "nms", inputs, outputs, constants), ir_version=9)
    model.opset_import[0].version = 17
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"boxes": boxes[None].astype(np.float32), "scores": scores[None, None].astype(np.float32)})[0][:, 2]


def boxes(count: int, classes: int, seed: int = 0) -> tuple[Any, Any]:
    generator = np.random.default_rng(seed)
    coordinates = np.concatenate([generator.uniform(0, 1, (count, 2)), generator.uniform(0.05, 0.4, (count, 2))], axis=1)
    return generator.uniform(0, 1, (count, classes)), coordinates


def test_suppression_as_in_onnx_runtime(tmp_path: Path) -> None:
    model = load(suppression(3), tmp_path)
    for seed in range(5):
        confidence, coordinates = boxes(200, 3, seed)
        kept = onnx_suppression(coordinates, confidence.max(axis=1), 0.4, 0.3)
        output = model.predict({"confidence": confidence, "coordinates": coordinates})
        assert 5 < len(kept) < 200
        np.testing.assert_array_equal(output["confidence_out"], confidence[kept])
        np.testing.assert_array_equal(output["coordinates_out"], coordinates[kept])


def test_suppression_by_class(tmp_path: Path) -> None:
    confidence, coordinates = boxes(200, 3)
    output = load(suppression(3, per_class=True), tmp_path).predict({"confidence": confidence, "coordinates": coordinates})
    best = confidence.argmax(axis=1)
    kept: list[int] = []
    for label in range(3):
        own = np.flatnonzero(best == label)
        kept += own[onnx_suppression(coordinates[own], confidence[own].max(axis=1), 0.4, 0.3)].tolist()
    kept.sort(key=lambda index: -confidence[index].max())
    np.testing.assert_array_equal(output["coordinates_out"], coordinates[kept])


def test_thresholds_may_be_given(tmp_path: Path) -> None:
    confidence, coordinates = boxes(50, 2)
    model = load(suppression(2), tmp_path)
    everything = model.predict({"confidence": confidence, "coordinates": coordinates, "iou": 1.0, "threshold": 0.0})
    assert len(everything["confidence_out"]) == 50
    nothing = model.predict({"confidence": confidence, "coordinates": coordinates, "threshold": 2.0})
    assert nothing["confidence_out"].shape == (0, 2)


@pytest.mark.parametrize(("rows", "count"), [((4, 4), 4), ((0, 3), 3), ((90, -1), 90)])
def test_the_description_limits_the_boxes(rows: tuple[int, int], count: int, tmp_path: Path) -> None:
    confidence, coordinates = boxes(60, 2)
    output = load(suppression(2, rows=rows), tmp_path).predict({"confidence": confidence, "coordinates": coordinates})
    assert len(output["confidence_out"]) == len(output["coordinates_out"]) == count
    if count == 90:
        assert not output["confidence_out"][-1].any()


def test_coordinates_of_another_shape_name_the_feature(tmp_path: Path) -> None:
    with pytest.raises(moka.InputError, match=r"input 'coordinates' has shape \[3, 4\] and 'confidence' \[2, 2\]"):
        load(suppression(2), tmp_path).predict({"confidence": np.ones((2, 2)), "coordinates": np.ones((3, 4))})


ITEMS = ["apple", "bread", "cheese", "dates"]
SIMILARITY = np.array([[0.0, 0.5, 0.0, 0.25], [0.5, 0.0, 0.75, 0.0], [0.1, 0.75, 0.0, 0.0], [0.25, 0.0, 0.0, 0.0]])
SHIFT = np.array([0.0, 0.1, 0.2, 0.0])


def sequence(feature: Any, kind: str) -> None:
    feature.type.ClearField("multiArrayType")
    getattr(feature.type.sequenceType, kind).SetInParent()


def recommender() -> Any:
    specification = transformer(
        [("items", Dictionary(str)), ("count", Int64()), ("only", Array(1)), ("without", Array(1))],
        [("list", Array(1)), ("scores", Dictionary(str))],
    )
    for feature in (*specification.description.input[2:], specification.description.output[0]):
        sequence(feature, "stringType")
    for feature in specification.description.input[1:]:
        feature.type.isOptional = True
    message = specification.itemSimilarityRecommender
    message.itemStringIds.vector.extend(ITEMS)
    for index, row in enumerate(SIMILARITY):
        entry = message.itemItemSimilarities.add(itemId=index, itemScoreAdjustment=SHIFT[index])
        for other in np.flatnonzero(row):
            entry.similarItemList.add(itemId=int(other), similarityScore=row[other])
    message.itemInputFeatureName, message.numRecommendationsInputFeatureName = "items", "count"
    message.itemRestrictionInputFeatureName = "only"
    message.recommendedItemListOutputFeatureName, message.recommendedItemScoreOutputFeatureName = "list", "scores"
    return specification


def test_recommendations(tmp_path: Path) -> None:
    model = load(recommender(), tmp_path)
    given = np.array([2.0, 0.0, 1.0, 0.0])
    totals = SIMILARITY[0] * (2.0 - SHIFT) + SIMILARITY[2] * (1.0 - SHIFT)
    output = model.predict({"items": {"apple": 2.0, "cheese": 1.0}})
    assert output["list"] == ["bread", "dates"]
    assert output["scores"] == pytest.approx({"bread": totals[1], "dates": totals[3]})
    assert model.predict({"items": {"apple": 2.0, "cheese": 1.0}, "count": 1})["list"] == ["bread"]
    assert model.predict({"items": {"apple": 2.0}, "only": ["cheese", "dates"]})["list"] == ["dates", "cheese"]
    assert given.sum() == 3


def test_without_given_items_nothing_is_similar(tmp_path: Path) -> None:
    output = load(recommender(), tmp_path).predict({"items": {}})
    assert output["scores"] == dict.fromkeys(ITEMS, 0.0)


def test_an_item_that_the_model_does_not_have_names_the_feature(tmp_path: Path) -> None:
    with pytest.raises(moka.InputError, match="input 'items': the model has no item 'eggs'"):
        load(recommender(), tmp_path).predict({"items": {"eggs": 1.0}})


def test_exclusions_take_the_place_of_given_items(tmp_path: Path) -> None:
    specification = recommender()
    specification.itemSimilarityRecommender.itemExclusionInputFeatureName = "without"
    model = load(specification, tmp_path)
    assert "apple" in model.predict({"items": {"apple": 2.0}})["list"]
    assert model.predict({"items": {"apple": 2.0}, "without": ["bread", "apple"]})["list"] == ["dates", "cheese"]


def test_an_item_beyond_the_names_is_refused(tmp_path: Path) -> None:
    specification = recommender()
    specification.itemSimilarityRecommender.itemItemSimilarities.add(itemId=2**60)
    with pytest.raises(moka.FormatError, match="item 1152921504606846976"):
        load(specification, tmp_path)


def probit() -> Any:
    inputs = [("x", Array(2)), ("optimism", Double()), ("scale", Double()), ("limit", Double())]
    names = ["probability", "mean", "variance", "pessimistic", "sampled"]
    specification = transformer(inputs, [(name, Double()) for name in names])
    specification.description.predictedFeatureName = "probability"
    specification.description.input[0].type.multiArrayType.dataType = ct.proto.FeatureTypes_pb2.ArrayFeatureType.INT32
    for feature in specification.description.input[1:]:
        feature.type.isOptional = True
    message = specification.bayesianProbitRegressor
    message.bias.mean, message.bias.precision = 0.25, 4.0
    for feature_id, weights in enumerate([{0: (0.5, 2.0), 1: (-1.0, 10.0)}, {7: (0.3, 1.0)}]):
        feature = message.features.add(featureId=feature_id)
        for value, (mean, precision) in weights.items():
            weight = feature.weights.add(featureValue=value)
            weight.featureWeight.mean, weight.featureWeight.precision = mean, precision
    message.regressionInputFeatureName, message.optimismInputFeatureName = "x", "optimism"
    message.samplingScaleInputFeatureName, message.samplingTruncationInputFeatureName = "scale", "limit"
    message.meanOutputFeatureName, message.varianceOutputFeatureName = "mean", "variance"
    message.pessimisticProbabilityOutputFeatureName, message.sampledProbabilityOutputFeatureName = "pessimistic", "sampled"
    return specification


def test_probit_is_the_expectation_over_gaussian_weights(tmp_path: Path) -> None:
    output = load(probit(), tmp_path).predict({"x": [1, 7], "optimism": -1.0, "scale": 0.0})
    mean, variance = 0.25 - 1.0 + 0.3, 1 / 4 + 1 / 10 + 1
    score = scipy.stats.norm(mean, np.sqrt(variance))
    expected, _ = scipy.integrate.quad(lambda value: score.pdf(value) * scipy.stats.norm.cdf(value), -20, 20)
    assert (output["mean"], output["variance"]) == pytest.approx((mean, variance))
    assert output["probability"] == pytest.approx(expected, rel=1e-6)
    assert output["sampled"] == pytest.approx(expected, rel=1e-6)
    assert output["pessimistic"] < output["probability"]


def test_samples_stay_within_the_truncation(tmp_path: Path) -> None:
    model = load(probit(), tmp_path)
    low, high = (model.predict({"x": [1, 7], "optimism": side})["pessimistic"] for side in (-0.5, 0.5))
    sampled = [model.predict({"x": [1, 7], "limit": 0.5})["sampled"] for _ in range(200)]
    assert low - 1e-12 <= min(sampled) < max(sampled) <= high + 1e-12


def test_a_value_without_a_weight_names_the_feature(tmp_path: Path) -> None:
    with pytest.raises(moka.InputError, match="input 'x': feature 1 has the value 8"):
        load(probit(), tmp_path).predict({"x": [1, 8]})

"""Tree ensembles against the libraries that trained them, and against ONNX Runtime on random trees with every kind of branch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import onnxruntime
import pytest
import scipy.special
import sklearn.datasets
import sklearn.ensemble
import sklearn.tree
import xgboost
from coremltools.models.tree_ensemble import TreeEnsembleClassifier, TreeEnsembleRegressor
from onnx import TensorProto, helper

import moka
from tests.models.classical import Array, Double, Int64, load, probabilities, rows

CLASSIFIERS = {
    "tree": sklearn.tree.DecisionTreeClassifier(max_depth=4, random_state=0),
    "forest": sklearn.ensemble.RandomForestClassifier(15, random_state=0),
    "boosted": sklearn.ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0),
}
REGRESSORS = {
    "tree": sklearn.tree.DecisionTreeRegressor(random_state=0),
    "forest": sklearn.ensemble.RandomForestRegressor(15, random_state=0),
    "boosted": sklearn.ensemble.GradientBoostingRegressor(n_estimators=30, random_state=0),
}


def single(matrix: Any) -> Any:
    """Numbers that float32 holds: scikit-learn rounds features to float32 before it compares them, a Core ML model does not."""
    return matrix.astype(np.float32).astype(np.float64)


DATA = {"iris": sklearn.datasets.load_iris, "cancer": sklearn.datasets.load_breast_cancer, "digits": sklearn.datasets.load_digits}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_classifiers_of_scikit_learn(kind: str, data: str, tmp_path: Path) -> None:
    matrix, target = DATA[data](return_X_y=True)
    matrix = single(matrix)
    trained = sklearn.base.clone(CLASSIFIERS[kind]).fit(matrix, target)
    model = load(ct.converters.sklearn.convert(trained, "input", ["label", "probabilities"]), tmp_path)
    outputs = model.predict(rows(matrix))
    assert [item["label"] for item in outputs] == trained.predict(matrix).tolist()
    found = probabilities(outputs, "probabilities", trained.classes_.tolist())
    if kind == "forest" and len(trained.classes_) > 2:
        found /= len(trained.estimators_)  # the converter leaves out each tree's share
    np.testing.assert_allclose(found, trained.predict_proba(matrix), atol=1e-6)


@pytest.mark.parametrize("kind", REGRESSORS)
def test_regressors_of_scikit_learn(kind: str, tmp_path: Path) -> None:
    matrix, target = sklearn.datasets.load_diabetes(return_X_y=True)
    matrix = single(matrix)
    trained = sklearn.base.clone(REGRESSORS[kind]).fit(matrix, target)
    model = load(ct.converters.sklearn.convert(trained, "input", "target"), tmp_path)
    np.testing.assert_allclose([item["target"] for item in model.predict(rows(matrix))], trained.predict(matrix), rtol=1e-9)


@pytest.mark.parametrize("data", ["cancer", "digits"])
def test_classifiers_of_xgboost(data: str, tmp_path: Path) -> None:
    matrix, target = DATA[data](return_X_y=True)
    matrix[::7, 3] = np.nan
    trained = xgboost.XGBClassifier(n_estimators=15, base_score=0.5).fit(matrix, target)
    names = [f"f{index}" for index in range(matrix.shape[1])]
    classes = len(np.unique(target))
    model = load(ct.converters.xgboost.convert(trained.get_booster(), names, "label", mode="classifier", n_classes=classes), tmp_path)
    outputs = model.predict([dict(zip(names, row, strict=True)) for row in matrix])
    assert [item["label"] for item in outputs] == trained.predict(matrix).tolist()
    np.testing.assert_allclose(probabilities(outputs, "classProbability", range(classes)), trained.predict_proba(matrix), atol=1e-6)


def test_regressor_of_xgboost(tmp_path: Path) -> None:
    matrix, target = sklearn.datasets.load_diabetes(return_X_y=True)
    trained = xgboost.XGBRegressor(n_estimators=30, base_score=0.5).fit(matrix, target)
    names = [f"f{index}" for index in range(matrix.shape[1])]
    model = load(ct.converters.xgboost.convert(trained.get_booster(), names, "target"), tmp_path)
    found = [item["target"] for item in model.predict([dict(zip(names, row, strict=True)) for row in matrix])]
    np.testing.assert_allclose(found, trained.predict(matrix), rtol=1e-5)


MODES = {
    "BranchOnValueLessThanEqual": "BRANCH_LEQ",
    "BranchOnValueLessThan": "BRANCH_LT",
    "BranchOnValueGreaterThanEqual": "BRANCH_GTE",
    "BranchOnValueGreaterThan": "BRANCH_GT",
    "BranchOnValueEqual": "BRANCH_EQ",
    "BranchOnValueNotEqual": "BRANCH_NEQ",
}


def random_tree(generator: np.random.Generator, dimensions: int, modes: list[str]) -> list[dict[str, Any]]:
    """Nodes of a tree whose thresholds are small integers, so that equality happens."""
    nodes: list[dict[str, Any]] = []

    def grow(depth: int) -> int:
        node: dict[str, Any] = {"id": len(nodes)}
        nodes.append(node)
        if depth == 5 or (depth > 1 and generator.random() < 0.2):
            node["leaf"] = {int(generator.integers(dimensions)): float(np.float32(generator.normal()))}
            return int(node["id"])
        node.update(feature=int(generator.integers(4)), value=float(generator.integers(4)), mode=str(generator.choice(modes)))
        node["missing"] = bool(generator.integers(2))
        node["true"], node["false"] = grow(depth + 1), grow(depth + 1)
        return int(node["id"])

    grow(0)
    return nodes


def onnx_predict(trees: list[list[dict[str, Any]]], dimensions: int, matrix: Any) -> Any:
    attributes: dict[str, list[Any]] = {}

    def add(**values: Any) -> None:
        for name, value in values.items():
            attributes.setdefault(name, []).append(value)

    for tree, nodes in enumerate(trees):
        for node in nodes:
            leaf = "leaf" in node
            add(nodes_treeids=tree, nodes_nodeids=node["id"], nodes_featureids=node.get("feature", 0), nodes_values=node.get("value", 0.0))
            add(nodes_modes="LEAF" if leaf else MODES[node["mode"]], nodes_missing_value_tracks_true=int(node.get("missing", 0)))
            add(nodes_truenodeids=node.get("true", 0), nodes_falsenodeids=node.get("false", 0))
            for target, weight in node.get("leaf", {}).items():
                add(target_treeids=tree, target_nodeids=node["id"], target_ids=target, target_weights=weight)
    operator = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=dimensions, **attributes)
    graph = helper.make_graph(
        [operator],
        "trees",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, dimensions])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": matrix.astype(np.float32)})[0]


def core_ml(trees: list[list[dict[str, Any]]], dimensions: int) -> Any:
    builder = TreeEnsembleRegressor([("input", Array(4))], [("target", Double())])
    builder.set_default_prediction_value([0.0] * dimensions)
    for tree, nodes in enumerate(trees):
        for node in nodes:
            if "leaf" in node:
                builder.add_leaf_node(tree, node["id"], node["leaf"])
            else:
                builder.add_branch_node(
                    tree,
                    node["id"],
                    node["feature"],
                    node["value"],
                    node["mode"],
                    node["true"],
                    node["false"],
                    missing_value_tracks_true_child=node["missing"],
                )
    output = builder.spec.description.output[0].type
    output.multiArrayType.shape.append(dimensions)
    output.multiArrayType.dataType = ct.proto.FeatureTypes_pb2.ArrayFeatureType.DOUBLE
    return builder.spec


@pytest.mark.parametrize("modes", [[mode] for mode in MODES] + [list(MODES)], ids=lambda modes: modes[0] if len(modes) == 1 else "all")
def test_branches_of_every_kind_as_in_onnx_runtime(modes: list[str], tmp_path: Path) -> None:
    generator = np.random.default_rng(len(modes))
    trees = [random_tree(generator, 3, modes) for _ in range(40)]
    matrix = generator.integers(-1, 5, (333, 4)) + generator.choice([0.0, 0.5], (333, 4))
    if "BranchOnValueNotEqual" not in modes:  # for ONNX Runtime a missing value always differs, whatever the branch says of it
        matrix[generator.random(matrix.shape) < 0.1] = np.nan
    outputs = load(core_ml(trees, 3), tmp_path).predict(rows(matrix))
    np.testing.assert_allclose(np.stack([item["target"] for item in outputs]), onnx_predict(trees, 3, matrix), atol=1e-5)


@pytest.mark.parametrize("count", [5, 300], ids=["stepped", "walked"])
def test_a_batch_of_any_size_gives_what_single_rows_give(count: int, tmp_path: Path) -> None:
    """A single row goes through few trees one node at a time, through many as a batch does."""
    generator = np.random.default_rng(1)
    trees = [random_tree(generator, 2, list(MODES)) for _ in range(count)]
    model: Any = load(core_ml(trees, 2), tmp_path)
    assert (model.forest._steps is None) == (count == 300)
    matrix = generator.normal(1, 2, (131, 4))
    matrix[generator.random(matrix.shape) < 0.1] = np.nan
    single = [model.predict(row)["target"] for row in rows(matrix)]
    for size in (0, 1, 2, 63, 64, 65, 100, 131):
        batch = [item["target"] for item in model.predict(rows(matrix[:size]))]
        np.testing.assert_array_equal(batch, single[:size])


def test_several_threads_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    model = load(core_ml([random_tree(generator, 1, list(MODES)) for _ in range(300)], 1), tmp_path)
    matrix = generator.normal(1, 2, (4001, 4))
    results = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        results.append([item["target"] for item in model.predict(rows(matrix))])
    np.testing.assert_array_equal(*results)


def stump(builder: Any, value: Any = -1.0, other: Any = 1.0) -> Any:
    builder.add_branch_node(0, 0, 0, 0.5, "BranchOnValueLessThanEqual", 1, 2)
    builder.add_leaf_node(0, 1, value)
    builder.add_leaf_node(0, 2, other)
    return builder.spec


@pytest.mark.parametrize(
    ("transform", "base", "leaf", "expected"),
    [
        ("NoTransform", [0.1, 0.2, 0.3], [1.0, 2.0, 3.0], np.array([1.1, 2.2, 3.3])),
        ("Classification_SoftMax", [0.1, 0.2, 0.3], [1.0, 2.0, 900.0], scipy.special.softmax([1.1, 2.2, 900.3])),
        ("Regression_Logistic", [0.0, 0.0, 0.0], [-800.0, 0.3, 2.0], scipy.special.expit([-800.0, 0.3, 2.0])),
        ("Classification_SoftMaxWithZeroClassReference", [0.5, 0.0], [0.2, -0.4], scipy.special.softmax([0.0, 0.7, -0.4])),
    ],
)
def test_post_evaluation_transforms(transform: str, base: list[float], leaf: list[float], expected: Any, tmp_path: Path) -> None:
    builder = TreeEnsembleClassifier([("x", Double())], ["a", "b", "c"], ["label", "probabilities"])
    builder.set_default_prediction_value(base)
    builder.set_post_evaluation_transform(transform)
    output = load(stump(builder, leaf, leaf), tmp_path).predict({"x": 0.0})
    np.testing.assert_allclose(list(output["probabilities"].values()), expected, rtol=1e-12)
    assert output["label"] == "abc"[int(np.argmax(expected))]


def test_two_classes_with_one_score(tmp_path: Path) -> None:
    builder = TreeEnsembleClassifier([("x", Double())], [7, 9], ["label", "probabilities"])
    builder.set_default_prediction_value([0.0])
    builder.set_post_evaluation_transform("Regression_Logistic")
    model = load(stump(builder), tmp_path)
    assert [model.predict({"x": value})["label"] for value in (0.0, 1.0)] == [7, 9]
    assert model.predict({"x": 1.0})["probabilities"] == pytest.approx({7: 1 - scipy.special.expit(1), 9: scipy.special.expit(1)})


def test_an_optional_feature_that_is_left_out_is_missing(tmp_path: Path) -> None:
    for tracks_true, expected in ((True, -1.0), (False, 1.0)):
        builder = TreeEnsembleRegressor([("x", Double())], "target")
        builder.set_default_prediction_value(0.0)
        specification = stump(builder)
        specification.treeEnsembleRegressor.treeEnsemble.nodes[0].missingValueTracksTrueChild = tracks_true
        specification.description.input[0].type.isOptional = True
        model = load(specification, tmp_path)
        assert model.predict({})["target"] == model.predict({"x": float("nan")})["target"] == expected


def test_integers_beyond_float32_are_told_apart(tmp_path: Path) -> None:
    builder = TreeEnsembleRegressor([("x", Int64())], "target")
    builder.set_default_prediction_value(0.0)
    builder.add_branch_node(0, 0, 0, 2.0**24, "BranchOnValueEqual", 1, 2)
    builder.add_leaf_node(0, 1, 1.0)
    builder.add_leaf_node(0, 2, 0.0)
    model = load(builder.spec, tmp_path)
    assert [model.predict({"x": 2**24 + step})["target"] for step in (-1, 0, 1)] == [0.0, 1.0, 0.0]


def edit_child(nodes: Any) -> None:
    nodes[0].trueChildNodeId = 99


def edit_loop(nodes: Any) -> None:
    nodes[1].nodeBehavior = 0
    nodes[1].trueChildNodeId = nodes[1].falseChildNodeId = 0
    nodes[0].falseChildNodeId = 1


def edit_detached_loop(nodes: Any) -> None:
    for name, child in ((10, 11), (11, 10)):
        nodes.add(nodeId=name, nodeBehavior=0, trueChildNodeId=child, falseChildNodeId=child + 10)
        nodes.add(nodeId=child + 10, nodeBehavior=6)


def edit_second_root(nodes: Any) -> None:
    nodes.add(nodeId=77, nodeBehavior=6)


def edit_twice(nodes: Any) -> None:
    nodes.add().CopyFrom(nodes[1])


def edit_shared(nodes: Any) -> None:
    nodes[0].falseChildNodeId = 1


def edit_index(nodes: Any) -> None:
    nodes[1].evaluationInfo[0].evaluationIndex = 2**40


def edit_feature(nodes: Any) -> None:
    nodes[0].branchFeatureIndex = 2**63


def edit_column(nodes: Any) -> None:
    nodes[0].branchFeatureIndex = 1


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edit_child, "its child 99 is missing"),
        (edit_loop, "no root|two branches"),
        (edit_detached_loop, "form a loop"),
        (edit_second_root, "second root"),
        (edit_twice, "more than one node 1"),
        (edit_shared, "child of two branches"),
        (edit_index, "evaluationIndex is 1099511627776"),
        (edit_feature, "branchFeatureIndex is 9223372036854775808"),
        (edit_column, "looks at 2"),
    ],
)
def test_broken_trees_are_refused(edit: Any, message: str, tmp_path: Path) -> None:
    builder = TreeEnsembleRegressor([("x", Double())], "target")
    builder.set_default_prediction_value(0.0)
    specification = stump(builder)
    edit(specification.treeEnsembleRegressor.treeEnsemble.nodes)
    with pytest.raises(moka.FormatError, match=message):
        load(specification, tmp_path)


def test_a_number_of_dimensions_that_nothing_backs_is_refused(tmp_path: Path) -> None:
    builder = TreeEnsembleRegressor([("x", Double())], "target")
    specification = stump(builder)
    specification.treeEnsembleRegressor.treeEnsemble.numPredictionDimensions = 2**60
    with pytest.raises(moka.FormatError, match="numPredictionDimensions"):
        load(specification, tmp_path)

"""Updates: networks that coremltools made updatable against the same training in PyTorch, and nearest neighbors against scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from coremltools.models import datatypes
from coremltools.models.neural_network import AdamParams, NeuralNetworkBuilder, SgdParams
from coremltools.models.utils import save_spec
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from sklearn.neighbors import KNeighborsClassifier  # type: ignore[import-untyped]

import moka

Array: TypeAlias = np.ndarray[Any, Any]

TRAINED = 600


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array]:
    """Images [n, 1, 8, 8] of 0 to 1, and what they show."""
    data = load_digits()
    return (data.images / 16).astype(np.float32)[:, None], data.target


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(6 * 36, 10),
    )


def sgd(lr: float = 0.05, batch: int = 16, momentum: float = 0.9) -> SgdParams:
    params = SgdParams(lr=lr, batch=batch, momentum=momentum)
    params.set_batch(batch, [batch, 50])
    return params


def adam() -> AdamParams:
    return AdamParams(lr=0.01, batch=16)


def numpy(tensor: Any) -> Array:
    return np.asarray(tensor.detach().numpy())


def digit_builder(
    optimizer: Any = None,
    *,
    labels: list[Any] | None = None,
    exact: bool = False,
    trained: tuple[str, ...] = ("conv", "dense"),
    epochs: int = 3,
) -> NeuralNetworkBuilder:
    """The network as coremltools writes it: a classifier where there are labels, else one with a vector of probabilities."""
    conv, dense = network()[0], network()[3]
    output = None if labels else datatypes.Array(10)
    builder = NeuralNetworkBuilder(
        [("image", datatypes.Array(1, 8, 8))],
        [("probs", output)],
        mode="classifier" if labels else None,
        disable_rank5_shape_mapping=exact,
    )
    kernels = numpy(conv.weight).transpose(2, 3, 1, 0)
    builder.add_convolution("conv", 1, 6, 3, 3, 1, 1, "valid", 1, kernels, numpy(conv.bias), True, input_name="image", output_name="c")
    builder.add_activation("relu", "RELU", "c", "r")
    if exact:
        builder.add_reshape_static("flat", "r", "f", [216])
        builder.add_inner_product("dense", numpy(dense.weight), numpy(dense.bias), 216, 10, True, "f", "s")
        builder.add_softmax_nd("softmax", "s", "probs", -1)
    else:
        builder.add_flatten("flat", 0, "r", "f")
        builder.add_inner_product("dense", numpy(dense.weight), numpy(dense.bias), 216, 10, True, "f", "s")
        builder.add_softmax("softmax", "s", "probs")
    if labels:
        builder.set_class_labels(labels, predicted_feature_name="digit", prediction_blob="probs")
    builder.make_updatable(list(trained))
    if not exact:  # its checks know the older softmax layer alone
        builder.set_categorical_cross_entropy_loss("loss", "probs")
    else:
        loss = builder.nn_spec.updateParams.lossLayers.add(name="loss").categoricalCrossEntropyLossLayer
        loss.input, loss.target = "probs", "probs_true"
        builder.spec.description.trainingInput.extend(builder.spec.description.input)
        target = builder.spec.description.trainingInput.add(name="probs_true")
        target.type.multiArrayType.shape.append(1)
        target.type.multiArrayType.dataType = target.type.multiArrayType.INT32
    optimizer = optimizer or sgd()
    (builder.set_sgd_optimizer if isinstance(optimizer, SgdParams) else builder.set_adam_optimizer)(optimizer)
    builder.set_epochs(epochs, [1, 2, epochs, 10])
    builder.set_shuffle(seed=3)
    return builder


def saved(builder: NeuralNetworkBuilder, folder: Path) -> moka.Model:
    save_spec(builder.spec, str(folder / "network.mlmodel"))
    return moka.load(folder / "network.mlmodel")


def orders(count: int, epochs: int, seed: int | None) -> Iterator[list[int]]:
    """The documented order of samples: one ``torch.randperm`` an epoch of a generator with the seed."""
    generator = torch.Generator().manual_seed(seed or 0)
    for _ in range(epochs):
        yield list(range(count)) if seed is None else torch.randperm(count, generator=generator).tolist()


def plain(
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: Array,
    y: Array,
    epochs: int = 3,
    batch: int = 16,
    seed: int | None = 3,
) -> list[float]:
    """Plain PyTorch training; gives each epoch's loss."""
    inputs, targets, losses = torch.from_numpy(x), torch.from_numpy(y), []
    for order in orders(len(x), epochs, seed):
        total = 0.0
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            found = loss(module(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            found.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += found.item() * len(rows)
        losses.append(total / len(x))
    return losses


def accuracy(model: moka.Model, images: Array, shown: list[Any]) -> float:
    return float(
        np.mean([row["digit"] == label for row, label in zip(model.predict([{"image": item} for item in images]), shown, strict=True)])
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_digits_network_learns_as_in_pytorch(tmp_path: Path, digits: tuple[Array, Array], optimizer: str) -> None:
    images, shown = digits
    model = saved(digit_builder(sgd() if optimizer == "sgd" else adam(), labels=list(range(10))), tmp_path)
    seen: list[Any] = []
    samples = [{"image": image, "digit": int(digit)} for image, digit in zip(images[:TRAINED], shown, strict=False)]
    result = model.update(samples, progress=seen.append)

    module = network()
    if optimizer == "sgd":
        twin: torch.optim.Optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    else:
        twin = torch.optim.Adam(module.parameters(), lr=0.01, betas=(0.9, 0.999), eps=1e-8)
    expected = plain(module, twin, torch.nn.functional.cross_entropy, images[:TRAINED], shown[:TRAINED])
    assert tuple(seen) == result.epochs
    assert [metrics.epoch for metrics in seen] == [1, 2, 3]
    np.testing.assert_allclose([metrics.loss for metrics in seen], expected, rtol=1e-4)
    assert expected[-1] < 0.5 * expected[0]

    held_out = images[TRAINED:]
    with torch.no_grad():
        reference = module(torch.from_numpy(held_out)).argmax(1).numpy()
    reached = accuracy(result.model, held_out, shown[TRAINED:].tolist())
    assert abs(reached - float(np.mean(reference == shown[TRAINED:]))) <= 2 / len(held_out)
    assert reached > 0.85
    assert accuracy(model, held_out, shown[TRAINED:].tolist()) < 0.3  # the old model stays as it was


def test_the_new_model_is_saved_with_what_it_learned(tmp_path: Path, digits: tuple[Array, Array]) -> None:
    images, shown = digits
    model = saved(digit_builder(labels=list("abcdefghij")), tmp_path)
    samples = [{"image": image, "digit": "abcdefghij"[digit]} for image, digit in zip(images[:96], shown, strict=False)]
    results = [model.update(samples, epochs=2) for _ in range(2)]
    names = ("one.mlmodel", "two.mlmodel", "three.mlpackage")
    for result, name in zip([*results, results[0]], names, strict=True):
        result.model.save(tmp_path / name)
    assert (tmp_path / names[0]).read_bytes() == (tmp_path / names[1]).read_bytes() != (tmp_path / "network.mlmodel").read_bytes()
    expected = results[0].model.predict({"image": images[100]})
    for name in names:
        loaded = moka.load(tmp_path / name)
        assert loaded.predict({"image": images[100]}) == expected
        assert loaded.update(samples[:16], epochs=1).epochs[0].loss < results[0].epochs[0].loss


def test_only_layers_that_are_marked_learn(tmp_path: Path, digits: tuple[Array, Array]) -> None:
    images, shown = digits
    model = saved(digit_builder(sgd(momentum=0.0), labels=list(range(10)), trained=("dense",)), tmp_path)
    samples = [{"image": image, "digit": int(digit)} for image, digit in zip(images[:64], shown, strict=False)]
    result = model.update(samples, shuffle=False, epochs=2)
    module = network()
    twin = torch.optim.SGD(module[3].parameters(), lr=0.05)
    expected = plain(module, twin, torch.nn.functional.cross_entropy, images[:64], shown[:64], epochs=2, seed=None)
    np.testing.assert_allclose([metrics.loss for metrics in result.epochs], expected, rtol=1e-5)
    result.model.save(tmp_path / "new.mlmodel")
    import coremltools as ct

    layers = {layer.name: layer for layer in ct.utils.load_spec(str(tmp_path / "new.mlmodel")).neuralNetworkClassifier.layers}
    np.testing.assert_array_equal(np.float32(layers["conv"].convolution.weights.floatValue), numpy(network()[0].weight).ravel())
    np.testing.assert_allclose(np.float32(layers["dense"].innerProduct.weights.floatValue), numpy(module[3].weight).ravel(), atol=1e-6)
    np.testing.assert_allclose(np.float32(layers["dense"].innerProduct.bias.floatValue), numpy(module[3].bias), atol=1e-6)


@pytest.mark.parametrize("exact", [False, True])
def test_plain_networks_take_the_index_of_the_class(tmp_path: Path, digits: tuple[Array, Array], exact: bool) -> None:
    images, shown = digits
    model = saved(digit_builder(exact=exact), tmp_path)
    pairs = list(zip(images[:70], shown[:70].tolist(), strict=True))
    batches = [
        [{"image": image, "probs_true": np.array([digit])} for image, digit in pairs[start : start + 20]] for start in range(0, 70, 20)
    ]
    result = model.update(batches, seed=8)
    module = network()
    twin = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    expected = plain(module, twin, torch.nn.functional.cross_entropy, images[:70], shown[:70], seed=8)
    np.testing.assert_allclose([metrics.loss for metrics in result.epochs], expected, rtol=1e-4)


def regression(optimizer: SgdParams | None = None) -> NeuralNetworkBuilder:
    """y = dense(x) for x [4], y [2], in exact shapes, with the mean squared error."""
    torch.manual_seed(1)
    dense = torch.nn.Linear(4, 2)
    builder = NeuralNetworkBuilder([("x", datatypes.Array(4))], [("y", datatypes.Array(2))], disable_rank5_shape_mapping=True)
    builder.add_inner_product("dense", numpy(dense.weight), numpy(dense.bias), 4, 2, True, "x", "y")
    builder.make_updatable(["dense"])
    builder.set_mean_squared_error_loss("loss", ("y", datatypes.Array(2)))
    builder.set_sgd_optimizer(optimizer or sgd(batch=5))
    builder.set_epochs(4, [1, 4])
    builder.set_shuffle(seed=2)
    return builder


def test_mean_squared_error(tmp_path: Path) -> None:
    model = saved(regression(), tmp_path)
    random = np.random.default_rng(0)
    x = random.normal(size=(33, 4)).astype(np.float32)
    y = (x @ random.normal(size=(4, 2)) + 1).astype(np.float32)
    result = model.update([{"x": a, "y_true": b} for a, b in zip(x, y, strict=True)])
    torch.manual_seed(1)
    module = torch.nn.Linear(4, 2)
    twin = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    expected = plain(module, twin, torch.nn.functional.mse_loss, x, y, epochs=4, batch=5, seed=2)
    np.testing.assert_allclose([metrics.loss for metrics in result.epochs], expected, rtol=1e-4)
    np.testing.assert_allclose(result.model.predict({"x": x[0]})["y"], numpy(module(torch.from_numpy(x[0]))), rtol=1e-4, atol=1e-5)


def test_operations_that_need_their_numbers_run_sample_by_sample(tmp_path: Path) -> None:
    """A custom layer that branches on its input can't run over a whole mini-batch at once."""
    builder = regression()
    from coremltools import proto

    params = proto.NeuralNetwork_pb2.CustomLayerParams()
    params.className = "moka.tests.Branching"
    builder.add_custom("branch", ["y"], ["z"], params)
    builder.nn_spec.updateParams.lossLayers[0].meanSquaredErrorLossLayer.input = "z"
    moka.custom_layer("moka.tests.Branching", lambda y: y * 2 if float(y.detach().sum()) > 0 else y * 3)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(12, 4)).astype(np.float32), random.normal(size=(12, 2)).astype(np.float32)
    result = saved(builder, tmp_path).update([{"x": a, "y_true": b} for a, b in zip(x, y, strict=True)])
    torch.manual_seed(1)
    dense = torch.nn.Linear(4, 2)

    class Branching(torch.nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            found = dense(rows)
            return torch.where(found.sum(1, keepdim=True) > 0, found * 2, found * 3)

    twin = torch.optim.SGD(dense.parameters(), lr=0.05, momentum=0.9)
    expected = plain(Branching(), twin, torch.nn.functional.mse_loss, x, y, epochs=4, batch=5, seed=2)
    np.testing.assert_allclose([metrics.loss for metrics in result.epochs], expected, rtol=1e-4)


SAMPLE = {"image": np.zeros((1, 8, 8), np.float32), "digit": 3}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"learning_rate": 1.5}, r"learning_rate is 1.5; the model allows 0.0 to 1.0"),
        ({"mini_batch_size": 17}, r"mini_batch_size is 17; the model allows 16, 50"),
        ({"epochs": 4}, r"epochs is 4; the model allows 1, 2, 3, 10"),
        ({"epochs": 2.5}, r"epochs is 2.5; expected an int"),
        ({"epochs": True}, r"epochs is True; expected an int"),
        ({"shuffle": 1}, r"shuffle is 1; expected a bool"),
        ({"momentum": "fast"}, r"momentum is 'fast'; expected a float"),
        ({"beta1": 0.5}, r"parameter 'beta1': the model has none of that name; it has epochs, mini_batch_size, learning_rate, momentum,"),
    ],
)
def test_parameters_that_the_model_does_not_allow_are_refused(tmp_path: Path, parameters: Any, message: str) -> None:
    model = saved(digit_builder(labels=list(range(10))), tmp_path)
    with pytest.raises(moka.InputError, match=message):
        model.update([SAMPLE], **parameters)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "batches hold no samples"),
        (SAMPLE, "batches is a dict; expected dicts of training inputs, one a sample, in a list"),
        ([3], "batches hold a int"),
        ([{"image": SAMPLE["image"]}], r"sample 0 lacks 'digit' \(int64\)"),
        ([SAMPLE, {**SAMPLE, "other": 1}], "sample 1 has 'other'; training inputs are image, digit"),
        ([{**SAMPLE, "digit": 12}], "sample 0: digit is 12, which is none of the model's labels"),
        ([{**SAMPLE, "image": np.zeros((8, 8))}], r"input 'image' has shape \[8, 8\]; expected \[1, 8, 8\]"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tmp_path: Path, batches: Any, message: str) -> None:
    with pytest.raises(moka.InputError, match=message):
        saved(digit_builder(labels=list(range(10))), tmp_path).update(batches)


def test_classes_and_targets_of_the_wrong_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(moka.InputError, match="the target holds the class 10; 'probs' has 10 classes"):
        saved(digit_builder(), tmp_path).update([{"image": SAMPLE["image"], "probs_true": [10]}])
    builder = regression()
    builder.spec.description.trainingInput[1].type.multiArrayType.shape[:] = [3]
    with pytest.raises(moka.InputError, match="the target has 3 numbers; 'y' has 2"):
        saved(builder, tmp_path).update([{"x": np.zeros(4), "y_true": np.zeros(3)}])


def broken(change: Callable[[Any], object], folder: Path) -> moka.Model:
    builder = digit_builder(labels=list(range(10)))
    change(builder.spec)
    return saved(builder, folder)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda spec: setattr(spec, "isUpdatable", False), moka.UnsupportedError, "not updatable"),
        (lambda spec: spec.neuralNetworkClassifier.updateParams.ClearField("optimizer"), moka.ProgramError, "optimizer is not set"),
        (lambda spec: spec.neuralNetworkClassifier.updateParams.ClearField("lossLayers"), moka.ProgramError, "no loss layer"),
        (lambda spec: spec.neuralNetworkClassifier.updateParams.ClearField("epochs"), moka.InputError, "epochs is 0; expected at least 1"),
        (
            lambda spec: [layer.ClearField("isUpdatable") for layer in spec.neuralNetworkClassifier.layers],
            moka.ProgramError,
            "no weights are marked updatable",
        ),
        (
            lambda spec: setattr(spec.neuralNetworkClassifier.layers[1], "isUpdatable", True),
            moka.ProgramError,
            r"layer 'relu' \(activation\) is marked updatable",
        ),
        (
            lambda spec: setattr(spec.neuralNetworkClassifier.updateParams.lossLayers[0].categoricalCrossEntropyLossLayer, "input", "s"),
            moka.ProgramError,
            "reads 's'; expected the output of a softmax layer",
        ),
    ],
)
def test_models_whose_update_parameters_are_broken_are_refused(
    tmp_path: Path, change: Callable[[Any], object], error: type[Exception], message: str
) -> None:
    model = broken(change, tmp_path)
    with pytest.raises(error, match=message):
        model.update([SAMPLE])


def test_models_of_other_kinds_are_refused(corpus: Path) -> None:
    model = moka.load(corpus / "models" / "nmp.mlpackage")
    with pytest.raises(moka.UnsupportedError, match="kind mlProgram are not updatable"):
        model.update([{}])
    with pytest.raises(moka.UnsupportedError, match="copy the file"):
        model.save("nowhere.mlmodel")


@pytest.mark.parametrize("neighbors", [None, 5])
def test_nearest_neighbors_learn_new_samples(corpus: Path, tmp_path: Path, neighbors: int | None) -> None:
    """The corpus' empty model, taught 21 of the pixels of digits, against scikit-learn with the same weighting."""
    data = load_digits()
    x, y = data.data[:, 20:41].astype(np.float32), [f"digit {digit}" for digit in data.target]
    model = moka.load(corpus / "models" / "UpdatableKNN.mlmodel")
    samples = [{"input": row, "output": label} for row, label in zip(x[:300], y, strict=False)]
    chosen: dict[str, Any] = {} if neighbors is None else {"number_of_neighbors": neighbors}
    once = model.update(samples, **chosen)
    twice = model.update(samples[:100], **chosen).model.update(samples[100:], **chosen)
    twice.model.save(tmp_path / "taught.mlmodel")
    reference = KNeighborsClassifier(neighbors or 3, weights=lambda d: 1 / np.maximum(d**2, 1e-12)).fit(x[:300], y[:300])
    rows = [{"input": row} for row in x[300:500]]
    expected = reference.predict(x[300:500])
    for taught in (once.model, twice.model, moka.load(tmp_path / "taught.mlmodel")):
        found = [row["output"] for row in taught.predict(rows)]
        assert np.mean(np.array(found) == expected) > 0.985  # ties may fall to another label
    assert once.epochs == ()
    assert model.predict(rows[0])["output"] == "defaultLabel"


def test_nearest_neighbors_keep_to_what_the_model_allows(corpus: Path) -> None:
    model = moka.load(corpus / "models" / "UpdatableKNN.mlmodel")
    with pytest.raises(moka.InputError, match="number_of_neighbors is 11; the model allows 1 to 10"):
        model.update([{"input": np.zeros(21), "output": "a"}], number_of_neighbors=11)
    with pytest.raises(moka.InputError, match="input 'output' is int 3; expected a string"):
        model.update([{"input": np.zeros(21), "output": 3}])


def test_a_pipeline_teaches_its_last_stage(corpus: Path, tmp_path: Path) -> None:
    """The drawing classifier learns strokes: bars that stand, that lie, and discs, each somewhere else in the picture."""
    model = moka.load(corpus / "pairs" / "updatable-drawing" / "UpdatableDrawingClassifier.mlmodel")

    def drawing(kind: str, offset: int) -> Array:
        rows, columns = np.mgrid[:28, :28]
        stroke = {
            "standing": abs(columns - 10 - offset) < 2,
            "lying": abs(rows - 10 - offset) < 2,
            "disc": (rows - 14) ** 2 + (columns - 14) ** 2 < (5 + offset) ** 2,
        }[kind]
        return np.asarray(stroke * 255, np.uint8)

    kinds = ("standing", "lying", "disc")
    samples = [{"drawing": drawing(kind, offset), "label": kind} for kind in kinds for offset in (0, 2, 4, 6, 8)]
    assert model.predict({"drawing": drawing("disc", 1)})["label"] == "unknown"
    result = model.update(samples)
    result.model.save(tmp_path / "taught.mlmodel")
    for taught in (result.model, moka.load(tmp_path / "taught.mlmodel")):
        tests = [(kind, offset) for kind in kinds for offset in (1, 3, 5, 7)]
        found = taught.predict([{"drawing": drawing(*item)} for item in tests])
        assert [row["label"] for row in found] == [kind for kind, _ in tests]

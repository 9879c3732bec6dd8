"""Recurrent layers of networks that coremltools writes, against PyTorch, ONNX Runtime and NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder
from coremltools.models.utils import save_spec

import moka
from moka.importers.neural_network import import_network
from moka.models.network_model import NetworkModel
from tests.cases.onnx_oracle import onnx_outputs

Array: TypeAlias = np.ndarray[Any, Any]

S, B, I, H = 6, 2, 3, 4  # noqa: E741
RANDOM = np.random.default_rng(5)


def random(*shape: int) -> Array:
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


X, H0, C0, H1, C1 = random(S, B, I), random(B, H), random(B, H), random(B, H), random(B, H)
Gates: TypeAlias = dict[str, Array]
LSTM = {name: {"W": random(H, I), "R": random(H, H), "b": random(H)} for name in "ifoz"}
LSTM_BACK = {name: {"W": random(H, I), "R": random(H, H), "b": random(H)} for name in "ifoz"}
PEEPHOLES = {name: random(H) for name in "ifo"}
GRU = {name: {"W": random(H, I), "R": random(H, H), "b": random(H)} for name in "zro"}
RNN = {"W": random(H, I), "R": random(H, H), "b": random(H)}


def parts(gates: dict[str, Gates], which: str, order: str) -> list[Array]:
    return [gates[name][which] for name in order]


def network(
    path: Path, add: Callable[[NeuralNetworkBuilder, list[str], list[str]], Any], states: int = 0, size: int = H, **edits: Any
) -> NetworkModel:
    """A network of one layer, which takes and gives ``states`` states; ``edits`` change fields of the layer's ``LSTMParams``."""
    names = [f"s{i}" for i in range(states)]
    inputs = [("x", datatypes.Array(I))] + [(name, datatypes.Array(H)) for name in names]
    outputs = [("y", datatypes.Array(size))] + [(f"{name}_out", datatypes.Array(H)) for name in names]
    builder = NeuralNetworkBuilder(inputs, outputs)
    add(builder, [name for name, _ in inputs], [name for name, _ in outputs])
    layer = builder.spec.neuralNetwork.layers[0]
    for name, value in edits.items():
        setattr(getattr(layer, layer.WhichOneof("layer")).params, name, value)
    for feature in [*builder.spec.description.input, *builder.spec.description.output]:
        feature.type.multiArrayType.dataType = feature.type.multiArrayType.FLOAT32
    for feature in builder.spec.description.output:  # sizes that the input decides
        del feature.type.multiArrayType.shape[:]
    save_spec(builder.spec, str(path / "network.mlmodel"))
    model = moka.load(path / "network.mlmodel")
    assert isinstance(model, NetworkModel)
    return model


def run(model: NetworkModel, *states: Array, x: Array = X) -> list[Array]:
    """Outputs without their last two axes, those of states without their first as well."""
    data = {"x": x} | {f"s{i}": state[None] for i, state in enumerate(states)}
    results = model.predict(data)
    assert all(result.ndim == 5 and result.shape[3:] == (1, 1) for result in results.values())
    return [results["y"][..., 0, 0], *[results[f"s{i}_out"][0, ..., 0, 0] for i in range(len(states))]]


def operations(model: NetworkModel, steps: int = S) -> set[str]:
    """Kinds of operations that the network becomes."""
    shapes = {name: (steps if name == "x" else 1, B, I if name == "x" else H, 1, 1) for name in model.function.inputs}
    return {operation.type for operation in import_network(model.network, shapes).functions["main"].body.walk()}


def close(results: list[Array], expected: list[Any]) -> None:
    assert len(results) == len(expected)
    for result, reference in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, np.asarray(reference), rtol=0, atol=2e-6 * max(1.0, float(np.abs(np.asarray(reference)).max())))


def torch_module(module: Any, gates: dict[str, Gates], order: str, back: dict[str, Gates] | None = None) -> Any:
    state = {}
    for suffix, own in (("", gates), ("_reverse", back)):
        if own is not None:
            for name, which in (("weight_ih", "W"), ("weight_hh", "R"), ("bias_ih", "b")):
                state[f"{name}_l0{suffix}"] = torch.from_numpy(np.concatenate(parts(own, which, order)))
            state[f"bias_hh_l0{suffix}"] = torch.zeros_like(state[f"bias_ih_l0{suffix}"])
    module.load_state_dict(state)
    return module


def tensor(*arrays: Array) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays) if len(arrays) > 1 else arrays[0].copy())


def torch_lstm(x: Array = X, states: tuple[Array, ...] = (), gates: dict[str, Gates] = LSTM, both: bool = False) -> list[Array]:
    """Sequence, then the states as the layer has them: h, c of the first direction, then of the second."""
    module = torch_module(torch.nn.LSTM(I, H, bidirectional=both), gates, "ifzo", LSTM_BACK if both else None)
    initial = (tensor(*states[0::2]).reshape(-1, B, H), tensor(*states[1::2]).reshape(-1, B, H)) if states else None
    with torch.no_grad():
        sequence, (h, c) = module(tensor(x), initial)
    return [sequence.numpy()] + [state.numpy() for pair in zip(h, c, strict=True) for state in pair]


def lstm(*, bias: bool = True, peep: bool = False, **options: Any) -> Callable[..., Any]:
    """Adds the one-directional layer."""
    biases = parts(LSTM, "b", "ifoz") if bias else None
    peepholes = [PEEPHOLES[name] for name in "ifo"] if peep else None

    def add(builder: NeuralNetworkBuilder, inputs: list[str], outputs: list[str]) -> None:
        weights = parts(LSTM, "R", "ifoz"), parts(LSTM, "W", "ifoz"), biases
        builder.add_unilstm("layer", *weights, H, I, inputs, outputs, peep=peepholes, **{"output_all": True, **options})

    return add


def bilstm(**options: Any) -> Callable[..., Any]:
    def add(builder: NeuralNetworkBuilder, inputs: list[str], outputs: list[str]) -> None:
        own = parts(LSTM, "R", "ifoz"), parts(LSTM, "W", "ifoz"), parts(LSTM, "b", "ifoz")
        back = parts(LSTM_BACK, "R", "ifoz"), parts(LSTM_BACK, "W", "ifoz"), parts(LSTM_BACK, "b", "ifoz")
        builder.add_bidirlstm("layer", *own, *back, H, I, inputs, outputs, **{"output_all": True, **options})

    return add


def gru(**options: Any) -> Callable[..., Any]:
    def add(builder: NeuralNetworkBuilder, inputs: list[str], outputs: list[str]) -> None:
        weights = parts(GRU, "R", "zro"), parts(GRU, "W", "zro"), parts(GRU, "b", "zro")
        builder.add_gru("layer", *weights, H, I, inputs, outputs, **{"output_all": True, **options})

    return add


def rnn(activation: str, *, bias: bool = True, **options: Any) -> Callable[..., Any]:
    def add(builder: NeuralNetworkBuilder, inputs: list[str], outputs: list[str]) -> None:
        weights = RNN["R"], RNN["W"], RNN["b"] if bias else None
        builder.add_simple_rnn("layer", *weights, H, I, activation, inputs, outputs, **{"output_all": True, **options})

    return add


def onnx_lstm(x: Array = X, peepholes: Array | None = None, **attributes: Any) -> list[Array]:
    stacked = [np.concatenate(parts(LSTM, which, "iofz"))[None] for which in "WRb"]
    bias = np.concatenate([stacked[2], np.zeros_like(stacked[2])], 1)
    given = [H0[None], C0[None], *([] if peepholes is None else [peepholes[None]])]
    y, h, c = onnx_outputs("LSTM", x, *stacked[:2], bias, None, *given, count=3, hidden_size=H, **attributes)
    return [y[:, 0], h[0], c[0]]


def onnx_gru(activations: list[str], **attributes: Any) -> list[Array]:
    stacked = [np.concatenate(parts(GRU, which, "zro"))[None] for which in "WRb"]
    bias = np.concatenate([stacked[2], np.zeros_like(stacked[2])], 1)
    attributes |= {"hidden_size": H, "activations": activations}
    y, h = onnx_outputs("GRU", X, *stacked[:2], bias, None, H0[None], count=2, **attributes)
    return [y[:, 0], h[0]]


def test_lstm(tmp_path: Path) -> None:
    model = network(tmp_path, lstm())
    close(run(model), torch_lstm()[:1])
    assert "lstm" in operations(model)


def test_lstm_takes_and_gives_states(tmp_path: Path) -> None:
    close(run(network(tmp_path, lstm(), states=2), H0, C0), torch_lstm(states=(H0, C0)))


def test_states_may_be_left_to_one_row_for_the_whole_batch(tmp_path: Path) -> None:
    model = network(tmp_path, lstm(), states=2)
    data = {"x": X, "s0": H0[0], "s1": C0[0]}
    expected = torch_lstm(states=(np.stack([H0[0]] * B), np.stack([C0[0]] * B)))
    close([model.predict(data)["y"][..., 0, 0]], expected[:1])


def test_lstm_gives_the_last_step_alone(tmp_path: Path) -> None:
    close(run(network(tmp_path, lstm(output_all=False))), [torch_lstm()[0][-1:]])


def test_reversed_results_come_in_the_order_of_processing(tmp_path: Path) -> None:
    close(run(network(tmp_path, lstm(reverse_input=True))), torch_lstm(X[::-1])[:1])


def test_lstm_without_biases_and_with_a_forget_bias(tmp_path: Path) -> None:
    ones = {name: {**gate, "b": np.full(H, float(name == "f"), np.float32)} for name, gate in LSTM.items()}
    close(run(network(tmp_path, lstm(bias=False, forget_bias=True))), torch_lstm(gates=ones)[:1])


def test_forget_bias_adds_to_the_biases(tmp_path: Path) -> None:
    more = {name: {**gate, "b": gate["b"] + np.float32(name == "f")} for name, gate in LSTM.items()}
    close(run(network(tmp_path, lstm(forget_bias=True))), torch_lstm(gates=more)[:1])


def test_peepholes(tmp_path: Path) -> None:
    peepholes = np.concatenate([PEEPHOLES[name] for name in "iof"])
    close(run(network(tmp_path, lstm(peep=True), states=2), H0, C0), onnx_lstm(peepholes=peepholes))


def test_coupled_gates_need_no_forget_gate(tmp_path: Path) -> None:
    def add(builder: NeuralNetworkBuilder, inputs: list[str], outputs: list[str]) -> None:
        lstm(coupled_input_forget_gate=True)(builder, inputs, outputs)
        weights = builder.spec.neuralNetwork.layers[0].uniDirectionalLSTM.weightParams
        for field in ("forgetGateWeightMatrix", "forgetGateRecursionMatrix", "forgetGateBiasVector"):
            weights.ClearField(field)

    model = network(tmp_path, add, states=2)
    close(run(model, H0, C0), onnx_lstm(input_forget=1))
    assert "nn_lstm" in operations(model)


@pytest.mark.parametrize("names", [("SIGMOID_HARD", "LINEAR", "RELU"), ("SIGMOID", "SCALED_TANH", "TANH"), ("SIGMOID", "RELU", "STATED")])
def test_activations_of_the_lstm(tmp_path: Path, names: tuple[str, str, str]) -> None:
    def add(builder: NeuralNetworkBuilder, inputs: list[str], outputs: list[str]) -> None:
        options: dict[str, Any] = dict(zip(("inner_activation", "cell_state_update_activation", "output_activation"), names, strict=True))
        lstm(**{name: value.replace("STATED", "TANH") for name, value in options.items()})(builder, inputs, outputs)
        if names[2] == "STATED":
            scaled = builder.spec.neuralNetwork.layers[0].uniDirectionalLSTM.activations[2].scaledTanh
            scaled.alpha, scaled.beta = 1.7159, 2 / 3

    model = network(tmp_path, add, 2)
    known = {
        "SIGMOID": ("Sigmoid", 0.0, 0.0),
        "TANH": ("Tanh", 0.0, 0.0),
        "RELU": ("Relu", 0.0, 0.0),
        "SIGMOID_HARD": ("HardSigmoid", 0.2, 0.5),
        "LINEAR": ("Affine", 1.0, 0.0),
        "SCALED_TANH": ("ScaledTanh", 1.0, 1.0),
        "STATED": ("ScaledTanh", 1.7159, 2 / 3),
    }
    found = [known[name] for name in names]
    numbers: dict[str, Any] = {
        f"activation_{kind}": [item[place] for item in found if item[0] not in ("Sigmoid", "Tanh", "Relu")]
        for kind, place in (("alpha", 1), ("beta", 2))
    }
    close(run(model, H0, C0), onnx_lstm(activations=[item[0] for item in found], **numbers))


def by_hand(x: Array, limit: float) -> Array:
    """Hidden states from zero states, with cell states within ``limit``; PyTorch computes the gates."""
    cell = torch.nn.LSTMCell(I, H)
    state = torch_module(torch.nn.LSTM(I, H), LSTM, "ifzo").state_dict()
    cell.load_state_dict({name.removesuffix("_l0"): array for name, array in state.items()})
    h = c = torch.zeros(x.shape[1], H)
    sequence = []
    with torch.no_grad():
        for step in torch.from_numpy(x):
            shown, free = cell(step, (h, c))
            c = free.clamp(-limit, limit)
            h = shown / torch.tanh(free) * torch.tanh(c)
            sequence.append(h.numpy())
    return np.stack(sequence)


def test_cell_states_keep_within_their_limit(tmp_path: Path) -> None:
    model = network(tmp_path, lstm(cell_clip_threshold=0.3))
    assert np.abs(by_hand(X, 0.3) - torch_lstm()[0]).max() > 0.01
    np.testing.assert_allclose(run(model)[0], by_hand(X, 0.3), atol=1e-5)


def test_the_default_limit_is_50(tmp_path: Path) -> None:
    """The limit counts for sequences that can reach it; for shorter ones the operation has none."""
    model = network(tmp_path, lstm(cell_clip_threshold=0.0))
    limits = []
    for steps in (50, 51):
        program = import_network(model.network, {"x": (steps, 1, I, 1, 1)}).functions["main"].body
        (layer,) = [operation for operation in program.walk() if operation.type == "lstm"]
        limits.append(layer.inputs["clip"][0].value.item() if "clip" in layer.inputs else None)  # type: ignore[union-attr]
    assert limits == [None, 50.0]
    loud = np.full((80, 1, I), 0, np.float32)
    steep = {name: {**gate, "W": 0 * gate["W"], "R": 0 * gate["R"], "b": np.full(H, 40, np.float32)} for name, gate in LSTM.items()}
    for name, field in (("i", "inputGate"), ("f", "forgetGate"), ("o", "outputGate"), ("z", "blockInput")):
        weights = model.network.message.layers[0].uniDirectionalLSTM.weightParams
        for which, suffix in (("W", "WeightMatrix"), ("R", "RecursionMatrix"), ("b", "BiasVector")):
            target = getattr(weights, field + suffix)
            target.ClearField("floatValue")
            target.floatValue.extend(steep[name][which].flatten())
    save_spec_of(model, tmp_path / "steep.mlmodel")
    result = moka.load(tmp_path / "steep.mlmodel").predict({"x": loud})
    np.testing.assert_allclose(result["y"].reshape(80, H)[-1], np.ones(H), atol=1e-6)


def save_spec_of(model: NetworkModel, path: Path) -> None:
    from moka.formats.mlmodel import read_specification, write_specification

    specification = read_specification(model.path)
    specification.neuralNetwork.CopyFrom(model.network.message)
    write_specification(specification, path)


@pytest.mark.parametrize("whole", [True, False])
def test_bidirectional_lstm(tmp_path: Path, whole: bool) -> None:
    sequence, h, c, h_back, c_back = torch_lstm(states=(H0, C0, H1, C1), both=True)
    model = network(tmp_path, bilstm(output_all=whole), states=4, size=2 * H)
    expected = sequence if whole else np.concatenate([h, h_back], 1)[None]
    close(run(model, H0, C0, H1, C1), [expected, h, c, h_back, c_back])


@pytest.mark.parametrize(
    ("activation", "inner", "names"),
    [("TANH", "SIGMOID", ["Sigmoid", "Tanh"]), ("RELU", "SIGMOID", ["Sigmoid", "Relu"]), ("SIGMOID", "TANH", ["Tanh", "Sigmoid"])],
)
def test_gru(tmp_path: Path, activation: str, inner: str, names: list[str]) -> None:
    model = network(tmp_path, gru(activation=activation, inner_activation=inner), states=1)
    close(run(model, H0), onnx_gru(names))


def test_gru_gives_the_last_step_alone(tmp_path: Path) -> None:
    sequence, h = onnx_gru(["Sigmoid", "Tanh"])
    close(run(network(tmp_path, gru(output_all=False, inner_activation="SIGMOID"), states=1), H0), [sequence[-1:], h])


@pytest.mark.parametrize("activation", ["TANH", "RELU"])
def test_simple_recurrent(tmp_path: Path, activation: str) -> None:
    module = torch_module(torch.nn.RNN(I, H, nonlinearity=activation.lower()), {"h": RNN}, "h")
    with torch.no_grad():
        sequence, h = module(tensor(X), tensor(H0)[None])
    close(run(network(tmp_path, rnn(activation), states=1), H0), [sequence, h[0]])


def test_simple_recurrent_without_bias_in_reverse(tmp_path: Path) -> None:
    module = torch_module(torch.nn.RNN(I, H), {"h": {**RNN, "b": np.zeros(H, np.float32)}}, "h")
    with torch.no_grad():
        sequence, _ = module(tensor(X[::-1]))
    close(run(network(tmp_path, rnn("TANH", bias=False, reverse_input=True))), [sequence])


def test_weights_of_the_wrong_length_are_refused(tmp_path: Path) -> None:
    def add(builder: NeuralNetworkBuilder, inputs: list[str], outputs: list[str]) -> None:
        lstm()(builder, inputs, outputs)
        builder.spec.neuralNetwork.layers[0].uniDirectionalLSTM.weightParams.forgetGateBiasVector.floatValue.append(1.0)

    with pytest.raises(moka.ProgramError, match=r"layer 'layer' .*forgetGateBiasVector: has 5 weights; expected 4"):
        network(tmp_path, add)


def test_activations_with_other_parameters_are_refused(tmp_path: Path) -> None:
    def add(builder: NeuralNetworkBuilder, inputs: list[str], outputs: list[str]) -> None:
        lstm(inner_activation="SIGMOID_HARD")(builder, inputs, outputs)
        builder.spec.neuralNetwork.layers[0].uniDirectionalLSTM.activations[0].sigmoidHard.alpha = 0.7

    with pytest.raises(moka.ProgramError, match=r"layer 'layer' .*sigmoidHard has alpha and beta 0\.7 and 0; .* 0\.2 and 0\.5"):
        network(tmp_path, add)


def test_peepholes_that_are_announced_and_missing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(moka.ProgramError, match="inputGatePeepholeVector: has no weights; expected one form of weights with 4 numbers"):
        network(tmp_path, lstm(), hasPeepholeVectors=True)

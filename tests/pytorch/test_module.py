"""Core ML models as PyTorch modules: the same outputs, gradients, states; exported, compiled, fine-tuned and converted back."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813  as everybody calls it
from examples.networks import text
from torch import Tensor, nn

import moka
from moka.pytorch.module import CoreMLModule, to_module
from tests.builders import convert, traced

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch.export's own


class Convnet(nn.Module):
    """Convolutions with a residual, pooling and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.norm, self.slope, self.head = nn.InstanceNorm2d(8, affine=True), nn.PReLU(8), nn.Linear(8 * 4, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.first(image))
        x = x + self.slope(self.norm(self.second(x)))
        return self.head(nn.functional.max_pool2d(x, 4).flatten(1))


def convnet() -> tuple[nn.Module, dict[str, Tensor]]:
    return Convnet(), {"image": torch.randn(2, 3, 8, 8)}


def transformer() -> tuple[nn.Module, dict[str, Tensor]]:
    """The zoo's DistilBERT, two narrow layers of it."""
    module, (inputs,) = text.distilbert(length=12, dim=32, hidden_dim=48, n_layers=2, n_heads=4, vocab_size=50)
    return module, inputs


@pytest.fixture(scope="module", params=[convnet, transformer], ids=["convnet", "transformer"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, dict[str, Tensor], Path]:
    """A network, its inputs, and what coremltools makes of it in fp32."""
    torch.manual_seed(0)
    module, inputs = request.param()
    with torch.no_grad():
        for parameter in module.parameters():  # no two alike
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    path = tmp_path_factory.mktemp("modules") / "network.mlpackage"
    moka.convert(module.eval(), inputs, path=path, precision="float32")
    return module, inputs, path


def twins(module: nn.Module, other: nn.Module) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """The parameters of two modules that hold the same values."""
    found = []
    for own in module.parameters():
        for theirs in other.parameters():
            if own.shape == theirs.shape and torch.equal(own, theirs):
                found.append((own, theirs))
                break
    return found


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


def test_a_training_step_matches_pytorch(pair: tuple[nn.Module, dict[str, Tensor], Path]) -> None:
    original, inputs, path = pair
    original, module = copy.deepcopy(original), to_module(path, trainable=["*"])
    shared = twins(original, module)
    lone = len(list(original.parameters())) - len(shared)
    assert lone == ("distilbert" in type(original).__name__.lower())  # its position embeddings, which are cut to the length
    for network in (original, module):
        loss = network(**inputs).square().mean()
        loss.backward()
    for expected, found in shared:
        assert expected.grad is not None
        assert found.grad is not None
        # a bias in front of a norm has no gradient but noise
        assert (found.grad - expected.grad).abs().max() <= 1e-4 * expected.grad.abs().max() + 1e-7
    for network in (original, module):
        torch.optim.SGD(network.parameters(), lr=0.1).step()
    assert relative(module(**inputs), original(**inputs)) < 1e-4


def test_gradients_reach_the_inputs(tmp_path: Path) -> None:
    torch.manual_seed(1)
    original, inputs = convnet()
    original.eval()
    module = to_module(moka.convert(original, inputs, path=tmp_path / "m.mlpackage", precision="float32"))
    gradients = []
    for network in (original, module):
        image = inputs["image"].clone().requires_grad_()
        network(image).sum().backward()
        gradients.append(image.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)


def test_exports_compiles_and_copies(pair: tuple[nn.Module, dict[str, Tensor], Path]) -> None:
    _, inputs, path = pair
    module = to_module(path)
    expected = module(**inputs)
    exported = torch.export.export(module, tuple(inputs.values())).run_decompositions({})
    torch.testing.assert_close(exported.module()(*inputs.values()), expected)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(**inputs), expected)
    torch._dynamo.reset()
    torch.testing.assert_close(copy.deepcopy(module)(**inputs), expected)


def test_weights_go_through_a_state_dict(pair: tuple[nn.Module, dict[str, Tensor], Path]) -> None:
    _, inputs, path = pair
    module, other = to_module(path), to_module(path)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)
    changed = module(**inputs)
    assert not torch.allclose(changed, other(**inputs))
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(other(**inputs), changed)


def test_another_floating_point_type(pair: tuple[nn.Module, dict[str, Tensor], Path]) -> None:
    original, inputs, path = pair
    module = to_module(path, dtype=torch.float64)
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float64}
    found = module(**inputs)
    assert found.dtype == torch.float64
    assert relative(found.float(), original(**inputs)) < 1e-4
    assert module.to(torch.bfloat16)(**inputs).dtype == torch.bfloat16


def test_parameters_have_the_names_of_the_program(tmp_path: Path) -> None:
    original, inputs = convnet()
    original.eval()
    module = to_module(moka.convert(original, inputs, path=tmp_path / "m.mlpackage", precision="float32"))
    names = dict(module.named_parameters())
    torch.testing.assert_close(names["p_first_weight"], original.first.weight)
    torch.testing.assert_close(names["p_head_bias"], original.head.bias)
    assert "conv" in module.code


class Positions(nn.Module):
    """A parameter and a buffer that look alike in the program."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(4, 6))
        self.register_buffer("mask", torch.randn(4, 6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.position) + self.mask


def test_what_was_a_parameter_is_one_again(tmp_path: Path) -> None:
    original, x = Positions(), torch.randn(4, 6)
    path = moka.convert(original, (x,), path=tmp_path / "m.mlpackage", precision="float32").path
    module = to_module(path)
    (parameter,) = module.parameters()
    torch.testing.assert_close(parameter, original.position)
    assert any(torch.equal(buffer, original.mask) for buffer in module.buffers() if buffer.shape == (4, 6))
    assert len(list(to_module(path, trainable=["*mask*"]).parameters())) == 2


@pytest.mark.parametrize(
    "name",
    [
        "models/tiny.mlpackage",
        "models/short.mlpackage",
        "models/nmp.mlpackage",
        "models/DTLN_AEC_128_Part1.mlpackage",
        "models/Digits.mlmodel",
        "models/TinyDrawingEmbedding.mlmodel",
        "models/silero-vad-decoder-v6.0.0.mlpackage",
        "pairs/silero-int8/unified_int8.mlpackage",
        "pairs/silero-palette-2bit/unified_palette_2bit.mlpackage",
        "pairs/ssd-ocr/SSDOcr.mlmodel",
    ],
)
def test_real_models_keep_their_predictions(corpus: Path, name: str) -> None:
    model = moka.load(corpus / name, engine="torch")
    random = np.random.default_rng(0)
    data = moka.random_inputs(model.function.inputs)
    data = {key: value if value.dtype == np.uint8 else random.uniform(0.01, 1, value.shape) for key, value in data.items()}
    given = {key: torch.as_tensor(feature.coerce(data[key])) for key, feature in model.function.inputs.items()}
    expected = model.predict(data)
    module = to_module(model, outputs="dict")
    results = module(**given)
    assert set(results) == set(expected)
    for key, value in results.items():
        wanted = np.asarray(expected[key], np.float64).reshape(-1)
        np.testing.assert_allclose(value.detach().double().reshape(-1), wanted, atol=2e-3 * np.abs(wanted).max())
    sum(value.float().square().mean() for value in results.values()).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_compressed_weights_may_stay_compressed(corpus: Path) -> None:
    path = corpus / "pairs/silero-int8/unified_int8.mlpackage"
    full, small = to_module(path), to_module(path, decompress=False)
    inputs = [torch.as_tensor(value) for value in moka.random_inputs(moka.load(path).function.inputs).values()]
    for a, b in zip(full(*inputs), small(*inputs), strict=True):
        assert relative(b, a) < 5e-3
    sizes = [sum(item.numel() * item.element_size() for item in module.state_dict().values()) for module in (full, small)]
    assert sizes[1] < sizes[0] / 3
    assert any(item.dtype == torch.int8 for item in small.state_dict().values())


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(2, dtype=torch.float16))

    def forward(self, step: Tensor) -> Tensor:
        self.total.add_(step)
        return self.total * 2


def test_states_are_buffers(tmp_path: Path) -> None:
    path = convert(
        torch.jit.trace(Counter(), torch.zeros(2)),
        tmp_path / "counter.mlpackage",
        inputs=[ct.TensorType("step", (2,), dtype=np.float16)],
        outputs=[ct.TensorType("sum", dtype=np.float16)],
        states=[ct.StateType(ct.TensorType(shape=(2,), dtype=np.float16), name="total")],
        minimum_deployment_target=ct.target.iOS18,
    )
    module, step = to_module(path), torch.tensor([1.0, 3.0], requires_grad=True)
    assert "total" in module.state_dict()
    torch.testing.assert_close(module(step), torch.tensor([2.0, 6.0]))
    second = module(step)
    torch.testing.assert_close(second, torch.tensor([4.0, 12.0]))
    torch.testing.assert_close(module.total, torch.tensor([2.0, 6.0]))
    second.sum().backward()
    torch.testing.assert_close(step.grad, torch.tensor([2.0, 2.0]))
    module.total.zero_()
    exported = torch.export.export(module, (step.detach(),)).module()
    torch.testing.assert_close(exported(step.detach()), torch.tensor([2.0, 6.0]))
    torch.testing.assert_close(exported(step.detach()), torch.tensor([4.0, 12.0]))


def test_blocks_take_weights_and_values_from_outside(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)

    @mb.program(input_specs=[mb.TensorSpec((2, 3)), mb.TensorSpec((1,))], opset_version=ct.target.iOS16)
    def program(x: Any, flag: Any) -> Any:
        positive = mb.squeeze(x=mb.greater(x=flag, y=0.0))
        chosen = mb.cond(pred=positive, _true_fn=lambda: mb.matmul(x=x, y=weight), _false_fn=lambda: mb.mul(x=x, y=flag))
        _, result = mb.while_loop(
            _cond=lambda i, y: mb.less(x=i, y=3), _body=lambda i, y: (mb.add(x=i, y=1), mb.add(x=y, y=x)), loop_vars=(0, chosen)
        )
        return result

    module = to_module(convert(program, tmp_path / "blocks.mlpackage"))
    x = torch.randn(2, 3)
    torch.testing.assert_close(module(x, torch.ones(1)), x @ torch.as_tensor(weight) + 3 * x)
    torch.testing.assert_close(module(x, -2 * torch.ones(1)), -2 * x + 3 * x)
    assert [tuple(parameter.shape) for parameter in module.parameters()] == [(3, 3)]


def test_a_classifier_gives_an_index_and_probabilities(tmp_path: Path) -> None:
    module = traced(lambda x: torch.softmax(x @ torch.eye(3), 1), torch.zeros(1, 3))
    path = convert(
        module, tmp_path / "m.mlpackage", inputs=[ct.TensorType("x", (1, 3))], classifier_config=ct.ClassifierConfig(list("abc"))
    )
    x = torch.tensor([[0.0, 3.0, 1.0]], requires_grad=True)
    results = to_module(path, outputs="dict")(x)
    assert int(results["classLabel"]) == 1
    torch.testing.assert_close(results["classLabel_probs"], torch.softmax(x, 1)[0])
    results["classLabel_probs"][1].backward()
    assert x.grad is not None


def test_a_network_shares_its_weights_between_shapes(corpus: Path) -> None:
    model = moka.load(corpus / "models/horses_on_seashore_512x512_a025_stable_flexible.mlmodel", engine="torch")
    module = to_module(model)
    before = len(list(module.parameters()))
    image = np.random.default_rng(0).integers(0, 256, (256, 320, 3), np.uint8)
    (feature,) = model.function.inputs.values()
    given = torch.as_tensor(feature.coerce(image))
    found = module(given)[0]
    assert len(list(module.parameters())) == before
    (shown,) = model.predict({feature.name: image}).values()
    wanted = np.asarray(shown.convert("RGB"), np.float32).transpose(2, 0, 1)
    assert np.abs(found.detach().clamp(0, 255).numpy() - wanted).mean() < 1.0  # the image has rounded values


def test_fine_tuned_and_converted_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original, inputs = convnet()
    first = moka.convert(original, inputs, path=tmp_path / "first.mlpackage", precision="float32", outputs=["scores"])
    module = to_module(first)
    target = torch.randn(2, 5)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (module(inputs["image"]) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
    second = moka.convert(module, inputs, path=tmp_path / "second.mlpackage", precision="float32", outputs=["scores"])
    assert list(second.function.inputs) == ["image"]
    with torch.no_grad():
        expected = module(inputs["image"]).numpy()
    np.testing.assert_allclose(second.predict(inputs)["scores"], expected, atol=1e-4)
    assert np.abs(expected - first.predict(inputs)["scores"]).max() > 0.1


@pytest.mark.gpu
def test_moves_to_a_gpu(pair: tuple[nn.Module, dict[str, Tensor], Path]) -> None:
    original, inputs, path = pair
    module = to_module(path).to("cuda")
    found = module(**{name: tensor.cuda() for name, tensor in inputs.items()})
    assert found.is_cuda
    assert relative(found.cpu(), original(**inputs)) < 1e-3
    found.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.is_cuda for parameter in module.parameters())


@pytest.fixture(scope="module")
def doubled(tmp_path_factory: pytest.TempPathFactory) -> CoreMLModule:
    folder = tmp_path_factory.mktemp("doubled")
    return to_module(convert(traced(lambda x: x * 2, torch.zeros(2, 3)), folder / "m.mlpackage", inputs=[ct.TensorType("x", (2, 3))]))


@pytest.mark.parametrize(
    ("args", "inputs", "message"),
    [
        ((), {}, "input 'x' .* is missing"),
        ((), {"y": torch.zeros(2, 3)}, "none of that name; it takes x"),
        ((torch.zeros(2, 3),), {"x": torch.zeros(2, 3)}, "both in order and by name"),
        ((torch.zeros(2, 3), torch.zeros(2, 3)), {}, "2 inputs are given; the model takes x"),
        ((torch.zeros(2, 4),), {}, r"shape \[2, 4\]; expected \[2, 3\]"),
    ],
    ids=["missing", "unknown", "twice", "too many", "shape"],
)
def test_wrong_inputs_are_named(doubled: CoreMLModule, args: tuple[Tensor, ...], inputs: dict[str, Tensor], message: str) -> None:
    with pytest.raises(moka.InputError, match=message):
        doubled(*args, **inputs)


def test_wrong_options_are_named(corpus: Path) -> None:
    path = corpus / "models/tiny.mlpackage"
    with pytest.raises(moka.InputError, match="outputs is 'list'"):
        to_module(path, outputs="list")  # type: ignore[arg-type]
    with pytest.raises(moka.InputError, match=r"dtype is torch\.int32"):
        to_module(path, dtype=torch.int32)
    with pytest.raises(moka.UnsupportedError, match="are no networks"):
        to_module(corpus / "models/UpdatableKNN.mlmodel")

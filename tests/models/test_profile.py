"""Profiles: what is timed, that every operation is accounted for, JSON, and the page."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch

import moka
from moka.models.graph_layout import HEIGHT, WIDTH, layout
from moka.models.profile import OperationProfile, Profile, SegmentProfile, Timing
from tests.builders import convert, traced

ENGINES = ("torch", "onnxruntime", "openvino")


class Network(torch.nn.Module):
    """Two convolutions with a residual connection, GELU, attention, a norm and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 32, 3, padding=1), torch.nn.Conv2d(32, 32, 3, padding=1)
        self.norm, self.head = torch.nn.LayerNorm(32), torch.nn.Linear(32, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x))
        y = torch.nn.functional.gelu(self.second(y)) + y
        y = torch.nn.functional.avg_pool2d(y, 8).flatten(2).transpose(1, 2)
        y = torch.nn.functional.scaled_dot_product_attention(y, y, y)
        return torch.softmax(self.head(self.norm(y).mean(dim=1)), dim=-1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profiles")


@pytest.fixture(scope="module")
def package(folder: Path) -> Path:
    module = torch.jit.trace(Network().eval(), torch.rand(1, 3, 64, 64))
    options: dict[str, Any] = {"compute_precision": ct.precision.FLOAT16, "minimum_deployment_target": ct.target.iOS18}
    return convert(module, folder / "network.mlpackage", inputs=[ct.TensorType("x", (1, 3, 64, 64))], **options)


@pytest.fixture(scope="module")
def network(folder: Path) -> Path:
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 30 * 30, 5))
    module = torch.jit.trace(layers.eval(), torch.rand(1, 3, 32, 32))
    model = ct.convert(module, convert_to="neuralnetwork", inputs=[ct.TensorType("x", (1, 3, 32, 32))], skip_model_load=True)
    model.save(str(folder / "network.mlmodel"))
    return folder / "network.mlmodel"


@pytest.fixture(scope="module", params=ENGINES)
def profiled(package: Path, request: pytest.FixtureRequest) -> Profile:
    return moka.profile(package, engine=request.param, threads=1, runs=12, warmup=2)


def operations_of(path: Path) -> dict[str, str]:
    """Name and type of each operation but constants, as the file's own message states them."""
    specification = ct.models.MLModel(str(path), skip_model_load=True).get_spec()
    (block,) = specification.mlProgram.functions["main"].block_specializations.values()
    named = {item.attributes["name"].immediateValue.tensor.strings.values[0]: item.type for item in block.operations}
    return {name: kind for name, kind in named.items() if kind != "const"}


def test_every_operation_is_timed_fused_or_folded(profiled: Profile, package: Path) -> None:
    assert {item.operation: item.type for item in profiled.operations} == operations_of(package)
    assert {item.how for item in profiled.operations} <= {"timed", "fused", "folded"}
    for item in profiled.operations:
        assert (item.seconds is not None) == (item.how == "timed")
        assert (item.how == "fused") == bool(item.within)
        if item.within:
            assert profiled[item.within].how == "timed"
    costly = [item for item in profiled.operations if item.type in ("conv", "linear", "scaled_dot_product_attention")]
    assert len(costly) == 4
    assert {item.how for item in costly} == {"timed"}


def test_times_of_operations_make_up_the_segment(profiled: Profile) -> None:
    (segment,) = profiled.segments
    assert segment.parts <= segment.timing.p50 * 1.001
    assert 0 < segment.scale <= 1
    assert segment.parts / segment.scale <= segment.profiled * 1.05
    assert segment.parts / segment.scale >= 2 * 64 * 64 * 9 * (3 * 32 + 32 * 32) / 500e9, "no core computes the convolutions faster"
    if segment.engine != "openvino":  # whose own thread is waited for, which takes long on a busy machine
        assert segment.parts / segment.scale >= segment.timing.min * 0.4, "most of a run is spent in operations"
    convolutions = sum(item.seconds or 0.0 for item in profiled.operations if item.type == "conv")
    assert convolutions >= 0.3 * segment.parts, "two convolutions have 97 % of the arithmetic"


def test_the_engine_asked_for_is_the_one_timed(profiled: Profile, package: Path, request: pytest.FixtureRequest) -> None:
    engine = request.node.callspec.params["profiled"]
    assert {(item.engine, item.device) for item in profiled.segments} == {(engine, "cpu")}
    assert profiled.plan is not None
    assert {(place.engine, place.device) for place in profiled.plan.own_placements} == {(engine, "cpu")}
    assert profiled.error == pytest.approx(profiled.plan.segments[0].seconds / profiled.segments[0].timing.p50)


def test_predictions_take_what_clocks_inside_and_outside_say(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = moka.load(package, engine="torch", threads=1)
    data = moka.random_inputs(model.function.inputs)
    predict, inside = model._predict, []

    def timed(*arguments: Any) -> Any:
        start = time.perf_counter()
        result = predict(*arguments)
        inside.append(time.perf_counter() - start)
        return result

    monkeypatch.setattr(model, "_predict", timed)
    start = time.perf_counter()
    made = model.profile(data, runs=15, warmup=3)
    outside = time.perf_counter() - start
    assert len(inside) >= 15
    assert min(inside) <= made.predict.min
    assert made.predict.mean * 15 <= outside
    assert made.predict.runs == 15
    assert made.warmup == 3
    assert made.load == model.load_seconds
    assert made.reload is not None


def test_timing_agrees_with_statistics() -> None:
    seconds = np.random.default_rng(0).exponential(1e-3, 41).tolist()
    timing = Timing.of(seconds)
    percentiles = statistics.quantiles(seconds, n=100, method="inclusive")
    assert (timing.p50, timing.p90, timing.p99) == pytest.approx((statistics.median(seconds), percentiles[89], percentiles[98]))
    assert (timing.mean, timing.min, timing.max) == pytest.approx((statistics.fmean(seconds), min(seconds), max(seconds)))


def test_memory_in_the_order_that_it_is_taken(package: Path) -> None:
    psutil = pytest.importorskip("psutil")
    memory = moka.profile(package, engine="torch", runs=1, warmup=1).memory
    if memory.before is None:
        pytest.skip("this system does not tell a process's memory")
    assert None not in (memory.loaded, memory.predicted, memory.peak)
    assert memory.peak >= max(memory.before, memory.loaded, memory.predicted)  # type: ignore[operator, type-var]
    assert memory.predicted == pytest.approx(psutil.Process().memory_info().rss, rel=0.3)


def test_segments_of_several_engines(package: Path) -> None:
    plan = moka.load(package).plan()
    pins = {
        place.operation: ("torch" if place.type == "scaled_dot_product_attention" else "onnxruntime", "cpu") for place in plan.placements
    }
    made = moka.profile(package, plan=moka.load(package).plan(pins=pins), threads=1, runs=8)
    assert [segment.engine for segment in made.segments] == ["onnxruntime", "torch", "onnxruntime"]
    assert [item.type for item in made.segments[1].operations] == ["scaled_dot_product_attention"]
    assert sorted(item.operation for item in made.operations) == sorted(operations_of(package))
    assert 0 < sum(segment.timing.min for segment in made.segments) < made.predict.max
    assert made.outside is not None
    assert made.outside < made.predict.p50


def test_control_flow_counts_once(folder: Path) -> None:
    """The body of a loop runs three times inside the loop's own time, and has no entry of its own."""

    @ct.converters.mil.Builder.program(input_specs=[ct.converters.mil.Builder.TensorSpec(shape=(64, 64))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        mb = ct.converters.mil.Builder
        body = lambda i, y: (mb.add(x=i, y=1), mb.tanh(x=mb.matmul(x=y, y=y)))  # noqa: E731
        return mb.while_loop(_cond=lambda i, y: mb.less(x=i, y=3), _body=body, loop_vars=(0, x))[1]

    path = convert(program, folder / "loop.mlpackage")
    for engine in ENGINES:
        made = moka.profile(path, engine=engine, threads=1, runs=8)
        assert [item.type for item in made.operations if item.type == "while_loop"] == ["while_loop"]
        assert not {"matmul", "tanh"} & {item.type for item in made.operations}
        (segment,) = made.segments
        assert segment.parts / segment.scale <= segment.profiled * 1.1


def test_states(folder: Path) -> None:
    class Counter(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(4, dtype=torch.float16))

        def forward(self, step: torch.Tensor) -> torch.Tensor:
            self.total.add_(step)
            return self.total * 2

    module = torch.jit.trace(Counter().eval(), torch.zeros(4))
    path = convert(
        module,
        folder / "counter.mlpackage",
        inputs=[ct.TensorType("step", (4,), dtype=np.float16)],
        outputs=[ct.TensorType("doubled", dtype=np.float16)],
        states=[ct.StateType(ct.TensorType(shape=(4,), dtype=np.float16), name="total")],
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT16,
    )
    for engine in ENGINES:
        made = moka.profile(path, engine=engine, runs=3)
        assert {item.operation for item in made.operations} == set(operations_of(path))


def test_shapes_of_the_inputs_are_those_profiled(folder: Path) -> None:
    weight = torch.rand(8, 4)
    shape = ct.Shape((ct.RangeDim(1, 64, default=2), 8))
    path = convert(
        traced(lambda x: torch.softmax(x @ weight, -1), torch.rand(3, 8)), folder / "open.mlpackage", inputs=[ct.TensorType("x", shape)]
    )
    made = moka.profile(path, {"x": np.ones((50, 8), np.float32)}, runs=3)
    assert made.plan is not None
    assert made.plan.totals()["flops"] > 50 * 8 * 4


def test_networks_know_their_layers(network: Path) -> None:
    made = moka.profile(network, runs=3)
    specification = ct.models.MLModel(str(network), skip_model_load=True).get_spec()
    layers = {layer.name for layer in specification.neuralNetwork.layers}
    assert made.kind == "neuralNetwork"
    assert {name for item in made.operations for name in layers if name in item.layer} == layers


def test_stages_of_a_pipeline(package: Path, network: Path, folder: Path) -> None:
    first = ct.models.MLModel(str(network), skip_model_load=True)
    output = first.get_spec().description.output[0].name
    second_module = torch.jit.trace(torch.nn.Linear(5, 2).eval(), torch.rand(1, 5))
    inputs = [ct.TensorType(output, (1, 5))]
    second = ct.convert(second_module, convert_to="neuralnetwork", inputs=inputs, skip_model_load=True)
    pipeline = ct.utils.make_pipeline(first, second)
    pipeline.save(str(folder / "pipeline.mlmodel"))
    made = moka.profile(folder / "pipeline.mlmodel", runs=3)
    assert made.segments == ()
    assert [stage.kind for stage in made.stages.values()] == ["neuralNetwork", "neuralNetwork"]
    assert all(stage.operations for stage in made.stages.values())
    assert Profile.from_json(made.to_json()) == made
    assert [name for name, _ in made.walk()] == ["", *made.stages]


def test_other_kinds_run_as_a_whole(folder: Path) -> None:
    sklearn = pytest.importorskip("sklearn.linear_model")
    fitted = sklearn.LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])
    ct.converters.sklearn.convert(fitted, ["a"], "b").save(str(folder / "linear.mlmodel"))
    made = moka.profile(folder / "linear.mlmodel", {"a": 2.0}, runs=4)
    assert (made.segments, made.plan, made.outside, made.error) == ((), None, None, None)
    assert made.predict.p50 > 0
    assert "a prediction" in str(made)
    assert "<h1>linear.mlmodel</h1>" in made.to_html()


def test_json_and_files(profiled: Profile, tmp_path: Path) -> None:
    assert Profile.from_json(profiled.to_json()) == profiled
    profiled.save(tmp_path / "profile.json")
    assert json.loads((tmp_path / "profile.json").read_text())["format"] == "moka profile"
    profiled.save(tmp_path / "profile.html")
    assert (tmp_path / "profile.html").read_text(encoding="utf-8") == profiled.to_html()
    with pytest.raises(moka.InputError, match="can't be written"):
        profiled.save(tmp_path / "absent" / "profile.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is no profile"),
        ('{"format": "moka profile", "version": 99}', "has version 99"),
        ('{"format": "moka profile", "version": 1}', "lacks the field"),
        ("[" * 100_000, "nested too deeply|is not JSON"),
    ],
)
def test_files_that_are_no_profiles(text: str, message: str) -> None:
    with pytest.raises(moka.FormatError, match=message):
        Profile.from_json(text)


def test_numbers_that_make_no_sense(package: Path) -> None:
    with pytest.raises(moka.InputError, match="runs is 0"):
        moka.profile(package, runs=0)
    with pytest.raises(moka.InputError, match="engine: options are for paths"):
        moka.profile(moka.load(package), engine="torch")


class Page(html.parser.HTMLParser):
    """Collects elements and texts, and checks that elements are closed in the order that they were opened."""

    VOID = ("meta", "input", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))


def parsed(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def test_the_page_holds_everything_and_loads_nothing(profiled: Profile) -> None:
    text = profiled.to_html()
    page = parsed(text)
    for kind in ("svg", "table", "style", "script"):
        assert any(tag == kind for tag, _ in page.elements)
    cells = {data for tag, data in page.texts if tag == "td"}
    assert {item.operation for item in profiled.operations} <= cells
    nodes = [attributes for tag, attributes in page.elements if tag == "g"]
    assert len(nodes) == sum(item.how != "folded" for item in profiled.operations)
    bars = [attributes for tag, attributes in page.elements if tag == "div" and "data-op" in attributes]
    assert len(bars) >= sum(bool(item.seconds) for item in profiled.operations)
    (data,) = (data for tag, data in page.texts if tag == "script" and data.startswith("{"))
    assert Profile.from_json(data) == profiled
    assert not {"src", "href", "srcset", "action", "onclick", "onload"} & {name for _, attributes in page.elements for name in attributes}
    assert set(re.findall(r"\w+://[\w./]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "@import" not in text
    assert "url(" not in text


def hostile(name: str) -> Profile:
    timing = Timing.of([1e-3, 2e-3])
    operation = OperationProfile(name, name, name, (name,), "timed", 1e-3, None)
    user = OperationProfile("user", name, name, (name, "absent"), "fused", None, 1e-6, name)
    segment = SegmentProfile(name, name, (operation, user), timing, None, 1e-3, 1.0, {name: 1e-5})
    fixture = {"warmup": 1, "load": None, "reload": None, "first": 1e-3, "predict": timing, "memory": moka.models.profile.Memory()}
    return Profile(
        name, name, name, name, name, **fixture, segments=(segment,), stages={name: Profile(name, name, name, name, name, **fixture)}
    )


@pytest.mark.parametrize(
    "name",
    [
        "</script><script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "<!--",
        "]]>",
        "&lt;b&gt;",
        "' onclick='x",
        "${body} $$ %s {0}",
        "\u2028é",
    ],
)
def test_names_in_a_model_are_data(name: str) -> None:
    made = hostile(name)
    text = made.to_html()
    page = parsed(text)
    harmless = parsed(hostile("name").to_html())
    assert [(tag, list(attributes)) for tag, attributes in page.elements] == [
        (tag, list(attributes)) for tag, attributes in harmless.elements
    ]
    assert ("td", name) in page.texts
    (data,) = (data for tag, data in page.texts if tag == "script" and data.startswith("{"))
    assert Profile.from_json(data) == made


def test_graphs_are_drawn_downwards_without_overlap() -> None:
    takes = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c", "elsewhere"), "e": ("d", "a"), **{f"f{i}": ("e",) for i in range(9)}}
    takes |= {"last": tuple(f"f{i}" for i in range(9))}
    drawing = layout(takes)
    for name, sources in takes.items():
        for source in sources:
            if source in takes:
                assert drawing.nodes[source][1] + HEIGHT < drawing.nodes[name][1]
                points = drawing.edges[source, name]
                assert [y for _, y in points] == sorted(y for _, y in points)
    boxes = list(drawing.nodes.values())
    for index, (x, y) in enumerate(boxes):
        assert x >= 0
        assert x + WIDTH <= drawing.width
        assert y + HEIGHT <= drawing.height
        assert all(abs(x - u) >= WIDTH or abs(y - v) >= HEIGHT for u, v in boxes[:index])


def test_the_page_works_in_a_browser(profiled: Profile, tmp_path: Path) -> None:
    """The script finds its elements: a click on a bar marks the same operation in the graph and the table."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    click = "document.querySelector('.bar[data-op]').click(); document.title = document.querySelectorAll('.selected').length;"
    (tmp_path / "page.html").write_text(profiled.to_html().replace("</body>", f"<script>{click}</script></body>"), encoding="utf-8")
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'user'}", "--dump-dom"]
    try:
        done = subprocess.run([browser, *arguments, (tmp_path / "page.html").as_uri()], capture_output=True, text=True, timeout=90)
    except subprocess.TimeoutExpired:
        pytest.skip("Chromium does not start on this machine")
    if not done.stdout:
        pytest.skip("Chromium does not start on this machine")
    title = re.search("<title>(.*?)</title>", done.stdout)
    assert title is not None
    assert int(title[1]) >= 3, "bar, node and row"

"""``moka.compile_model``: compiled once, and never the result of what the source was before. The store itself is in ``tests/cache``."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch

import moka
from moka.cache import Cache
from moka.compiler import cache as compiler_cache
from tests.builders import convert, traced

WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")
MATRIX = torch.arange(48.0 * 40).reshape(48, 40) / 1000


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A program with weights, a linear model, and a network."""
    folder = tmp_path_factory.mktemp("sources")
    module = traced(lambda x: torch.nn.functional.linear(x, MATRIX), torch.zeros(2, 40))
    program = convert(module, folder / "Program.mlpackage", inputs=[ct.TensorType("x", (2, 40))], outputs=[ct.TensorType("y")])
    return {"program": program, "linear": linear(folder / "Linear.mlmodel", 2.0), "network": network(folder / "Network.mlmodel")}


def linear(path: Path, weight: float) -> Path:
    """y = weight * x + 1."""
    specification = ct.proto.Model_pb2.Model(specificationVersion=1)
    for feature, name in ((specification.description.input.add(), "x"), (specification.description.output.add(), "y")):
        feature.name = name
        feature.type.doubleType.SetInParent()
    specification.description.predictedFeatureName = "y"
    specification.glmRegressor.weights.add().value.append(weight)
    specification.glmRegressor.offset.append(1.0)
    path.write_bytes(specification.SerializeToString())
    return path


def network(path: Path) -> Path:
    features = [("x", ct.models.datatypes.Array(3, 4, 4))]
    builder = ct.models.neural_network.NeuralNetworkBuilder(features, [("y", None)])
    builder.add_activation("relu", "RELU", "x", "y")
    ct.models.utils.save_spec(builder.spec, str(path))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def program(sources: dict[str, Path], tmp_path: Path) -> Path:
    """The program, for a test to edit."""
    return Path(shutil.copytree(sources["program"], tmp_path / "Program.mlpackage"))


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["program", "linear", "network"])
def test_the_cache_gives_what_the_compiler_makes(kind: str, sources: dict[str, Path], cache: Cache, tmp_path: Path) -> None:
    source = sources[kind]
    found = moka.compile_model(source, cache=cache)
    assert found.name == f"{source.stem}.mlmodelc"
    assert tree(found) == tree(moka.compile(source, tmp_path))
    assert moka.compile_model(source, cache=cache) == found
    assert cache.verify() == []
    (entry,) = cache.entries()
    assert (entry.product, entry.name) == ("mlmodelc", source.name)


def test_it_runs_as_pytorch_does(sources: dict[str, Path], cache: Cache) -> None:
    x = np.random.default_rng(0).standard_normal((2, 40)).astype(np.float32)
    y = moka.load(moka.compile_model(sources["program"], cache=cache)).predict({"x": x})["y"]
    np.testing.assert_allclose(y, x @ MATRIX.numpy().T, rtol=1e-5, atol=1e-5)
    linear_model = moka.load(moka.compile_model(sources["linear"], cache=cache))
    assert linear_model.predict({"x": 3.0})["y"] == 7.0


def test_the_same_content_is_compiled_once_wherever_it_is(program: Path, sources: dict[str, Path], cache: Cache, tmp_path: Path) -> None:
    found = moka.compile_model(sources["program"], cache=cache)
    assert moka.compile_model(program, cache=cache) == found
    assert moka.compile_model(os.path.relpath(program), cache=cache) == found
    other = moka.compile_model(program, name="Other", cache=cache)
    assert other.name == "Other.mlmodelc"
    assert tree(other) == tree(found)
    assert len(cache.entries()) == 2


def set_weight(path: Path, value: float) -> None:
    """The last weight, in place: size and everything else stay."""
    with path.open("r+b") as file:
        file.seek(64 + 64 + 4 * (48 * 40 - 1))
        file.write(np.float32(value).tobytes())


def last_output(compiled: Path) -> float:
    x = np.zeros((2, 40), np.float32)
    x[:, -1] = 1
    return float(moka.load(compiled).predict({"x": x})["y"][0, -1])


@pytest.mark.parametrize("keep_time", [False, True])
def test_an_edited_source_is_another_model(keep_time: bool, program: Path, cache: Cache) -> None:
    weights = program / WEIGHTS
    before = weights.stat()
    for value in (1.5, -2.5, 1.5):
        set_weight(weights, value)
        if keep_time:
            os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert last_output(moka.compile_model(program, cache=cache)) == value
    assert len(cache.entries()) == 2


def test_weights_beside_a_file_are_part_of_it(sources: dict[str, Path], cache: Cache, tmp_path: Path) -> None:
    shutil.copyfile(sources["program"] / "Data/com.apple.CoreML/model.mlmodel", tmp_path / "Bare.mlmodel")
    shutil.copytree(sources["program"] / WEIGHTS.parent, tmp_path / "weights")
    for value in (1.5, -2.5):
        set_weight(tmp_path / "weights" / "weight.bin", value)
        assert last_output(moka.compile_model(tmp_path / "Bare.mlmodel", cache=cache)) == value
    assert cache.verify() == []
    (tmp_path / "weights" / "weight.bin").unlink()
    with pytest.raises(moka.FormatError, match="does not exist"):
        moka.compile_model(tmp_path / "Bare.mlmodel", cache=cache)


def editing(monkeypatch: pytest.MonkeyPatch, edits: list[Callable[[], object]]) -> None:
    """Lets one edit after the other come while the compiler is at work."""
    real = moka.compile

    def compile_and_edit(*arguments: Any, **options: Any) -> Path:
        if edits:
            edits.pop(0)()
        return real(*arguments, **options)

    monkeypatch.setattr("moka.compiler.compile.compile", compile_and_edit)


def test_a_source_that_is_edited_while_it_is_compiled(program: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    set_weight(program / WEIGHTS, 1.5)
    editing(monkeypatch, [lambda: set_weight(program / WEIGHTS, 4.5)])
    assert last_output(moka.compile_model(program, cache=cache)) == 4.5
    set_weight(program / WEIGHTS, 1.5)
    assert last_output(moka.compile_model(program, cache=cache)) == 1.5
    assert len(cache.entries()) == 2


def test_a_source_that_never_rests(program: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    editing(monkeypatch, [lambda value=value: set_weight(program / WEIGHTS, value) for value in range(10)])  # type: ignore[misc]
    with pytest.raises(moka.FormatError, match="keeps changing"):
        moka.compile_model(program, cache=cache)
    assert cache.entries() == []


def test_another_compiler_compiles_again(program: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    first = moka.compile_model(program, cache=cache)
    version = compiler_cache._compiler_version()
    assert version.startswith(moka.__version__)
    monkeypatch.setattr(compiler_cache, "_compiler_version", lambda: version + "x")
    second = moka.compile_model(program, cache=cache)
    assert second != first
    assert moka.compile_model(program, cache=cache) == second
    assert first.exists()


def test_a_warm_cache_reads_no_weights(program: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = program / WEIGHTS
    with weights.open("ab") as file:
        file.write(bytes(2**20))
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 3600 * 10**9)  # so that the file is not one that was just written
    found = moka.compile_model(program, cache=cache)
    opened = []
    real_open = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *arguments, **options: opened.append(self) or real_open(self, *arguments, **options))
    assert moka.compile_model(program, cache=cache) == found
    assert program / "Manifest.json" in opened
    assert not [path for path in opened if path.name == "weight.bin"]


def test_what_can_not_be_compiled(sources: dict[str, Path], cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "broken.mlmodel").write_bytes(b"\xff\xff\xff")
    compiled = moka.compile(sources["linear"], tmp_path)
    for source, error, problem in (
        (tmp_path / "none.mlmodel", moka.FormatError, "no such file"),
        (tmp_path / "broken.mlmodel", moka.FormatError, "broken.mlmodel"),
        (tmp_path, moka.FormatError, "is a folder without"),
        (compiled, moka.InputError, "is compiled already"),
    ):
        with pytest.raises(error, match=problem):
            moka.compile_model(source, cache=cache)
    for name in ("", "a/b", ".."):
        with pytest.raises(moka.InputError, match="name"):
            moka.compile_model(sources["linear"], name=name, cache=cache)
    assert cache.entries() == []


def test_guesses_are_marked_and_can_be_refused(cache: Cache, tmp_path: Path) -> None:
    """A kind of model that no real compiled one has shown."""
    specification = ct.proto.Model_pb2.Model(specificationVersion=1)
    specification.identity.SetInParent()
    for feature, name in ((specification.description.input.add(), "x"), (specification.description.output.add(), "x")):
        feature.name = name
        feature.type.doubleType.SetInParent()
    (tmp_path / "Identity.mlmodel").write_bytes(specification.SerializeToString())
    with pytest.raises(moka.UnsupportedError, match="unverified"):
        moka.compile_model(tmp_path / "Identity.mlmodel", unverified=False, cache=cache)
    found = moka.compile_model(tmp_path / "Identity.mlmodel", cache=cache)
    assert json.loads((found / "metadata.json").read_text())[0]["mokaUnverified"]
    with pytest.raises(moka.UnsupportedError, match="unverified"):
        moka.compile_model(tmp_path / "Identity.mlmodel", unverified=False, cache=cache)


def test_damage_is_mended(program: Path, cache: Cache) -> None:
    found = moka.compile_model(program, cache=cache)
    whole = tree(found)
    for damage in (
        lambda: os.truncate(found / "weights" / "weight.bin", 100),
        lambda: (found / "model.mil").unlink(),
        lambda: (found / "metadata.json").write_text("[]"),
        lambda: shutil.rmtree(found),
    ):
        damage()
        assert moka.compile_model(program, cache=cache) == found
        assert tree(found) == whole


def test_threads(sources: dict[str, Path], cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    real = moka.compile

    def slow(model: Path, *arguments: Any, **options: Any) -> Path:
        compiled.append(model.name)
        time.sleep(0.05)
        return real(model, *arguments, **options)

    monkeypatch.setattr("moka.compiler.compile.compile", slow)
    results: list[Path] = []
    threads = [
        threading.Thread(target=lambda source=source: results.append(moka.compile_model(source, cache=cache)))  # type: ignore[misc]
        for source in [*sources.values()] * 6
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(compiled) == ["Linear.mlmodel", "Network.mlmodel", "Program.mlpackage"]
    assert (len(results), len(set(results))) == (18, 3)
    assert cache.verify() == []


def large(program: Path, path: Path, value: float) -> Path:
    """A program with 20 MB of weights, so that copying them takes time enough to be killed in."""
    shutil.copytree(program, path)
    set_weight(path / WEIGHTS, value)
    with (path / WEIGHTS).open("ab") as file:
        file.write(bytes(20_000_000))
    return path


WORKER = """
import sys, moka
for path in sys.argv[1:]:
    print(path, moka.compile_model(path), flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
def test_twenty_processes_some_of_them_killed_half_way(sources: dict[str, Path], tmp_path: Path) -> None:
    """The same and different models into one cache: no broken entry, no lost entry, one result each."""
    models = [linear(tmp_path / f"Linear{number}.mlmodel", float(number)) for number in range(4)]
    models += [large(sources["program"], tmp_path / f"Large{number}.mlpackage", number) for number in range(4)]
    choice = random.Random(0)
    environment = {**os.environ, "MOKA_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    logs = [tmp_path / f"{number}.log" for number in range(20)]
    processes = []
    for log in logs:
        command = [sys.executable, "-c", WORKER, *map(str, choice.sample(models, len(models)))]
        with log.open("w") as output:
            processes.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment))
    victims = kill_half_way(processes, logs, choice)
    deadline = time.monotonic() + 200
    statuses = [process.wait(max(0.1, deadline - time.monotonic())) for process in processes]
    assert all(status == 0 for process, status in zip(processes, statuses, strict=True) if process not in victims)
    assert statuses.count(-signal.SIGKILL) > 0
    results = {
        line for log, process in zip(logs, processes, strict=True) if process.returncode == 0 for line in log.read_text().splitlines()
    }
    assert len(results) == len(models)
    cache = Cache(tmp_path / "cache")
    assert cache.verify() == []
    assert len(cache.entries()) == len(models)
    for line in results:
        source, compiled = map(Path, line.split(" "))
        assert tree(compiled) == tree(moka.compile(source, tmp_path / "again"))
    cache.evict()
    assert list((cache.folder / "temporary").iterdir()) == []


def kill_half_way(processes: list[subprocess.Popen[bytes]], logs: list[Path], choice: random.Random) -> list[subprocess.Popen[bytes]]:
    """Kills eight processes at moments from when the first model is being made until the first of them are done."""
    deadline = time.monotonic() + 100
    while not any(log.stat().st_size for log in logs):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    victims = choice.sample(processes, 8)
    for victim in victims:
        victim.send_signal(signal.SIGKILL)
        time.sleep(choice.uniform(0, 0.1))
    return victims

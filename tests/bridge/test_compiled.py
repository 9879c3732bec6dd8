"""Compiled models through the bridge: Apple's format, compiled once, and a way out for what can't be compiled."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import moka
from moka.bridge import compiled

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of coremltools, and of torch.jit.trace, which it needs
    pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning"),  # coremltools' temporary folders
]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOKA_CACHE", str(tmp_path / "cache"))
    return moka.cache.Cache()


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def relu_network(ct, path):
    features = [("x", ct.models.datatypes.Array(3, 4, 4))]
    builder = ct.models.neural_network.NeuralNetworkBuilder(features, [("y", None)])
    builder.add_activation("relu", "RELU", "x", "y")
    ct.models.utils.save_spec(builder.spec, str(path))
    return path


def test_a_package_becomes_what_the_compiler_makes_of_it(ct, network, cache, tmp_path):
    found = ct.models.utils.compile_model(network.model.package_path, str(tmp_path / "Network.mlmodelc"))
    assert tree(found) == tree(moka.compile(network.model.package_path, tmp_path / "again"))
    model = ct.models.CompiledMLModel(found)
    np.testing.assert_allclose(model.predict({"x": network.x})["y"], network.y, rtol=1e-5, atol=1e-6)


def test_it_is_compiled_once_whatever_its_temporary_name(ct, network, cache, tmp_path, monkeypatch):
    first = ct.models.utils.compile_model(network.model.package_path)
    monkeypatch.setattr("moka.compiler.compile.compile", None)
    shutil.copytree(network.model.package_path, tmp_path / "tmpabcd_123.mlpackage")
    second = ct.models.utils.compile_model(str(tmp_path / "tmpabcd_123.mlpackage"))
    assert first != second
    assert tree(first) == tree(second)
    assert len(cache.entries("mlmodelc")) == 1
    shutil.rmtree(first)  # as coremltools' users do: what the cache keeps is not what they are given
    assert cache.verify() == []
    shutil.rmtree(second)


def test_a_network_runs_from_its_compiled_form(ct, cache, tmp_path):
    path = relu_network(ct, tmp_path / "Network.mlmodel")
    x = np.random.default_rng(0).standard_normal((3, 4, 4)).astype(np.float32)
    found = ct.models.utils.compile_model(str(path), str(tmp_path / "Network.mlmodelc"))
    assert "model.espresso.net" in tree(found)
    y = ct.models.CompiledMLModel(found).predict({"x": x})["y"]
    np.testing.assert_array_equal(y.reshape(x.shape), np.maximum(x, 0))


@pytest.mark.parametrize("kind", ["package", "file"])
def test_what_can_not_be_compiled_runs_from_its_source(kind, ct, network, cache, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise moka.UnsupportedError("no compiled form is known")

    monkeypatch.setattr("moka.compiler.compile.compile", refuse)
    x = network.x if kind == "package" else np.ones((3, 4, 4), np.float32)
    source = network.model.package_path if kind == "package" else str(relu_network(ct, tmp_path / "Network.mlmodel"))
    found = ct.models.utils.compile_model(source, str(tmp_path / "Kept.mlmodelc"))
    expected = network.y if kind == "package" else x
    y = ct.models.CompiledMLModel(found).predict({"x": x})["y"]
    np.testing.assert_allclose(y.reshape(expected.shape), expected, rtol=1e-5, atol=1e-6)
    assert cache.entries() == []


def test_what_is_broken_is_not_kept(ct, cache, tmp_path, monkeypatch):
    (tmp_path / "broken.mlmodel").write_bytes(b"\x08\xff")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with pytest.raises(moka.FormatError, match="broken"):
        compiled.compile_source(tmp_path / "broken.mlmodel")
    assert list((tmp_path / "temporary").iterdir()) == []

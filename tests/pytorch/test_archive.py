"""Archives: what was saved is what is loaded, without the model's code, and a damaged or hostile file is refused."""

from __future__ import annotations

import gc
import json
import re
import shutil
import subprocess
import sys
import weakref
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.export import Dim

import moka
from moka.pytorch import DelegateConfig, delegate
from tests.pytorch.programs import Counting, Middle, assert_same, exported


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program in three parts with flexible sizes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("archive") / "middle.moka"
    program = exported(Middle(), torch.rand(2, 3, 8, 8), dynamic_shapes=({0: Dim("batch", min=1, max=16)},))
    moka.pytorch.save(delegate(program), path)
    return path


def changed(archive: Path, target: Path, change: Callable[[str, bytes], bytes | None], extra: dict[str, bytes] | None = None) -> Path:
    """A copy of an archive with members changed, left out, or added, whose metadata fits to what it then holds."""
    with zipfile.ZipFile(archive) as source:
        members = {name: source.read(name) for name in source.namelist()}
    metadata = json.loads(members.pop("metadata.json"))
    made = {name: new for name, data in members.items() if (new := change(name, data)) is not None} | (extra or {})
    metadata["files"] = {name: {"size": len(data), "crc32": zlib.crc32(data)} for name, data in made.items()}
    with zipfile.ZipFile(target, "w") as copy:
        copy.writestr("metadata.json", change("metadata.json", json.dumps(metadata).encode()) or b"")
        for name, data in made.items():
            copy.writestr(name, data)
    return target


def program_changed(data: bytes, change: Callable[[str, bytes], bytes], folder: Path) -> bytes:
    """A ``.pt2`` with members changed."""
    (folder / "in.pt2").write_bytes(data)
    with zipfile.ZipFile(folder / "in.pt2") as source, zipfile.ZipFile(folder / "out.pt2", "w") as copy:
        for name in source.namelist():
            copy.writestr(name, change(name, source.read(name)))
    return (folder / "out.pt2").read_bytes()


@pytest.mark.parametrize("compiled", [False, True])
def test_loaded_programs_give_the_same(compiled: bool, archive: Path, tmp_path: Path) -> None:
    model = moka.pytorch.load(archive)
    if compiled:
        moka.pytorch.save(model, tmp_path / "compiled.moka", compiled=True)
        with zipfile.ZipFile(tmp_path / "compiled.moka") as members:
            assert any("model.mlmodelc/" in name for name in members.namelist())
        model = moka.pytorch.load(tmp_path / "compiled.moka")
    torch.manual_seed(0)
    original = Middle().eval()
    for batch in (1, 2, 9):
        x = torch.rand(batch, 3, 8, 8)
        assert_same(model(x), original(x))
    assert model.report().partitions == 2


def test_another_process_needs_neither_the_code_nor_coremltools(archive: Path) -> None:
    code = (
        "import sys, torch, moka; m = moka.pytorch.load(sys.argv[1]); y = m(torch.zeros(2, 3, 8, 8));"
        "print(tuple(y.shape), 'coremltools' in sys.modules, 'tests' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(archive)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "(2, 5) False False"


@pytest.mark.parametrize("states", [False, True])
def test_buffers_are_saved_as_they_are(states: bool, tmp_path: Path) -> None:
    model, x = Counting(), torch.ones(3, 4)
    with torch.no_grad():
        model.scale.weight.copy_(torch.eye(4))
        model.scale.bias.zero_()
    module = delegate(exported(model, x), DelegateConfig(states=states))
    assert_same(module(x), model(x))
    moka.pytorch.save(module, tmp_path / "counting.moka")
    loaded = moka.pytorch.load(tmp_path / "counting.moka")
    assert_same(loaded(x), model(x))
    assert_same(loaded.state_dict()["total"], model.total)


def test_numbers_and_structures_are_saved(tmp_path: Path) -> None:
    def shares(pair: tuple[torch.Tensor, torch.Tensor], count: int) -> dict[str, Any]:
        return {"sum": pair[0] + pair[1] * count, "parts": list(pair[0].split(2)), "count": count}

    args = ((torch.rand(4, 2), torch.rand(4, 2)), 3)
    moka.pytorch.save(delegate(exported(shares, *args)), tmp_path / "shares.moka")
    assert_same(moka.pytorch.load(tmp_path / "shares.moka", engine="torch")(*args), shares(*args))


def test_truncated_archives_are_refused(archive: Path, tmp_path: Path) -> None:
    data = archive.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.99):
        (tmp_path / "cut.moka").write_bytes(data[: int(share * len(data))])
        with pytest.raises(moka.FormatError, match=r"truncated.*copy or save it again"):
            moka.pytorch.load(tmp_path / "cut.moka")
    with pytest.raises(moka.FormatError, match="no such file"):
        moka.pytorch.load(tmp_path / "missing.moka")


def flipped(archive: Path, target: Path, member: str) -> Path:
    """A copy of an archive with one bit of a member changed: in its middle, which in weights is data."""
    with zipfile.ZipFile(archive) as source:
        content = source.read(member)
    data = bytearray(archive.read_bytes())
    data[data.index(content) + len(content) // 2] ^= 1
    target.write_bytes(data)
    return target


def members(archive: Path, *, weights: bool) -> list[str]:
    with zipfile.ZipFile(archive) as source:
        return [name for name in source.namelist() if ("/weights/" in name) is weights]


def test_a_changed_byte_is_noticed(archive: Path, tmp_path: Path) -> None:
    names = members(archive, weights=False)
    assert {"metadata.json", "program.pt2", "report.json", "segments/segment_0/ports.json"} < set(names)
    for name in names:
        with pytest.raises(moka.FormatError, match=r"damaged.*copy or save it again"):
            moka.pytorch.load(flipped(archive, tmp_path / "flipped.moka", name))


def test_changed_weights_are_noticed_when_they_are_verified_or_unpacked(archive: Path, tmp_path: Path) -> None:
    names = members(archive, weights=True)
    assert names
    moka.pytorch.load(archive, verify=True)
    for name in names:
        path = flipped(archive, tmp_path / "flipped.moka", name)
        with pytest.raises(moka.FormatError, match=f"damaged.*checksum of {re.escape(name)} is another.*copy or save it again"):
            moka.pytorch.load(path, verify=True)
        module = moka.pytorch.load(path)
        with pytest.raises(moka.FormatError, match=f"checksum of {re.escape(name)} is another"):
            moka.pytorch.save(module, tmp_path / "again.moka")
    assert not (tmp_path / "again.moka").exists()


@pytest.mark.parametrize("compiled", [False, True])
def test_weights_are_used_where_they_lie(compiled: bool, archive: Path, tmp_path: Path) -> None:
    if compiled:
        moka.pytorch.save(moka.pytorch.load(archive), tmp_path / "compiled.moka", compiled=True)
        archive = tmp_path / "compiled.moka"
    names = members(archive, weights=True)
    module = moka.pytorch.load(archive, engine="torch")
    found = {}
    for segment in module.segments.values():
        assert segment.model.path.is_dir()
        assert not list(segment.model.path.rglob("weights/*"))
        found |= {str(section): section for section in segment.model.sections.values()}
    assert sorted(found) == [f"{archive}: {name}" for name in sorted(names)]
    assert all(section.offset % 64 == 0 for section in found.values())
    with zipfile.ZipFile(archive) as source:
        for name, segment in module.segments.items():
            place = f"segments/{name}/{segment.model.path.name}"
            files = {f"{place}/{file.relative_to(segment.package()).as_posix()}": file for file in segment.package().rglob("weights/*")}
            assert {name: file.read_bytes() for name, file in files.items()} == {
                name: source.read(name) for name in names if name.startswith(place)
            }


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML runs the model there")
def test_core_ml_gets_files(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would load the model is stopped, after a look at the folder that it was to get."""
    found: list[Path] = []

    def refuse(package: Path, config: DelegateConfig, sections: object) -> None:
        assert not sections
        found.extend(package.rglob("weights/*"))
        raise moka.UnsupportedError(f"{package}: stopped")

    monkeypatch.setattr("moka.pytorch.segments._model", refuse)
    with pytest.raises(moka.UnsupportedError, match="stopped"):
        moka.pytorch.load(archive, engine="coreml")
    assert {file.name for file in found} == {"weight.bin"}
    assert not any(file.exists() for file in found)


def test_a_model_whose_weights_lie_in_an_archive_is_loaded_again(archive: Path) -> None:
    module = moka.pytorch.load(archive, engine="torch")
    model = next(iter(module.segments.values())).model
    assert model.profile(runs=1, warmup=1).reload is not None
    assert not list(model.path.rglob("weights/*"))


def test_archives_may_be_replaced_while_they_are_loaded(archive: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    original, x, path = Middle().eval(), torch.rand(2, 3, 8, 8), tmp_path / "middle.moka"
    shutil.copyfile(archive, path)
    module = moka.pytorch.load(path)
    moka.pytorch.save(module, path)
    path.unlink()
    assert_same(module(x), original(x))
    moka.pytorch.save(module, path, compiled=True)
    assert_same(moka.pytorch.load(path)(x), original(x))


def test_archives_whose_weights_lie_anywhere_are_loaded(archive: Path, tmp_path: Path) -> None:
    """As other writers of zip files leave them, and as those before this layout was aligned."""
    plain = changed(archive, tmp_path / "plain.moka", lambda name, data: data)
    with zipfile.ZipFile(plain) as source:
        infos = [info for info in source.infolist() if "/weights/" in info.filename]
    assert any((info.header_offset + 30 + len(info.filename)) % 64 for info in infos)
    torch.manual_seed(0)
    original, x = Middle().eval(), torch.rand(2, 3, 8, 8)
    assert_same(moka.pytorch.load(plain)(x), original(x))
    with pytest.raises(moka.FormatError, match="damaged"):
        moka.pytorch.load(flipped(plain, tmp_path / "flipped.moka", infos[0].filename))


def test_weights_that_are_not_where_they_should_be_are_refused(archive: Path, tmp_path: Path) -> None:
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as source:
        start = next(info for info in source.infolist() if "/weights/" in info.filename).header_offset
    data[start + 28 : start + 30] = b"\xff\xff"  # the length of what is between the name and the data
    (tmp_path / "moved.moka").write_bytes(data)
    with pytest.raises(moka.FormatError, match=r"damaged.*copy or save it again"):
        moka.pytorch.load(tmp_path / "moved.moka")


def metadata(**values: Any) -> Callable[[str, bytes], bytes]:
    return lambda name, data: json.dumps({**json.loads(data), **values}).encode() if name == "metadata.json" else data


@pytest.mark.parametrize(
    ("change", "extra", "message"),
    [
        (metadata(version=2), {}, r"newer Moka: its version is 2, this one reads up to 1; update moka"),
        (metadata(format="zip"), {}, "format is 'zip'"),
        (metadata(config={}), {}, "config"),
        (metadata(segments=["../x"]), {}, "names like segment_0"),
        (metadata(folders=["/tmp/x"]), {}, "folders: '/tmp/x' is absolute"),
        (metadata(files={}), {}, "not those that metadata.json names"),
        (lambda name, data: data, {"../evil": b"x"}, r"has a '\.\.' in it"),
        (lambda name, data: data, {"/evil": b"x"}, "is absolute"),
        (lambda name, data: None if name.endswith("ports.json") else data, {}, "ports.json"),
        (lambda name, data: b"{" if name.endswith("ports.json") else data, {}, "is damaged"),
        (lambda name, data: b"[]" if name == "report.json" else data, {}, "report"),
        (lambda name, data: b"no zip" if name == "program.pt2" else data, {}, "program.pt2: is damaged"),
        (lambda name, data: None if name == "program.pt2" else data, {}, "has no program.pt2"),
        (lambda name, data: None if name == "report.json" else data, {}, "has no report.json"),
        (lambda name, data: None if "/weights/" in name else data, {}, "weights"),
    ],
)
def test_hostile_archives_are_refused(
    change: Callable[[str, bytes], bytes | None], extra: dict[str, bytes], message: str, archive: Path, tmp_path: Path
) -> None:
    with pytest.raises(moka.FormatError, match=message):
        moka.pytorch.load(changed(archive, tmp_path / "hostile.moka", change, extra))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"torch.ops.aten.special_bessel_j0.default"', b'"torch.os.system"', "calls 'torch.os.system'"),
        (b'"torch.ops.aten.special_bessel_j0.default"', b'"_operator.methodcaller"', "calls '_operator.methodcaller'"),
        (b'positive=True, integer=True)"', b"positive=True, integer=True) + __import__('os').getpid()\"", "has the formula"),
        (b'"guards_code": []', b'"guards_code": ["print(1)"]', "guards, which are code"),
        (b'"use_pickle": false', b'"use_pickle": true', "pickled tensor"),
    ],
)
def test_programs_that_hide_code_are_refused(old: bytes, new: bytes, message: str, archive: Path, tmp_path: Path) -> None:
    hits = []

    def replace(name: str, data: bytes) -> bytes:
        hits.extend([name] * data.count(old))
        return data.replace(old, new)

    def change(name: str, data: bytes) -> bytes:
        return program_changed(data, replace, tmp_path) if name == "program.pt2" else data

    source = archive
    if old == b'"use_pickle": false':
        source = tmp_path / "held.moka"
        moka.pytorch.save(delegate(exported(Counting(), torch.rand(3, 4))), source)
    hostile = changed(source, tmp_path / "hostile.moka", change)
    assert hits
    with pytest.raises(moka.FormatError, match=message):
        moka.pytorch.load(hostile)


def test_pickles_are_refused(archive: Path, tmp_path: Path) -> None:
    def sample(name: str, data: bytes) -> bytes:
        return b"\x80\x04." if name.endswith("sample_inputs/model.pt") else data

    hostile = changed(archive, tmp_path / "hostile.moka", lambda n, d: program_changed(d, sample, tmp_path) if n == "program.pt2" else d)
    with pytest.raises(moka.FormatError, match="may be code"):
        moka.pytorch.load(hostile)


@pytest.mark.parametrize(("model", "sizes"), [(Middle(), (2, 3, 8, 8)), (Counting(), (3, 4))], ids=["several models", "buffers"])
def test_models_are_freed_with_the_module(model: torch.nn.Module, sizes: tuple[int, ...], tmp_path: Path) -> None:
    """At once: they may be large, and nobody knows when garbage is collected."""
    moka.pytorch.save(moka.pytorch.delegate(exported(model, torch.rand(sizes))), tmp_path / "net.moka")
    gc.collect()
    gc.disable()
    try:
        loaded = moka.pytorch.load(tmp_path / "net.moka")
        models = [weakref.ref(segment.model) for segment in loaded.segments.values()]
        assert models
        del loaded
        assert [found() for found in models] == [None] * len(models)
    finally:
        gc.enable()

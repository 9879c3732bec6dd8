"""The page of compiled models says what the tables in the code say, and those what real files show."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from moka.compiler.evidence import CONTAINER_VERSIONS, KINDS, container_version
from moka.formats.mlmodelc.coremldata import Header
from moka.formats.mlmodelc.folder import CompiledFolder, open_folder
from moka.models.kinds import KINDS as ALL_KINDS
from tests.compiler.test_published_roots import PUBLISHED

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "compiled_format.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("moka_scripts_compiled_format", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_page_is_what_the_tables_say(script: ModuleType) -> None:
    written = script.PAGE.read_text(encoding="utf-8")
    assert written == script.page(), "the tables changed: run python scripts/compiled_format.py"
    for kind in ALL_KINDS:
        assert f"| `{kind}` |" in written


def headers(folder: CompiledFolder) -> Iterator[Header]:
    yield folder.header
    for stage in folder.stages():
        yield from headers(stage)


def counted(paths: list[Path]) -> Counter[str]:
    return Counter(header.kind for path in paths for header in headers(open_folder(path)))


def test_counts_are_those_of_the_real_models(corpus: Path) -> None:
    pairs, alone = sorted(corpus.glob("pairs/*/*.mlmodelc")), sorted(corpus.glob("compiled/*.mlmodelc"))
    if not pairs:
        pytest.skip(f"no compiled models at {corpus}")
    assert {kind: known.pairs for kind, known in KINDS.items() if known.pairs} == counted(pairs)
    assert {kind: known.compiled for kind, known in KINDS.items() if known.compiled} == counted(alone)


def test_versions_are_those_of_the_real_models(corpus: Path) -> None:
    paths = sorted(corpus.glob("*/*.mlmodelc")) + sorted(corpus.glob("*/*/*.mlmodelc"))
    found = [header for path in paths for header in headers(open_folder(path)) if not header.early]
    if not found:
        pytest.skip(f"no compiled models at {corpus}")
    seen = set()
    for header in found:
        container = "pipeline" if header.kind.startswith("pipeline") else header.container
        assert container_version(header.kind, container, header.specification_version) == (header.version, True), header
        seen.add((header.kind.removesuffix("Classifier"), header.specification_version))
    published = {(model.kind, model.version) for model in PUBLISHED}
    for kind in ("neuralNetwork", "mlProgram"):
        assert {(kind, number) for number in CONTAINER_VERSIONS[kind]} <= seen | published


@pytest.mark.parametrize(
    ("kind", "number", "version"), [("neuralNetwork", 3, (2, 0, 0)), ("neuralNetwork", 9, (4, 0, 0)), ("mlProgram", 10, (10, 0, 0))]
)
def test_other_versions_are_guesses(kind: str, number: int, version: tuple[int, int, int]) -> None:
    assert container_version(kind, "generic", number) == (version, False)

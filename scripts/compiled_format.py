"""Writes docs/compiled-format.md: the files of compiled models, and how the form of each is known.

Run it from the root of the repository, after a change of ``moka.compiler.evidence``: ``python scripts/compiled_format.py``.
"""

# ruff: noqa: E501 (a row of a table is one line)

from __future__ import annotations

from pathlib import Path

from moka.compiler.evidence import CONTAINER_VERSIONS, KINDS, Evidence
from moka.models.kinds import KINDS as ALL_KINDS

GUESSED = {"neuralNetworkRegressor": "generic", "pipeline": "generic.model0v..."}
"""Containers of kinds that no file shows, where they are not ``spec``."""

PAGE = Path(__file__).resolve().parents[1] / "docs" / "compiled-format.md"

HEAD = """# Compiled models

The tables are written by `scripts/compiled_format.py` from `moka.compiler.evidence`; don't edit this page, edit the script.

`moka compile MODEL DESTINATION` makes `DESTINATION/NAME.mlmodelc` as Apple's compiler does, `moka decompile` makes a source of a compiled
model again, and everything that takes a model (`moka.load`, `inspect`, `validate`, `metadata`) takes a compiled one too, Apple's or
Moka's. Apple documents the sources but not the compiled form: what is here was read off real files.

*Verified* is the number of real pairs, a source with what Apple's compiler made of it, for which `moka compile` gives the same files. *Seen*
are compiled models without their sources: they load, and compile to themselves again once they are decompiled. *Inferred* has been seen in
no file: it is refused, unless `--unverified` is given, and then stands in the `mokaUnverified` list of `metadata.json`, so that a guessed
file is not shipped by accident. What layers of neural networks become is on a page of its own, [compiled networks](compiled-networks.md).

## Files

| file | of | how it is known |
|---|---|---|
| `coremldata.bin` | every model | verified, 15 pairs; byte for byte, but for the order of a map's entries |
| `model.mil`, `weights/` | ML Programs | verified, 6 pairs |
| `model.espresso.net`, `.shape`, `.weights`, `model/`, `neural_network_optionals/` | neural networks | verified, 8 pairs |
| `model.rank.info.json` | neural networks, with `--rank-info` | inferred: no real file is at hand |
| `model0/`, `model1/`, ... | the models of a pipeline | verified, 1 pair; seen once; published, 8 pairs |
| `modelNames/` | pipelines that name their models | published, 6 pairs |
| `modelParameters/`, `updateParameters/` | nearest neighbors | verified, 1 pair |
| `updateParameters/` | updatable pipelines | verified, 1 pair, in which the second of two models learns |
| `analytics/coremldata.bin` | every model, and networks and programs in pipelines | verified, 10 pairs; of programs in pipelines published |
| `metadata.json` | every model | verified, 10 pairs |
"""

ROOT = """
Files of 2017 to 2019 lack the last two. What releases of Apple's compiler write differently for one source is written as the newest one
seen does: `neural_network_optionals/coremldata.bin` has five numbers, and had two and four before.

*Published* pairs are not at hand, but what was found out about them is public: `rebeckerspecialties/mlmodelc-export` on GitHub has 15
programs and pipelines of programs with what releases 3520 and 3600 of Apple's compiler made of them; its sources say how the models are
made, and texts, metadata and tests what they became. Moka's text of models made by the same recipe (several functions, ranges of shapes,
compressed weights, half-precision constants, pipelines) is the same, and so are their metadata.

## The root file

Numbers are little-endian; a text is a u64 length and that many bytes.

    u32       the kind: the field number of the model in Model.proto
    3 x u64   the container's version
    text      the container's name; empty in files of 2017
    u64       the specification version, then two u64 zeros
    text      empty; in files of 2017 the container's name
    body

| container | body |
|---|---|
| `spec` | the bytes of the source's message, unchanged |
| `generic` of a network | description, u64 kind, u64 number of outputs, their names |
| `generic` of a network that classifies | description, u64 kind, u64 100 (strings) or 101 (integers), u64 number of labels, the labels, the blob of the probabilities, u64 number of outputs, their names |
| `generic` of an ML Program | description, u64 kind, u64 0 |
| `generic.model0vVERSIONname.model1v...` of a pipeline | description, u64 number of models, u64 kind |
| `notreesyet` of nearest neighbors | description, u32 dimensions, u64 number of samples (0 in the only file), labels as above, u64 110 and the default label, u64 1 |

A description is a text that holds a `ModelDescription` message; that of a program or a pipeline has a `metadata` field even where the
source has none (published). Programs have the two last numbers once for each function. The names of outputs are blobs, without the label of a classifier, in the
order in which LLVM's `std::unordered_set<std::string>` iterates over them: both real files with several outputs, of two and of three
names, agree. Where a classifier's probabilities have another name in the description than in the network, both names are taken to be those
of the blob; no file shows it. The last number of nearest neighbors is taken to say that the weights are inverse distances; how samples
would be stored is Moka's own reading.

## Kinds of model

| kind | container | how it is known |
|---|---|---|
"""

VERSIONS = """
Trees are known to be more than is written here: where a public book on Swift shows what Apple's compiler made of a classifier of boosted
trees, there is a file `_B0000.DAT` beside the `coremldata.bin` of the trees. What `--unverified` makes of trees runs in Moka alone.

## Versions of containers

| kind | specification version | container version |
|---|---|---|
"""

TAIL = """
`spec` and `notreesyet` are 1.0.0 and pipelines 1.0.1 in all files. Programs of version 8 (iOS 17) and networks of version 5 (iOS 14) are
known from files that are not at hand, but whose size and SHA-256 are public, in git-lfs pointers (`FluidInference/FluidAudio` on GitHub, at
8842adb7, `Models/ParakeetEOU/Streaming/160ms/decoder.mlmodelc/coremldata.bin` and four more) and in an application's list of pinned files
(`20440.3_sod_fp16.mlmodelc`). What such a file holds is public as well, in the `metadata.json` beside it, but for the container's version: of
all versions that were tried, one gives the published sum. `tests/compiler/test_published_roots.py` makes the files and compares. Other
specification versions, such as 3 and 10, have been seen in no file: they are refused without `--unverified`.

## Analytics

For each section a text with its name, a u64 number of entries, and for each entry two texts, key and value; sections and keys are sorted.

| section | entries | of |
|---|---|---|
| `SpecificationDetails` | `modelHash`, `modelName`: of the source's file, in a package of its `model.mlmodel` | every model that is no part of a pipeline |
| `NeuralNetworkModelDetails` | `containsCustomLayer`, `modelDimension` (layers of the source), `nnModelNetHash`, `nnModelShapeHash`, `nnModelWeightsHash` | neural networks; ML Programs have the first two, both 0 |
| `PipelineModelDetails` | `modelDimension`: the number of models | pipelines |

A hash is the SHA-256 of a file in base64. `containsCustomLayer` is 1 for networks with custom layers: inferred.

## ML Programs

`model.mil` is the program as text, one statement an operation; forms of it that no file shows are listed in
`moka.formats.mil_text.unverified`. The compiler's own entries in `buildInfo` are those of the release whose text this is. Weight files keep
their names and are copied, never linked and never parsed: with shared blocks where the file system has them (reflinks), else by the kernel.
One thing is Moka's own: the keys that enumerated shapes have in the text. Programs that are models of a pipeline have their weight files
copied into their own folder, as Apple's compiler does; applications that pin the files of `Sortformer_v2.1.mlmodelc` list the SHA-256 of
the analytics of such programs, which Moka's have.

## What a compiled model has forgotten

The hash and the name of its source; what was folded into other layers, and with it the count and the
histogram of layers; the training parameters of networks. All else comes back: what is decompiled compiles to the same folder again.
"""


def _row(kind: str, evidence: Evidence) -> str:
    return f"| `{kind}` | `{evidence.container}` | {_known(evidence)} |\n"


def _known(evidence: Evidence) -> str:
    found = [f"verified, {evidence.pairs} pair{'s' * (evidence.pairs != 1)}"] * bool(evidence.pairs)
    found += [f"seen in {evidence.compiled} compiled model{'s' * (evidence.compiled != 1)}"] * bool(evidence.compiled)
    return "; ".join(found + ["seen in files that are not at hand"] * evidence.reported) or "inferred"


def page() -> str:
    """The whole page."""
    kinds = sorted(ALL_KINDS, key=lambda kind: (kind not in KINDS, kind.lower()))
    rows = [_row(kind, KINDS.get(kind) or Evidence(GUESSED.get(kind, "spec"))) for kind in kinds]
    versions = [
        f"| `{kind}` | {number} | {'.'.join(map(str, version))} |\n"
        for kind, known in CONTAINER_VERSIONS.items()
        for number, version in known.items()
    ]
    return HEAD + ROOT + "".join(rows) + VERSIONS + "".join(versions) + TAIL


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

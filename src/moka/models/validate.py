"""Everything that is wrong with a model: its files, its description, its programs and their operations."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from moka.errors import FormatError, MokaError, UnsupportedError
from moka.formats import updates
from moka.formats import validate as files
from moka.formats.source import ModelSource, open_source
from moka.formats.validate import Problem
from moka.importers.ml_program import import_program
from moka.ir import verify
from moka.ir.program import Function, Program
from moka.models.configuration import Configuration
from moka.models.features import parse_feature, parse_states
from moka.models.kinds import model_class
from moka.models.metadata import KNOWN_VERSIONS
from moka.models.parts import stages

__all__ = ["Problem", "validate"]


def validate(path: str | os.PathLike[str]) -> list[Problem]:
    """All that is wrong with a model; an empty list for one that is right.

    Checked are the manifest and items of a package, weight files and references to them, the description, for ML Programs their
    structure, the types of every operation, and that description and program agree, and for neural networks every layer. A model in which
    none of this is wrong is loaded as well, which finds weights of the wrong length, trees without a root and the like.

    Raises:
        UnsupportedError: a compiled model of a kind, or with a layer, whose compiled form Moka does not know.
    """
    found = files.problems(path)
    try:
        source = open_source(path)
    except FormatError:  # what is wrong has been found above
        return found
    where = str(source.model_file)
    found += _model(source, where, [str(problem) for problem in found])
    return found or list(_loaded(source, where))


def _loaded(source: ModelSource, where: str) -> Iterator[Problem]:
    """The problem that keeps a model from being loaded, if there is one; what only Moka can't do is none of the file's."""
    try:
        model_class(source)(source, Configuration())
    except UnsupportedError:
        return
    except MokaError as error:
        yield Problem(where, str(error).removeprefix(f"{source.path}: "))


def _model(source: ModelSource, where: str, known: list[str]) -> Iterator[Problem]:
    """Problems of a model beyond those of its files, which are ``known``."""
    specification = source.specification
    version = specification.specificationVersion
    if version not in KNOWN_VERSIONS:
        yield Problem(f"{where}: specificationVersion", f"found {version}, known are {min(KNOWN_VERSIONS)} to {max(KNOWN_VERSIONS)}")
    yield from _description(specification.description, where)
    if specification.WhichOneof("Type") == "mlProgram":
        yield from _program(source, where, known)
    if specification.WhichOneof("Type").startswith("neuralNetwork"):
        yield from _network(specification, where)
    inner = stages(source)
    if specification.WhichOneof("Type").startswith("pipeline") and not inner:
        yield Problem(where, "the pipeline has no models")
    for name, stage in inner.items():
        yield from _model(stage, f"{where}: stage {name!r}", known)


def _description(message: Any, where: str) -> Iterator[Problem]:
    """Problems of a ``ModelDescription`` message: of the model itself, or of each function that it names."""
    functions = {item.name: item for item in message.functions}
    if functions and message.defaultFunctionName and message.defaultFunctionName not in functions:
        known = ", ".join(functions)
        yield Problem(f"{where}: defaultFunctionName", f"found {message.defaultFunctionName!r}, the description has {known}")
    yield from _duplicates((item.name for item in message.functions), f"{where}: description", "function")
    for name, item in functions.items() or {"": message}.items():
        yield from _features(item, f"{where}: function {name!r}" if name else f"{where}: description")


def _features(message: Any, where: str) -> Iterator[Problem]:
    for kind, features in (("input", [*message.input, *message.state]), ("output", message.output)):
        yield from _duplicates((feature.name for feature in features), where, kind)
    for feature in (*message.input, *message.output):
        yield from _caught(where, parse_feature, feature)
    yield from _caught(where, parse_states, message.state)
    outputs = {feature.name for feature in message.output}
    for field in ("predictedFeatureName", "predictedProbabilitiesName"):
        name = getattr(message, field)
        if name and name not in outputs:
            yield Problem(f"{where}: {field}", f"found {name!r}, which is none of the outputs {', '.join(sorted(outputs)) or '(none)'}")


def _duplicates(names: Iterator[str], where: str, what: str) -> Iterator[Problem]:
    for name, count in Counter(names).items():
        if not name:
            yield Problem(where, f"an {what} has no name" if what != "function" else "a function has no name")
        elif count > 1:
            yield Problem(where, f"{count} of the {what}s have the name {name!r}")


def _caught(where: str, check: Callable[..., Any], *arguments: Any) -> Iterator[Problem]:
    """The problem that a check raises, if it does."""
    try:
        check(*arguments)
    except MokaError as error:
        yield Problem(where, str(error))


def _network(specification: Any, where: str) -> Iterator[Problem]:
    from moka.importers.neural_network.check import problems  # the translations of layers are on PyTorch

    message, description = getattr(specification, specification.WhichOneof("Type")), specification.description
    is_classifier = message.DESCRIPTOR.name == "NeuralNetworkClassifier"
    classified = {description.predictedFeatureName, description.predictedProbabilitiesName} if is_classifier else set()
    inputs = [feature.name for feature in description.input]
    outputs = [feature.name for feature in description.output if feature.name not in classified]
    yield from (Problem(where, problem) for problem in problems(message, inputs, outputs))
    if specification.isUpdatable:
        for check in (updates.losses, updates.network_parameters, updates.trainable_weights):
            yield from _caught(where, check, message)


def _program(source: ModelSource, where: str, known: list[str]) -> Iterator[Problem]:
    from moka.ops.check import check  # the table of operations is on PyTorch, which takes long to import

    try:
        program = import_program(source)
    except MokaError as error:
        if not any(str(error) in text for text in known):
            yield Problem(where, str(error))
        return
    yield from (Problem(where, problem) for problem in verify.problems(program))
    for name, function in program.functions.items():
        for operation in function.body.walk():
            yield from (Problem(f"{where}: function {name!r}", problem) for problem in check(operation, function.opset))
    yield from _agreement(source.specification.description, program, where)


def _agreement(message: Any, program: Program, where: str) -> Iterator[Problem]:
    """What the description states and the program does not have, or the other way round."""
    described: Mapping[str, Any] = {item.name: item for item in message.functions} or {"main": message}
    for name, item in described.items():
        function = program.functions.get(name)
        if function is None:
            yield Problem(where, f"function {name!r} is described, but the program has {', '.join(program.functions) or 'none'}")
        else:
            yield from (Problem(f"{where}: function {name!r}", problem) for problem in _differences(item, function))


def _differences(message: Any, function: Function) -> Iterator[str]:
    stated = {feature.name for feature in (*message.input, *message.state)}
    found = {value.name for value in function.inputs}
    for name in sorted(stated ^ found):
        place = "description" if name in stated else "program"
        yield f"input {name!r} is in the {place} only"
    outputs = {value.name for value in function.outputs}
    for feature in message.output:
        if feature.name not in outputs:
            yield f"output {feature.name!r} is in the description only; the program gives {', '.join(sorted(outputs)) or 'none'}"

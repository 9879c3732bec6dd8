"""Training of updatable networks, as their update parameters say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from moka.engines.arithmetic import Arithmetic
from moka.engines.prepare import Code, prepare
from moka.errors import InputError, ProgramError
from moka.formats.updates import Loss, losses, network_parameters, optimizer, trainable_weights
from moka.importers.neural_network.network import Network
from moka.importers.neural_network.training import import_training
from moka.importers.neural_network.weights import packed_floats
from moka.ir.types import TensorType
from moka.models.features import Feature, MultiArrayFeature, ScalarFeature
from moka.models.update import EpochMetrics, Progress, Sample, chosen_values

__all__ = ["train_network"]

Shapes: TypeAlias = tuple[tuple[int, ...], ...]
Datum: TypeAlias = tuple[list[Tensor], list[Tensor]]
"""A sample: the network's inputs, and the loss layers' targets."""


def train_network(
    network: Network,
    learned: Any,
    features: Mapping[str, Feature],
    targets: Mapping[str, Feature],
    samples: Sequence[Sample],
    progress: Progress | None,
    chosen: Mapping[str, Any],
    device: str,
) -> list[EpochMetrics]:
    """Trains a network, which stays as it is, and writes the new weights into ``learned``, a copy of its message.

    Epochs go through the samples in their order, or shuffled: the order of each epoch is the next ``torch.randperm`` of a generator with
    the seed. A mini-batch's loss is the mean over its samples, summed over loss layers; the last one may be smaller.

    Args:
        features, targets: the model's inputs, and the training inputs.
        device: where to compute.
    """
    values = chosen_values(network_parameters(network.message), chosen)
    with torch.inference_mode(False), torch.enable_grad():
        trainer = _Trainer(network, features, targets, device)
        stepper = _optimizer(optimizer(network.message), trainer.weights, values)
        data = [trainer.read(index, sample) for index, sample in enumerate(samples)]
        metrics = []
        for epoch, order in enumerate(_orders(len(data), values), 1):
            steps = [order[start : start + values["mini_batch_size"]] for start in range(0, len(order), values["mini_batch_size"])]
            total = sum(len(step) * _step(trainer, stepper, [data[index] for index in step]) for step in steps)
            metrics.append(EpochMetrics(epoch, total / len(data)))
            if progress is not None:
                progress(metrics[-1])
        trainer.write(learned)
    return metrics


def _orders(count: int, values: Mapping[str, Any]) -> Iterator[list[int]]:
    """The order of the samples in each epoch."""
    generator = torch.Generator().manual_seed(values["seed"])
    for _ in range(values["epochs"]):
        yield torch.randperm(count, generator=generator).tolist() if values["shuffle"] else list(range(count))


def _step(trainer: _Trainer, optimizer: torch.optim.Optimizer, batch: Sequence[Datum]) -> float:
    """One step of the optimizer; gives the loss before it."""
    optimizer.zero_grad()
    loss = trainer.loss(batch)
    loss.backward()  # type: ignore[no-untyped-call]  # torch has no type for it
    optimizer.step()
    return float(loss.detach())


def _optimizer(kind: str, weights: Sequence[Tensor], values: Mapping[str, Any]) -> torch.optim.Optimizer:
    if kind == "sgdOptimizer":
        return torch.optim.SGD(weights, lr=values["learning_rate"], momentum=values["momentum"])
    betas = (values["beta1"], values["beta2"])
    return torch.optim.Adam(weights, lr=values["learning_rate"], betas=betas, eps=values["eps"])


@dataclass(frozen=True)
class _TrainingCode:
    """The network for one set of input shapes: a function of inputs and weights, and the weights' shapes."""

    code: Code
    weight_shapes: tuple[tuple[int, ...], ...]


class _Trainer:
    """The network as a differentiable function of its inputs and of the weights that learn.

    Attributes:
        weights: those that learn, as vectors, which an optimizer changes in place.
    """

    def __init__(self, network: Network, features: Mapping[str, Feature], targets: Mapping[str, Feature], device: str) -> None:
        self.network = network
        self.device = torch.device(device)
        self.losses = losses(network.message)
        self._learning = trainable_weights(network.message)
        self._features = features
        self._targets = [_target(network, loss, targets) for loss in self.losses]
        self._codes: dict[Shapes, _TrainingCode] = {}
        self._batched = True
        arrays = [packed_floats(weight.message(network.message)) for weight in self._learning]
        self.weights = [torch.tensor(array, device=self.device, requires_grad=True) for array in arrays]

    def read(self, index: int, sample: Sample) -> Datum:
        """A sample as tensors: the network's inputs, and each loss layer's target."""
        inputs = []
        for name, feature in self._features.items():
            array = feature.coerce(sample[name]) if sample.get(name) is not None else feature.absent()
            inputs.append(torch.tensor(np.asarray(array, np.float32), device=self.device))
        return inputs, [self._read_target(index, *item, sample) for item in zip(self.losses, self._targets, strict=True)]

    def _read_target(self, index: int, loss: Loss, feature: Feature, sample: Sample) -> Tensor:
        """A vector to come near to, or the index of the true class."""
        given = sample[feature.name]
        if isinstance(feature, MultiArrayFeature) and np.size(given) == 1 and feature.shape:
            given = np.reshape(given, feature.shape)
        value: Any = feature.coerce(given)
        if loss.kind == "mean_squared_error":
            return torch.tensor(np.asarray(value, np.float32), device=self.device).flatten()
        if isinstance(feature, ScalarFeature) and self.network.labels is not None:
            labels: list[Any] = list(self.network.labels)
            if value not in labels:
                raise InputError(f"sample {index}: {feature.name} is {value!r}, which is none of the model's labels: {labels!r:.200}")
            value = labels.index(value)
        return torch.tensor(int(np.reshape(value, -1)[0]), device=self.device)

    def loss(self, batch: Sequence[Datum]) -> Tensor:
        """The mean loss of a mini-batch; samples of the same shapes run together."""
        groups: dict[Shapes, list[Datum]] = {}
        for datum in batch:
            groups.setdefault(tuple(tuple(item.shape) for item in datum[0]), []).append(datum)
        parts = [len(group) / len(batch) * self._group_loss(shapes, group) for shapes, group in groups.items()]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum()

    def _group_loss(self, shapes: Shapes, group: Sequence[Datum]) -> Tensor:
        inputs = [torch.stack(column) for column in zip(*[inputs for inputs, _ in group], strict=True)]
        targets = [torch.stack(column) for column in zip(*[targets for _, targets in group], strict=True)]
        found = self._compared(shapes, inputs)
        parts = [_loss(*item) for item in zip(self.losses, found, targets, strict=True)]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum()

    def _compared(self, shapes: Shapes, inputs: Sequence[Tensor]) -> list[Tensor]:
        """What the loss layers compare, [samples, numbers]: of all samples at once, or one by one where an operation can't do that."""
        training = self._code(shapes)
        weights = [weight.view(shape) for weight, shape in zip(self.weights, training.weight_shapes, strict=True)]
        if self._batched:
            places = (0,) * len(inputs) + (None,) * len(weights)
            try:
                return [item.flatten(1) for item in torch.vmap(training.code, in_dims=places, randomness="different")(*inputs, *weights)]
            except RuntimeError:  # also MokaError's: what is wrong with the sample itself comes again below
                self._batched = False
        singles = [training.code(*sample, *weights) for sample in zip(*inputs, strict=True)]
        return [torch.stack(column).flatten(1) for column in zip(*singles, strict=True)]

    def _code(self, shapes: Shapes) -> _TrainingCode:
        if shapes not in self._codes:
            named = dict(zip(self.network.inputs, shapes, strict=True))
            function = import_training(self.network, named, self._learning, self.losses)
            code = prepare(function.inputs, function.body.operations, function.outputs, function.opset, Arithmetic(self.device))
            types = [value.type for value in function.inputs[len(shapes) :]]
            weight_shapes = tuple(item.static_shape or () for item in types if isinstance(item, TensorType))
            self._codes[shapes] = _TrainingCode(code, weight_shapes)
        return self._codes[shapes]

    def write(self, message: Any) -> None:
        """Writes the weights as they are now into a copy of the network's message."""
        for weight, values in zip(self._learning, self.weights, strict=True):
            numbers = weight.message(message).floatValue
            del numbers[:]
            numbers.extend(values.detach().cpu().tolist())


def _target(network: Network, loss: Loss, targets: Mapping[str, Feature]) -> Feature:
    """The training input that a loss layer compares with. A classifier's is its label, whatever name the loss layer gives it.

    Raises:
        ProgramError: the model's training inputs have none.
    """
    name = loss.target
    if name not in targets and loss.kind == "categorical_cross_entropy" and network.labels is not None:
        name = network.predicted
    if name not in targets:
        raise ProgramError(f"loss layer {loss.name!r}: its target {loss.target!r} is no training input; those are {', '.join(targets)}")
    if not isinstance(targets[name], (MultiArrayFeature, ScalarFeature)):
        raise ProgramError(f"loss layer {loss.name!r}: its target {name!r} is a {targets[name].summary()}; expected a label or multi-array")
    return targets[name]


def _loss(loss: Loss, found: Tensor, target: Tensor) -> Tensor:
    """The mean loss over samples: ``found`` is [samples, numbers], the target [samples, numbers] or indices [samples]."""
    size = found.shape[1]
    if loss.kind == "mean_squared_error":
        if target.shape != found.shape:
            raise InputError(f"loss layer {loss.name!r}: the target has {target.shape[1]} numbers; {loss.input!r} has {size}")
        return functional.mse_loss(found, target)
    if not bool(((target >= 0) & (target < size)).all()):
        raise InputError(f"loss layer {loss.name!r}: the target holds the class {int(target.max())}; {loss.input!r} has {size} classes")
    return functional.cross_entropy(found, target)

"""Text classifiers of the maximum-entropy kind, whose vocabulary and weights are in the file.

The layout of ``modelParameterData`` is not documented; this is what was read off three real files (little-endian):

    u32 magic 0x0956D3DE, u32, u32, u32 sections, then u32 (offset, size) of: facts, weights, labels, words, frequencies
    facts         from 4 bytes after its offset, a property list: ModelType (0 is maximum entropy), NumberOfTrainingInstances
    weights       8 bytes each: u24 index of a word, u8 index of a label, big-endian float32
    labels, words text, each item ended by a zero byte, indices from 0; unused places are empty
    frequencies   property list: for each word the number of training texts that have it, [0] in files that do not weight by it

How Apple cuts text into words and weights them is not in the file. Here words are runs of letters, digits and underscores, joined by a
single inner point or apostrophe, and every other sign alone, as the vocabularies look; a word counts as often as it comes, times
ln(texts / texts that have it). On known texts this gives sensible labels; that it equals Apple's on every text is not claimed.
"""

from __future__ import annotations

import math
import plistlib
import re
import struct
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from moka.errors import FormatError
from moka.formats.source import ModelSource
from moka.models.configuration import Configuration
from moka.models.encoders import only
from moka.models.extractors import ExtractorModel, is_registered
from moka.models.features import Array, DictionaryFeature
from moka.models.model import ModelState
from moka.models.numbers import softmax
from moka.models.rows import Row

__all__ = ["BagOfWords", "TextClassifier", "read_bag_of_words", "tokens"]

_MAGIC = 0x0956D3DE
_HEADER = struct.Struct("<14I")
_WEIGHT = np.dtype([("key", "<u4"), ("weight", ">f4")])
_TOKEN = re.compile(r"\w+(?:[.'’]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class BagOfWords:
    """A maximum-entropy classifier: scores of labels are sums of words' weights.

    Attributes:
        labels: as the file has them, with an empty place at 0.
        words: index of each word.
        rows: for each word's index the (label, weight) pairs.
        importance: for each word's index ln(texts / texts that have it); 1 where the file does not say.
    """

    labels: list[str]
    words: dict[str, int]
    rows: dict[int, list[tuple[int, float]]]
    importance: Array

    def scores(self, text: str) -> Array:
        """The score of each label in ``labels``; that of the empty place is -infinity."""
        totals = np.zeros(len(self.labels))
        for word, count in Counter(tokens(text)).items():
            index = self.words.get(word, -1)
            value = count * (self.importance[index] if 0 <= index < len(self.importance) else 1.0)
            for label, weight in self.rows.get(index, ()):
                totals[label] += value * weight
        return np.where([bool(label) for label in self.labels], totals, -np.inf)


class TextClassifier(ExtractorModel):
    """A text classifier. A registered replacement goes first; without one, models of the maximum-entropy kind run from the file.

    Attributes:
        bag: the classifier in the file; None where it is of another kind.
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        self.bag = read_bag_of_words(source.specification.textClassifier.modelParameterData, self.path)
        self._input = only(self.function.inputs.values(), "input", self.path)

    def _predict(self, inputs: Row, state: ModelState | None) -> Row:
        if self.bag is None or is_registered(self.kind, self.name):
            return super()._predict(inputs, state)
        scores = self.bag.scores(inputs[self._input.name])
        best, probabilities = self.bag.labels[int(scores.argmax())], softmax(scores)
        by_label = {label: probability for label, probability in zip(self.bag.labels, probabilities.tolist(), strict=True) if label}
        features = self.function.outputs.items()
        return {name: feature.present(by_label if isinstance(feature, DictionaryFeature) else best) for name, feature in features}


def tokens(text: str) -> list[str]:
    """The words and signs of a text, in order."""
    return _TOKEN.findall(text)


def read_bag_of_words(data: bytes, where: object) -> BagOfWords | None:
    """The classifier in ``modelParameterData``; None for one of another kind or layout.

    Raises:
        FormatError: the header is known, but what it points at is not there.
    """
    if len(data) < _HEADER.size or struct.unpack_from("<I", data)[0] != _MAGIC:
        return None
    header = _HEADER.unpack_from(data)
    sections = [_section(data, header[index], header[index + 1], where) for index in (6, 8, 10, 12)]
    facts = _property_list(_section(data, header[4] + 4, header[5], where), where)
    if not isinstance(facts, dict) or facts.get("ModelType") != 0:
        return None
    labels, words = (section.decode("utf-8", "replace").split("\0")[:-1] for section in sections[1:3])
    if len(sections[0]) % _WEIGHT.itemsize:
        raise FormatError(where, f"modelParameterData: weights of {len(sections[0])} bytes; expected a multiple of {_WEIGHT.itemsize}")
    weights = np.frombuffer(sections[0], _WEIGHT)
    label_of, word_of = weights["key"] >> 24, weights["key"] & 0xFFFFFF
    if (len(weights) and (label_of.max() >= len(labels) or word_of.max() >= len(words))) or not any(labels):
        raise FormatError(where, f"modelParameterData: weights name labels and words beyond the {len(labels)} and {len(words)} there are")
    rows: dict[int, list[tuple[int, float]]] = {}
    for word, label, weight in zip(word_of.tolist(), label_of.tolist(), weights["weight"].tolist(), strict=True):
        rows.setdefault(word, []).append((label, weight))
    index = {word: place for place, word in enumerate(words) if word}
    return BagOfWords(labels, index, rows, _importance(facts, _property_list(sections[3], where)))


def _importance(facts: dict[str, Any], frequencies: Any) -> Array:
    count = facts.get("NumberOfTrainingInstances", 0)
    numbers = [number if isinstance(number, int) else 0 for number in frequencies] if isinstance(frequencies, list) else []
    if not isinstance(count, int) or len(numbers) < 2:
        return np.zeros(0)
    return np.array([math.log(max(count, number, 1) / max(number, 1)) for number in numbers])


def _section(data: bytes, offset: int, size: int, where: object) -> bytes:
    if offset + size > len(data):
        raise FormatError(where, f"modelParameterData: {size} bytes at {offset}; there are {len(data)}")
    return data[offset : offset + size]


def _property_list(data: bytes, where: object) -> Any:
    try:
        return plistlib.loads(data, fmt=plistlib.FMT_BINARY)
    except Exception as error:  # plistlib lets many errors of its parsing through
        raise FormatError(where, f"modelParameterData: its property list can't be read: {type(error).__name__}: {error}") from error

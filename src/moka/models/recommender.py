"""The item similarity recommender."""

from __future__ import annotations

from typing import Any

import numpy as np

from moka.errors import FormatError, InputError
from moka.formats.source import ModelSource
from moka.models.configuration import Configuration
from moka.models.features import Feature, ScalarFeature
from moka.models.model import Model, ModelState
from moka.models.rows import Label, Row

__all__ = ["ItemSimilarityRecommender"]

_MOST_ITEMS = 2**22


class ItemSimilarityRecommender(Model):
    """Recommends the items that are most similar to given ones.

    The score of item k is the sum over given items i of sim(k, i) * (score_i - shift_k), as the format states it. Given items are excluded
    unless the model takes a list of its own for that; items with equal scores come in the model's order.
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        message: Any = source.specification.itemSimilarityRecommender
        self._message = message
        self._given = message.itemInputFeatureName or next(iter(self.function.inputs), "")
        used = [self._given, message.numRecommendationsInputFeatureName]
        used += [message.itemRestrictionInputFeatureName, message.itemExclusionInputFeatureName]
        if missing := [name for name in used if name and name not in self.function.inputs] or ([""] if not self._given else []):
            raise FormatError(self.path, f"the recommender takes {missing[0]!r}, which is no input")
        given = (message.recommendedItemListOutputFeatureName, message.recommendedItemScoreOutputFeatureName)
        if unknown := [name for name in self.function.outputs if name not in given]:
            raise FormatError(self.path, f"output {unknown[0]!r}: the recommender gives {' and '.join(filter(None, given)) or 'none'}")
        self._read_items(message)

    def _read_items(self, message: Any) -> None:
        rows = message.itemItemSimilarities
        largest = max([0, *(row.itemId for row in rows), *(item.itemId for row in rows for item in row.similarItemList)])
        names: list[Label] = list(message.itemStringIds.vector) or list(message.itemInt64Ids.vector)
        if largest >= (len(names) or _MOST_ITEMS):
            raise FormatError(self.path, f"itemItemSimilarities: item {largest}; expected at most {(len(names) or _MOST_ITEMS) - 1}")
        self.items: list[Label] = names or list(range(largest + 1))
        self._index = {item: index for index, item in enumerate(self.items)}
        self._shift = np.zeros(len(self.items))
        self._similar = {row.itemId: [(item.itemId, item.similarityScore) for item in row.similarItemList] for row in rows}
        for row in rows:
            self._shift[row.itemId] = row.itemScoreAdjustment

    def _absent(self, feature: Feature) -> Any:
        return None if isinstance(feature, ScalarFeature) else super()._absent(feature)

    def _predict(self, inputs: Row, state: ModelState | None) -> Row:
        message = self._message
        given = self._scores(self._given, inputs[self._given])
        totals = np.zeros(len(self.items))
        for index, score in given.items():
            for other, similarity in self._similar.get(index, ()):
                totals[other] += similarity * (score - self._shift[other])
        chosen = self._candidates(inputs, given)
        order = chosen[np.argsort(-totals[chosen], kind="stable")]
        count = inputs.get(message.numRecommendationsInputFeatureName)
        order = order if count is None else order[: max(0, count)]
        results = {
            message.recommendedItemListOutputFeatureName: [self.items[index] for index in order],
            message.recommendedItemScoreOutputFeatureName: {self.items[index]: totals[index] for index in order},
        }
        return {name: feature.present(results[name]) for name, feature in self.function.outputs.items()}

    def _candidates(self, inputs: Row, given: dict[int, float]) -> Any:
        """Indices of the items that may be recommended, in the model's order."""
        message = self._message
        excluded = self._indices(inputs, message.itemExclusionInputFeatureName)
        allowed = self._indices(inputs, message.itemRestrictionInputFeatureName)
        kept = set(allowed if allowed else range(len(self.items))) - set(given if excluded is None else excluded)
        return np.array(sorted(kept), np.int64)

    def _indices(self, inputs: Row, name: str) -> list[int] | None:
        return list(self._scores(name, inputs[name])) if name else None

    def _scores(self, name: str, value: Any) -> dict[int, float]:
        """The score of each item in an input, by index; 1 where the input has none."""
        scores = value if isinstance(value, dict) else dict.fromkeys(np.reshape(value, -1).tolist(), 1.0)
        if unknown := [item for item in scores if item not in self._index]:
            raise InputError(f"input {name!r}: the model has no item {unknown[0]!r}; it has {len(self.items)} others")
        return {self._index[item]: score for item, score in scores.items()}

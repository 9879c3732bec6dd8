"""The table of model kinds: which class makes models of each kind that ``Model.proto`` names."""

from __future__ import annotations

import importlib
from typing import Any

from moka.errors import UnsupportedError
from moka.formats.source import ModelSource

__all__ = ["KINDS", "model_class"]

KINDS: dict[str, tuple[str, str]] = {
    "mlProgram": ("program_model", "ProgramModel"),
    "neuralNetwork": ("network_model", "NetworkModel"),
    "neuralNetworkClassifier": ("network_model", "NetworkModel"),
    "neuralNetworkRegressor": ("network_model", "NetworkModel"),
    "pipeline": ("pipeline", "PipelineModel"),
    "pipelineClassifier": ("pipeline", "PipelineModel"),
    "pipelineRegressor": ("pipeline", "PipelineModel"),
    "treeEnsembleClassifier": ("trees", "TreeEnsembleClassifier"),
    "treeEnsembleRegressor": ("trees", "TreeEnsembleRegressor"),
    "glmClassifier": ("linear", "LinearClassifier"),
    "glmRegressor": ("linear", "LinearRegressor"),
    "supportVectorClassifier": ("vectors", "SupportVectorClassifier"),
    "supportVectorRegressor": ("vectors", "SupportVectorRegressor"),
    "kNearestNeighborsClassifier": ("neighbors", "NearestNeighborsClassifier"),
    "bayesianProbitRegressor": ("probit", "BayesianProbitRegressor"),
    "oneHotEncoder": ("encoders", "OneHotEncoder"),
    "imputer": ("imputer", "Imputer"),
    "featureVectorizer": ("encoders", "FeatureVectorizer"),
    "dictVectorizer": ("encoders", "DictVectorizer"),
    "scaler": ("encoders", "Scaler"),
    "normalizer": ("encoders", "Normalizer"),
    "arrayFeatureExtractor": ("encoders", "ArrayFeatureExtractor"),
    "categoricalMapping": ("encoders", "CategoricalMapping"),
    "identity": ("encoders", "Identity"),
    "nonMaximumSuppression": ("suppression", "NonMaximumSuppression"),
    "classConfidenceThresholding": ("extractors", "ExtractorModel"),
    "itemSimilarityRecommender": ("recommender", "ItemSimilarityRecommender"),
    "textClassifier": ("text", "TextClassifier"),
    "wordTagger": ("extractors", "ExtractorModel"),
    "gazetteer": ("extractors", "ExtractorModel"),
    "wordEmbedding": ("extractors", "ExtractorModel"),
    "visionFeaturePrint": ("extractors", "ExtractorModel"),
    "audioFeaturePrint": ("extractors", "ExtractorModel"),
    "soundAnalysisPreprocessing": ("sound", "SoundAnalysisPreprocessing"),
    "customModel": ("extractors", "ExtractorModel"),
    "serializedModel": ("extractors", "ExtractorModel"),
    "linkedModel": ("linked", "LinkedModel"),
}
"""Kind to the module of `moka.models` and what in it makes a model from a source and a configuration."""


def model_class(source: ModelSource, engine: str = "auto") -> Any:
    """What makes models of the source's kind; its module is imported when the first such model is loaded.

    Args:
        engine: ``coreml`` runs models of every kind as a whole; other engines run what is inside them.

    Raises:
        UnsupportedError: Moka does not run the kind.
    """
    if engine == "coreml":
        return importlib.import_module("moka.models.core_ml").CoreMlModel
    kind = source.specification.WhichOneof("Type")
    if kind not in KINDS:
        raise UnsupportedError(f"{source.path}: models of kind {kind} are not run; this version runs {', '.join(sorted(KINDS))}")
    module, name = KINDS[kind]
    return getattr(importlib.import_module(f"moka.models.{module}"), name)

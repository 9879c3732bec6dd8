"""Models whose algorithm Apple keeps on its devices, text classifiers that are whole in the file, sounds, and linked models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from PIL import Image

import moka
from moka.models import extractors
from moka.models.sound import log_mel
from moka.models.text import read_bag_of_words, tokens
from tests.models.classical import Array, Double, Int64, String, load, transformer


@pytest.fixture(autouse=True)
def nothing_stays_registered() -> Iterator[None]:
    yield
    extractors._registered.clear()


class Mean(torch.nn.Module):
    """The mean of the red channel in 2048 places."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert image.shape[:2] == (1, 3)
        return image[:, 0].mean().expand(1, 2048) / 255


def test_a_feature_print_says_what_is_missing(corpus: Path) -> None:
    model = moka.load(corpus / "models" / "NSFW.mlmodel")
    stage = next(iter(model.stages.values()))
    assert (stage.name, stage.settings) == ("scene", {"scene": {"version": 1}})
    expected = r"visionFeaturePrint \(scene\) can't predict here.*register_feature_extractor\('visionFeaturePrint', module, name='scene'\)"
    with pytest.raises(moka.UnsupportedError, match=expected):
        model.predict({"image": Image.new("RGB", (299, 299))})


def test_a_pipeline_runs_with_a_registered_feature_print(corpus: Path) -> None:
    model = moka.load(corpus / "models" / "NSFW.mlmodel")
    moka.register_feature_extractor("visionFeaturePrint", Mean())
    output = model.predict({"image": Image.new("RGB", (299, 299), (255, 0, 0))})
    weights = np.array(list(model.stages.values())[1].weights[0])
    offset = list(model.stages.values())[1].offset[0]
    probability = 1 / (1 + np.exp(-(weights.sum() + offset)))
    assert output["classLabelProbs"] == pytest.approx({"NSFW": 1 - probability, "SFW": probability}, rel=1e-4)
    moka.register_feature_extractor("visionFeaturePrint", None)
    with pytest.raises(moka.UnsupportedError):
        model.predict({"image": Image.new("RGB", (299, 299))})


def test_the_replacement_of_a_name_goes_first(tmp_path: Path) -> None:
    specification = transformer([("x", Array(2))], [("y", Array(2))])
    specification.customModel.className = "Doubler"
    specification.customModel.parameters["gain"].doubleValue = 2.5
    model = load(specification, tmp_path)
    moka.register_feature_extractor("customModel", lambda x: x)
    np.testing.assert_array_equal(model.predict({"x": [1.0, 2.0]})["y"], [1.0, 2.0])

    def scaled(x: torch.Tensor, model: Any) -> torch.Tensor:
        return x * model.settings["parameters"]["gain"]["doubleValue"]

    moka.register_feature_extractor("customModel", scaled, name="Doubler")
    np.testing.assert_array_equal(model.predict({"x": [1.0, 2.0]})["y"], [2.5, 5.0])


def test_several_outputs_come_as_a_tuple_or_by_name(tmp_path: Path) -> None:
    specification = transformer([("text", String())], [("size", Int64()), ("share", Double())])
    specification.serializedModel.identifier = "some"
    specification.serializedModel.model = b"\0\1"
    model = load(specification, tmp_path)
    assert model.settings == {"identifier": "some", "model": b"\0\1"}
    for function in (lambda text: (len(text), 0.5), lambda text: {"share": 0.5, "size": len(text)}):
        moka.register_feature_extractor("serializedModel", function, name="some")
        assert model.predict({"text": "four"}) == {"size": 4, "share": 0.5}


def test_confidence_thresholds_are_chosen_on_the_curves_of_the_file(tmp_path: Path) -> None:
    """A replacement that keeps the classes whose confidence reaches the threshold for a precision of 0.5."""
    specification = transformer([("confidence", Array(2))], [("chosen", Array(2, 2))])
    for thresholds in ([0.0, 0.1, 0.6], [0.2, 0.4, 0.5]):
        curve = specification.classConfidenceThresholding.precisionRecallCurves.add()
        curve.precisionValues.vector.extend([0.25, 0.5, 0.75])
        curve.precisionConfidenceThresholds.vector.extend(thresholds)
        curve.recallValues.vector.extend([0.5, 1.0])
        curve.recallConfidenceThresholds.vector.extend([0.5, 0.0])
    model = load(specification, tmp_path)
    with pytest.raises(moka.UnsupportedError, match="the thresholds, which an app chooses on the precision-recall curves"):
        model.predict({"confidence": [0.3, 0.3]})

    def half(confidence: torch.Tensor, model: Any) -> torch.Tensor:
        fields = ("precisionValues", "precisionConfidenceThresholds")
        curves = [[curve[field]["vector"] for field in fields] for curve in model.settings["precisionRecallCurves"]]
        return torch.stack([confidence, (confidence >= torch.tensor([np.interp(0.5, *curve) for curve in curves])).double()])

    moka.register_feature_extractor("classConfidenceThresholding", half)
    np.testing.assert_allclose(model.predict({"confidence": [0.3, 0.3]})["chosen"], [[0.3, 0.3], [1, 0]])


def test_what_goes_wrong_in_a_replacement_is_an_execution_error(tmp_path: Path) -> None:
    specification = transformer([("x", Double())], [("y", Double())])
    specification.customModel.className = "Broken"
    model = load(specification, tmp_path)
    moka.register_feature_extractor("customModel", lambda x: 1 / 0)
    with pytest.raises(moka.ExecutionError, match="replacement for customModel failed: ZeroDivisionError"):
        model.predict({"x": 1.0})
    with pytest.raises(moka.InputError, match="kind 'glmClassifier' takes no replacement"):
        moka.register_feature_extractor("glmClassifier", Mean())
    with pytest.raises(moka.InputError, match="expected a PyTorch module"):
        moka.register_feature_extractor("customModel", 3)  # type: ignore[arg-type]


def test_a_word_tagger_shows_what_the_file_says(corpus: Path) -> None:
    model = moka.load(corpus / "models" / "ProductTagger.mlmodel")
    assert model.settings["stringTags"] == {"vector": ["NONE", "PROD"]}
    with pytest.raises(moka.UnsupportedError, match="wordTagger can't predict here"):
        model.predict({"text": "a new phone"})


CODE = {
    "Go": 'package main\n\nimport "fmt"\n\nfunc main() {\n\tfor i := 0; i < 10; i++ {\n\t\tfmt.Println("hello", i)\n\t}\n}\n',
    "C": '#include <stdio.h>\n#include <stdlib.h>\n\nint main(int argc, char **argv) {\n    char *p = malloc(10);\n    printf("%s", p);\n'
    "    if (p == NULL) return 1;\n    free(p);\n    return 0;\n}\n",
    "Rust": "use std::collections::HashMap;\n\npub fn count(text: &str) -> HashMap<String, usize> {\n    let mut map = HashMap::new();\n"
    "    for word in text.split_whitespace() {\n        *map.entry(word.to_string()).or_insert(0) += 1;\n    }\n    map\n}\n",
    "Java": "package com.example;\n\nimport java.util.List;\n\npublic class Foo {\n    private final List<String> items = null;\n"
    "    public static void main(String[] args) {\n        System.out.println(args[0]);\n    }\n}\n",
    "PHP": "<?php\nnamespace App;\n\nclass Foo {\n    public function bar($x) {\n        foreach ($x as $key => $value) {\n"
    "            echo $value;\n        }\n        return $this->items;\n    }\n}\n",
    "Swift": "import Foundation\n\nstruct Person {\n    let name: String\n    var age: Int\n    func greet() -> String {\n"
    '        guard age > 0 else { return "" }\n        return name\n    }\n}\n',
    "JavaScript": "'use strict';\nvar fs = require('fs');\n\nmodule.exports = function (cb) {\n  fs.readFile('x', function (err, data) {\n"
    "    if (err) { return cb(err); }\n    console.log(data);\n  });\n};\n",
    "Objective-C": "#import <Foundation/Foundation.h>\n\n@interface Foo : NSObject\n@property (nonatomic, strong) NSString *name;\n@end\n\n"
    "@implementation Foo\n- (void)bar {\n    NSLog([self name]);\n}\n@end\n",
    "Ruby": "require 'set'\n\nmodule Foo\n  class Bar\n    def initialize(name)\n      @name = name\n    end\n\n    def each\n"
    "      @items.each do |item|\n        yield item\n      end\n    end\n  end\nend\n",
}


def test_programming_languages(corpus: Path) -> None:
    model = moka.load(corpus / "pairs" / "programming-language" / "ProgrammingLanguageClassifier.mlmodel")
    assert {language: model.predict({"text": code})["label"] for language, code in CODE.items()} == {key: key for key in CODE}


def test_unwanted_mail(corpus: Path) -> None:
    model = moka.load(corpus / "models" / "MailSpamClassifier.mlmodel")
    texts = {
        "Congratulations! You have won a FREE prize of $1,000,000. Click here to claim your money now!!! No risk, order today.": "spam",
        "Make money fast working from home! Lose weight. Click below to be removed from our mailing list": "spam",
        "Hi John, I looked at the patch for the kernel module, it doesn't compile with gcc on my Linux box. Regards, Peter": "ham",
        "On Tue, Aug 20 someone wrote: > I think that the python list should use the new server. I agree.": "ham",
    }
    outputs = model.predict([{"text": text} for text in texts])
    assert [item["label"] for item in outputs] == list(texts.values())


def test_every_word_of_a_small_classifier_has_its_label(corpus: Path) -> None:
    model = moka.load(corpus / "models" / "sample.mlmodel")
    assert {number for number in map(str, range(1, 21)) if model.predict({"text": number})["label"] == "false"} >= {
        "10",
        "2",
        "4",
        "6",
        "12",
    }
    moka.register_feature_extractor("textClassifier", lambda text: "mine")
    assert model.predict({"text": "10"}) == {"label": "mine"}


def test_text_is_cut_into_words_and_signs() -> None:
    assert tokens("Don't use e.g. fs.readFile(x_1)!") == ["Don't", "use", "e.g", ".", "fs.readFile", "(", "x_1", ")", "!"]


def test_broken_text_classifiers_are_refused(corpus: Path) -> None:
    specification = ct.utils.load_spec(str(corpus / "models" / "sample.mlmodel"))
    data = specification.textClassifier.modelParameterData
    assert read_bag_of_words(b"something else" * 9, "model") is None
    for size in (60, 200, 380):
        with pytest.raises(moka.FormatError, match="modelParameterData"):
            read_bag_of_words(data[:size], "model")
    for place in range(4, len(data), 3):  # any damage is either harmless or an error of ours
        try:
            read_bag_of_words(data[:place] + b"\xff" + data[place + 1 :], "model")
        except moka.FormatError as error:
            assert "modelParameterData" in str(error)  # noqa: PT017 (most damage raises nothing)


def test_spectrogram_of_a_tone() -> None:
    samples = np.sin(2 * np.pi * 1000 * np.arange(15600) / 16000)
    features = log_mel(samples)
    assert features.shape == (96, 64)
    loudest = features.mean(axis=0).argmax()
    edges = 700 * np.expm1(np.linspace(1127 * np.log1p(125 / 700), 1127 * np.log1p(7500 / 700), 66) / 1127)
    assert edges[loudest] < 1000 < edges[loudest + 2]
    assert features.min() >= np.log(0.01)
    spectrum = torch.stft(torch.from_numpy(samples), 512, 160, 400, torch.hann_window(400, dtype=torch.float64), False, return_complex=True)
    assert np.exp(features[0]).sum() == pytest.approx(0.64 + float(spectrum.abs()[3:241, 0].sum()), rel=0.05)


def test_sound_preprocessing(tmp_path: Path) -> None:
    specification = transformer([("samples", Array(15600))], [("features", Array(1, 96, 64))])
    specification.soundAnalysisPreprocessing.vggish.SetInParent()
    output = load(specification, tmp_path).predict({"samples": np.zeros(15600)})
    np.testing.assert_allclose(output["features"], np.full((1, 96, 64), np.log(0.01)))


def linked(name: str, folder: str = "") -> Any:
    specification = transformer([("x", Double())], [("y", Double())])
    specification.linkedModel.linkedModelFile.linkedModelFileName.defaultValue = name
    specification.linkedModel.linkedModelFile.linkedModelSearchPath.defaultValue = folder
    return specification


@pytest.mark.parametrize("folder", ["", ".", "inner", "missing:./inner/"])
@pytest.mark.parametrize("name", ["scaler.mlmodel", "scaler.mlmodelc"])
def test_a_linked_model_runs_the_model_beside_it(name: str, folder: str, tmp_path: Path) -> None:
    target = tmp_path / ("inner" if "inner" in folder else "")
    target.mkdir(exist_ok=True)
    scaler = transformer([("x", Double())], [("y", Double())])
    scaler.scaler.scaleValue.append(3.0)
    load(scaler, target)
    shutil.move(target / "model.mlmodel", target / "scaler.mlmodel")
    assert [item["y"] for item in load(linked(name, folder), tmp_path).predict([{"x": 2.0}, {"x": 5.0}])] == [6.0, 15.0]


def test_compiled_models_link_to_compiled_models(tmp_path: Path) -> None:
    scaler = transformer([("x", Double())], [("y", Double())])
    scaler.scaler.scaleValue.append(3.0)
    for name, model in (("scaler", scaler), ("link", linked("scaler.mlmodelc"))):
        (tmp_path / f"{name}.mlmodel").write_bytes(model.SerializeToString())
        moka.compile(tmp_path / f"{name}.mlmodel", tmp_path / "out", unverified=True)
    assert moka.load(tmp_path / "out" / "link.mlmodelc").predict({"x": 2.0}) == {"y": 6.0}


def test_links_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside.mlmodel").write_bytes(b"")
    (tmp_path / "inside" / "link.mlmodel").symlink_to(tmp_path / "outside.mlmodel")
    for name, folder, message in (
        ("../outside.mlmodel", "", "'..' in it"),
        ("outside.mlmodel", "..", "'..' in it"),
        (str(tmp_path / "outside.mlmodel"), "", "is absolute"),
        ("link.mlmodel", "", "leads outside"),
        ("nowhere.mlmodel", "", "found none of nowhere.mlmodel"),
    ):
        with pytest.raises(moka.FormatError, match=message):
            load(linked(name, folder), tmp_path / "inside")
    with pytest.raises(moka.UnsupportedError, match="is a bundle of an app"):
        load(linked("x.mlmodelc", "$BUNDLE_MAIN"), tmp_path / "inside")


def test_a_model_that_links_to_itself_ends(tmp_path: Path) -> None:
    with pytest.raises(moka.ProgramError, match="link to each other"):
        load(linked("model.mlmodel"), tmp_path)

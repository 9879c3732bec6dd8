"""Trains a digit classifier in PyTorch, converts it to Core ML with coremltools, and runs it with Moka.

The data are scikit-learn's 1,797 handwritten digits (8 by 8 pixels, real scans), enlarged to 28 by 28 gray images. A
third is held out; both PyTorch and Moka classify it. Usage: python examples/digits.py [--out FOLDER] [--epochs N]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")  # coremltools' own progress bars; read when torch imports tqdm

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import moka

SIDE = 28
SEED = 7
console = Console(stderr=True)  # progress; the result goes to standard output


@dataclass(frozen=True)
class Digits:
    """Gray images (N, 28, 28) of uint8 and their labels (N,), in two parts."""

    train_images: np.ndarray
    test_images: np.ndarray
    train_labels: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True)
class Report:
    """What the run found, on the held-out digits."""

    digits: int
    pytorch_accuracy: float
    moka_accuracy: float
    agreement: float
    milliseconds: float
    model: str
    picture: str


def read_digits() -> Digits:
    """The digits, enlarged, with a third held out; the same split every time."""
    data = load_digits()
    images = np.stack([enlarge(image) for image in data.images])
    split = train_test_split(images, data.target, test_size=1 / 3, random_state=SEED, stratify=data.target)
    return Digits(*split)


def enlarge(image: np.ndarray) -> np.ndarray:
    """An 8 by 8 image with values 0 to 16 as 28 by 28 with values 0 to 255."""
    gray = Image.fromarray((image * (255 / 16)).round().astype(np.uint8))
    return np.asarray(gray.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


class Classifier(nn.Module):
    """A small convolutional network: gray images (N, 1, 28, 28) in [0, 1] to ten logits."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(block(1, 16), nn.MaxPool2d(2), block(16, 32), nn.MaxPool2d(2), block(32, 32))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * 7 * 7, 10))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


def as_tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).float().div(255).unsqueeze(1)


def train(digits: Digits, epochs: int, batch: int = 64) -> Classifier:
    """A trained classifier, in eval mode; the same weights every time on one machine."""
    torch.manual_seed(SEED)
    model, images, labels = Classifier(), as_tensor(digits.train_images), torch.from_numpy(digits.train_labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, epochs * -(-len(images) // batch))
    for _ in track(range(epochs), "Training in PyTorch", console=console):
        for chosen in torch.randperm(len(images)).split(batch):
            loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def convert(model: Classifier, path: Path) -> None:
    """Saves the classifier as a Core ML package: a gray image in; the digit and the probabilities out."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools as ct

        traced = torch.jit.trace(nn.Sequential(model, nn.Softmax(dim=1)).eval(), torch.rand(1, 1, SIDE, SIDE))
        image = ct.ImageType("image", (1, 1, SIDE, SIDE), scale=1 / 255, color_layout=ct.colorlayout.GRAYSCALE)
        package = ct.convert(
            traced,
            inputs=[image],
            classifier_config=ct.ClassifierConfig(list(range(10)), predicted_feature_name="digit"),
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS16,
            skip_model_load=True,
        )
    package.short_description = "Handwritten digits, 28 by 28 gray pixels"
    package.save(str(path))


def classify_with_pytorch(model: Classifier, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(as_tensor(images)).argmax(dim=1).numpy()


def classify_with_moka(path: Path, images: np.ndarray) -> tuple[np.ndarray, float]:
    """The digits that Moka reads in PIL images, and the median time of one prediction in milliseconds."""
    model = moka.load(path)
    found: list[Any] = []
    times = []
    for image in track([Image.fromarray(pixels) for pixels in images], "Predicting with Moka", console=console):
        start = time.perf_counter()
        outputs = model.predict({"image": image})
        times.append(time.perf_counter() - start)
        found.append(outputs["digit"])
    return np.asarray(found), 1000 * statistics.median(times)


def draw(images: np.ndarray, labels: np.ndarray, found: np.ndarray, path: Path, columns: int = 12) -> None:
    """A grid of digits with what Moka read below each, mistakes first and in red."""
    order = np.argsort(found == labels, kind="stable")[: columns * 6]
    cell, gap = 2 * SIDE, 18
    sheet = Image.new("RGB", (columns * (cell + gap), -(-len(order) // columns) * (cell + 2 * gap)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for place, index in enumerate(order):
        x, y = place % columns * (cell + gap) + gap // 2, place // columns * (cell + 2 * gap) + gap // 2
        sheet.paste(Image.fromarray(255 - images[index]).resize((cell, cell)), (x, y))
        right = found[index] == labels[index]
        note = f"{found[index]}" if right else f"{found[index]}, is {labels[index]}"
        pen.text((x + cell // 2, y + cell + 2), note, fill="black" if right else "red", font=font, anchor="mt")
    sheet.save(path)


def show(report: Report) -> None:
    table = Table(show_header=False, title=f"Held-out digits: {report.digits}")
    for what, value in [
        ("Accuracy in PyTorch", f"{report.pytorch_accuracy:.2%}"),
        ("Accuracy in Moka", f"{report.moka_accuracy:.2%}"),
        ("Moka and PyTorch agree on", f"{report.agreement:.2%}"),
        ("Time for one prediction", f"{report.milliseconds:.2f} ms (median)"),
        ("Core ML model", report.model),
        ("Digits and predictions", report.picture),
    ]:
        table.add_row(what, value)
    Console().print(table)


def run(out: Path, epochs: int) -> Report:
    """Trains, converts, predicts and draws; everything lands in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    package, picture = out / "Digits.mlpackage", out / "digits.png"
    digits = read_digits()
    console.print(f"{len(digits.train_labels)} digits to train on, {len(digits.test_labels)} held out")
    model = train(digits, epochs)
    with console.status("Converting with coremltools"):
        convert(model, package)
    console.print(f"Converted to {package}")
    by_pytorch = classify_with_pytorch(model, digits.test_images)
    by_moka, milliseconds = classify_with_moka(package, digits.test_images)
    draw(digits.test_images, digits.test_labels, by_moka, picture)
    return Report(
        digits=len(by_moka),
        pytorch_accuracy=float(np.mean(by_pytorch == digits.test_labels)),
        moka_accuracy=float(np.mean(by_moka == digits.test_labels)),
        agreement=float(np.mean(by_moka == by_pytorch)),
        milliseconds=milliseconds,
        model=str(package),
        picture=str(picture),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/digits"), help="where everything is written")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the training digits")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    report = run(arguments.out, arguments.epochs)
    if arguments.json:
        print(json.dumps(asdict(report), indent=2))
    else:
        show(report)
    return 0 if report.agreement >= 0.99 else 1


if __name__ == "__main__":
    raise SystemExit(main())

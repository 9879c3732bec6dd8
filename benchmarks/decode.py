"""What a token costs that a small decoder adds to its key-value cache, on each engine and in PyTorch itself, by the size of the cache.

python benchmarks/decode.py [--tokens 30] [--threads 1] [--out build/decode]

The caches of all layers are two Core ML states, of which every layer updates its row. Printed are the medians of the processor's time for
a token, after a prompt of 8, as the context grows from token to token; in brackets what the plan estimates. ``*`` marks the engine that
the plan chooses.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that `python benchmarks/decode.py` finds the examples
os.environ.setdefault("TQDM_DISABLE", "1")  # coremltools' own progress bars

import torch
from examples.generate import through_moka, through_pytorch
from examples.networks.decoder import Sizes, decoder_network
from torch import Tensor

import moka

ENGINES = ("openvino", "onnxruntime", "torch")
CACHES = (
    Sizes(layers=4, kv_heads=2, context=128),
    Sizes(layers=4, kv_heads=2, context=2048),
    Sizes(layers=4, kv_heads=8, context=2048),
    Sizes(layers=8, kv_heads=8, context=2048),
)
PROMPT = 8


def token_seconds(call: Callable[[Tensor, int], Tensor], count: int) -> float:
    """The median of the processor's seconds for a token."""
    call(torch.arange(PROMPT)[None], PROMPT)
    times = []
    for end in range(PROMPT + 1, PROMPT + 1 + count):
        start = time.process_time()
        call(torch.tensor([[5]]), end)
        times.append(time.process_time() - start)
    return statistics.median(times)


def visit(sizes: Sizes, arguments: argparse.Namespace) -> None:
    network = decoder_network(f"decoder_{sizes.layers}_{sizes.kv_heads}_{sizes.context}", sizes)
    path, _ = network.package(arguments.out, "fp16")
    (chosen,) = {place.engine for place in moka.load(path, threads=arguments.threads).plan().segments}
    cells = []
    for engine in ENGINES:
        model = moka.load(path, engine=engine, threads=arguments.threads)
        seconds = [token_seconds(through_moka(model), arguments.tokens) for _ in range(2)][-1]
        mark = "*" if engine == chosen else ""
        cells.append(f"{engine}{mark} {1e3 * seconds:.1f} ({1e3 * model.plan().estimate.seconds:.1f})")
    module = network.build().module
    seconds = [token_seconds(through_pytorch(module), arguments.tokens) for _ in range(2)][-1]
    megabytes = 2 * 2 * sizes.layers * sizes.kv_heads * sizes.context * sizes.head / 1e6
    title = f"{sizes.layers} layers, {sizes.context} tokens, {sizes.kv_heads} heads ({megabytes:.2g} MB)"
    print(f"{title}: {', '.join(cells)}; the module in PyTorch {1e3 * seconds:.1f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/decode"), help="folder of the packages, kept between runs")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    for sizes in CACHES:
        visit(sizes, arguments)


if __name__ == "__main__":
    main()

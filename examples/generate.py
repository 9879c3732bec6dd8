"""Text generation with a key-value cache as Core ML state: the same tokens as PyTorch, and how many a second beside it.

The model is a small decoder in the style of Llama (`examples/networks/decoder.py`) with seeded random weights, so the text has no meaning;
what it shows is a prompt in one call, then a call for each token, with all that came before in the model's states, which stay where
they are. Both sides decode greedily, in turns, in one process.

    python examples/generate.py --tokens 100 --precision fp32
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that `python examples/generate.py` finds its package
os.environ.setdefault("TQDM_DISABLE", "1")  # coremltools' own progress bars

import torch
from examples.networks import PRECISIONS, Network
from examples.networks.decoder import Sizes, decoder_network, step
from torch import Tensor

import moka

Call = Callable[[Tensor, int], Tensor]
"""New tokens (1, count) and how many there are with them, to the logits of the last one (vocabulary,)."""


@dataclass(frozen=True)
class Generation:
    """What one side generated: the tokens, the seconds for the prompt, and those for each further token."""

    tokens: list[int]
    prompt_seconds: float
    token_seconds: list[float]

    @property
    def tokens_per_second(self) -> float:
        return len(self.token_seconds) / sum(self.token_seconds)


@dataclass(frozen=True)
class Comparison:
    """Both sides: the tokens of the first turn, whether all turns gave the same, and the median speed of the turns."""

    precision: str
    tokens: list[int]
    same: bool
    moka_tokens_per_second: float
    pytorch_tokens_per_second: float
    moka_prompt_seconds: float
    pytorch_prompt_seconds: float


def generate(call: Call, prompt: Tensor, count: int) -> Generation:
    """Greedy decoding: the most likely token each time."""
    start = time.perf_counter()
    token = int(call(prompt, prompt.shape[1]).argmax())
    prompt_seconds = time.perf_counter() - start
    tokens, times = [token], []
    for end in range(prompt.shape[1] + 1, prompt.shape[1] + count):
        start = time.perf_counter()
        token = int(call(torch.tensor([[token]]), end).argmax())
        times.append(time.perf_counter() - start)
        tokens.append(token)
    return Generation(tokens, prompt_seconds, times)


def through_moka(model: moka.Model) -> Call:
    """A conversation with a Core ML model, its state empty."""
    state = model.make_state()
    (output,) = model.function.outputs

    def call(ids: Tensor, end: int) -> Tensor:
        return torch.from_numpy(model.predict(step(ids, end), state)[output])[0, -1]

    return call


def through_pytorch(module: Any) -> Call:
    """A conversation with the PyTorch module, its cache empty."""
    module.key_cache.zero_()
    module.value_cache.zero_()

    def call(ids: Tensor, end: int) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = module(**step(ids, end))
        return logits[0, -1]

    return call


def compare(network: Network, precision: str, arguments: argparse.Namespace) -> Comparison:
    """Generates with both sides in turns; the first turn of each warms up and counts for the tokens only."""
    path, _ = network.package(arguments.out, precision, force=arguments.force)
    model = moka.load(path, engine=arguments.engine, threads=arguments.threads)
    module = network.build().module
    prompt = torch.randint(0, module.sizes.vocabulary, (1, arguments.prompt), generator=torch.Generator().manual_seed(arguments.seed))
    turns = [
        (generate(through_moka(model), prompt, arguments.tokens), generate(through_pytorch(module), prompt, arguments.tokens))
        for _ in range(arguments.repeat + 1)
    ]
    ours, theirs = zip(*turns[1:], strict=True)
    return Comparison(
        precision,
        turns[0][0].tokens,
        all(one.tokens == turns[0][1].tokens for turn in turns for one in turn),
        statistics.median(one.tokens_per_second for one in ours),
        statistics.median(one.tokens_per_second for one in theirs),
        statistics.median(one.prompt_seconds for one in ours),
        statistics.median(one.prompt_seconds for one in theirs),
    )


def show(result: Comparison) -> None:
    """Both sides in a few lines."""
    verdict = "the same tokens as PyTorch" if result.same else "OTHER TOKENS than PyTorch"
    print(f"{result.precision}: {len(result.tokens)} tokens, {len(set(result.tokens))} different ones: {verdict}")
    print("  " + " ".join(map(str, result.tokens)))
    times = f"{result.moka_tokens_per_second / result.pytorch_tokens_per_second:.2f} times"
    print(f"  Moka     {result.moka_tokens_per_second:7.1f} tokens/s ({times}), prompt {1000 * result.moka_prompt_seconds:.1f} ms")
    print(f"  PyTorch  {result.pytorch_tokens_per_second:7.1f} tokens/s, prompt {1000 * result.pytorch_prompt_seconds:.1f} ms")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Generate text with a Core ML model and with PyTorch, in turns.")
    parser.add_argument("--tokens", type=int, default=100, help="how many to generate")
    parser.add_argument("--prompt", type=int, default=8, help="how many random tokens to begin with")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["fp32"])
    parser.add_argument("--engine", default="auto", help="what runs the Core ML model, as for moka.load")
    parser.add_argument("--threads", type=int, default=0, help="of each side; 0 for all cores")
    parser.add_argument("--context", type=int, default=128, help="tokens that the cache has room for")
    parser.add_argument("--repeat", type=int, default=3, help="turns that are timed")
    parser.add_argument("--seed", type=int, default=0, help="of the prompt")
    parser.add_argument("--out", type=Path, default=Path("build/generate"), help="folder of the package, kept between runs")
    parser.add_argument("--force", action="store_true", help="convert again what is there already")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    found = parser.parse_args(arguments)
    if found.prompt + found.tokens > found.context:
        parser.error(f"--prompt {found.prompt} and --tokens {found.tokens} need --context {found.prompt + found.tokens} or more")
    if min(found.prompt, found.tokens - 1, found.repeat) < 1:
        parser.error("--prompt and --repeat are at least 1, --tokens at least 2")
    return found


def main(argv: list[str] | None = None, sizes: dict[str, int] | None = None) -> int:
    """0 when all tokens are PyTorch's, 1 otherwise; ``sizes`` are others than the decoder's own."""
    arguments = parse(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    network = decoder_network(f"llama_{arguments.context}", Sizes(context=arguments.context, **(sizes or {})))
    results = [compare(network, precision, arguments) for precision in arguments.precision]
    if arguments.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    else:
        for result in results:
            show(result)
    return 0 if all(result.same for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""The zoo: well-known architectures with their published sizes and random weights, built without any download."""

from examples.networks.audio import AUDIO
from examples.networks.decoder import DECODERS
from examples.networks.network import PRECISIONS, Built, Network
from examples.networks.text import TEXT
from examples.networks.vision import VISION

ZOO: dict[str, Network] = {network.name: network for network in [*VISION, *TEXT, *DECODERS, *AUDIO]}

__all__ = ["PRECISIONS", "ZOO", "Built", "Network"]

"""Neural networks (``NeuralNetwork.proto``) to the program, for given shapes of their inputs."""

from moka.importers.neural_network.network import Network, import_network

__all__ = ["Network", "import_network"]

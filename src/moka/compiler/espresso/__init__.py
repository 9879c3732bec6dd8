"""Neural networks to the files of a compiled model that Apple's compiler writes for them."""

from moka.compiler.espresso.network import KINDS, RANK_FILE, NetworkDetails, compile_network
from moka.compiler.espresso.registry import Evidence, evidence

__all__ = ["KINDS", "RANK_FILE", "Evidence", "NetworkDetails", "compile_network", "evidence"]

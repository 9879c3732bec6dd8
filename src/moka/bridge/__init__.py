"""Makes stock coremltools use Moka as its Core ML runtime.

    import moka
    moka.bridge.install()
    import coremltools as ct                       # before or after, both work
    ct.convert(model, inputs=[...]).predict({...}) # MLModel, CompiledMLModel, make_state, compile_model, ...

Without a change to a program: ``python -m moka.bridge script.py arguments``, or ``-m module``, or ``-c code``. For test suites:
with the environment variable ``MOKA_BRIDGE=1``, ``import moka`` installs the bridge (``MOKA_BRIDGE=1 pytest -p moka``).

On macOS Apple's Core ML stays in place unless ``install(force=True)``. Errors of a model reach coremltools as RuntimeError, as
those of Core ML do.

Compiled models are compiled by Moka, once, and found again in its cache (`moka.cache`). What no real compiled model has shown is compiled
in Moka's own reading, which ``metadata.json`` marks: it runs here; for Apple's devices use `moka.compile`. A model that Moka can't
compile at all runs nevertheless: its folder holds the source, and only Moka reads it.

``MLComputePlan`` answers from Moka's plans: for this machine, or, modelled, for the device that ``MOKA_PLAN_DEVICE`` names
(``MOKA_PLAN_DEVICE="iPhone 15 Pro"``).
"""

from __future__ import annotations

from moka.bridge.switch import install, is_installed, uninstall

__all__ = ["install", "is_installed", "uninstall"]

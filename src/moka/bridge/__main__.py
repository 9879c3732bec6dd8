"""Runs a program with the bridge installed, as ``python`` itself would run it.

python -m moka.bridge [--force] SCRIPT [ARGUMENT ...]
python -m moka.bridge [--force] -m MODULE [ARGUMENT ...]
python -m moka.bridge [--force] -c CODE [ARGUMENT ...]

--force takes the place of Apple's Core ML on macOS too.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType

from moka.bridge import install

_USAGE = "usage: python -m moka.bridge [--force] (SCRIPT | -m MODULE | -c CODE) [ARGUMENT ...]"


def main(arguments: list[str]) -> None:
    """Installs the bridge and runs what the arguments name, with the rest of them as its own."""
    force = arguments[:1] == ["--force"]
    arguments = arguments[force:]
    if arguments[:1] in (["-h"], ["--help"]):
        print(_USAGE)
        return
    if not arguments or (arguments[0].startswith("-") and (arguments[0] not in ("-m", "-c") or len(arguments) < 2)):
        sys.exit(_USAGE)
    install(force=force)
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        _run_code(arguments[1], arguments[2:])
    else:
        _run_script(arguments)


def _run_code(code: str, arguments: list[str]) -> None:
    sys.argv = ["-c", *arguments]
    module = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(code, "<string>", "exec"), vars(module))


def _run_script(arguments: list[str]) -> None:
    sys.argv = arguments
    if not sys.flags.safe_path:
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])

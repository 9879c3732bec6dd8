"""Installing and uninstalling, in every order with coremltools' import."""

import sys

import pytest

import moka.bridge

PREDICT = """
import coremltools as ct, numpy as np
from coremltools.converters.mil import Builder as mb
@mb.program(input_specs=[mb.TensorSpec(shape=(3,))])
def program(x):
    return mb.relu(x=x, name="y")
model = ct.convert(program, convert_to="mlprogram", compute_precision=ct.precision.FLOAT32)
print(model.predict({"x": np.array([-1.0, 0.0, 2.5])})["y"].tolist())
"""

OUTSIDE = """
import coremltools as ct
from coremltools import _deps
from coremltools.models import model, utils, compute_device
from coremltools.models.ml_program.experimental import compute_plan_utils as plans
def outside():
    assert not utils._is_macos() and utils._macos_version() == () and not _deps._IS_MACOS and not hasattr(_deps, "MACOS_VERSION")
    assert model._MLModelProxy is None and model._MLModelAssetProxy is None and compute_device._MLCPUComputeDeviceProxy is None
    assert plans._MLComputePlanRemoteProxy is None and not plans._IS_MACOS and not hasattr(ct, "libcoremlpython")
    assert model._ModelPackage.__module__ == "coremltools.libmodelpackage", model._ModelPackage
def inside():
    from coremltools.libcoremlpython import _MLModelProxy
    assert utils._is_macos() and utils._macos_version() >= (26, 0) and _deps._IS_MACOS and _deps.MACOS_VERSION >= (26, 0)
    assert model._MLModelProxy is ct.libcoremlpython._MLModelProxy is _MLModelProxy
    assert issubclass(plans._MLComputePlanRemoteProxy, ct.libcoremlpython._MLComputePlanProxy) and plans._IS_MACOS
"""

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="Apple's Core ML is there")


def test_installing_imports_neither_coremltools_nor_torch(python):
    code = "import moka.bridge, sys; moka.bridge.install(); print('coremltools' in sys.modules, 'torch' in sys.modules)"
    assert python("-c", code) == "False False"


@pytest.mark.slow
@pytest.mark.parametrize(
    "before",
    [
        "import moka.bridge; moka.bridge.install(); moka.bridge.install()",
        "import coremltools, moka.bridge; moka.bridge.install(); moka.bridge.install()",
        "import moka.bridge; moka.bridge.install(); import coremltools; moka.bridge.uninstall(); moka.bridge.install()",
        "import moka.bridge; moka.bridge.install(replace_libraries=True)",
    ],
    ids=["first", "after coremltools", "again", "own libraries"],
)
def test_predicting(python, before):
    assert python("-c", before + PREDICT).endswith("[0.0, 0.0, 2.5]")


@pytest.mark.slow
@pytest.mark.parametrize("replace", [False, True])
def test_installing_after_coremltools_and_uninstalling_leave_it_as_it_was(python, replace):
    switch = f"import moka.bridge as b; b.install(replace_libraries={replace}); inside(); b.uninstall(); outside(); b.uninstall()"
    assert python("-c", f"{OUTSIDE}\noutside()\n{switch}\noutside(); b.install(); inside(); print('done')") == "done"


@pytest.mark.slow
@pytest.mark.parametrize("replace", [False, True])
def test_uninstalling_leaves_coremltools_as_if_it_had_been_imported_without_the_bridge(python, replace):
    install = f"import moka.bridge as b; b.install(replace_libraries={replace})"
    assert python("-c", f"{install}\n{OUTSIDE}\ninside(); b.uninstall(); outside(); print('done')") == "done"


@pytest.mark.slow
def test_copies_of_the_gates_in_other_modules_follow(python):
    code = """
from coremltools.models.utils import _is_macos, _macos_version
import moka.bridge
before = _is_macos(), _macos_version()
moka.bridge.install()
inside = _is_macos(), _macos_version() >= (15, 0)
moka.bridge.uninstall()
print(before, inside, _is_macos(), _macos_version())
"""
    assert python("-c", code) == "(False, ()) (True, True) False ()"


@pytest.mark.slow
def test_many_threads_install_once(python):
    code = """
import sys, threading, moka.bridge
barrier = threading.Barrier(8)
def install():
    barrier.wait()
    moka.bridge.install()
threads = [threading.Thread(target=install) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
hooks = [finder for finder in sys.meta_path if type(finder).__module__.startswith("moka")]
moka.bridge.uninstall()
print(len(hooks), len([finder for finder in sys.meta_path if type(finder).__module__.startswith("moka")]))
"""
    assert python("-c", code) == "1 0"


@pytest.mark.slow
def test_the_environment_variable_installs_at_import(python):
    assert python("-c", "import moka" + PREDICT, MOKA_BRIDGE="1").endswith("[0.0, 0.0, 2.5]")
    assert python("-c", "import moka.bridge; print(moka.bridge.is_installed())", MOKA_BRIDGE="0") == "False"


@pytest.mark.slow
def test_a_script_a_module_and_code_are_run_with_the_bridge(python, tmp_path):
    show = "import sys, moka.bridge; print(sys.argv[1:], moka.bridge.is_installed(), __name__); import neighbour"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "script.py").write_text(show)
    (tmp_path / "folder" / "neighbour.py").write_text("print('neighbour')")
    (tmp_path / "neighbour.py").write_text("print('here')")
    (tmp_path / "module.py").write_text(show)
    assert python("-m", "moka.bridge", "folder/script.py", "a", "-m") == "['a', '-m'] True __main__\nneighbour"
    assert python("-m", "moka.bridge", "-m", "module", "a") == "['a'] True __main__\nhere"
    assert python("-m", "moka.bridge", "-c", show, "a", "b") == "['a', 'b'] True __main__\nhere"
    assert python("-m", "moka.bridge", "--help").startswith("usage")


def test_apples_core_ml_is_left_alone(monkeypatch):
    assert not moka.bridge.is_installed()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert moka.bridge.install() is False
    assert "coremltools.libcoremlpython" not in sys.modules
    assert moka.bridge.install(force=True) is True
    moka.bridge.uninstall()
    assert not moka.bridge.is_installed()

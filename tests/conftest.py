"""Strict settings for every test: two CPU devices, no silent rank promotion, warnings are errors (pyproject)."""

import os
import pathlib

import jax
import jaxtyping
import pytest
from absl import flags

from tests import children

check_types = jaxtyping.jaxtyped


def check_stated_types(*, typechecker):
    """`jaxtyping.jaxtyped` without the time that it takes of functions that state no type."""
    check = check_types(typechecker=typechecker)
    return lambda what: check(what) if isinstance(what, type) or what.__annotations__ else what


jaxtyping.jaxtyped = check_stated_types  # before anything of dfjax is imported
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
os.environ["MPLBACKEND"] = "Agg"
os.environ["NUMBA_OPT"] = "0"  # librosa compiles its functions once an environment, in 8 s instead of 13
with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XLA_FLAGS", children.FLAGS, prepend=" ")
    jax.devices()  # reads them; other processes have XLA's defaults
flags.FLAGS.mark_as_parsed()  # grain's workers read an absl flag

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
COMPILED_PLAINLY = (
    "benchmark/",
    "data/",
    "features/",
    "inference/test_heatmap.py",
    "inference/test_reference.py",
    "models/",
    "reporting/test_file_page.py",
    "training/",
    "test_crossval.py",
    "test_honesty.py",
    "test_import_weights.py",
    "test_readme.py",
    "test_run.py",
    "test_run_image.py",
)  # compile much, compute little
LONG = (
    "test_crossval.py",
    "inference/test_bundle.py",
    "test_run.py",
    "test_predict_many.py",
    "training/test_large.py",
    "benchmark/test_benchmark.py",
    "models/test_texture.py",
    "models/test_aasist.py",
    "serve/test_serve.py",
    "models/test_band_kernel.py",
    "reporting/test_report_html.py",
    "serve/test_processes.py",
    "data_builders/test_demo_speech.py",
    "data/test_vocode.py",
    "models/test_two_stream.py",
)  # files that take longest come first, so that no process waits long for the last one of another


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes")


def pytest_collection_modifyitems(config, items):
    turn = {ROOT / "tests" / name: k for k, name in enumerate(LONG)}
    items.sort(key=lambda item: turn.get(item.path, len(LONG)))
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))


@pytest.fixture(autouse=True, scope="module")
def quick_to_compile(request):
    """In COMPILED_PLAINLY the compiler's optimisations would cost more than they save; other processes have them.

    For a whole module, so that what its fixtures compute is compiled as in its tests: they compare bits. What a module
    before it compiled otherwise is forgotten.
    """
    plainly = request.path.relative_to(ROOT / "tests").as_posix().startswith(COMPILED_PLAINLY)
    if plainly != jax.config.read("jax_disable_most_optimizations"):
        jax.config.update("jax_disable_most_optimizations", plainly)
        jax.clear_caches()


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of real test data; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the shared test data are not here")
    return SHARED


@pytest.fixture(scope="session")
def recordings(tmp_path_factory) -> pathlib.Path:
    """A user's folder of recordings, see `tests.planning.recordings`; to be read only."""
    from tests.planning import recordings

    return recordings.make(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="session")
def prepared_recordings(recordings, tmp_path_factory) -> pathlib.Path:
    """The data directory in which `recordings` are prepared."""
    from dfjax import prepare

    data_dir = tmp_path_factory.mktemp("data")
    prepare.prepare("folder_audio", recordings, data_dir, progress=False, jobs=0)
    return data_dir

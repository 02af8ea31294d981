"""Settings for every test: eight CPU devices, no silent broadcasting, no silent promotion."""

import os
import pathlib

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Commands under test compile the same programs again and again.
_CACHE = pathlib.Path(__file__).resolve().parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
# Most programs are single operations: too small to be kept by default, but there are thousands.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# XLA logs two long lines for every program that it loads: preferences of the compiler count as
# features that the machine lacks.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Optimizing programs that run a few times is what takes longest, here and in commands under test.
_IN_HASTE = os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1"

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

# Linen's norms and optax's schedules do not survive strict promotion, our own arithmetic must.
_OURS = ("test_boxes", "test_anchors", "test_matching", "test_postprocess", "losses", "assigners")
_HERE = pathlib.Path(__file__).resolve().parent


def _is_among(request, parts):
    """Whether the path of a test has one of some parts, wherever the clone is."""
    path = request.path.resolve().relative_to(_HERE).as_posix()
    return any(part in path for part in parts)


@pytest.fixture(autouse=True)
def strict_dtypes(request):
    """Strict dtype promotion where the code is all ours."""
    mode = "strict" if _is_among(request, _OURS) else "standard"
    with jax.numpy_dtype_promotion(mode):
        yield


@pytest.fixture(autouse=True)
def compiler_effort(request):
    """Our own arithmetic is compiled as it is for users: what XLA fuses, it may round otherwise.

    So are the many small trainings of the objective, which run longer than they compile.
    """
    optimized = _is_among(request, (*_OURS, "objective/test_training"))
    jax.config.update("jax_disable_most_optimizations", _IN_HASTE and not optimized)
    yield
    # What a module shares is made before its first test has chosen.
    jax.config.update("jax_disable_most_optimizations", _IN_HASTE)


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder of real images beside the checkout; tests that need it skip without it."""
    folder = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared data folder is not beside this checkout")
    return folder

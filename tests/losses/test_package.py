import subprocess
import sys

from ioub_jax import losses

HEAVY = ("absl", "flax", "ml_collections", "optax", "orbax", "tensorflow")


def test_importing_the_losses_loads_jax_alone():
    program = (
        "import sys, ioub_jax.losses\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules])\n"
        "print(*sorted(name for name in sys.modules if name.startswith('ioub_jax.')))"
    )
    command = [sys.executable, "-c", program]
    heavy, ours = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert heavy == ""
    assert {".".join(name.split(".")[:2]) for name in ours.split()} == {
        "ioub_jax.boxes",
        "ioub_jax.losses",
        "ioub_jax.wasserstein",
    }


def test_every_public_loss_has_a_docstring_with_its_result():
    for name in losses.__all__:
        assert "Returns:" in getattr(losses, name).__doc__

"""Platforms of exported programs; without jax, since a command's --help names them."""

from collections.abc import Sequence

from ioub_jax.errors import ConfigError

#: Platforms that `jax.export` has a name for.
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
DEFAULT_PLATFORMS = ("cpu", "cuda", "tpu")


def check_platforms(platforms: Sequence[str]) -> None:
    """Raises `ConfigError` if there is no platform, or an unknown one."""
    unknown = [platform for platform in platforms if platform not in PLATFORMS]
    if unknown or not platforms:
        raise ConfigError(
            f"There is no platform {', '.join(map(repr, unknown)) or 'given'}; they are "
            f"{', '.join(PLATFORMS)}."
        )

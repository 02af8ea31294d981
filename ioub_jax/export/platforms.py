"""Platforms of exported programs; without jax, since the --help of a command lists them."""

from collections.abc import Sequence

from ioub_jax.errors import ConfigError

#: The names of platforms in `jax.export`.
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
DEFAULT_PLATFORMS = ("cpu", "cuda", "tpu")


def check_platforms(platforms: Sequence[str]) -> None:
    """Raises `ConfigError` if no platform is given, or an unknown one."""
    unknown = [platform for platform in platforms if platform not in PLATFORMS]
    if unknown or not platforms:
        raise ConfigError(
            f"There is no platform {', '.join(map(repr, unknown)) or 'given'}; they are "
            f"{', '.join(PLATFORMS)}."
        )

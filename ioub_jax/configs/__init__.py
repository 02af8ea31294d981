"""Configurations: every key with its default, and the recipes by name."""

import importlib.util
import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ml_collections

__all__ = ["load", "recipe_path", "recipes"]

_PACKAGE = pathlib.Path(__file__).parent


def _folder() -> pathlib.Path:
    """The folder of the recipes: beside this file in an installed package, else in the clone."""
    installed = _PACKAGE / "recipes"
    return installed if installed.is_dir() else _PACKAGE.parents[1] / "configs"


def recipes() -> tuple[str, ...]:
    """The names of the recipes, such as 'coco_folder_retinanet', in alphabetical order."""
    return tuple(sorted(path.stem for path in _folder().glob("[a-z]*.py")))


def recipe_path(name: str) -> pathlib.Path:
    """The file of a recipe: a Python file with a `get_config`, to read, copy and change.

    Args:
      name: one of `recipes`.

    Raises:
      ValueError: there is no recipe of that name.
    """
    if name not in recipes():
        raise ValueError(
            f"There is no configuration {name!r}; the configurations are {', '.join(recipes())}."
        )
    return _folder() / f"{name}.py"


def load(name: str) -> "ml_collections.ConfigDict":
    """A recipe's configuration; its keys can be changed, but none can be added.

    Args:
      name: the name of a recipe, which may be followed by a colon and its argument:
        'coco_folder_retinanet:lite0,baseline'.

    Raises:
      ValueError: there is no such recipe, or it does not accept the argument.
    """
    recipe, _, argument = name.partition(":")
    path = recipe_path(recipe)
    specification = importlib.util.spec_from_file_location(f"ioub_jax_recipe_{recipe}", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    config: ml_collections.ConfigDict = module.get_config(*([argument] if argument else []))
    return config.lock()

"""Initial weights of a new run: a pretrained backbone, or a whole detector."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Sharding

from ioub_jax import files, weights
from ioub_jax.data.sources import coco_categories
from ioub_jax.errors import ConfigError
from ioub_jax.training.train_state import TrainState
from ioub_jax.workdirs import checkpoints, class_list, configuration

logger = logging.getLogger("ioub_jax")

Categories = Sequence[tuple[int | str, str]]


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """Initial weights of a new run, other than random ones.

    Attributes:
      backbone: the name of the network's backbone.
      pretrained: the source of the backbone: a file, a published name, or a run's workdir.
      init_from: the source of the whole detector: a workdir, or a file or published name of a
        detector of torchvision.
      settings: `model` and `anchors` of the configuration, which are compared with those that
        `init_from` was trained with.
    """

    backbone: str = ""
    pretrained: str | None = None
    init_from: str | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def with_initial_weights(
    state: TrainState, initial: InitialWeights, categories: Categories, sharding: Sharding
) -> TrainState:
    """A new state with the initial weights of the run.

    Args:
      state: a new state.
      initial: the initial weights.
      categories: the id and name of each label of the training data.
      sharding: the placement of every array.

    Raises:
      ConfigError: the weights are of another architecture; the message names the first difference.
      WeightsError: a file of weights cannot be used.
    """
    variables = initial_variables(state.variables, initial, categories, sharding)
    return state.replace(
        params=jax.device_put(variables["params"], sharding),
        batch_stats=jax.device_put(variables["batch_stats"], sharding),
    )


def initial_variables(
    variables: dict[str, Any],
    initial: InitialWeights,
    categories: Categories,
    sharding: Sharding,
) -> dict[str, Any]:
    """`variables` with the initial weights of a run.

    Args:
      variables: the variables of a new network; those that are replaced may be shapes without
        values.
      initial: the initial weights.
      categories: the id and name of each label of the training data.
      sharding: the placement of every array.

    Raises:
      ConfigError: the weights are of another architecture; the message names the first difference.
      WeightsError: a file of weights cannot be used.
    """
    if initial.pretrained is not None:
        backbone = _read_backbone(initial, variables, sharding)
        present = backbone["params"]["backbone"].keys()
        variables = _merged(
            variables,
            backbone,
            lambda path: (
                path[0] == "backbone" and (path[1] in present or not weights.is_optional(path[1]))
            ),
            "model.pretrained",
        )
    if initial.init_from is not None:
        source, same_classes = _read_detector(initial, categories, sharding)
        variables = _merged(
            variables,
            source,
            lambda path: same_classes or not weights.is_class_output(path),
            "init_from",
        )
        if not same_classes:
            logger.info(
                "init_from=%s has other classes: the last layer of the classification head is "
                "initialized anew.",
                initial.init_from,
            )
    return variables


def _read_backbone(
    initial: InitialWeights, variables: dict[str, Any], sharding: Sharding
) -> dict[str, Any]:
    """`{'params': {'backbone': ...}, 'batch_stats': {'backbone': ...}}` of `pretrained`."""
    assert initial.pretrained is not None
    if "backbone" not in variables["params"]:
        raise ConfigError(
            f"model.pretrained is {initial.pretrained!r}, but the network has no module called "
            "'backbone' that could take the weights; set it to None, or name the module so."
        )
    workdir = files.path_of(initial.pretrained)
    if workdir.is_dir():
        return checkpoints.read_variables(workdir, "best", sharding)
    path = weights.find_weights(initial.pretrained)
    template = {kind: tree.get("backbone", {}) for kind, tree in variables.items()}
    backbone = weights.backbone_variables(
        weights.read_state_dict(path),
        weights.of_rgb(template),
        backbone=initial.backbone,
        name=str(path),
    )
    return {kind: {"backbone": tree} for kind, tree in backbone.items()}


def _read_detector(
    initial: InitialWeights, categories: Categories, sharding: Sharding
) -> tuple[dict[str, Any], bool]:
    """The variables of `init_from`, and whether its classes are those of the training data."""
    assert initial.init_from is not None
    workdir = files.path_of(initial.init_from)
    if workdir.is_dir():
        _log_differences(initial, configuration.to_dict(configuration.read_workdir(workdir)))
        same_classes = class_list.read(workdir) == list(categories)
        return checkpoints.read_variables(workdir, "best", sharding), same_classes
    path = weights.find_weights(initial.init_from)
    detector = weights.detector_of(weights.read_state_dict(path), name=str(path))
    _log_differences(initial, configuration.as_json(detector.config))
    same_classes = detector.is_of_coco and all(
        coco_categories.COCO_IDS.get(name) == id_ for id_, name in categories
    )
    if same_classes:
        detector = detector.with_classes([id_ for id_, _ in categories if isinstance(id_, int)])
    return detector.variables, same_classes


def _log_differences(initial: InitialWeights, theirs: Mapping[str, Any]) -> None:
    """Logs the keys of `model` and `anchors` that differ from the training of `init_from`."""
    parts = [
        {part: values.get(part, {}) for part in ("model", "anchors")}
        for values in (theirs, initial.settings)
    ]
    without = ("model.pretrained", "model.frozen_stages", "model.dtype", "prior_probability")
    differing = [
        line
        for line in configuration.differing_keys(*parts)
        if not any(key in line for key in without)
    ]
    if differing:
        logger.warning(
            "init_from=%s was trained with another configuration (%s); its weights work better "
            "with its own configuration.",
            initial.init_from,
            "; ".join(differing),
        )


def _merged(
    ours: dict[str, Any],
    theirs: dict[str, Any],
    is_wanted: Callable[[tuple[str, ...]], bool],
    key: str,
) -> dict[str, Any]:
    """`ours` with the wanted leaves of `theirs`."""
    theirs = weights.adapted_inputs(theirs, ours)
    expected, found = (
        {names: leaf.shape for names, leaf in _leaves(tree) if is_wanted(names[1:])}
        for tree in (ours, theirs)
    )
    for names in expected | found:
        here, there = expected.get(names), found.get(names)
        if here != there:
            raise ConfigError(
                f"{key} is of another architecture: {'/'.join(names)} has shape {there} there and "
                f"{here} here; give the same config.model and config.anchors."
            )
    wanted = dict(_leaves(theirs))
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: wanted[_names(path)] if _names(path) in expected else leaf, ours
    )


def _leaves(tree: Any) -> list[tuple[tuple[str, ...], Any]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(_names(path), leaf) for path, leaf in leaves]


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(entry.key for entry in path)

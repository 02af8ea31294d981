"""One-sentence description of a training."""

from collections.abc import Mapping
from typing import Any


def describe(settings: Mapping[str, Any]) -> str:
    """A sentence on the data, canvases, detector and length of a training.

    Args:
      settings: the whole configuration as nested mappings, as read from JSON.
    """
    data, model, schedule = settings["data"], settings["model"], settings["schedule"]
    canvases = ", ".join(f"{height}x{width}" for height, width in data["canvases"])
    if data.get("tiles", {}).get("size") is not None:
        canvases = f"tiles of {data['tiles']['size']} pixels"
    source = data["source"]
    options = data.get(source, {})
    where = options.get("root") or options.get("name")
    length = f"{schedule['images']:,} images" if schedule["images"] else ""
    length = length or f"{schedule['epochs']:g} epochs"
    return (
        f"Data `{source}`{f' in `{where}`' if where else ''} at {canvases}; {model['name']}, "
        f"{model.get('backbone', 'vgg16')}; {length} in batches of "
        f"{settings['batch_size']}, schedule {schedule['name']}."
    )

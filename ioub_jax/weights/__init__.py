"""Weights from other libraries: torchvision's and timm's state dicts, read without executing code.

`find_weights` finds a file by its path or published name, and `read_state_dict` reads it.
`backbone_variables` and `detector_of` convert it to our variables and account for every key.
`torchvision_export` is the reverse conversion.
"""

from ioub_jax.errors import WeightsError
from ioub_jax.weights.imported_backbones import backbone_variables, is_optional
from ioub_jax.weights.input_channels import adapted_inputs, of_rgb
from ioub_jax.weights.published import find_weights, local_weights
from ioub_jax.weights.torchvision_detectors import ImportedDetector, detector_of, is_class_output
from ioub_jax.weights.torchvision_export import TorchvisionDetector, torchvision_export
from ioub_jax.weights.weight_files import read_state_dict

__all__ = [
    "ImportedDetector",
    "TorchvisionDetector",
    "WeightsError",
    "adapted_inputs",
    "backbone_variables",
    "detector_of",
    "find_weights",
    "is_class_output",
    "is_optional",
    "local_weights",
    "of_rgb",
    "read_state_dict",
    "torchvision_export",
]

"""Your own data: the data set in a folder, and a configuration that suits it.

`look_at("boards")` finds the data set in a folder and measures it; `ioub check_data --data=boards`
reports what it found, and `ioub train --data=boards` trains with it.
"""

from ioub_jax.own_data.folders import FORMATS, Found, find
from ioub_jax.own_data.looking import OwnData, look_at

__all__ = ["FORMATS", "Found", "OwnData", "find", "look_at"]

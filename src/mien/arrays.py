"""Types of NumPy arrays, one name each; docstrings say the shapes."""

import numpy as np
from numpy.typing import NDArray

Uint8 = NDArray[np.uint8]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

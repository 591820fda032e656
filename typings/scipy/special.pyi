import numpy as np
from numpy.typing import NDArray

def betaincinv(a: NDArray[np.float64], b: NDArray[np.float64], y: float) -> NDArray[np.float64]: ...

from typing import Any

import numpy as np
from numpy.typing import NDArray

class LogisticRegression:
    coef_: NDArray[np.float64]
    intercept_: NDArray[np.float64]
    def __init__(self, *, C: float = ..., max_iter: int = ...) -> None: ...  # noqa: N803 - its name
    def fit(self, X: Any, y: NDArray[Any]) -> LogisticRegression: ...  # noqa: N803 - its name

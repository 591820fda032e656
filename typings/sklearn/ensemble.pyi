from typing import Any

import numpy as np
from numpy.typing import NDArray

class HistGradientBoostingClassifier:
    def __init__(
        self,
        *,
        learning_rate: float = ...,
        max_iter: int = ...,
        max_leaf_nodes: int = ...,
        max_depth: int = ...,
        min_samples_leaf: int = ...,
        random_state: int = ...,
    ) -> None: ...
    def fit(self, X: NDArray[np.float64], y: NDArray[Any]) -> HistGradientBoostingClassifier: ...  # noqa: N803 - its name
    def predict_proba(self, X: NDArray[np.float64]) -> NDArray[np.float64]: ...  # noqa: N803 - its name

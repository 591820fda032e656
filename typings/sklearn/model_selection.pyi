from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

class GroupKFold:
    def __init__(self, n_splits: int = ...) -> None: ...
    def split(
        self,
        X: Any,  # noqa: N803 - its name
        y: Any = ...,
        groups: Any = ...,
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]: ...

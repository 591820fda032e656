from typing import Any

class csr_matrix:  # noqa: N801 - its name
    def __init__(self, parts: Any, *, shape: tuple[int, int]) -> None: ...

class _Binomial:
    def cdf(self, k: int, n: int, p: float) -> float: ...

binom: _Binomial

"""Statistics over features ``(N, d)``: Fréchet and kernel distance, precision, recall, density, coverage.

No model code, no files, no randomness: features in, numbers out, in float64. Where the features come from,
and hence which name a number may carry, is the business of :mod:`benchbench.statistics.labels`.
"""

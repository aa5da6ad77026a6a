"""Statistics over features ``(N, d)`` and over trainings: numbers in, numbers out, in float64.

Of features: Fréchet and kernel distance, precision, recall, density, coverage; which name such a number may carry is
the business of :mod:`benchbench.statistics.labels`. Of trainings: intervals and paired differences (``trainings``),
verdicts over many rows (``families``), how many trainings show a difference (``designs``).

No model code, no files, no randomness.
"""

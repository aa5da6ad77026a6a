"""Regenerates the weights of the embedded foundation models from rendered glyphs.

Nothing here is imported by a benchmark run. The corpus is drawn from free typefaces, Hershey single-stroke
fonts and procedural pen strokes; no photograph, no handwriting and no data set enters it.
`python -m benchbench_plugins.foundations.pretrain --help` explains the parts and their cost.
"""

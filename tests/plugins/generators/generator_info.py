"""The dataset that tests of generators tell them about."""

from benchbench.plugins import DatasetInfo

INFO = DatasetInfo(
    name="toy",
    classes=("a", "b"),
    counts={"train": 4, "validation": 0, "test": 0},
    class_counts=(2, 2),
    resolution=16,
    classify_resolution=16,
    generate_resolution=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    flip_keeps_class=True,
    foundation="mini",
)

"""The dataset that tests of generators tell them about."""

from datasetinfos import dataset_info

INFO = dataset_info(("a", "b"), generate_resolution=32, std=(0.2, 0.2, 0.2), foundation="mini")

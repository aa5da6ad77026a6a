"""Recipes of toy plugins (``tests/toys.py``), which lie next to them."""

from __future__ import annotations

#: Two levels of a generator next to the real images, drawn as a figure, and the same on fewer images.
LEVELS = """
format = 1
title = "Levels of a toy"
source = "A toy's paper (2026), figure 3"
cost = "a second on a slow machine"
notes = ["It contradicts itself: 90 here, 91 there."]

[figure]
draw = "lines"
x = "level"
y = "test accuracy, %"

[options]
data = "./toydata.py"
learner = "./toylearner.py"
arch = "a"
mix = "0:1"
metric = "./toymetric.py"
shots = 4
draws = 3
seeds = 2

[[row]]
label = "Real"
gen = "real"
level = true
values = [90]

[[row]]
label = "Toy"
gen = "./toygen.py"
values = ["91.5 +- 0.2", ""]

[[column]]
label = "1"
sweep = "gen.level=1"

[[column]]
label = "2,000"
sweep = "gen.level=40"

[[claim]]
text = "The real images beat what was made of them."
better = {row = "Real"}
than = {row = "Toy"}

[on.few]
why = "Two images of each class, and no paper to be held against."
column = [{label = "one", sweep = "gen.level=1"}]

[on.few.options]
data = "./toydata.py"
learner = "./toylearner.py"
arch = "a"
mix = "0:1"
metric = "none"
shots = 2
draws = 1
"""

#: A gallery: nothing is trained.
GALLERY = """
format = 1
title = "What levels look like"
source = "A toy's paper (2026), figure 4"
cost = "a second"

[figure]
draw = "gallery"

[options]
data = "./toydata.py"
learner = "./toylearner.py"
gen = "./toygen.py"
arch = "a"
mix = "0:1"
metric = "none"
shots = 2
draws = 1
seeds = 1

[[row]]
label = "image"

[[column]]
label = "level 1"
sweep = "gen.level=1"

[[column]]
label = "level 200"
sweep = "gen.level=200"
"""

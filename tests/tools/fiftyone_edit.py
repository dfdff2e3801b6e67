"""Run where FiftyOne is: accept the predictions as labels, tag every fourth image in the order."""

import sys

import fiftyone as fo

dataset = fo.load_dataset(sys.argv[1])
view = dataset.load_saved_view("in order")
for number, sample in enumerate(view.iter_samples(autosave=True)):
    assert sample["priority"] == number
    sample["ground_truth"] = sample["predictions"].copy()
    if number % 4 == 0:
        sample.tags.append("drop")

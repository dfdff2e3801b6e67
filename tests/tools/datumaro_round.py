"""Run with the Python of an environment that has datumaro: read a hand-off, edit it, write it back.

python datumaro_round.py FORMAT FROM TO SEED: image ids are permuted, images renamed (the folder
before their name changes), every third image gets one more box of its first class; which, by
their ids before, is in TO/edited.txt.
"""

import random
import sys
from pathlib import Path

import datumaro as dm
from datumaro.components.annotation import Bbox


def main(form: str, source: str, target: str, seed: str) -> None:
    data = dm.Dataset.import_from(source, form)
    items = list(data)
    order = list(range(len(items)))
    random.Random(int(seed)).shuffle(order)
    out, edited = [], list[str]()
    for place, at in enumerate(order):
        item = items[at]
        boxes = [a for a in item.annotations if isinstance(a, Bbox)]
        if at % 3 == 0:
            boxes.append(Bbox(1.0, 2.0, 3.0, 4.0, label=0, id=10**6 + at))
            edited.append(item.id)
        # an id of one's own in a folder of one's own: only the file name is left
        out.append(
            item.wrap(
                id=f"batch_{place % 7}/{item.id}",
                annotations=boxes,
                attributes={"id": place, "frame": place},
            )
        )
    renamed = dm.Dataset.from_iterable(
        out, categories=data.categories(), media_type=dm.components.media.Image
    )
    renamed.export(target, form, save_media=False)
    (Path(target) / "edited.txt").write_text("\n".join(edited), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

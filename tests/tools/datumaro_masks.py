"""Run with the Python of an environment that has datumaro: read masks of a hand-off, edit them,
write them back.

python datumaro_masks.py FORMAT FROM TO: image ids are permuted, images renamed (the folder before
their name changes). In every third image a rectangle is painted over in the first class, in every
next one it is erased from all masks; which, by their ids before, is in TO/edited.txt.
"""

import random
import sys
from pathlib import Path

import datumaro as dm
import numpy as np
from datumaro.components.annotation import Mask


def erased(mask: Mask, left: np.ndarray) -> Mask:
    same = {k: getattr(mask, k) for k in ("label", "z_order", "id", "group", "attributes")}
    return Mask(mask.image * left, **same)


def main(form: str, source: str, target: str) -> None:
    data = dm.Dataset.import_from(source, form)
    items = list(data)
    order = list(range(len(items)))
    random.Random(7).shuffle(order)
    out, edited = [], list[str]()
    for place, at in enumerate(order):
        item = items[at]
        masks = [a for a in item.annotations if isinstance(a, Mask)]
        rectangle = np.zeros(item.media.size, np.uint8)
        rectangle[2:9, 3:14] = 1
        if at % 3 == 0:
            over = 1 + max((m.z_order for m in masks), default=0)
            # an instance of its own: datumaro writes instances by their group
            new_id = 10**6 + at
            painted = Mask(rectangle, label=0, z_order=over, id=new_id, group=new_id)
            # CVAT says by z_order what lies over what, COCO by the order
            masks.insert(0 if form == "cvat" else len(masks), painted)
            edited.append(f"painted\t{item.id}")
        elif at % 3 == 1:
            masks = [erased(m, 1 - rectangle) for m in masks]
            masks = [m for m in masks if m.image.any()]
            edited.append(f"erased\t{item.id}")
        about = {"id": place + 1, "frame": place}
        # an id of one's own in a folder of one's own: only the file name is left
        new = item.wrap(id=f"batch_{place % 3}/{item.id}", annotations=masks, attributes=about)
        out.append(new)
    whole = dm.Dataset.from_iterable(
        out, categories=data.categories(), media_type=dm.components.media.Image
    )
    whole.export(target, form, save_media=False)
    (Path(target) / "edited.txt").write_text("\n".join(edited), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

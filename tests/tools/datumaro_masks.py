"""Run with the Python of an environment that has datumaro: read masks of a hand-off (FORMAT FROM),
permute the ids and rename the images, write them back as COCO (TO).
"""

import random
import sys

import datumaro as dm
from datumaro.components.annotation import Mask


def main(form: str, source: str, target: str) -> None:
    data = dm.Dataset.import_from(source, form)
    items = list(data)
    random.Random(7).shuffle(items)
    out = []
    for place, item in enumerate(items):
        masks = [a for a in item.annotations if isinstance(a, Mask)]
        out.append(
            item.wrap(
                id=f"batch_{place % 3}/{item.id}", annotations=masks, attributes={"id": place + 1}
            )
        )
    whole = dm.Dataset.from_iterable(
        out, categories=data.categories(), media_type=dm.components.media.Image
    )
    whole.export(target, "coco_instances", save_media=False)


if __name__ == "__main__":
    main(*sys.argv[1:])

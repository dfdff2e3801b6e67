"""Run where FiftyOne is: say whether its database starts."""

import fiftyone as fo

try:
    print(fo.list_datasets())
except Exception as error:
    print(error)

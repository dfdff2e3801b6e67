"""Run where Label Studio's SDK is: decode its run lengths (IN, a list of lists), write them as flat
masks of 0 and 1 (OUT).
"""

import json
import sys
from pathlib import Path

from label_studio_sdk.converter.brush import decode_rle

rows = json.loads(Path(sys.argv[1]).read_text())
Path(sys.argv[2]).write_text(json.dumps([[int(v > 0) for v in decode_rle(r)[3::4]] for r in rows]))

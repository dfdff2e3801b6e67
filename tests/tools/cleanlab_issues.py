"""Run where cleanlab is: find the label issues of given labels and probabilities, write the table."""

import sys

import numpy as np
from cleanlab import Datalab

data = np.load(sys.argv[1])
lab = Datalab({"y": data["labels"]}, label_name="y")
lab.find_issues(pred_probs=data["probs"], issue_types={"label": {}})
lab.get_issues().to_csv(sys.argv[2])

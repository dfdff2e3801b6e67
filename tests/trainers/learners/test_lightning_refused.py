"""Lightning projects that cannot work, or only in part: said before anything trains."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, WeightedRandomSampler, random_split

sys.path.append(str(Path(__file__).parents[1] / "projects"))  # processes of DDP import them too

import own_digits

import coreset.trainers
from coreset.trainers.learners.lightning import LightningLearner

CPU = {"accelerator": "cpu", "max_epochs": 2}
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:pytorch_lightning"),
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"),
]


class Shuffles(own_digits.DigitsData):
    def setup(self, stage):
        super().setup(stage)
        self.train, _ = random_split(self.train, [1000, 300])


class Stream(own_digits.DigitsData):
    def train_dataloader(self):
        class Endless(IterableDataset):
            def __iter__(self):
                yield torch.zeros(64), 0

        return DataLoader(Endless(), 4)


class Sampled(own_digits.DigitsData):
    def train_dataloader(self):
        return DataLoader(self.train, 4, sampler=WeightedRandomSampler([1.0] * 1300, 10))


class Unreadable(own_digits.Rows):
    def __getitem__(self, i):
        if i == 185:
            raise OSError("image file is truncated")
        return super().__getitem__(i)


class UnreadableData(own_digits.RowsData):
    def setup(self, stage):
        super().setup(stage)
        self.train = Unreadable("train")


class Truncated(own_digits.RowsDataWithView):
    def pool_dataset(self):
        return torch.utils.data.Subset(self.clean, range(100))


class Reordered(own_digits.RowsDataWithView):
    def pool_dataset(self):
        return torch.utils.data.Subset(self.clean, list(range(1299, -1, -1)))


class Frozen(own_digits.LitDigits):
    def predict_step(self, batch, batch_idx):
        return self(batch[0]).argmax(1)


class Lines(own_digits.LitDigits):
    def predict_step(self, batch, batch_idx):
        return {"text": ["a line"] * len(batch[0])}


class NoLength(own_digits.DigitsData):
    def train_dataloader(self):
        class Endless:
            def __getitem__(self, i):
                return torch.zeros(64), 0

        return DataLoader(Endless(), 4, shuffle=True)


class TailShuffles(own_digits.DigitsData):
    """Another order at every setup, but of examples that nobody looks at."""

    def setup(self, stage):
        super().setup(stage)
        looked = {int(i) for i in np.linspace(0, 1299, 8)}
        tail = torch.tensor([i for i in range(1300) if i not in looked])
        order = torch.arange(1300)
        order[tail] = tail[torch.randperm(len(tail))]
        self.train = torch.utils.data.TensorDataset(*(t[order] for t in self.train.tensors))


class FiveClasses(own_digits.LitDigits):
    def __init__(self):
        super().__init__()
        self.net[3] = nn.Linear(32, 5)


@pytest.mark.parametrize(
    ("module", "data", "options", "words"),
    [
        (own_digits.LitDigits, Shuffles, {}, "positions of the train dataset differ"),
        (own_digits.LitDigits, Stream, {}, "IterableDataset, which has no length"),
        (own_digits.LitDigits, Sampled, {}, "sampler of its own .WeightedRandomSampler"),
        (own_digits.LitRows, UnreadableData, {"logits": "scores"}, "position 185 cannot be read: OSError: image file is truncated"),
        (own_digits.LitRows, Truncated, {"logits": "scores"}, "pool_dataset has 100 examples, the train dataset 1300"),
        (own_digits.LitRows, Reordered, {"logits": "scores"}, "position 0 has label 0 in the train dataset and"),
        (Frozen, own_digits.DigitsData, {}, "predict_step.batch.: returns int64 of shape .2,.; its forward .* logits=forward"),
        (Lines, own_digits.DigitsData, {}, "returns a mapping with text, and logits, probs, probabilities are what is read; its forward"),
        (own_digits.LitDigits, NoLength, {}, "NoLength: train_dataloader fails, .*Endless.* has no len.*: a dataset without length"),
        (own_digits.LitDigits, TailShuffles, {}, "positions of the train dataset differ"),
        (own_digits.LitDigits, own_digits.DigitsData, {"oracle": "label_studo"}, "oracle: expected one of file, hidden, label_studio, got 'label_studo'"),
        (own_digits.LitDigits, own_digits.DigitsData, {"oracle": {"file": {"place": "x"}}}, "oracle: file has no option 'place'; it has path"),
        (own_digits.LitDigits, own_digits.DigitsData, {"oracle": {"label_studio": {"url": "http://127.0.0.1:9", "token": "PATH"}}}, "http://127.0.0.1:9 does not answer .* nothing is lost"),
        (FiveClasses, own_digits.DigitsData, {}, "Margin needs probs, but forward of FiveClasses gives 5 values an example, and .* first 5 at"),
        (own_digits.LitDigits, own_digits.DigitsData, {"metric": "auroc"}, "trainer.test logs test_acc, test_loss, not 'auroc'"),
        (own_digits.LitDigits, own_digits.DigitsData, {"features": "net.7"}, "no layer 'net.7'; near: net"),
        (own_digits.LitDigits, own_digits.DigitsData, {"logits": "logits"}, "no method 'logits'"),
        (own_digits.LitDigits, own_digits.DigitsData, {"signals": {"u": "nope"}}, "signals.u: the module has no method 'nope'"),
        (own_digits.LitDigits, own_digits.DigitsData, {"trainer": {"devies": 2}}, "trainer: .*devies"),
        (own_digits.LitDigits, own_digits.DigitsData, {"trainer": {"devices": 2, "accelerator": "cpu", "strategy": "fsdp"}}, "trainer: "),
        (own_digits.LitDigits, own_digits.DigitsData, {"labels": [1, 2]}, "labels: expected whole numbers of shape"),
        (own_digits.LitDigits, own_digits.DigitsData, {"checkpoint": "first"}, "checkpoint: expected last or best"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_trains(tmp_path, module, data, options, words):
    with pytest.raises((ValueError, TypeError, ConnectionError), match=words):
        coreset.trainers.active(
            module(), data(), strategy="margin", budget=[30, 60], folder=tmp_path / "run",
            **{"trainer": CPU, **options},
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_no_dropout_no_members(tmp_path):
    with pytest.raises(ValueError, match="Bald needs member_probs, but it has no dropout layer"):
        coreset.trainers.active(
            own_digits.LitDigits(dropout=0.0), own_digits.DigitsData(), strategy="bald",
            budget=[30, 60], trainer=CPU, folder=tmp_path / "run",
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


class Embeds(own_digits.LitDigits):
    def predict_step(self, batch, batch_idx):
        return self.net[:2](batch[0])


class PartlyLabeled(own_digits.DigitsData):
    def setup(self, stage):
        super().setup(stage)
        x, y = self.train.tensors
        self.train = torch.utils.data.TensorDataset(x, torch.where(torch.arange(1300) == 7, -1, y))


class StrangeLabel(own_digits.Rows):
    def __getitem__(self, i):
        item = super().__getitem__(i)
        return {**item, "label": 12} if i == 77 else item


class StrangeLabelData(own_digits.RowsData):
    def setup(self, stage):
        super().setup(stage)
        self.train = StrangeLabel("train")


@pytest.mark.parametrize(
    ("module", "data", "words"),
    [
        (Embeds, own_digits.DigitsData, "gives 32 values an example, .* labels of 10 classes only"),
        (own_digits.LitDigits, PartlyLabeled, "1 of 1300 .* have no label, first -1 at position 7"),
    ],
)
def test_labels_that_do_not_fit_are_named_before_anything_trains(module, data, words):
    learner = LightningLearner(module(), data(), trainer=CPU)
    with pytest.warns(UserWarning, match=words):
        learner.check()


def test_a_label_that_is_no_class_is_named_when_the_pool_is_measured():
    learner = LightningLearner(
        own_digits.LitRows(), StrangeLabelData(), trainer=CPU, logits="scores"
    )
    with pytest.warns(UserWarning, match="position 77 of the pool has label 12, .* 10 classes"):
        learner.signals(np.arange(50, 100), ["probs"])


class NamedRows(own_digits.Rows):
    def __getitem__(self, i):
        return {**super().__getitem__(i), "file": f"{i}.png"}


class NamedRowsData(own_digits.RowsData):
    def setup(self, stage):
        self.train, self.test = NamedRows("train"), NamedRows("test")


class Keywords(own_digits.LitRows):
    """forward takes one entry of a batch that has more of them."""

    def forward(self, image):
        return self.scores({"image": image})

    def test_step(self, batch, batch_idx):
        self.log("accuracy", 0.5, batch_size=len(batch["label"]))


class Logged(Keywords):
    def predict_step(self, batch, batch_idx):
        probs = self(batch["image"]).softmax(1)
        return {"preds": probs.argmax(1), "probs": probs, "file": batch["file"]}


@pytest.mark.parametrize(("module", "form"), [(Keywords, "keywords"), (Logged, "batch")])
def test_batches_and_outputs_may_be_mappings_of_more(module, form):
    learner = LightningLearner(module(), NamedRowsData(), trainer=CPU)
    assert learner.reading.form == form
    assert learner.reading.probabilities == (module is Logged)
    rows = np.array([3, 800])
    columns = learner.signals(rows, ["probs"])
    with torch.no_grad():
        images = own_digits.tensors("train")[0][rows].view(2, 1, 8, 8)
        expected = learner.module.eval().scores({"image": images}).softmax(1)
    np.testing.assert_allclose(columns["probs"], expected, rtol=1e-4)

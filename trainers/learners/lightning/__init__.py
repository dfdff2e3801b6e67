"""Any LightningModule with any LightningDataModule as a `Learner`."""

from coreset.trainers.learners.lightning.learner import LightningLearner

__all__ = ["LightningLearner"]

"""Training: the engine, its options, run directories. Lightning is imported when `fit` runs, not before."""

from regard.training.fit import fit
from regard.training.options import TrainingOptions
from regard.training.run import RunDirectory
from regard.training.task import Task

__all__ = ["RunDirectory", "Task", "TrainingOptions", "fit"]

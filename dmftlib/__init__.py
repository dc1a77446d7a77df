"""Learning rules in wide networks: lazy kernels, mean field dynamics, and finite networks beside them."""

from . import lazy, machine, meanfield, network, twolayer
from .activations import Activation
from .comparison import compare
from .convolution import Convolution
from .experiment import Experiment, batches
from .losses import Loss
from .results import Dynamics
from .rules import DFA, FA, GD, GLN, Hebb, Layer, Rule
from .saved import load, predict, save
from .stability import Diverged
from .task import Task

__all__ = [
    "DFA", "FA", "GD", "GLN", "Activation", "Convolution", "Diverged", "Dynamics", "Experiment", "Hebb", "Layer", "Loss", "Rule", "Task",
    "batches", "compare", "lazy", "load", "machine", "meanfield", "network", "predict", "save", "twolayer",
]  # fmt: skip


def __getattr__(name):
    """`dmftlib.figures` is companion.figures, loaded when it is asked for: plots are no part of this package."""
    if name == "figures":
        from importlib import import_module

        return import_module("companion.figures")
    raise AttributeError(f"module 'dmftlib' has no attribute {name!r}")

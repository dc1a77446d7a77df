"""Learning rules in wide networks: lazy kernels, mean field dynamics, and finite networks beside them."""

from . import lazy, meanfield, network
from .activations import Activation
from .dynamics import Diverged, Dynamics, compare
from .experiment import Experiment, Task
from .rules import GD, Layer, Rule

__all__ = [
    "Activation", "Diverged", "Dynamics", "Experiment", "GD", "Layer", "Rule", "Task", "compare",
    "lazy", "meanfield", "network",
]  # fmt: skip

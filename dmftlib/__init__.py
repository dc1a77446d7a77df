"""Learning rules in wide networks: lazy kernels, mean field dynamics, and finite networks beside them."""

from . import claims, costs, figures, generalization, interactive, lazy, meanfield, network, questions, twolayer
from .activations import Activation
from .dynamics import Diverged, Dynamics, compare
from .experiment import Experiment, Task
from .rules import DFA, FA, GD, GLN, Hebb, Layer, Rule

__all__ = [
    "DFA", "FA", "GD", "GLN", "Activation", "Diverged", "Dynamics", "Experiment", "Hebb", "Layer", "Rule", "Task",
    "claims", "compare", "costs", "figures", "generalization", "interactive", "lazy", "meanfield", "network", "questions",
    "twolayer",
]  # fmt: skip

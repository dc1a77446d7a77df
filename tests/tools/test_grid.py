import pytest

from tools import grid
from tools.parameters import ParameterError, read_cell

PARAMETERS = read_cell(
    "gamma0: float = 1.0  # richness (0, 10]\n"
    "P: int = 8  # samples [2, 64]\n"
    "seed: int = 0  # of the data [0, inf)\n"
    'activation: str = "tanh"  # nonlinearity {relu, tanh, erf}\n'
    "rich: bool = True  # whether features move\n"
    "rhos: list[float] = [0.0, 1.0]  # at least two correlations, rising, each [0, 1]\n"
    'rules: list[str] = ["GD"]  # rules, each {GD, FA, DFA}'
)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("gamma0=0.5,1,2", {"gamma0": [0.5, 1.0, 2.0]}),
        ("seed=0:3 P=2,4", {"seed": [0, 1, 2], "P": [2, 4]}),
        ("P=2:11:4", {"P": [2, 6, 10]}),
        ("activation=relu,erf rich=true,false", {"activation": ["relu", "erf"], "rich": [True, False]}),
        ("rhos=[0,1];[0,0.5,1]", {"rhos": [[0.0, 1.0], [0.0, 0.5, 1.0]]}),
        ("rules=[GD];[FA,DFA]", {"rules": [["GD"], ["FA", "DFA"]]}),
        ("gamma0 = 0.5, 1 rules=[GD]; [FA, DFA]", {"gamma0": [0.5, 1.0], "rules": [["GD"], ["FA", "DFA"]]}),
    ],
)
def test_a_grid_is_read_into_checked_values(text, expected):
    found = grid.read(text, PARAMETERS, "gd")
    assert found == expected
    assert grid.read(" ".join(written(name, values) for name, values in found.items()), PARAMETERS, "gd") == expected


def written(name, values):
    return f"{name}={(';' if isinstance(values[0], list) else ',').join(map(grid.written, values))}"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "nothing is swept"),
        ("gamma0", r"a grid is written name=a,b,c name=a,b; got 'gamma0'"),
        ("gamma=1,2", r"no parameter `gamma`\. Did you mean `gamma0`\?"),
        ("gamma0=1,20", r"`gamma0` must lie in \(0, 10\]; got 20\.0"),
        ("gamma0=1,,2", r"`gamma0` must be float; got ''"),
        ("gamma0=1,1.0", r"the grid of `gamma0` has 1\.0 twice"),
        ("gamma0=1 gamma0=2", "the grid names `gamma0` twice"),
        ("gamma0=[1,2]", r"`gamma0` is one value a run, so its grid is written gamma0=a,b,c; got '\[1,2\]'"),
        ("gamma0=1;2", r"`gamma0` is one value a run"),
        ("gamma0='0.5,1", r"cannot read .*: No closing quotation"),
        ("gamma0=0:3", r"a:b counts whole numbers.*`gamma0` got '0:3'\. Other values are listed: gamma0=a,b,c"),
        ("seed=0:", r"a:b counts whole numbers.*`seed` got '0:'"),
        ("seed=3:3", r"the grid of `seed` is empty: '3:3' counts from a up to b but not b"),
        ("rhos=0,1", r"`rhos` is a list.*as in rhos=\[0\.0,1\.0\];\[\.\.\.\]; got '0,1'"),
        ("rhos=[0,1];[0.5]", r"`rhos` needs at least 2 values.*got \[0\.5\]"),
        ("rhos=[0,1];[1,0]", r"the values of `rhos` must rise; got \[1\.0, 0\.0\]"),
        ("rhos=[0,1];[0,1.5]", r"`rhos` must lie in \[0, 1\]; got 1\.5"),
    ],
)
def test_a_wrong_grid_is_explained_and_the_valid_parameters_listed(text, message):
    with pytest.raises(ParameterError, match=message) as error:
        grid.read(text, PARAMETERS, "gd")
    assert "The parameters of gd are\n  gamma0: float = 1.0" in str(error.value)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ParameterError, match=r"(?s)no parameter `zz`.*`P` must lie in \[2, 64\]; got 1"):
        grid.read("zz=1 P=1,2", PARAMETERS, "gd")


def test_the_points_are_all_combinations():
    assert grid.points({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]

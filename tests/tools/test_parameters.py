import pytest

from tools import chapters, records
from tools.parameters import (
    ParameterError,
    read_cell,
    read_line,
    read_notebook,
    read_preset,
    read_presets,
    read_settings,
)

# Chapters that train no networks, so that the paper's width means nothing to them.
WITHOUT_NETWORKS = set()

CELL = """gamma0: float = 1.0  # richness; near 0 is lazy (0, 10]
P: int = 8  # training samples [2, 64]

activation: str = "tanh"  # nonlinearity {relu, tanh, erf}
rich: bool = True  # whether features move
widths: list[int] = [64, 128]  # widths of the networks, each [16, 4096]
rules: list[str] = ["GD", "FA"]  # rules, each {GD, FA, DFA}
seed: int = 0  # of the data [0, inf)"""


def test_a_line_is_read_into_name_type_default_meaning_and_range():
    line = read_cell(CELL)["gamma0"]
    assert (line.name, line.type, line.default) == ("gamma0", "float", 1.0)
    assert (line.help, line.allowed) == ("richness; near 0 is lazy", "(0, 10]")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", {}),
        ("gamma0=4 P=2", {"gamma0": 4.0, "P": 2}),
        ("gamma0=10", {"gamma0": 10.0}),
        ("activation=relu rich=false", {"activation": "relu", "rich": False}),
        ("widths=[16,4096] rules='[\"DFA\"]'", {"widths": [16, 4096], "rules": ["DFA"]}),
        ("seed=123456789", {"seed": 123456789}),
        ("gamma0 = 4  P =2", {"gamma0": 4.0, "P": 2}),
        ("widths=[64, 256] P=2", {"widths": [64, 256], "P": 2}),
        ("widths = [ 64 ,256 ]  rules=GD, DFA", {"widths": [64, 256], "rules": ["GD", "DFA"]}),
    ],
)
def test_settings_are_converted_to_the_type_of_their_parameter(text, expected):
    values = read_settings(text, read_cell(CELL), "gd")
    assert values == expected
    assert [type(value) for value in values.values()] == [type(value) for value in expected.values()]


@pytest.mark.parametrize(
    "text, message",
    [
        ("gama0=4", r"gd has no parameter `gama0`\. Did you mean `gamma0`\?"),
        ("zzz=4", r"gd has no parameter `zzz`\.\n"),
        ("gamma0", r"written name=value; got 'gamma0'"),
        ("gamma0='4", r"cannot read"),
        ("gamma0=abc", r"`gamma0` must be float; got 'abc'"),
        ("gamma0=0", r"`gamma0` must lie in \(0, 10\]; got 0\.0"),
        ("gamma0=10.1", r"`gamma0` must lie in \(0, 10\]; got 10\.1"),
        ("gamma0=nan", r"`gamma0` must lie in \(0, 10\]; got nan"),
        ("P=8.0", r"`P` must be int; got '8\.0'"),
        ("P=1", r"`P` must lie in \[2, 64\]; got 1"),
        ("activation=sine", r"`activation` must lie in \{relu, tanh, erf\}; got 'sine'"),
        ("rich=2", r"`rich` must be bool; got '2'"),
        ("widths=64,8", r"`widths` must lie in \[16, 4096\]; got 8"),
        ("widths=[]", r"`widths` must be list\[int\]; got '\[\]'\. Write for example widths=\[64,128\]\."),
        ("gamma0=0,5", r"`gamma0` must be float; got '0,5'\. Write for example gamma0=1\.0\."),
        (
            "gamma0=4, P=8",
            r"got '4,P=8'\. Between parameters stand spaces, without commas; write for example gamma0=1\.0",
        ),
        ("gamma0=4; P=8", r"got '4;P=8'\. Between parameters stand spaces, without commas"),
        ("P=8 P=9", r"`P` is set twice; keep one of the two"),
        ("γ₀=4", r"gd has no parameter `γ₀`\. Did you mean `gamma0`\?"),
        ("Γ0=4", r"gd has no parameter `Γ0`\. Did you mean `gamma0`\?"),
        ("p=8", r"gd has no parameter `p`\. Did you mean `P`\?"),
        ("--gamma0=4", r"gd has no parameter `--gamma0`\. Did you mean `gamma0`\?"),
    ],
)
def test_a_wrong_setting_is_named_and_the_valid_ones_listed(text, message):
    with pytest.raises(ParameterError, match=message) as error:
        read_settings(text, read_cell(CELL), "gd")
    for parameter in read_cell(CELL).values():
        assert str(parameter) in str(error.value)
    assert "gamma0: float = 1.0  richness; near 0 is lazy (0, 10]" in str(error.value)


@pytest.mark.parametrize(
    "line, message",
    [
        ("gamma0 = 1.0  # richness (0, 10]", "not `name: type = default"),
        ("gamma0: float = 1.0", "not `name: type = default"),
        ("gamma0: float = 1.0  # (0, 10]", "`gamma0` must say what it allows"),
        ("gamma0: float = 1.0 # richness (0, 10]", "not `name: type = default"),
        ("gamma0: complex = 1.0  # richness (0, 10]", "not `name: type = default"),
        ("gamma0: float = 1.0  # richness", "`gamma0` must say what it allows"),
        ("gamma0: float = 1.0  # richness (0, many]", "the range of `gamma0` is not two numbers"),
        ("gamma0: float = np.pi  # richness (0, 10]", "the default of `gamma0` is not a plain value"),
        ("gamma0: float = 1  # richness (0, 10]", "`gamma0` must be float; got 1"),
        ("gamma0: float = 0.0  # richness (0, 10]", r"`gamma0` must lie in \(0, 10\]; got 0\.0"),
        ('name: str = "a"  # a name [0, 1]', "`name` is text"),
        ("n: int = True  # a count [0, 1]", "`n` must be int; got True"),
        ("n: list[int] = 3  # counts, each [0, 4]", r"`n` must be list\[int\]; got 3"),
        ("rich: bool = True  # features move {yes, no}", "`rich` must say what it allows"),
    ],
)
def test_a_line_outside_the_grammar_is_refused(line, message):
    with pytest.raises(ParameterError, match=message):
        read_line(line)


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(ParameterError, match=r"(?s)no parameter `gama0`.*`P` must lie in \[2, 64\]; got 1\.\nThe par"):
        read_settings("gama0=4 P=1", read_cell(CELL), "gd")


@pytest.mark.parametrize(
    "meaning, length",
    [
        ("correlations, rising", (1, float("inf"))),
        ("correlations, at least two, rising", (2, float("inf"))),
        ("the two widths of the networks", (2, 2)),
        ("small richnesses, three or more", (3, float("inf"))),
        ("two to nine widths", (2, 9)),
        ("four values of the richness", (4, 4)),
        ("of the networks with one hidden layer", (1, float("inf"))),
    ],
)
def test_what_the_meaning_of_a_list_says_about_its_length_is_understood(meaning, length):
    values = [1.0, 2.0, 3.0, 4.0][: 2 if length[1] == 2 else 4]
    assert read_line(f"n: list[float] = {values}  # {meaning}, each [0, 9]").length == length


def test_and_only_of_lists():
    assert read_line("n: int = 4  # networks in each of eight groups [0, 9]").length == (1, float("inf"))


@pytest.mark.parametrize(
    "text, message",
    [
        ("rhos=0.3", r"`rhos` needs at least 2 values, as in \[0\.0, 1\.0\]; got \[0\.3\]"),
        ("rhos=[0.6,0.3]", r"the values of `rhos` must rise; got \[0\.6, 0\.3\]"),
        ("rhos=0.3,0.3", "the values of `rhos` must rise"),
        ("pair=1,2,3", r"`pair` needs 2 values"),
        ("many=1,2,3,4", r"`many` needs 2 to 3 values"),
        ("rho=0.3", r"no parameter `rho`\. Did you mean `rhos`\?"),
    ],
)
def test_lists_have_the_length_and_the_order_that_their_meaning_names(text, message):
    lines = (
        "rhos: list[float] = [0.0, 1.0]  # correlations, at least two, rising, each [0, 1]",
        "pair: list[int] = [1, 2]  # the two widths, each [0, 9]",
        "many: list[int] = [1, 2]  # two to three widths, each [0, 9]",
        "free: list[float] = [0.5]  # correlations, each [0, 1]",
    )
    cell = read_cell("\n".join(lines))
    with pytest.raises(ParameterError, match=message):
        read_settings(text, cell, "fa")
    assert read_settings("rhos=[0.3,0.6] free=0.3", cell, "fa") == {"rhos": [0.3, 0.6], "free": [0.3]}


def test_commands_for_feedback_alignment_as_one_would_type_them():
    parameters = read_notebook(chapters.read(chapters.committed("fa")))
    assert read_settings("rho=0.3 gamma0=4", parameters, "fa") == {"rho": 0.3, "gamma0": 4.0}
    assert read_settings("lazy_rhos=[0.3,0.6]", parameters, "fa") == {"lazy_rhos": [0.3, 0.6]}
    with pytest.raises(ParameterError, match=r"fa has no parameter `lazy_rho`\. Did you mean `lazy_rhos`\?"):
        read_settings("lazy_rho=0.3", parameters, "fa")


def test_a_chapter_has_exactly_one_parameters_cell():
    notebook = chapters.read(chapters.committed(chapters.names()[0]))
    for cell in notebook.cells:
        cell.metadata.pop("tags", None)
    with pytest.raises(ParameterError, match="one cell tagged `parameters`; found 0"):
        read_notebook(notebook)


@pytest.mark.parametrize("chapter", chapters.names())
def test_every_line_of_every_committed_parameters_cell_is_in_the_grammar(chapter):
    assert read_notebook(chapters.read(chapters.committed(chapter)))


def test_a_preset_gives_checked_values(tmp_path):
    path = tmp_path / "presets.toml"
    path.write_text("[paper.gd]\ngamma0 = 4.0\nwidths = [64, 4000]\nrich = false\n[paper.fa]\n[quick.gd]\nP = 2\n")
    assert read_preset(path, "paper", read_cell(CELL), "gd") == {"gamma0": 4.0, "widths": [64, 4000], "rich": False}
    assert read_preset(path, "paper", read_cell(CELL), "fa") == {}
    assert read_preset(path, "quick", read_cell(CELL), "gd") == {"P": 2}


@pytest.mark.parametrize(
    "text, message",
    [
        ("[quick.gd]\n[big.gd]", r"there is no preset 'paper'; presets\.toml has: quick, big\."),
        ("[paper.fa]\n[paper.dfa]", r"says nothing about gd, only about fa, dfa; add a table \[paper\.gd\]"),
        ("[paper.gd]\nP = \nn = 1", r"presets\.toml is not TOML: .*line 2"),
        ("[paper.gd]\ngama0 = 4.0", r"gd has no parameter `gama0`\. Did you mean `gamma0`\?\nThe parameters of gd are"),
        ("[paper.gd]\ngamma0 = 4", r"`gamma0` must be float; got 4"),
        ("[paper.gd]\ngamma0 = 11.0", r"`gamma0` must lie in \(0, 10\]; got 11\.0"),
        ("[paper.gd]\nwidths = [64, 8000]", r"`widths` must lie in \[16, 4096\]; got 8000"),
    ],
)
def test_a_wrong_preset_says_what_is_wrong_and_what_there_is(tmp_path, text, message):
    path = tmp_path / "presets.toml"
    path.write_text(text)
    with pytest.raises(ParameterError, match=message):
        read_preset(path, "paper", read_cell(CELL), "gd")


@pytest.mark.parametrize("chapter", [name for name in chapters.names() if name not in WITHOUT_NETWORKS])
def test_every_chapter_has_the_paper_s_width_in_its_paper_preset(chapter):
    parameters = read_notebook(chapters.read(chapters.committed(chapter)))
    values = read_preset(records.presets(), "paper", parameters, chapter)
    widths = [values.get(name, parameter.default) for name, parameter in parameters.items() if "width" in name]
    assert max(N for width in widths for N in (width if isinstance(width, list) else [width])) == 4000


def test_the_paper_preset_speaks_of_chapters_that_exist():
    assert set(read_presets(records.presets(), "paper")) <= set(chapters.names())

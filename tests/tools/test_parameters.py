import pytest

from tools import chapters, pages, run_records
from tools.parameters import (
    ParameterError,
    read_cell,
    read_grid,
    read_line,
    read_notebook,
    read_preset,
    read_settings,
    written,
)

CELL = read_cell("""gamma0: float = 1.0  # richness; near 0 is lazy (0, 10]
P: int = 8  # training samples [2, 64]

activation: str = "tanh"  # nonlinearity {relu, tanh, erf}
widths: list[int] = [64, 128]  # widths of the networks, each [16, 4096]
rhos: list[float] = [0.0, 1.0]  # at least two correlations, rising, each [0, 1]
depths: list[int] = [1, 2]  # two to three depths, each [1, 6]
seed: int = 0  # of the data [0, inf)""")


@pytest.mark.parametrize(
    "read, text, expected",
    [
        (read_settings, "gamma0=1e-5 P=2 activation=relu", {"gamma0": 1e-5, "P": 2, "activation": "relu"}),
        (read_settings, "P = 9  widths = [ 64 ,256 ]  depths=1, 2, 4", {"P": 9, "widths": [64, 256], "depths": [1, 2, 4]}),
        (read_grid, "gamma0=0.5,1,2 activation=relu,erf", {"gamma0": [0.5, 1.0, 2.0], "activation": ["relu", "erf"]}),
        (read_grid, "seed=0:3 P=2:11:4", {"seed": [0, 1, 2], "P": [2, 6, 10]}),
        (read_grid, "rhos=[0,1]; [0,0.5,1]", {"rhos": [[0.0, 1.0], [0.0, 0.5, 1.0]]}),
    ],
)  # fmt: skip
def test_values_are_converted_to_the_type_of_their_parameter(read, text, expected):
    assert repr(read(text, CELL, "gd")) == repr(expected)
    if read is read_grid:  # as the name of its folder has it
        again = " ".join(f"{n}={(';' if CELL[n].is_list else ',').join(map(written, v))}" for n, v in expected.items())
        assert read_grid(again, CELL, "gd") == expected


@pytest.mark.parametrize(
    "read, text, message",
    [
        (read_settings, "gama0=4", r"gd has no parameter `gama0`\. Did you mean `gamma0`\?"),
        (read_settings, "gamma0=nan", r"`gamma0` must lie in \(0, 10\]; got nan"),
        (read_settings, "P=8.0", r"`P` must be int; got '8\.0'"),
        (read_settings, "activation=sine", r"`activation` must lie in \{relu, tanh, erf\}; got 'sine'"),
        (read_settings, "widths=[]", r"`widths` must be list\[int\]; got '\[\]'\. Write for example widths=\[64,128\]"),
        (read_settings, "P=8 P=9", r"`P` is given twice; keep one"),
        (read_settings, "rhos=0.3", r"`rhos` needs 2 or more values, as in \[0\.0, 1\.0\]; got \[0\.3\]"),
        (read_settings, "rhos=[0.6,0.6]", r"`rhos` must rise from one value to the next; got \[0\.6, 0\.6\]"),
        (read_settings, "gama0=4 P=1", r"(?s)no parameter `gama0`.*`P` must lie in \[2, 64\]; got 1\.\nThe parameters"),
        (read_grid, "gamma0=1,,2", r"`gamma0` must be float; got ''"),
        (read_grid, "gamma0=1,1.0", r"the grid of `gamma0` is empty, or has a value twice: '1,1\.0'"),
        (read_grid, "seed=3:3", r"the grid of `seed` is empty"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_and_the_valid_ones_listed(read, text, message):
    with pytest.raises(ParameterError, match=message) as error:
        read(text, CELL, "gd")
    assert "gamma0: float = 1.0  richness; near 0 is lazy (0, 10]" in str(error.value)


@pytest.mark.parametrize(
    "line, message",
    [
        ("gamma0 = 1.0  # richness (0, 10]", "not `name: type = default"),
        ("gamma0: float = 1.0  # richness", "not `name: type = default"),
        ("gamma0: float = 1.0  # richness (0, many]", "`gamma0`: could not convert"),
        ("gamma0: float = np.pi  # richness (0, 10]", "`gamma0`: malformed"),
        ("gamma0: float = 1  # richness (0, 10]", "`gamma0` must be float; got 1"),
        ('name: str = "a"  # a name [0, 1]', "`name`: "),
        ("n: list[int] = 3  # counts, each [0, 4]", r"`n` must be list\[int\]; got 3"),
        ("n: list[int] = [3]  # the two widths, each [0, 4]", "`n` needs 2 values"),
    ],
)
def test_a_line_outside_the_grammar_is_refused(line, message):
    with pytest.raises(ParameterError, match=message):
        read_line(line)


@pytest.mark.parametrize("chapter", chapters.names())
def test_every_chapter_has_one_parameters_cell_and_the_paper_s_width_in_its_paper_preset(chapter):
    notebook = chapters.read(chapters.committed(chapter))
    parameters = read_notebook(notebook)
    values = read_preset(run_records.presets(), "paper", parameters, chapter)
    widths = [values.get(name, parameter.default) for name, parameter in parameters.items() if "width" in name]
    assert max(N for width in widths for N in (width if isinstance(width, list) else [width])) == 4000
    for cell in notebook.cells:
        cell.metadata.pop("tags", None)
    with pytest.raises(ParameterError, match="one cell tagged `parameters`; found 0"):
        read_notebook(notebook)


@pytest.mark.parametrize("chapter", chapters.names())
def test_the_rerun_that_a_chapter_proposes_changes_something_and_is_allowed(chapter):
    parameters = read_notebook(chapters.read(chapters.committed(chapter)))
    text, look = pages.trials()[chapter]
    values = read_settings(text, parameters, chapter)
    assert values and all(value != parameters[name].default for name, value in values.items()) and look.endswith(".")


@pytest.mark.parametrize(
    "text, message",
    [
        ("[paper.fa]\n[big.gd]", r"presets\.toml has no \[paper\.gd\]; its presets, .* {'paper': \['fa'\], 'big': \['gd'\]}"),
        ("[paper.gd]\nP = \nn = 1", r"presets\.toml is not TOML: .*line 2"),
        ("[paper.gd]\ngama0 = 4.0", r"gd has no parameter `gama0`\. Did you mean `gamma0`\?\nThe parameters of gd are"),
        ("[paper.gd]\nwidths = [64, 8000]", r"`widths` must lie in \[16, 4096\]; got \[64, 8000\]"),
    ],
)  # fmt: skip
def test_a_preset_is_checked_as_if_it_had_been_typed(tmp_path, text, message):
    path = tmp_path / "presets.toml"
    path.write_text(text)
    with pytest.raises(ParameterError, match=message):
        read_preset(path, "paper", CELL, "gd")
    path.write_text("[paper.gd]\ngamma0 = 4.0\nwidths = [64, 4000]\n")
    assert read_preset(path, "paper", CELL, "gd") == {"gamma0": 4.0, "widths": [64, 4000]}

"""The figures on the pages of theory: diagrams, curves of a closed form, of the lazy limit, and of measured costs."""

from pathlib import Path

import numpy as np
from matplotlib import figure, rc_context
from matplotlib.ticker import FixedLocator, NullFormatter

import dmftlib as dl
from companion import drawing

from . import speed_page

BLUE, ORANGE = drawing.RULES["GD"], drawing.RULES["FA"]


def draw(height, places, arrows):
    """Texts at places (x, y) in inches, and arrows (start, end, text, colour, dash) between them."""
    axes = figure.Figure((drawing.WIDTH, height)).add_axes((0, 0, 1, 1), xlim=(0, drawing.WIDTH), ylim=(0, height))
    axes.set_axis_off()
    for place, text in places.items():
        axes.text(*place, text, ha="center", va="center")
    for start, end, text, color, dash in arrows:
        axes.annotate("", end, start, arrowprops=dict(arrowstyle="-|>", color=color, linestyle=dash))
        beside = (0, 0.18) if start[1] == end[1] else (0.4, 0)
        axes.text(*np.add(start, end) / 2 + beside, text, ha="center", va="center", color=color)
    return axes.figure


def network():
    """Forward pass, backward pass, and what a learning rule puts in the place of the gradient."""
    up, down, places, arrows = 1.3, 0.75, {(0.3, 1.3): "$x$", (4.4, 1.3): "$f$", (4.4, 0.75): "$1$"}, []
    for l in (1, 2):
        places[1.5 * l, up], places[1.5 * l, down] = rf"$h^{l},\ \phi(h^{l})$", rf"$g^{l}\ $ or $\ \tilde g^{l}$"
    for a, b, sent, back, change in (
        (0.45, 0.95, "W^0", "", r"\tilde g^1 x^\top"),
        (2.05, 2.45, "W^1", r"{W^1}^\top", r"\tilde g^2\phi(h^1)^\top"),
        (3.55, 4.25, "w", "w", r"\phi(h^2)"),
    ):
        places[(a + b) / 2, 0.2] = rf"$\delta {sent}\propto\Delta\,{change}$"
        arrows.append(((a, up), (b, up), f"${sent}$", BLUE, "-"))
        arrows += [((b, down), (a, down), f"${back}$", ORANGE, "-")] * bool(back)
    return draw(1.6, places, arrows)


def richness():
    """How far function, neurons and feature kernel move: one linear hidden layer, one sample, y = 1, learned to the end."""
    gamma0 = np.geomspace(0.01, 10, 61)
    tau = np.arcsinh(gamma0) / 2  # at the end h = cosh τ h(0) + sinh τ w(0) and γ₀f = sinh 2τ: dmftlib.twolayer.gd
    axes = figure.Figure((drawing.WIDTH, 2.4), layout="constrained").subplots()
    axes.loglog(gamma0, np.sinh(2 * tau) / gamma0, "-", color="black")
    axes.loglog(gamma0, np.hypot(np.cosh(tau) - 1, np.sinh(tau)), "--", color=BLUE)
    axes.loglog(gamma0, np.cosh(2 * tau) - 1, "-.", color=ORANGE)
    axes.set(xlabel="richness $\\gamma_0$", ylabel="change by training", xlim=gamma0[[0, -1]])
    axes.legend(["function $f$", "one neuron $h$", "kernel $\\Phi$"])
    return axes.figure


def entk():
    """Lazy kernels of ReLU, two hidden layers, against the angle; and predictions on a circle of inputs."""
    above, below = figure.Figure((drawing.WIDTH, 5), layout="constrained").subplots(2)
    theta, grid, degrees = np.linspace(0, 180, 61), np.linspace(0, 360, 181), [20, 70, 110, 190, 230, 300]
    task, y = dl.Task.circle(np.radians(theta), 0 * theta), np.array([1.0, -0.5, 0.5, -1.0, 0.7, 0.0])
    kernels = dl.lazy.kernels(dl.Experiment(task, dl.GD(), 2, "relu", gamma0=1.0, lr=0.1, steps=1))
    terms = np.array([task.K_x[0], *kernels.Phi[:, 0]]) * [*kernels.G[:, 0], np.ones(61)]
    for term, dash in zip((*terms, kernels.K[0]), ("--", "-.", ":", "-")):
        above.plot(theta, term, dash, color="black" if dash == "-" else BLUE)
    X = dl.Task.circle(np.radians([*degrees, *grid]), np.zeros(6 + len(grid))).X
    for rule, dash in ((dl.DFA(), "-"), (dl.GD(), "--")):
        experiment = dl.Experiment(dl.Task(X[:6], y, X[6:]), rule, 2, "relu", gamma0=1.0, lr=0.1, steps=1)
        below.plot(grid, dl.lazy.predict(experiment).f_test_inf, dash, color="black")
    below.plot(degrees, y, "o", color=ORANGE)
    above.set(xlabel="angle between two inputs (degrees)", xlim=(0, 180), ylabel="lazy kernel")
    below.set(xlabel="angle of the input (degrees)", xlim=(0, 360), ylabel="output $f$ at the end")
    above.legend([r"$G^1\Phi^0$", r"$G^2\Phi^1$", r"$\Phi^2$", "$K$, the sum"])
    below.legend([r"$K=\Phi^L$", "$K$ of GD", "training data"], loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    return above.figure


def meanfield():
    """The two ways to and fro through one initial matrix: what was sent comes back, as a term of the other field."""
    s, t, places, arrows = 1.15, 4.05, {}, []
    up_and_down = (r"\phi(s)", "u(s)", r"g(t),\ \tilde g(t)", r"\xi(t),\ \tilde\xi(t)", r"B\,\phi(s),\ \ D\,\phi(s)")
    down_and_up = (r"g(s),\ \tilde g(s)", r"r(s),\ v(s)", r"\phi(t)", r"\chi(t)", r"A\,g(s)+C\,\tilde g(s)")
    for low, color, names, way in ((0.4, ORANGE, up_and_down, 1), (2.5, BLUE, down_and_up, -1)):
        (own, other), (going, coming) = (low, low + 1.1)[::way], ("$W(0)$", r"$W(0)^\top$")[::way]
        places |= dict(zip(((s, own), (s, other), (t, other), (t, own)), (f"${name}$" for name in names)))
        places |= {(0.35, low + 1.1): "layer\n$\\ell+1$", (0.35, low): "layer\n$\\ell$"}
        arrows.append(((s, own + 0.15 * way), (s, other - 0.15 * way), going, color, "-"))
        arrows.append(((s + 0.5, other), (t - 0.5, other), "learning, steps $s$ to $t$", color, "-"))
        arrows.append(((t, other - 0.15 * way), (t, own + 0.15 * way), coming, color, "-"))
        arrows.append(((s + 0.5, own), (t - 0.5, own), rf"response $\gamma_0\,[{names[4]}]$", "black", "--"))
    return draw(3.9, places, arrows)


def ticks(axis, values):
    """Ticks of a logarithmic axis at these values, written without powers of ten."""
    axis.set_major_locator(FixedLocator(values))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def cost_of_an_error():
    """Error of K against cost: every route for GD; and how many times more the cheapest networks cost, for every rule."""
    above, below = figure.Figure((drawing.WIDTH, 5.6), layout="constrained").subplots(2)
    rows = speed_page.result("deep")["rows"]
    errors = [100 * found["error"] for found in rows[0]["routes"]]
    looks = zip(("ours", *speed_page.ROUTES), ("-", "--", "-.", ":", drawing.LAZY_DASH))
    for (name, dash), label in zip(looks, ("mean field", *speed_page.ROUTES.values())):
        cost = [np.nan if found[name] is None else found[name] for found in rows[0]["routes"]]
        above.loglog(cost, errors, linestyle=dash, color="black" if name == "ours" else BLUE, label=label)
    known = [(row["cpu"], 100 * np.sqrt(row["variance"] + max(row["bias"], 0))) for row in rows[0]["ours"]]
    above.loglog(*np.transpose(known), "o", color="black")
    for row, (name, color), mark in zip(rows, drawing.RULES.items(), drawing.MARKS):
        ratios = [speed_page.cheapest(row, found["error"])[1] for found in row["routes"]]
        below.loglog(errors, ratios, marker=mark, markersize=5, color=color, label=name)
    below.axhline(1, color=drawing.GUIDE, linestyle=":")
    above.set(xlabel="seconds, all cores added", ylabel="error of $K$ (%), GD")
    below.set(xlabel="error of $K$ (%)", ylabel="networks / mean field")
    for axes, axis in ((above, above.yaxis), (below, below.xaxis)):
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        ticks(axis, [0.3, 0.5, 1, 2, 5])
    return above.figure


def growth_of_cost():
    """Seconds against steps, inputs, samples and the width of networks without matrices, with guides of power 1."""
    panels = figure.Figure((drawing.WIDTH, 4.4), layout="constrained").subplots(2, 2)
    powers = speed_page.result("powers")
    measured = (
        ("steps $T$", powers["T"]["rows"]),
        ("inputs $P$", powers["P"]["rows"]),
        ("samples", speed_page.result("samples")["rows"]),
        ("neurons a layer", speed_page.result("width")["rows"]),
    )
    for axes, (name, rows) in zip(panels.flat, measured):
        x, cpu = (np.array([row[key] for row in rows]) for key in ("x", "cpu"))
        axes.loglog(x, cpu[-1] * x / x[-1], ":", color=drawing.GUIDE)
        axes.loglog(x, cpu, "o-", markersize=5, color="black")
        axes.set_xlabel(name)
        ticks(axes.yaxis, [0.3, 1, 3, 10, 30, 100])
    ticks(panels[1, 0].xaxis, [5000, 10000, 20000])
    panels[0, 0].set_ylabel("seconds")
    panels[1, 0].set_ylabel("seconds")
    return panels[0, 0].figure


def fill(book: Path) -> None:
    """Write every figure that a page in `book` shows to `_static/theory/` under its name, as SVG without a ground."""
    pages = "".join(page.read_text(encoding="utf-8") for page in book.glob("*.md"))
    folder = book / "_static" / "theory"
    folder.mkdir(parents=True, exist_ok=True)
    with rc_context(drawing.STYLE):
        for make in (network, richness, entk, meanfield, cost_of_an_error, growth_of_cost):
            if f"theory/{make.__name__}.svg" in pages:
                make().savefig(folder / f"{make.__name__}.svg", transparent=True, metadata=drawing.UNDATED["svg"])

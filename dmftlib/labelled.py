"""Results as labelled arrays of xarray, which selects by name and writes files for other programs."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

MEANINGS = dict(
    f="output", f_test="output at test points", loss="loss of f, mean over training samples", Phi="<phi phi>", G="<g g>",
    G_tilde="<g g~>", G_tilde_tilde="<g~ g~>", K="eNTK", K_test="eNTK of test points with training points",
    final_h="preactivation at the last recorded step", final_z="z at the last recorded step",
)  # fmt: skip


def dataset(result):
    """The `xarray.Dataset` of a run, an ensemble, a closed form or a lazy prediction: see `Result.to_xarray`."""
    import xarray  # takes half a second, and only this needs it

    e, at = result.experiment, getattr(result, "kernels_at", None)
    task, T = e.task, len(result.f)
    rows, columns, tested = (
        (name, output)[: task.y.ndim]
        for name, output in (("sample", "output"), ("sample_2", "output_2"), ("sample_test", "output"))
    )
    when = () if at is None else ("step",) if len(at) == T else ("kernel_step",)  # a lazy prediction has one kernel
    sizes = dict(step=T, kernel_step=0 if at is None else len(at), layer=e.hidden_layers, neuron=-1, sample=task.P)
    sizes |= dict(sample_test=0 if task.X_test is None else len(task.X_test), output=task.outputs)
    sizes |= dict(sample_2=task.P, output_2=task.outputs, position=e.positions, position_2=e.positions)
    places, places_2 = ((), ()) if e.convolution is None else (("position",), ("position_2",))

    arrays = dict(f=("step", *rows), f_test=("step", *tested))
    arrays |= dict(
        Phi=(*when, "layer", "sample", *places, "sample_2", *places_2), final_h=("layer", "neuron", "sample", *places)
    )
    arrays |= {
        name: (*when, "layer", *rows, *places, *columns, *places_2) for name in ("G", "G_tilde", "G_tilde_tilde")
    }
    arrays |= dict(K=(*when, *rows, *columns), final_z=("layer", "neuron", *rows, *places))
    values = {name: value for name in arrays if (value := getattr(result, name, None)) is not None}
    if not when and "K" in values:
        arrays |= dict(K=("sample", "sample_2"), K_test=("sample_test", "sample_2"))
        values |= dict(K=result.K[: task.P]) | ({} if task.X_test is None else dict(K_test=result.K[task.P :]))
    arrays["loss"], values["loss"] = ("step",), e.losses(result.f).mean(axis=1)

    used = {dim for name in values for dim in arrays[name]} - {"neuron"}
    used |= set() if task.X_test is None else {"sample_test"}
    coords = {dim: np.arange(size) for dim, size in sizes.items() if dim in used} | dict(
        time=("step", result.times), y=(rows, task.y)
    )
    named = dict(sample=task.rows, sample_2=task.rows, sample_test=task.rows_test)
    coords |= {dim: list(names) for dim, names in named.items() if dim in used and names and len(names) == sizes[dim]}
    coords["layer"] = 1 + np.arange(e.hidden_layers)
    if when == ("kernel_step",):
        coords |= dict(kernel_step=at, kernel_time=("kernel_step", result.times[at]))
    if task.y_test is not None:
        coords["y_test"] = tested, task.y_test
    if task.y.ndim == 2 and (outputs := task.classes or task.targets) is not None:
        coords |= {dim: list(outputs) for dim in ("output", "output_2") if dim in used}
    if task.classes is not None:
        coords["label"] = "sample", task.decode(task.y)
        coords |= {} if task.y_test is None else dict(label_test=("sample_test", task.decode(task.y_test)))

    units, scaling = {}, task.scaling
    if scaling is not None and ((scaling.y_divide != 1) | (scaling.y_shift != 0)).any():
        units = dict(units="scaled targets, (y - y_shift)/y_divide")
        coords |= {name: (*coords[name], units) for name in ("y", "y_test") if name in coords}
    data, errors = {}, result.stated_errors()
    for name, value in values.items():
        about = {source: sizes_of[name] for source, sizes_of in errors.items() if name in sizes_of}
        about |= dict(long_name=MEANINGS[name]) | (units if name in ("f", "f_test") else {})
        data[name] = arrays[name], value.reshape([sizes[dim] for dim in arrays[name]]), about
        if name in (known := getattr(result, "standard_error", {})):
            about = dict(long_name=f"standard error over seeds of {name}")
            data[f"{name}_se"] = arrays[name], known[name].reshape([sizes[dim] for dim in arrays[name]]), about
    attributes = dict(rule=repr(e.rule), activation=e.phi.name, loss=e.loss.name)
    attributes |= {name: value for name, value in vars(e).items() if isinstance(value, (int, float))} | result.origin()
    if units:
        attributes |= dict(y_shift=scaling.y_shift.tolist(), y_divide=scaling.y_divide.tolist())
    if "seed" in attributes:
        coords["seed"] = attributes.pop("seed")
    return xarray.Dataset(data, coords, attributes | dict(dmftlib=version("dmftlib")))

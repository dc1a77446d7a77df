#!/usr/bin/env bash
# A list in the attributes of an xarray Dataset comes back from a netCDF3 file big-endian, and JAX takes no such array.
#
# Versions: xarray 2026.9.0, scipy 1.17.1, jax 0.10.2, numpy 2.4.6.
# Expected: netCDF3 stores numbers big-endian, and a reader returns native ones: xarray does so for variables. So what an
#           attribute holds is native, too, or at least works wherever a variable of the file does.
# Instead:  a list [0, 1] comes back as an array of dtype >i4, beside native variables of the same file. jnp.asarray refuses
#           it, with an error that says nothing of byte order.
# Seen:     the table in `expected` below.
# Why here: `result.to_xarray()` writes results for other programs. Steps, seeds and widths are coordinates there, which are
#           variables, and attributes are single numbers or text.
# Takes:    half a minute.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q 'xarray==2026.9.0' 'scipy==1.17.1' 'jax==0.10.2' 'jaxlib==0.10.2' 'numpy==2.4.6'

cat > look.py <<'PY'
import jax.numpy as jnp
import numpy as np
import xarray

loss = ("step", np.array([1.0, 0.5]))
run = xarray.Dataset({"loss": loss, "count": ("step", np.array([3, 4]))}, attrs={"steps": [0, 1], "lr": 0.1})
run.to_netcdf("run.nc", engine="scipy")
back = xarray.load_dataset("run.nc", engine="scipy")
for name, value in [("loss", back.loss.values), ("count", back["count"].values), *back.attrs.items()]:
    value = np.asarray(value)
    try:
        jnp.asarray(value)
        taken = "taken by JAX"
    except TypeError as error:
        taken = f"refused by JAX, byte order named: {'order' in str(error) or 'endian' in str(error)}"
    print(f"{name}: native {value.dtype.isnative}, {taken}")
PY
expected='loss: native True, taken by JAX
count: native True, taken by JAX
steps: native False, refused by JAX, byte order named: False
lr: native True, taken by JAX'
seen=$(JAX_PLATFORMS=cpu venv/bin/python look.py 2> log) || { cat log; exit 1; }
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'This has changed. It was:\n%s\n' "$expected"
    exit 1
fi

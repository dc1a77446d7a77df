#!/usr/bin/env bash
# In JAX 0.10.2, a wide array drawn with a key begins with the numbers of a narrow one: networks of one seed share weights.
#
# Versions: jax 0.10.2, jaxlib 0.10.2, numpy 2.4.6.
# Expected: the numbers of normal(key, shape) depend on the whole shape, as they did when halves of a counter were paired, so
#           that networks of two widths with one seed are two independent draws.
# Instead:  the numbers, read row by row, are a sequence that belongs to the key, and a smaller shape is its beginning. Input
#           weights (width, inputs) and readout (1, width) of a network are those of the first neurons of any wider one.
# Seen:     the table in `expected` below: the kernels of both widths correlate as averages over 64 neurons and over 128 that
#           contain them do, 1/√2, in place of 0.
# Why here: a straight line in 1/N through two widths has an error that adds those of both, if they are independent. With
#           seeds 0…n at both widths they are not. Our networks draw with NumPy, from generators keyed by the shape as well.
# Known:    the documentation of jax_threefry_partitionable, the standard since jax 0.5.0, speaks of sharding, not of this.
# Takes:    half a minute, and 650 MB while it runs.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q 'jax==0.10.2' 'jaxlib==0.10.2' 'numpy==2.4.6'

cat > look.py <<'PY'
import jax.numpy as jnp
import numpy as np
from jax import random

key = random.key(0)
narrow, wide = random.normal(key, (64, 10)), random.normal(key, (128, 10))
print("the first 64 neurons of 128 have the weights of 64:", bool((wide[:64] == narrow).all()))
flat = random.normal(key, (5000,))
same = [bool((random.normal(key, shape).ravel() == flat[: np.prod(shape)]).all()) for shape in ((3,), (7, 9), (4, 5, 6))]
print("other shapes begin the same sequence:", same)


def kernel(seed, width):
    h = random.normal(random.key(seed), (width, 10)) @ x
    return float((jnp.tanh(h) ** 2).mean())


x = random.normal(random.key(10**6), (10,)) / jnp.sqrt(10)
values = np.array([[kernel(seed, width) for width in (64, 128)] for seed in range(400)])
print("correlation of kernels of two widths, seed by seed: %.1f" % np.corrcoef(values.T)[0, 1])
PY
expected='the first 64 neurons of 128 have the weights of 64: True
other shapes begin the same sequence: [True, True, True]
correlation of kernels of two widths, seed by seed: 0.7'
seen=$(JAX_PLATFORMS=cpu venv/bin/python look.py 2> log) || { cat log; exit 1; }
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'This has changed. It was:\n%s\n' "$expected"
    exit 1
fi

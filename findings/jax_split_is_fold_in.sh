#!/usr/bin/env bash
# In JAX 0.10.2, split(key, n)[i] is the very key fold_in(key, i), so that the two give the same random numbers.
#
# Versions: jax 0.10.2, jaxlib 0.10.2, numpy 2.4.6.
# Expected: split and fold_in are two ways to new keys, and each hashes in its own manner. Keys from one parent, one by split
#           and one by fold_in, are then as unrelated as any two. If they did meet, JAX's checker of reused keys would say.
# Instead:  they are equal, for every i < n and whatever n; the first keys of split(key, 5) are also those of split(key, 2).
#           The checker (jax.debug_key_reuse) lets both be drawn from, though it refuses one key that is drawn from twice.
# Seen:     the table in `expected` below.
# Why here: suppose that the forward weights of a layer come from fold_in(key, layer) and the feedback weights from a split of
#           the same key. The theory takes the two to be independent, and they would be the same matrix: feedback alignment
#           would be gradient descent at the start. Our networks use fold_in alone, with the kind of weight and the layer.
# Known:    meant so, github.com/jax-ml/jax/pull/13341, and the standard since jax 0.5.0 (jax_threefry_partitionable).
#           The documentation of split and of fold_in does not say it.
# Takes:    half a minute, and 650 MB while it runs.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q 'jax==0.10.2' 'jaxlib==0.10.2' 'numpy==2.4.6'

cat > look.py <<'PY'
import jax
import jax.numpy as jnp
from jax import random

equal = lambda a, b: bool((random.key_data(a) == random.key_data(b)).all())
keys = [random.key(seed) for seed in range(20)]
same = [equal(random.split(key, n)[i], random.fold_in(key, i)) for key in keys for n in (2, 3, 7) for i in range(n)]
print("split(key, n)[i] is fold_in(key, i):", sum(same), "of", len(same))
print("split(key, 5) begins with split(key, 2):", all(equal(random.split(k, 5)[:2], random.split(k, 2)) for k in keys))

with jax.debug_key_reuse(True):
    key = random.key(0)
    forward = random.normal(random.fold_in(key, 1), (100, 100))
    feedback = random.normal(random.split(key)[1], (100, 100))
    print("correlation of two matrices:", round(float(jnp.corrcoef(forward.ravel(), feedback.ravel())[0, 1]), 6))
    try:
        random.normal(key), random.normal(key)
        print("one key drawn from twice: allowed")
    except jax.errors.KeyReuseError:
        print("one key drawn from twice: refused")
PY
expected='split(key, n)[i] is fold_in(key, i): 240 of 240
split(key, 5) begins with split(key, 2): True
correlation of two matrices: 1.0
one key drawn from twice: refused'
seen=$(JAX_PLATFORMS=cpu venv/bin/python look.py 2> log) || { cat log; exit 1; }
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'This has changed. It was:\n%s\n' "$expected"
    exit 1
fi

#!/usr/bin/env bash
# The ReLU tangent kernel of neural-tangents, in double precision, is right to eight digits on its diagonal.
#
# Versions: neural-tangents 0.6.5, jax 0.4.30, tf2jax 0.3.6, numpy 1.26.4, scipy 1.13.1.
# Expected: with x64 enabled, the closed form of a deep ReLU network is right to rounding. On the diagonal it is simple: with
#           q = |x|²/D and weights of variance 2/fan-in, the NNGP kernel of L layers is q and the tangent kernel (L + 1) q.
# Instead:  on the diagonal the NNGP kernel is right to rounding, the tangent kernel to 8 or 9 digits: the angle between an input
#           and itself is the root of a rounding error. The rest is right to 12 digits, kernels of erf to rounding.
# Seen:     the table in `expected` below, where 14 digits and more count as 14.
# Why here: it is the library that kernels of gradient descent are compared with. A comparison that includes the diagonal must
#           allow for 1e-8, or an error of ours of that size would pass as one of theirs.
# Takes:    two minutes: neural-tangents brings TensorFlow.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install -q 'neural-tangents==0.6.5' 'jax==0.4.30' 'jaxlib==0.4.30' 'tf2jax==0.3.6' 'numpy==1.26.4' 'scipy==1.13.1'

cat > look.py <<'PY'
import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
from neural_tangents import stax


def kernels(activation, layers, X):
    hidden = [part for _ in range(layers) for part in (stax.Dense(1, W_std=2**0.5), activation)]
    *_, kernel = stax.serial(*hidden, stax.Dense(1))
    return [np.asarray(k) for k in kernel(X, None, get=("nngp", "ntk"))]


def digits(found, exact):
    return min(14, int(-np.log10(max(np.abs(found / exact - 1).max(), 1e-16))))


def show(name, found, exact):
    nngp, ntk = map(digits, found, exact)
    print(f"{name}: right digits of NNGP {nngp}, of NTK {ntk}")


X = np.random.default_rng(0).standard_normal((6, 50))
q = (X**2).sum(axis=1) / 50
for layers in (1, 5):
    found = [np.diag(k) for k in kernels(stax.Relu(), layers, X)]
    show(f"ReLU, layers {layers}, diagonal", found, (q, (layers + 1) * q))
scale = np.sqrt(np.outer(q, q))
cosine = np.clip(X @ X.T / 50 / scale, -1, 1)
dot = 1 - np.arccos(cosine) / np.pi
nngp = scale * (np.sqrt(1 - cosine**2) / np.pi + dot * cosine)
rest = ~np.eye(6, dtype=bool)
show("ReLU, layers 1, the rest", [k[rest] for k in kernels(stax.Relu(), 1, X)], (nngp[rest], (nngp + dot * (X @ X.T) / 50)[rest]))
variance = 2 * q
phi, dot = 2 / np.pi * np.arcsin(2 * variance / (1 + 2 * variance)), 4 / np.pi / np.sqrt(1 + 4 * variance)
show("erf, layers 1, diagonal", [np.diag(k) for k in kernels(stax.Erf(), 1, X)], (phi, phi + dot * variance))
PY
expected='ReLU, layers 1, diagonal: right digits of NNGP 14, of NTK 8
ReLU, layers 5, diagonal: right digits of NNGP 14, of NTK 9
ReLU, layers 1, the rest: right digits of NNGP 14, of NTK 12
erf, layers 1, diagonal: right digits of NNGP 14, of NTK 14'
seen=$(JAX_PLATFORMS=cpu venv/bin/python look.py 2> log) || { cat log; exit 1; }
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'This has changed. It was:\n%s\n' "$expected"
    exit 1
fi

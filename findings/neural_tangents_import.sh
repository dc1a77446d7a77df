#!/usr/bin/env bash
# neural-tangents installs beside a JAX with which it cannot be imported, and its requirements do not say so.
#
# Versions: neural-tangents 0.6.5 (the newest), jax 0.10.2 with tf2jax 0.3.8, then jax 0.4.30 with tf2jax 0.3.6.
# Expected: what pip resolves can be imported, or pip refuses the pair. The package asks for jax >= 0.4.16 and any tf2jax.
# Instead:  pip takes the newest JAX, and the import fails: a name has left jax.core. An older JAX by itself does not help: a
#           package that it imports, tf2jax, must be old, too.
# Seen:     the table in `expected` below.
# Why here: readers come from neural-tangents, or want to compare with it. It needs an environment of its own, with both pins.
# Takes:    three minutes: neural-tangents brings TensorFlow.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
look() {
    JAX_PLATFORMS=cpu venv/bin/python -c 'import neural_tangents' 2> log && said="imported" || said="$(tail -1 log | sed 's/ (.*//')"
    echo "$1: pip content, $said"
}
expected="jax 0.10.2, tf2jax 0.3.8: pip content, ImportError: cannot import name 'Jaxpr' from 'jax.core'
jax 0.4.30, tf2jax 0.3.6: pip content, imported"
venv/bin/pip install -q 'neural-tangents==0.6.5' 'jax==0.10.2' 'jaxlib==0.10.2' 'tf2jax==0.3.8'
seen=$(look 'jax 0.10.2, tf2jax 0.3.8')
venv/bin/pip install -q 'jax==0.4.30' 'jaxlib==0.4.30' 'tf2jax==0.3.6' 'numpy==1.26.4' 'scipy==1.13.1'
seen="$seen
$(look 'jax 0.4.30, tf2jax 0.3.6')"
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'This has changed. It was:\n%s\n' "$expected"
    exit 1
fi

"""Lazy kernels of gradient descent by dmftlib or neural-tangents, in the environment of each: `benchmarks/speed.py lazy` runs it.

python benchmarks/peer.py dmftlib|neural-tangents activation layers inputs.npy kernels.npz

Prints seconds of the clock and of the processor for each of four calls, and the peak of memory in GiB, as JSON.
"""

import json
import re
import sys
import time
from pathlib import Path

import numpy as np

CALLS = 4


def ours(activation, layers, X):
    import dmftlib as dl

    experiment = dl.Experiment(dl.Task(X, np.ones(len(X))), dl.GD(), layers, activation, 1.0, 0.1, 1)

    def run():
        kernels = dl.lazy.kernels(experiment)
        return kernels.Phi[-1], kernels.K

    return run


def theirs(activation, layers, X):
    import jax

    jax.config.update("jax_enable_x64", True)
    from neural_tangents import stax

    phi = {"relu": stax.ABRelu(0, 2**0.5), "erf": stax.Erf()}[activation]
    hidden = [part for _ in range(layers) for part in (stax.Dense(1), phi)]
    kernel_of = jax.jit(stax.serial(*hidden, stax.Dense(1))[2], static_argnames="get")
    return lambda: jax.block_until_ready(kernel_of(X, None, get=("nngp", "ntk")))


if __name__ == "__main__":
    library, activation, layers, inputs, output = sys.argv[1:]
    run = {"dmftlib": ours, "neural-tangents": theirs}[library](activation, int(layers), np.load(inputs))
    calls = []
    for _ in range(CALLS):
        wall, cpu = time.perf_counter(), time.process_time()
        Phi, K = run()
        calls.append(dict(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu))
    memory = int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 2**20
    np.savez(output, Phi=Phi, K=K)
    print(json.dumps(dict(calls=calls, memory=memory)))

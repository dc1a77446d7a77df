"""Time and memory of the mean field solver against samples, and its cost beside networks at equal error.

    python benchmarks/scaling.py

Every figure is measured in this one run. Time is that of the processor, all cores added, so that other work on the
machine disturbs it less; memory is the growth of the process's peak, each size in a process of its own.
"""

import resource
import subprocess
import sys
import time

import numpy as np
import reference

import dmftlib as dl

SAMPLES = (4096, 8192, 16384, 32768)
BYTES = 1024 if sys.platform == "linux" else 1  # ru_maxrss counts KiB on Linux, bytes on macOS


def timed(run, repeats=3):
    """Processor seconds of the first call (compilation included) and the best of the others; the last result."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.process_time()
        result = run()
        seconds.append(time.process_time() - start)
    return seconds[0], min(seconds[1:]), result


def one_size(samples):
    """Cold and warm seconds and peak MiB of one solve, printed for the parent process."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cold, warm, _ = timed(lambda: dl.meanfield.solve(reference.CASES["gd-3"], samples))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(cold, warm, (peak - before) * BYTES / 2**20)


def scaling():
    """Seconds and memory against samples, with the fitted powers."""
    print("gd-3, tol = 1e-4: samples, first call, warm, peak memory above the imports")
    rows = []
    for samples in SAMPLES:
        out = subprocess.run([sys.executable, __file__, str(samples)], capture_output=True, text=True, check=True)
        rows.append([float(x) for x in out.stdout.split()])
        print(f"  {samples:>6}  {rows[-1][0]:5.1f} s  {rows[-1][1]:5.2f} s  {rows[-1][2]:6.0f} MiB", flush=True)
    _, warm, memory = np.array(rows).T
    slope = lambda y: np.polyfit(np.log(SAMPLES), np.log(y), 1)[0]  # noqa: E731
    print(f"  fitted powers of samples: time {slope(warm):.2f}, memory {slope(memory):.2f} (1 is linear)")


def against_networks(widths=(512, 1024, 2048), seeds=4):
    """Seconds and error of K of single networks and of the solver, against the stored reference."""
    experiment, truth = reference.CASES["gd-3"], reference.load("gd-3")
    print("gd-3: seconds and distance of K from the reference")
    for tol in (1e-3, 1e-4):
        _, seconds, run = timed(lambda tol=tol: dl.meanfield.solve(experiment, 4096, tol=tol))
        print(
            f"  mean field, samples = 4096, tol = {tol:g}: {seconds:.2f} s, {100 * dl.compare(run, truth)['K'][0]:.1f} %"
        )
    for width in widths:
        _, seconds, _ = timed(lambda width=width: dl.network.train(experiment, width))
        errors = [dl.compare(dl.network.train(experiment, width, seed), truth)["K"][0] for seed in range(seeds)]
        rms = np.sqrt(np.mean(np.square(errors)))
        print(
            f"  one network, N = {width}: {seconds:.2f} s, {100 * rms:.1f} % (root mean square of {seeds})", flush=True
        )


def linear():
    """Seconds of linear networks, whose mean field is exact: three layers, eight samples."""
    print("exact linear networks, L = 3, P = 8, D = 12: steps, first call, warm")
    task = dl.Task.random(8, 12, seed=3, P_test=3)
    for rule in (dl.GD(), dl.FA(0.6)):
        for steps, lr in ((60, 0.01), (2000, 0.002)):
            experiment = dl.Experiment(task, rule, 3, "linear", gamma0=1.2, lr=lr, steps=steps)
            cold, warm, run = timed(lambda e=experiment: dl.meanfield.solve(e), 1 if steps > 60 else 3)
            most = max(max(rank) for rank in run.provenance.rank)
            print(f"  {rule}, {steps:>4} steps: {cold:5.1f} s  {warm:6.2f} s, at most {most} directions", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one_size(int(sys.argv[1]))
    else:
        scaling()
        linear()
        against_networks()

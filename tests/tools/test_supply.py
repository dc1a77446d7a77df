"""What comes from elsewhere: the scripts that pages load are the known ones, and nothing is fetched once all is installed."""

import hashlib
import os
from importlib.metadata import distribution

import pytest
from conftest import SMALL_CHAPTER, tools, write_chapter
from test_third_party import known_hashes

from tools import pages

# Python runs `sitecustomize` first in every process that inherits the path: here it refuses names and addresses elsewhere.
GUARD = """
import os
import socket

LOCAL = ("localhost", "127.", "::1", "0.0.0.0")


def refused(host):
    with open(os.environ["TRIED"], "a") as tried:
        tried.write(f"{host}\\n")
    raise OSError(f"no network in this test: {host}")


def guarded(method):
    def call(self, *arguments):
        address = arguments[-1]
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOCAL):
            refused(address[0])
        return method(self, *arguments)

    return call


for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
lookup = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **options: (
    lookup(host, *rest, **options) if host is None or str(host).startswith(LOCAL) else refused(host)
)
"""
RUN = """
import dmftlib as dl
e = dl.Experiment(dl.Task.random(2, 3), dl.GD(), 2, "tanh", gamma0=1.0, lr=0.1, steps=2)
print(dl.compare(dl.meanfield.solve(e, 256), dl.network.train(e, 16))["f"][0] < 1)
"""
TRY = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"


@pytest.fixture
def offline(tmp_path):
    """An environment whose Python processes reach this machine only, and the file that lists what else they tried."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    tried = tmp_path / "tried"
    tried.touch()
    # Git and the programs of the system are not Python, and no proxy may stand in for the address that is asked for.
    no_proxy = {name: "" for name in os.environ if name.lower().endswith("_proxy")}
    return no_proxy | {"PYTHONPATH": str(tmp_path / "guard"), "TRIED": str(tried)}, tried


@pytest.mark.parametrize("name", pages.ASSETS)
def test_a_script_that_this_project_copies_is_the_known_one(name):
    package, file = pages.ASSETS[name]
    content = distribution(package).locate_file(file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == known_hashes()[name]


def run_small(tree, offline, source):
    """`dmft run` of a small chapter with one more cell, under the guard."""
    environment, tried = offline
    write_chapter(tree / "notebooks" / "small.ipynb", [*SMALL_CHAPTER, ("more", source)])
    return tools(tree, "run", "small", **environment), tried


def test_a_chapter_and_its_page_need_no_network(small_tree, offline):
    done, tried = run_small(small_tree, offline, RUN)
    assert done.returncode == 0, done.stderr
    assert "True" in (small_tree / "runs" / "small-default" / "html" / "notebooks" / "small.html").read_text()
    assert tried.read_text() == ""


def test_the_guard_is_there_in_the_kernel_of_a_chapter(small_tree, offline):
    done, tried = run_small(small_tree, offline, TRY)
    assert done.returncode == 1 and "no network in this test: 192.0.2.1" in done.stderr
    assert tried.read_text() == "192.0.2.1\n"

"""Nothing is fetched once all is installed."""

import os

from conftest import SMALL_CHAPTER, tools, write_chapter

# Python runs `sitecustomize` first in every process that inherits the path: here it refuses names and addresses elsewhere.
GUARD = """
import os
import socket


def guarded(method):
    def call(*arguments, **options):
        host = next((str(a[0] if isinstance(a, tuple) else a) for a in arguments if isinstance(a, str | tuple)), "")
        if not host.startswith(("localhost", "127.", "::1", "0.0.0.0", "/", "\\0")) and host:
            with open(os.environ["TRIED"], "a") as tried:
                tried.write(f"{host}\\n")
            raise OSError(f"no network in this test: {host}")
        return method(*arguments, **options)

    return call


for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
socket.getaddrinfo = guarded(socket.getaddrinfo)
"""
RUN = """
import socket
import dmftlib as dl
e = dl.Experiment(dl.Task.random(2, 3), dl.GD(), 2, "tanh", gamma0=1.0, lr=0.1, steps=2)
print(dl.compare(dl.meanfield.solve(e, 256), dl.network.train(e, 16))["f"][0] < 1)
try:
    socket.create_connection(("192.0.2.1", 80), 1)
except OSError as error:
    print(error)
"""


def test_a_chapter_and_its_page_need_no_network(small_tree, tmp_path):
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    write_chapter(small_tree / "notebooks" / "small.ipynb", [*SMALL_CHAPTER, ("more", RUN)])
    # Git and the programs of the system are not Python, and no proxy may stand in for the address that is asked for.
    no_proxy = {name: "" for name in os.environ if name.lower().endswith("_proxy")}
    guard = {"PYTHONPATH": str(tmp_path / "guard"), "TRIED": str(tmp_path / "tried")}
    done = tools(small_tree, "run", "small", **no_proxy, **guard)
    assert done.returncode == 0, done.stderr
    page = (small_tree / "runs" / "small-default" / "html" / "notebooks" / "small.html").read_text()
    assert "True\nno network in this test: 192.0.2.1" in page, "the guard is there in the kernel"
    assert (tmp_path / "tried").read_text() == "192.0.2.1\n"

"""The built book on an address of this machine, for browsers that restrict pages opened from a file."""

from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from . import ToolError


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    if not (folder / "index.html").exists():
        raise ToolError(f"there is no book in {folder} yet; make book builds it.")
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(SimpleHTTPRequestHandler, directory=folder))
    except OSError:  # another program has it, or only root may take it
        raise ToolError(f"port {port} is not free here; take another with --port.") from None


def serve(folder: Path, port: int) -> None:
    """Serve until Ctrl-C."""
    with server(folder, port) as running, suppress(KeyboardInterrupt):
        print(f"The book is at http://127.0.0.1:{running.server_port}/ until you press Ctrl-C.", flush=True)
        running.serve_forever()

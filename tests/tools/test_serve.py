import threading
import urllib.request

import pytest

from tools import ToolError, serve


def test_the_book_has_an_address_until_it_is_stopped(tmp_path):
    (tmp_path / "index.html").write_text("the book")
    with serve.server(tmp_path, 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{running.server_port}/") as page:
            assert page.read() == b"the book"
        with pytest.raises(ToolError, match=rf"port {running.server_port} is not free here; take another with --port"):
            serve.server(tmp_path, running.server_port)
        running.shutdown()

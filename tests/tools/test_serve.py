import threading
import urllib.request

import pytest

from tools import ToolError, serve


@pytest.fixture
def book(tmp_path):
    (tmp_path / "index.html").write_text("the book")
    return tmp_path


def test_the_book_has_an_address_until_it_is_stopped(book):
    with serve.server(book, "0") as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{running.server_port}/") as page:
            assert page.read() == b"the book"
        with pytest.raises(
            ToolError, match=rf"port {running.server_port} is not free here; take another: make serve PORT="
        ):
            serve.server(book, str(running.server_port))
        running.shutdown()


@pytest.mark.parametrize("port", ["x", "-1", "65536", "80 80"])
def test_a_port_is_a_number(book, port):
    with pytest.raises(ToolError, match=f"PORT is a number up to 65535, as in PORT=8001; got '{port}'"):
        serve.server(book, port)


def test_without_a_book_there_is_nothing_to_serve(tmp_path):
    with pytest.raises(ToolError, match=r"there is no book in .* yet; make book builds it"):
        serve.server(tmp_path, "")

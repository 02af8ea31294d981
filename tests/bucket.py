"""A stand-in for Google's Cloud Storage: its objects, what tensorstore and epath see of them.

tensorstore speaks HTTP with it by its own driver. `etils.epath` would by gcsfs, which is not needed
here: its backend is replaced. As in a bucket nothing can be appended to or renamed, there are no
folders but those in the names of objects, and what is written is there when it is closed.
"""

import fnmatch
import http.server
import importlib.machinery
import io
import json
import os
import re
import sys
import threading
import types
import urllib.parse

from etils.epath import backend, gpath, stat_utils


class Objects:
    """`BUCKET/NAME` -> content, each with a number that every change makes another."""

    def __init__(self):
        self.lock = threading.RLock()
        self._objects = {}
        self._changes = 0

    def put(self, name, content):
        with self.lock:
            self._changes += 1
            self._objects[name] = (self._changes, bytes(content))
            return self._changes

    def get(self, name):
        """The number and the content; (0, None) where there is none."""
        return self._objects.get(name, (0, None))

    def remove(self, name):
        return self._objects.pop(name, None) is not None

    def names(self, prefix=""):
        with self.lock:
            return sorted(name for name in self._objects if name.startswith(prefix))


def serve(objects):
    """A server of its JSON interface, as far as tensorstore asks it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, code, content=b"", headers=()):
            self.send_response(code)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def asked(self):
            url = urllib.parse.urlsplit(self.path)
            found = re.fullmatch(r"(?:/upload)?/storage/v1/b/([^/]+)/o(?:/(.*))?", url.path)
            query = dict(urllib.parse.parse_qsl(url.query))
            return found[1], urllib.parse.unquote(found[2] or ""), query

        def do_POST(self):
            bucket, _, query = self.asked()
            content = self.rfile.read(int(self.headers["Content-Length"]))
            name = f"{bucket}/{query['name']}"
            with objects.lock:
                expected = int(query.get("ifGenerationMatch", objects.get(name)[0]))
                if expected != objects.get(name)[0]:
                    return self.answer(412)
                number = objects.put(name, content)
            self.answer(200, described(query["name"], number, content))

        def do_GET(self):
            bucket, name, query = self.asked()
            if not name:
                found = objects.names(f"{bucket}/{query.get('prefix', '')}")
                items = [{"name": item.partition("/")[2]} for item in found]
                return self.answer(200, json.dumps({"items": items}).encode())
            number, content = objects.get(f"{bucket}/{name}")
            if content is None:
                return self.answer(404)
            if int(query.get("ifGenerationNotMatch", -1)) == number:
                return self.answer(304)
            headers = [("X-Goog-Generation", str(number))]
            wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            if not wanted:
                return self.answer(200, content, headers)
            size = len(content)
            first = int(wanted[1]) if wanted[1] else max(size - int(wanted[2]), 0)
            last = min(int(wanted[2]), size - 1) if wanted[1] and wanted[2] else size - 1
            if first >= size:
                return self.answer(416)
            headers.append(("Content-Range", f"bytes {first}-{last}/{size}"))
            self.answer(206, content[first : last + 1], headers)

        def do_DELETE(self):
            bucket, name, _ = self.asked()
            self.answer(204 if objects.remove(f"{bucket}/{name}") else 404)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def described(name, number, content):
    return json.dumps(
        {
            "name": name,
            "generation": str(number),
            "size": str(len(content)),
            "timeCreated": "2026-01-01T00:00:00Z",
            "updated": "2026-01-01T00:00:00Z",
        }
    ).encode()


class Backend(backend.Backend):
    """What `epath.Path('gs://...')` does with the objects."""

    def __init__(self, objects):
        self._objects = objects

    @staticmethod
    def _name(path):
        return os.fspath(path).removeprefix("gs://").rstrip("/")

    def _below(self, path):
        return self._objects.names(self._name(path) + "/")

    def open(self, path, mode):
        name = self._name(path)
        assert mode.strip("bt") in ("r", "w"), f"objects cannot be opened with {mode!r}"
        if "w" in mode:
            raw = _Upload(self._objects, name)
        else:
            content = self._objects.get(name)[1]
            if content is None:
                raise FileNotFoundError(2, "No such object", os.fspath(path))
            raw = io.BytesIO(content)
        return raw if "b" in mode else io.TextIOWrapper(raw, encoding="utf-8")

    def exists(self, path):
        return self._objects.get(self._name(path))[1] is not None or self.isdir(path)

    def isdir(self, path):
        return bool(self._below(path))

    def listdir(self, path):
        start = len(self._name(path)) + 1
        if not self.isdir(path):
            raise FileNotFoundError(2, "No such folder", os.fspath(path))
        return sorted({name[start:].split("/")[0] for name in self._below(path)})

    def glob(self, path):
        folder, _, pattern = os.fspath(path).rpartition("/")
        names = self.listdir(folder) if self.isdir(folder) else []
        return [f"{folder}/{name}" for name in fnmatch.filter(names, pattern)]

    def walk(self, top, *, top_down=True, on_error=None):
        raise NotImplementedError

    def makedirs(self, path, *, exist_ok=False, mode=None):
        pass

    def mkdir(self, path, *, exist_ok=False, mode=None):
        if not exist_ok and self.exists(path):
            raise FileExistsError(path)

    def rmtree(self, path):
        found = self._below(path)
        if not found:
            raise FileNotFoundError(path)
        for name in found:
            self._objects.remove(name)

    def remove(self, path):
        if not self._objects.remove(self._name(path)):
            raise FileNotFoundError(path)

    def rename(self, path, dst):  # by copies, as gcsfs does
        old, new = self._name(path), self._name(dst)
        for name in [*self._objects.names(old + "/"), *self._objects.names(old)]:
            content = self._objects.get(name)[1]
            if content is not None and (name == old or name.startswith(old + "/")):
                self._objects.put(new + name[len(old) :], content)
                self._objects.remove(name)

    replace = rename

    def copy(self, path, dst, overwrite):
        self._objects.put(self._name(dst), self._objects.get(self._name(path))[1])

    def stat(self, path):
        content = self._objects.get(self._name(path))[1]
        if content is None and not self.isdir(path):
            raise FileNotFoundError(path)
        return stat_utils.StatResult(content is None, len(content or b""), 0, None, None, None)


class _Upload(io.BytesIO):
    def __init__(self, objects, name):
        super().__init__()
        self._objects, self._name = objects, name

    def close(self):
        if not self.closed:
            self._objects.put(self._name, self.getvalue())
        super().close()


class _Client:
    """What orbax asks of google-cloud-storage."""

    def get_bucket(self, name):
        return types.SimpleNamespace(name=name, hierarchical_namespace_enabled=False)


def install(monkeypatch):
    """Makes `gs://` the stand-in; gives its objects and the server."""
    objects = Objects()
    server = serve(objects)
    monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "token")
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, "gs", Backend(objects))
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    storage, cloud, gcsfs = map(types.ModuleType, ("google.cloud.storage", "google.cloud", "gcsfs"))
    storage.Client, cloud.storage = _Client, storage
    gcsfs.__spec__ = importlib.machinery.ModuleSpec("gcsfs", None)
    for module in (storage, cloud, gcsfs):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return objects, server

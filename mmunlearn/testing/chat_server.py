"""A chat server for tests: a thread that speaks /v1/chat/completions and misbehaves on request."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Any


class Server(ThreadingHTTPServer):
    """Answers by `script`: text of the last user message → the faults of its first attempts, then its answer.

    A fault is a status, "drop" (connection closed without a byte), "half" (body cut off), "garbage" (no JSON), "shape"
    (JSON of another protocol), "hang" (no answer while `release` is not set), or a pair (status, Retry-After).
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: dict[str, tuple[list[Fault], str | None]] = {}
        self.answer: Callable[[str], str | None] = lambda text: "yes"
        self.reply: Callable[[dict[str, Any]], str] | None = None  # to the whole request, before `answer`
        self.asked: Counter[str] = Counter()
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.at_once = self.most_at_once = 0
        self.gate: threading.Barrier | None = None
        self.release = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news here."""


class Handler(BaseHTTPRequestHandler):
    """One connection: counts, waits at the server's gate, misbehaves as scripted, answers."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args: Any) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        """The list of models: what tells a server that fails from one that is not there."""
        self._send(200, json.dumps({"object": "list", "data": []}).encode())

    def do_POST(self) -> None:
        """One completion."""
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[-1]["text"]
        with server.lock:
            attempt = server.asked[text]
            server.asked[text] += 1
            server.requests.append(body)
            server.keys.add(self.headers.get("Authorization", ""))
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            if server.gate is not None:
                server.gate.wait(5)
            faults, answer = server.script.get(text, ([], None))
            fault = faults[attempt] if attempt < len(faults) else None
            if answer is None and fault is None:
                answer = server.reply(body) if server.reply is not None else server.answer(text)
            self._misbehave(fault, answer)
        finally:
            with server.lock:
                server.at_once -= 1

    def _misbehave(self, fault: Fault, answer: str | None) -> None:
        answer = self.server.answer("") if answer is None and fault == "half" else answer
        good = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": answer}}]}).encode()
        if fault is None:
            self._send(200, good)
        elif fault == "drop":
            self.close_connection = True
            self.connection.shutdown(2)
        elif fault == "half":
            self.close_connection = True
            self._send(200, good[: len(good) // 2], length=len(good))
        elif fault == "garbage":
            self._send(200, b"<html>yes</html>")
        elif fault == "shape":
            self._send(200, b'{"result": "yes"}')
        elif fault == "hang":
            self.server.release.wait(5)
            self.close_connection = True
        elif isinstance(fault, tuple):
            self._send(fault[0], b'{"error": {"message": "slow down"}}', more={"Retry-After": fault[1]})
        else:
            self._send(fault, b'{"error": {"message": "no"}}')

    def _send(self, status: int, body: bytes, length: int | None = None, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running() -> Iterator[Server]:
    """A server that listens on a free port of this machine, and is gone when the block ends."""
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            found.release.set()
            found.shutdown()
            thread.join()

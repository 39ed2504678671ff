"""Limits, keys, slow clients, an orderly end, and the death of reading processes."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from service import MIEN, Service, answer_of, eventually, png, problem_of, running

from called import Call
from mien.errors import UsageError
from mien.reading.reader import Reader
from mien.serving import server
from mien.serving.metrics import Metrics
from mien.serving.pool import Pool
from mien.serving.problems import Problem
from mien.serving.settings import Limits, ReaderSettings, check_access, is_loopback, read_keys

KEY = "0123456789abcdef"
HEAD = b"POST /v1/read HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"

# A reading process whose pictures take as long as their first byte says, in tenths of a second; "W": until there is a
# file of $RELEASE; "K" kills it
SLOW = """
import os, time
import mien.reading.cropper as cropper
from mien.serving import worker
load, service = cropper.load_rgb, os.getppid()
def slow(data, **options):
    if bytes(data[:1]) == b"K":
        os.kill(os.getpid(), 9)
    if bytes(data[:1]) == b"W":
        while not os.path.exists(os.environ["RELEASE"]) and os.getppid() == service:
            time.sleep(0.01)
        data = data[1:]
    if b"0" <= bytes(data[:1]) <= b"9":
        time.sleep(int(bytes(data[:1])) / 10)
        data = data[1:]
    return load(data, **options)
cropper.load_rgb = slow
worker.main()
"""


@pytest.fixture(scope="module")
def slowed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which reading processes obey the first byte of a picture."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow_worker.py").write_text(SLOW)
    hook = "import sys\nif 'serve' in sys.argv:\n    from mien.serving import pool\n"
    hook += "    pool.COMMAND = (sys.executable, '-m', 'slow_worker')\n"
    (folder / "sitecustomize.py").write_text(hook)
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Once this file is there, the pictures that begin with "W" are read."""
    monkeypatch.setenv("RELEASE", str(tmp_path / "release"))
    return tmp_path / "release"


def test_bytes_are_counted_while_they_stream(crops: Service) -> None:
    """A chunked body announces no length; the answer comes before its end."""
    sent = 0

    def endless():  # type: ignore[no-untyped-def]
        nonlocal sent
        while sent < 50_000_000:
            sent += 10_000
            yield bytes(10_000)

    try:
        response = httpx.post(f"{crops.url}/v1/read", content=endless(), timeout=30)
        assert problem_of(response) == "body_too_large"
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        pass  # it wrote on for longer than the service listens
    assert 200_000 < sent < 50_000_000
    with crops.connect() as raw:  # one that stops to listen gets the answer
        raw.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"30000\r\n" + bytes(0x30000) + b"\r\n30000\r\n")
        raw.sendall(bytes(10_000))
        status, body = answer_of(raw)
        assert (status, b"body_too_large" in body) == (413, True)


def test_an_announced_length_is_refused_at_once(crops: Service) -> None:
    with crops.connect() as raw:
        raw.sendall(HEAD + b"Content-Length: 200001\r\n\r\n")
        assert answer_of(raw)[0] == 413
    with crops.connect() as raw:  # the control: one byte less is waited for
        raw.sendall(HEAD + b"Content-Length: 200000\r\n\r\n")
        raw.settimeout(0.3)
        with pytest.raises(TimeoutError):
            answer_of(raw)


@pytest.mark.parametrize("start", [b"", HEAD[:30], HEAD])
def test_who_does_not_finish_a_head_is_dropped(crops: Service, start: bytes) -> None:
    with crops.connect() as raw:
        raw.sendall(start)
        began = time.monotonic()
        with suppress(ConnectionResetError):
            assert raw.recv(100) == b""
        assert 0.5 < time.monotonic() - began < 15


def trickle(raw: socket.socket, data: bytes) -> None:
    for byte in data:
        raw.sendall(bytes([byte]))
        time.sleep(0.05)


def test_a_head_a_byte_at_a_time_is_dropped_too(crops: Service) -> None:
    with crops.connect() as raw:
        began = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            trickle(raw, HEAD * 10)
        assert time.monotonic() - began < 15


def test_a_second_head_on_a_kept_connection_is_dropped_too(crops: Service) -> None:
    with crops.connect() as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer_of(raw)[0] == 200
        raw.sendall(b"GET /hea")
        began = time.monotonic()
        with suppress(ConnectionResetError):
            assert raw.recv(100) == b""
        assert time.monotonic() - began < 15


def test_a_body_that_stops_gets_an_answer_and_an_end(crops: Service) -> None:
    data = png(1)
    with crops.connect() as raw:
        raw.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data[:20])
        status, body = answer_of(raw)
        assert (status, b"slow_client" in body) == (408, True)
    with crops.connect() as raw:  # the control: slow, but never for longer than the limit
        raw.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(data))
        for part in (data[:20], data[20:30], data[30:40], data[40:50], data[50:]):
            time.sleep(0.3)
            raw.sendall(part)
        assert answer_of(raw)[0] == 200


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 500\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"]
)
def test_an_upload_cut_off_is_told_to_who_still_listens(crops: Service, framing: bytes) -> None:
    with crops.connect() as raw:
        raw.sendall(HEAD + framing)
        raw.shutdown(socket.SHUT_WR)
        status, body = answer_of(raw)
        assert (status, b"truncated_upload" in body) == (400, True)


def test_keys(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# ours\n{KEY}\nanother-key-of-ours\n")
    words = ("--model", tiny_model, "--detector", "none", "--no-page", "--api-key-file", tmp_path / "keys")
    with running(*words) as service:
        for headers in ({}, {"x-api-key": KEY[:-1]}, {"authorization": "Bearer"}, {"authorization": f"Basic {KEY}"}):
            for path in ("/v1/models", "/metrics", "/openapi.json", "/nowhere"):
                refused = httpx.get(service.url + path, headers=headers)
                assert problem_of(refused) == "unauthorized", path
            assert refused.headers["www-authenticate"] == "Bearer"
            assert KEY not in refused.text
            assert problem_of(httpx.post(f"{service.url}/v1/read", content=png(1), headers=headers)) == "unauthorized"
        for headers in ({"x-api-key": KEY}, {"authorization": "bearer another-key-of-ours"}):
            assert httpx.post(f"{service.url}/v1/read", content=png(1), headers=headers).status_code == 200
        assert httpx.get(f"{service.url}/health").status_code == 200
        scheme = httpx.get(f"{service.url}/openapi.json", headers={"x-api-key": KEY}).json()
        assert scheme["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
        assert service.stop() == (0, "")


def test_an_open_address_needs_a_key_or_the_word(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(UsageError, match="expected an API key"):
            check_access(host, (), no_auth=False)
        check_access(host, (), no_auth=True)
        check_access(host, (KEY,), no_auth=False)
    for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9"):
        assert is_loopback(host)
        check_access(host, (), no_auth=False)
    with pytest.raises(UsageError, match="got both"):
        check_access("127.0.0.1", (KEY,), no_auth=True)
    done = subprocess.run([*MIEN, "serve", "--host", "0.0.0.0"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: expected an API key for 0.0.0.0")


def test_keys_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nothing\n\n")
    for key, file in (
        ("short", None),
        ("with a blank in it", None),
        ("ümlaut-key-long", None),
        (None, tmp_path / "empty"),
    ):
        with pytest.raises(UsageError):
            read_keys(key, file)
    with pytest.raises(UsageError, match="cannot read"):
        read_keys(None, tmp_path / "absent")
    assert read_keys(KEY, None) == (KEY,)


def test_wrong_options_are_one_line(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def began(*_: object, **__: object) -> None:
        raise AssertionError("it began to serve")

    monkeypatch.setattr(server, "run", began)
    call = Call(tiny_model)
    for words, expected in (
        (["--workers", "0"], "at least 1 worker"),
        (["--queue", "3"], "a queue of at least the 32"),
        (["--timeout", "0"], "expected timeout above 0"),
    ):
        call("serve", "--port", "0", *words)
        assert (call.status, call.err.count("\n")) == (2, 1), call.err
        assert expected in call.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for words, expected in (  # what turns up after the start of a process
            (["--port", "0", "--model", "absent"], "no model file"),
            (["--port", str(taken.getsockname()[1])], "cannot listen"),
        ):
            done = subprocess.run([*MIEN, "serve", *words], capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
            assert expected in done.stderr
    assert Limits().queue >= Limits().max_batch


def test_a_full_queue_answers_at_once(tiny_model: Path, slowed: dict[str, str], release: Path) -> None:
    options = ("--queue", "3", "--max-batch", "3", "--model", tiny_model, "--detector", "none")
    with running(*options, env=slowed) as service, ThreadPoolExecutor(3) as clients:
        held = [
            clients.submit(httpx.post, f"{service.url}/v1/read", content=b"W" + png(i), timeout=60) for i in range(3)
        ]
        assert eventually(lambda: service.metric("mien_queue_pictures") == 3)
        refused = httpx.post(f"{service.url}/v1/read", content=png(9), timeout=30)
        assert problem_of(refused) == "busy"
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert not any(one.done() for one in held)  # at once: it waited for none of them
        release.touch()
        reader = Reader(tiny_model, detector="none")
        assert [one.result().json() for one in held] == [reader.read(png(i)).to_dict() for i in range(3)]
        assert httpx.post(f"{service.url}/v1/read", content=png(9)).status_code == 200  # the control: room again


def test_a_batch_that_cannot_be_read_in_time_is_refused_for_good(tiny_model: Path) -> None:
    """At 2 s a picture and 30 s for a request 16 pictures fit, and 17 do not."""
    pool = Pool(ReaderSettings(models=(str(tiny_model),)), Metrics(), workers=1, queue=64, timeout=30)
    pool._seconds = 2.0
    pool.check_room(16)
    with pytest.raises(Problem, match="expected at most 16 pictures at once, got 17") as refused:
        pool.check_room(17)
    assert refused.value.type == "too_many_pictures"
    pool.check_room(17)  # an estimate gives way where it refuses, for nothing else would correct it
    pool._seconds = 2.0
    pool._waiting.extend([None] * 4)  # type: ignore[list-item]
    pool.check_room(12)
    with pytest.raises(Problem) as busy:  # with four before them: later they would fit
        pool.check_room(13)
    assert busy.value.type == "busy"


def test_open_requests_are_limited(tiny_model: Path) -> None:
    options = ("--max-requests", "2", "--model", tiny_model, "--detector", "none")
    with running(*options) as service, service.connect() as one, service.connect() as two:
        for raw in (one, two):
            raw.sendall(HEAD + b"Content-Length: 500\r\n\r\n")
        assert eventually(lambda: service.metric("mien_open_requests") == 2)
        refused = httpx.post(f"{service.url}/v1/read", content=png(1))
        assert (problem_of(refused), refused.headers["retry-after"]) == ("busy", "1")
        assert httpx.get(f"{service.url}/health").status_code == 200
        one.close()
        assert eventually(lambda: service.metric("mien_open_requests") == 1)
        assert httpx.post(f"{service.url}/v1/read", content=png(1)).status_code == 200


def test_a_request_has_its_seconds_and_a_hung_process_is_replaced(tiny_model: Path, slowed: dict[str, str]) -> None:
    with running("--timeout", "0.5", "--model", tiny_model, "--detector", "none", env=slowed) as service:
        late = httpx.post(f"{service.url}/v1/read", content=b"9" + png(1), timeout=30)
        assert (problem_of(late), late.status_code) == ("timeout", 503)
        before = service.readers()
        deadline = time.monotonic() + 20
        while httpx.post(f"{service.url}/v1/read", content=png(1), timeout=30).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert before


def test_a_body_that_trickles_has_its_seconds_too(tiny_model: Path) -> None:
    """Each byte comes in time, the request as a whole does not."""
    with running("--timeout", "1", "--model", tiny_model, "--detector", "none") as service, service.connect() as raw:
        raw.sendall(HEAD + b"Content-Length: 500\r\n\r\n")
        began = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            trickle(raw, bytes(40))
        status, body = answer_of(raw)
        assert (status, b"urn:mien:problem:timeout" in body) == (503, True)
        assert time.monotonic() - began < 10
        assert httpx.post(f"{service.url}/v1/read", content=png(1)).status_code == 200


def test_connections_without_end_shut_nobody_out(tiny_model: Path) -> None:
    """A limit of 400 open files, and 500 idle connections at once: those beyond are closed, not left waiting."""
    limited = [*MIEN, "serve", "--port", "0", "--workers", "1", "--model", str(tiny_model), "--detector", "none"]
    command = ["bash", "-c", 'ulimit -n 400; exec "$@"', "bash", *limited, "--client-timeout", "60"]
    with running(command=command) as service:
        idle = [service.connect() for _ in range(500)]
        for one in idle:
            one.setblocking(False)
        deadline = time.monotonic() + 20
        while (closed := sum(is_closed(one) for one in idle)) < 400 and time.monotonic() < deadline:
            time.sleep(0.1)
        for one in idle:
            one.close()
        assert closed == 400  # 400 files less 300 to spare are 100 connections
        time.sleep(0.5)
        assert httpx.post(f"{service.url}/v1/read", content=png(1), timeout=30).status_code == 200


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_sigterm_finishes_what_was_accepted(tiny_model: Path, slowed: dict[str, str], release: Path) -> None:
    with running("--model", tiny_model, "--detector", "none", env=slowed) as service, ThreadPoolExecutor(4) as clients:
        held = [
            clients.submit(httpx.post, f"{service.url}/v1/read", content=b"W" + png(i), timeout=60) for i in range(4)
        ]
        assert eventually(lambda: service.metric("mien_queue_pictures") == 4)
        readers = service.readers()
        assert readers
        service.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: listens_no_more(service))
        with pytest.raises(httpx.ConnectError):
            httpx.post(f"{service.url}/v1/read", content=png(1))
        assert not any(one.done() for one in held)
        release.touch()
        assert [one.result().status_code for one in held] == [200] * 4
        assert service.process.wait(timeout=20) == 0
        assert not [pid for pid in readers if os.path.exists(f"/proc/{pid}")]


def listens_no_more(service: Service) -> bool:
    try:
        service.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_kill_9_of_a_reading_process_loses_no_request(tiny_model: Path, slowed: dict[str, str], release: Path) -> None:
    options = ("--workers", "2", "--model", tiny_model, "--detector", "none", "--threads", "1")
    with running(*options, env=slowed) as service, ThreadPoolExecutor(20) as clients:
        asked = [
            clients.submit(httpx.post, f"{service.url}/v1/read", content=b"W" + png(i), timeout=60) for i in range(20)
        ]
        assert eventually(lambda: service.metric("mien_queue_pictures") == 20)
        victims = service.readers()
        assert len(victims) == 2
        os.kill(victims[0], signal.SIGKILL)
        release.touch()
        reader = Reader(tiny_model, detector="none")
        assert [one.result().json() for one in asked] == [reader.read(png(i)).to_dict() for i in range(20)]
        assert "mien_worker_restarts_total 1.0" in httpx.get(f"{service.url}/metrics").text
        status, told = service.stop()
        assert (status, told.count("\n"), "status -9" in told) == (0, 1, True)


def test_a_picture_that_kills_its_process_fails_alone(tiny_model: Path, slowed: dict[str, str]) -> None:
    with running("--model", tiny_model, "--detector", "none", env=slowed) as service, ThreadPoolExecutor(8) as clients:
        data = [b"1" + png(0), b"K"] + [png(i) for i in range(2, 8)]
        asked = [clients.submit(httpx.post, f"{service.url}/v1/read", content=one, timeout=60) for one in data]
        told = [one.result() for one in asked]
        assert [one.status_code for one in told] == [200, 500] + 6 * [200]
        assert problem_of(told[1]) == "internal"


def test_processes_end_with_a_service_that_is_killed(tiny_model: Path) -> None:
    with running("--model", tiny_model, "--detector", "none") as service:
        readers = service.readers()
        assert readers
        service.process.kill()
        deadline = time.monotonic() + 10
        while any(os.path.exists(f"/proc/{pid}") and "Z" not in state(pid) for pid in readers):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return "Z"


@pytest.mark.usefixtures("release")  # which nobody makes: each picture would take for ever
def test_who_goes_away_takes_his_pictures_along(tiny_model: Path, slowed: dict[str, str]) -> None:
    with running("--model", tiny_model, "--detector", "none", env=slowed) as service:
        for i in range(3):
            data = b"W" + png(i)
            with service.connect() as raw:
                raw.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data)
                assert eventually(lambda: service.metric("mien_open_requests") == 1)
            assert eventually(lambda: service.metric("mien_open_requests") == 0)
        assert "mien_open_requests 0.0" in httpx.get(f"{service.url}/metrics").text


def test_nothing_of_a_picture_is_stored_or_logged(tiny_model: Path, tmp_path: Path) -> None:
    """A form of 3 MB, which form parsers write to disk, and failures: no new file, and not a word on stderr."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    seen: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.005):
            seen.update(os.listdir(temporary))
            for link in Path(f"/proc/{service.process.pid}/fd").glob("*"):
                try:
                    seen.add(os.readlink(link))
                except OSError:
                    continue

    with running("--model", tiny_model, "--detector", "none", env={"TMPDIR": str(temporary)}) as service:
        watcher = threading.Thread(target=look)
        watcher.start()
        secret = png(1) + b"s3cret" * 500_000
        httpx.post(f"{service.url}/v1/read", files={"image": ("s3cret-name.png", secret)}, timeout=30)
        httpx.post(f"{service.url}/v1/read?name=s3cret-name", content=b"s3cret", timeout=30)
        done.set()
        watcher.join()
        assert not os.listdir(temporary)
        assert not [name for name in seen if str(temporary) in name or "deleted" in name]
        assert any("socket" in name for name in seen)  # the control: it did look
        assert service.stop() == (0, "")


def test_stdout_is_empty(tiny_model: Path) -> None:
    with running("--model", tiny_model, "--detector", "none") as service:
        httpx.post(f"{service.url}/v1/read", content=png(1))
        service.process.send_signal(signal.SIGTERM)
        out, _ = service.process.communicate(timeout=20)
        assert out == ""
        assert sys.executable

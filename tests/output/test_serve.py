"""A served model: its answers are those of `debft predict`, and whoever asks wrongly is told so in one line."""

import asyncio
import io
import json
import re
import signal
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from types import SimpleNamespace

import httpx2
import pytest
from conftest import write_tsv
from processes import SECONDS, Command
from processes import run as command
from starlette.testclient import TestClient

from debft.cli import use
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.output.serve import app as serve_app
from debft.output.serve.app import FAILED, MOST_BYTES, build_app
from debft.output.serve.batching import Batcher
from debft.output.serve.hosts import Hosts, host_name, is_of_this_machine
from debft.output.serve.serve import Limits, build_service
from debft.scoring.loading import load_used
from debft.scoring.used_model import find_used_model
from debft.training.run import finetune

ADDRESS = "http://127.0.0.1:8000"
SETTINGS = {"train.max_steps": 2, "train.max_train_samples": 300, "train.max_eval_samples": 24, "train.learning_rate": 3e-3}
QUESTIONS = {"text.max_seq_length": 24, "questions.doc_stride": 6, "questions.max_question_length": 8}
REVIEWS = [("bad red fox", "animals|colours"), ("a dog", "animals"), ("quite green", "colours"), ("nothing of that", "")] * 8
ROWS = {
    "mnli": [{"premise": "the white fox slept .", "hypothesis": "the fox was white ."}, {"premise": "", "hypothesis": "é 我 🦊"}],
    "stsb": [{"sentence1": "a fox", "sentence2": "a dog", "id": "one"}, {"sentence1": "a", "sentence2": "a", "id": "two"}],
    "squad2": [
        {"question": "who slept here ?", "context": "in may the 🦊 fox slept here . " * 9},
        {"question": "why ?", "context": "a"},
    ],
    "text": [{"review": "a red fox"}, {"review": "<b>green</b>"}],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A short run of each kind of task, trained when it is asked for."""
    root, made = tmp_path_factory.mktemp("served"), {}

    def run_of(task):
        if task not in made:
            settings = SETTINGS | {"task": task} | (QUESTIONS if task == "squad2" else {})
            if task == "text":
                write_tsv(root / "reviews.tsv", ["review", "label"], REVIEWS)
                own = {"own.problem": "multilabel", "own.label_separator": "|", "own.label_column": "label", "own.validation": 0.25}
                settings |= own | {"data": str(root / "reviews.tsv")}
            finetune(load_recipe(recipe_path("demo"), settings), root / task)
            made[task] = root / task
        return made[task]

    return run_of


@pytest.fixture(scope="module")
def services(runs):
    """The service of the run of a task, loaded once; each call has limits and hosts of its own."""
    loaded = {}

    def service_of(task, limits=None, **changes):
        if task not in loaded:
            used = find_used_model(str(runs(task)), None, "auto")
            loaded[task] = used, load_used(used, "auto", "auto")
        return replace(build_service(*loaded[task], limits or Limits(), Hosts()), **changes)

    return service_of


@pytest.fixture
def ask(services):
    """A client of the server of a task."""
    return lambda task="mnli", limits=None, **changes: TestClient(
        build_app(services(task, limits, **changes)), base_url=ADDRESS, raise_server_exceptions=False
    )


def predicted(run, rows, monkeypatch, capsys, **options):
    """What `debft predict` prints of these rows from stdin."""
    stdin = SimpleNamespace(isatty=lambda: False, buffer=io.BytesIO(json.dumps(rows).encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    capsys.readouterr()
    use.predict(str(run), None, **options)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("task", ROWS)
def test_answers_are_those_of_predict(task, runs, ask, monkeypatch, capsys):
    answer = ask(task).post("/predict", json=ROWS[task])
    assert answer.status_code == 200, answer.text
    assert answer.json() == predicted(runs(task), ROWS[task], monkeypatch, capsys)


def test_one_row_is_answered_by_one_and_a_list_by_a_list(ask):
    client, row = ask(), ROWS["mnli"][0]
    one = client.post("/predict", json=row).json()
    for body in ([row], {"rows": [row]}, {"data": [row]}):
        assert client.post("/predict", json=body).json() == [one]


def test_column_text_is_read_by_a_model_of_one_text(ask):
    client = ask("text")
    assert client.post("/predict", json={"text": "a fox"}).json() == client.post("/predict", json={"review": "a fox"}).json()


def test_labels_of_a_request_are_chosen_among_as_predict_does(runs, ask, monkeypatch, capsys):
    rows = [{"text": "a red fox"}, {"text": "rain"}]
    expected = predicted(runs("mnli"), rows, monkeypatch, capsys, labels="animals,weather", template="It is {}.", multi_label=True)
    body = {"rows": rows, "labels": ["animals", "weather"], "template": "It is {}.", "multi_label": True}
    assert ask().post("/predict", json=body).json() == expected
    one = ask().post("/predict", json={"text": "a red fox", "labels": "animals,weather"}).json()
    assert set(one["scores"]) == {"animals", "weather"}


def test_requests_at_once_get_the_answers_of_their_own(services):
    """One batch holds all of them, so that the last digits may differ."""
    service = services("mnli")
    bodies = [ROWS["mnli"], ROWS["mnli"][::-1], ROWS["mnli"][:1]]

    async def all_at_once():
        transport = httpx2.ASGITransport(app=build_app(service))
        async with httpx2.AsyncClient(transport=transport, base_url=ADDRESS) as client:
            return await asyncio.gather(*(client.post("/predict", json=body) for body in bodies))

    answers = [answer.json() for answer in asyncio.run(all_at_once())]
    assert service.batcher.passes == 1
    for one, other in ((answers[0][0], answers[1][1]), (answers[0][1], answers[1][0]), (answers[0][0], answers[2][0])):
        # 2e-6: rounded to six places on either side
        assert one["prediction"] == other["prediction"] and one["scores"] == pytest.approx(other["scores"], abs=2e-6)


WRONG = [
    ("", "body:1: expected JSON, got "),
    ('{"premise": "a"', "body:1: expected one JSON object per line"),
    ('{"premise": "a"}', "body: expected the columns premise, hypothesis, got premise; 'hypothesis' is missing"),
    ('{"premise": "a", "hypothesis": 1}', "body:1: hypothesis: expected text, got 1"),
    ('{"premise": "a", "hypothesis": "\\ud800"}', "body:1: hypothesis: expected text, got half of a surrogate pair"),
    ('{"premise": "a", "premise": "b", "hypothesis": "c"}', "body: expected each key once in an object, got 'premise' twice"),
    ('{"\\ud800": "a"}', "body: expected the columns premise, hypothesis, got \ud800"),
    ("[]", "body: expected rows, got none"),
    ('["a"]', "body:1: expected a JSON list of objects"),
    ("7", "body: expected a JSON list of objects"),
    ("[" * 100_000, "body: expected JSON, got "),
    ('{"a":' * 100_000, "body:1: expected one JSON object per line, got "),
    ('{"text": "a", "labels": [1]}', "body: labels: expected a list of names, got [1]"),
    ('{"text": "a", "labels": ["x", "x"]}', "--labels: expected each label once, got 'x' twice"),
    ('{"text": "a", "labels": ["\\ud800", "x"]}', r"--labels: expected text that UTF-8 can write, got '\ud800'"),
    ('{"text": "a", "labels": "x,y", "template": 7}', "body: template: expected a sentence with one {} for the label, got 7"),
    ('{"text": "a", "template": "{}"}', "--template: expected --labels with it, got none"),
]


@pytest.mark.parametrize(("body", "line"), WRONG)
def test_wrong_rows_are_answered_by_the_line_of_predict(body, line, ask):
    answer = ask().post("/predict", content=body.encode(), headers={"Content-Type": "application/json; charset=utf-8"})
    error = answer.json()["error"]
    assert (answer.status_code, answer.json().keys()) == (400, {"error"}) and error.startswith(line) and "\n" not in error


def test_wrong_bytes_are_answered_by_a_line(ask):
    answer = ask().post(
        "/predict", content=b'{"premise": "a\xff", "hypothesis": "b"}', headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400 and "expected UTF-8 text, got byte 0xff" in answer.json()["error"]


def test_labels_are_refused_by_a_model_that_infers_nothing_without_its_path(runs, ask):
    answer = ask("text").post("/predict", json={"text": "a", "labels": ["x", "y"]})
    assert answer.status_code == 400
    line = "--labels: expected a model of natural language inference (of mnli, xnli or rte), this model is one of text"
    assert answer.json()["error"].startswith(line) and str(runs("text")) not in answer.text


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain; x=application/json"]
)
def test_body_that_a_page_elsewhere_may_send_unasked_is_refused(kind, ask):
    body = json.dumps(ROWS["mnli"]).encode()
    answer = ask().post("/predict", content=body, headers={"Content-Type": kind} if kind else {})
    assert answer.status_code == 415 and answer.json()["error"].startswith("Content-Type: expected application/json, got ")


def test_page_elsewhere_gets_no_leave_to_ask(ask):
    asking = {
        "Origin": "http://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    for answer in (
        ask().options("/predict", headers=asking),
        ask().options("/predict", headers=asking | {"Origin": ADDRESS}),
        ask().post("/predict", json=ROWS["mnli"], headers={"Origin": "http://evil.example"}),
        ask().post("/predict", json=ROWS["mnli"], headers={"Origin": "null"}),
        ask().get("/info", headers={"Origin": "http://127.0.0.1:9"}),
    ):
        assert answer.status_code in (403, 405)
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert ask().post("/predict", json=ROWS["mnli"], headers={"Origin": ADDRESS}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/info", "/health", "/predict"])
def test_name_that_was_made_to_point_here_is_refused(path, ask):
    answer = ask().request("POST" if path == "/predict" else "GET", path, headers={"Host": "evil.example:8000"})
    assert answer.status_code == 403
    assert answer.json()["error"].startswith("Host: expected localhost, an address or a name given by --allow-host, got 'evil.ex")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("[::1]:8000", True),
        ("192.168.1.7:8000", True),
        ("models.example", True),
        ("models.example.:80", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("127.0.0.1@evil.example", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_host_is_an_address_or_a_name_that_is_meant(host, allowed):
    assert (Hosts(names=frozenset({"models.example"})).problem(host, None) is None) == allowed


def test_origin_may_be_a_name_that_is_meant():
    hosts = Hosts(names=frozenset({"models.example"}))
    assert hosts.problem("127.0.0.1:8000", "https://models.example") is None
    assert hosts.problem("127.0.0.1:8000", "https://other.example") is not None


def test_addresses_of_this_machine_alone_are_told_from_others():
    assert [is_of_this_machine(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "10.0.0.1", "name")] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip
    assert (host_name("A.Example:80"), host_name("x:y:z")) == ("a.example", "x")


def test_info_says_what_the_model_is_and_no_path(runs, ask):
    answer = ask("text").get("/info")
    info, result = answer.json(), json.loads((runs("text") / "result.json").read_text())
    assert (info["task"], info["texts"], info["labels"]) == ("text", ["review"], ["animals", "colours"])
    assert re.fullmatch(r"[0-9a-f]{16}", info["recipe"]) and info["model"] == "demo"
    assert {line["name"]: line["score"] for line in info["scores"]} == result["scores"]
    assert {line["name"]: line["interval"] for line in info["scores"] if line["interval"]} == result["intervals"]
    assert str(runs("text").parent) not in answer.text


def test_body_that_is_too_large_is_refused_whether_it_says_so_or_not(ask):
    large = json.dumps([{"premise": "a" * MOST_BYTES, "hypothesis": "b"}]).encode()
    kind = {"Content-Type": "application/json"}
    for body in (large, (large[start : start + 2**16] for start in range(0, len(large), 2**16))):
        answer = ask().post("/predict", content=body, headers=kind)
        assert (answer.status_code, answer.json()["error"]) == (
            413,
            "body: expected at most 1,048,576 bytes; send the rows in parts",
        )


def test_body_that_is_packed_is_refused(ask):
    answer = ask().post("/predict", content=b"{}", headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    assert answer.status_code == 415 and answer.json()["error"].startswith("Content-Encoding: expected none, got 'gzip'")


def test_body_that_comes_too_slowly_is_refused(services, monkeypatch):
    monkeypatch.setattr(serve_app, "SECONDS_TO_SEND", 0.01)

    async def slow():
        yield b"["
        await asyncio.sleep(SECONDS)

    async def post():
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=build_app(services("mnli"))), base_url=ADDRESS) as client:
            return await client.post("/predict", content=slow(), headers={"Content-Type": "application/json"})

    answer = asyncio.run(post())
    assert (answer.status_code, answer.json()["error"]) == (408, "body: expected all of it within 0.01 seconds")


def test_more_texts_than_may_wait_are_refused_for_good(ask):
    answer = ask(limits=Limits(waiting=3)).post("/predict", json=ROWS["mnli"] * 2)
    assert (answer.status_code, answer.json()["error"]) == (
        413, "body: expected at most 3 texts in a request, got 4; send it in parts",
    )  # fmt: skip


class Slow:
    """A model that answers when it is told to."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, examples, *, labels, unwanted):
        self.begun.set()
        assert self.go.wait(SECONDS)
        return [{"id": identity} for identity in examples.ids]


def while_the_model_computes(services, then, **changes):
    """What `then` returns of a client whose server's model computes a first request; that one's answer is behind it."""
    slow = Slow()
    service = services("mnli", batcher=Batcher(label=slow, most_rows=8, most_waiting=2), **changes)

    async def ask():
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=build_app(service)), base_url=ADDRESS) as client:
            first = asyncio.create_task(client.post("/predict", json=ROWS["mnli"]))
            await asyncio.to_thread(slow.begun.wait, SECONDS)
            try:
                return await then(client), await first if changes else None
            finally:
                slow.go.set()
                await first

    return asyncio.run(ask())


def test_health_answers_while_the_model_computes(services):
    answer, _ = while_the_model_computes(services, lambda client: client.get("/health"))
    assert answer.json() == {"status": "ok", "waiting": 2}


def test_full_queue_is_said_by_503_with_when_to_come_again(services):
    answer, _ = while_the_model_computes(services, lambda client: client.post("/predict", json=ROWS["mnli"][0]))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"] == "busy: 2 texts are waiting; try again"


def test_request_without_an_answer_in_time_is_told_so(services):
    _, first = while_the_model_computes(services, lambda client: client.get("/health"), seconds=0.05)
    assert first.status_code == 503 and first.json()["error"] == "no answer within 0.05 seconds; try again with less"


def test_server_that_ends_answers_those_who_still_wait(services):
    slow = Slow()
    service = services("mnli", batcher=Batcher(label=slow, most_rows=2, most_waiting=8))

    async def ask():
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=build_app(service)), base_url=ADDRESS) as client:
            waiting = [asyncio.create_task(client.post("/predict", json=ROWS["mnli"])) for _ in range(2)]
            await asyncio.to_thread(slow.begun.wait, SECONDS)
            service.batcher.close()
            return await asyncio.gather(*waiting, client.post("/predict", json=ROWS["mnli"]))

    try:
        answers = asyncio.run(ask())
    finally:
        slow.go.set()
    assert [(answer.status_code, answer.json()) for answer in answers] == [(503, {"error": "the server is ending"})] * 3


@pytest.mark.parametrize("error", [ValueError("secret /home/me"), RuntimeError("secret /home/me")])
def test_bug_is_told_without_its_text(services, error):
    def fail(examples, *, labels, unwanted):
        raise error

    service = services("mnli", batcher=Batcher(label=fail, most_rows=8, most_waiting=8))
    answer = TestClient(build_app(service), base_url=ADDRESS, raise_server_exceptions=False).post("/predict", json=ROWS["mnli"])
    assert (answer.status_code, answer.json()) == (500, {"error": FAILED})


def test_pages_that_are_not_there_and_other_methods_are_answered_in_json(ask):
    answer = ask().get("/nope/<b>")
    assert (answer.status_code, answer.json()["error"]) == (404, "no such page; there are /, /predict, /health, /info")
    answer = ask().get("/predict")
    assert (answer.status_code, answer.json()["error"]) == (405, "/predict: expected POST, got GET")


def test_log_has_a_line_for_a_request_and_no_text_of_it(ask, capfd):
    client = ask()
    client.post("/predict", json=[{"premise": "sesame", "hypothesis": "sesame"}] * 3)
    client.post("/predict", json=[{"sesame": "sesame"}])
    client.get("/sesame?text=sesame")
    client.get("/health")
    lines = capfd.readouterr().err.splitlines()
    assert [re.sub(r"[\d,]+ ms$", "", line.partition("  ")[2]).split() for line in lines] == [
        ["POST", "/predict", "200", "3", "rows"],
        ["POST", "/predict", "400"],
        ["GET", "elsewhere", "404"],
    ]


def test_answers_may_not_be_kept_guessed_or_framed(ask):
    headers = ask().get("/").headers
    assert (headers["x-content-type-options"], headers["x-frame-options"], headers["cache-control"]) == (
        "nosniff",
        "DENY",
        "no-store",
    )
    assert "frame-ancestors 'none'" in headers["content-security-policy"] and "server" not in headers


def started(*arguments):
    """A server in a process of its own, and its address."""
    server = Command("serve", *arguments, "--port", 0, "--json")
    for _ in range(100 * SECONDS):
        if server.poll() is not None or server.texts()[0].endswith("\n}\n"):
            break
        threading.Event().wait(0.01)
    assert server.poll() is None, server.texts()
    return server, json.loads(server.texts()[0])["address"]


def fetched(address, **options):
    try:
        with urllib.request.urlopen(urllib.request.Request(address, **options), timeout=SECONDS) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.sweep)])
def test_server_answers_at_its_port_and_ends_by_a_signal(runs, number):
    server, address = started(runs("mnli"))
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
    body = json.dumps(ROWS["mnli"]).encode()
    status, rows = fetched(f"{address}/predict", data=body, headers={"Content-Type": "application/json"})
    assert (status, len(rows)) == (200, 2)
    assert fetched(f"{address}/health")[0] == 200
    second = command("serve", runs("mnli"), "--port", address.rpartition(":")[2])
    assert second.returncode == 2 and "another program has it on 127.0.0.1; end that one, give another port, or 0" in second.stderr
    assert "loading" not in second.stderr
    server.send_signal(number)
    _, err = server.communicate()
    assert server.returncode == 128 + number, err
    assert f"address    {address}\n" in err and "Traceback" not in err
    assert err.endswith(f"{number.name}: ended, 2 requests were answered\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--host", "256.0.0.1"], "--host 256.0.0.1: expected a name or address of this machine, found no such one"),
        (["--attention", "fast"], "--attention: expected one of auto"),
        (["--host", ""], "--host: expected a name or path, got ''"),
    ],
)
def test_server_that_cannot_start_says_why_in_one_line(runs, arguments, line):
    done = command("serve", runs("mnli"), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(line)


def test_run_that_is_not_there_is_said_before_a_port_is_taken(tmp_path):
    done = command("serve", tmp_path / "none", "--host", "256.0.0.1")
    assert done.returncode == 2 and "no such run or model directory" in done.stderr


def test_other_machines_are_warned_of(runs, monkeypatch):
    from debft.output.serve import serve
    from debft.output.serve.server import Place

    said, place = [], SimpleNamespace(listen=lambda: None, getsockname=lambda: ("0.0.0.0", 8000))
    monkeypatch.setattr(serve, "say", said.append)
    monkeypatch.setattr(serve, "answer_until_told", lambda app, place, give_up: None)
    used = find_used_model(str(runs("mnli")), None, "auto")
    ready = []
    serve.serve(used, Place(socket=place, host="0.0.0.0"), precision="auto", attention="auto", limits=Limits(), ready=ready.append)
    assert said[0] == "warning: other machines reach this server through 0.0.0.0; it asks for no password and encrypts nothing"
    assert ready[0]["address"] == "http://127.0.0.1:8000"

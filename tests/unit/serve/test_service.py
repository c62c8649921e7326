"""What the service answers: to what is right, to what is wrong, and to those who may not ask."""

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest
import soundfile
import torch
from fastapi.testclient import TestClient
from tests.unit.serve.stubs import Texts, models

from regard.data.pictures import to_png
from regard.decoding import Beam, Greedy, Sampling
from regard.serve.app import service
from regard.serve.model import Model
from regard.serve.settings import Settings

PNG = to_png(torch.randint(256, (3, 20, 30), dtype=torch.uint8))
JSON = {"Content-Type": "application/json"}
HOME = "http://127.0.0.1:8000"


def wav(seconds: float = 2.5) -> bytes:
    file = BytesIO()
    soundfile.write(file, torch.zeros(round(8000 * seconds)).numpy(), 8000, format="WAV")
    return file.getvalue()


WAV, ONE = {"files": ("a.wav", wav())}, {"file": ("a.wav", wav())}


@pytest.fixture
def serve() -> Iterator[Callable[..., TestClient]]:
    open_clients: list[TestClient] = []

    def make(*given: Model, **settings: Any) -> TestClient:
        client = TestClient(
            service(given or models(), Settings(**settings)), base_url=HOME, raise_server_exceptions=False
        )
        open_clients.append(client.__enter__())
        return client

    yield make
    for client in open_clients:
        client.__exit__(None, None, None)


def events(response: Any) -> list[tuple[str, Any]]:
    found = [block.split("\n") for block in response.text.split("\n\n")[:-1]]
    return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in found]


# ---- what is right


def test_texts(serve: Callable[..., TestClient]) -> None:
    client = serve()
    answer = client.post("/v1/models/turn/predict", json={"inputs": ["abc", "dé"]})
    assert answer.status_code == 200, answer.text
    outputs = [[{"text": "cba", "score": 0.5}], [{"text": "éd", "score": 0.5}]]
    assert answer.json() == {"model": "turn", "outputs": outputs}
    assert client.post("/v1/models/count/predict", json={"inputs": ["abc"]}).json()["outputs"][0][0]["text"] == "3"


def test_how_to_search(serve: Callable[..., TestClient]) -> None:
    texts = Texts()
    client = serve(Model(name="turn", task="translation", predictor=texts))
    for search in (
        {},
        {"kind": "beam", "n_best": 7},
        {"kind": "greedy"},
        {"kind": "sampling", "top_p": 0.5, "seed": 3},
    ):
        assert client.post("/v1/models/turn/predict", json={"inputs": ["a"], "search": search}).status_code == 200
    assert texts.options == [Beam(), Beam(width=7, n_best=7), Greedy(), Sampling(top_p=0.5, seed=3)]


def test_files(serve: Callable[..., TestClient]) -> None:
    client = serve()
    two = [("files", ("../a.png", PNG)), ("files", ("a.png", PNG))]
    answer = client.post("/v1/models/size/predict", files=two, data={"drawn": "true"}).json()
    assert [one["text"] for [one] in answer["outputs"]] == ["a.png: 30 x 20"] * 2
    assert base64.b64decode(answer["outputs"][1][0]["files"][".txt"]) == b"a.png: 30 x 20"
    heard = client.post(
        "/v1/models/hear/predict", files={"files": ("x.wav", wav())}, data={"search": '{"kind": "greedy"}'}
    )
    assert heard.json()["outputs"] == [[{"text": "2.5 s", "score": 0.5}]]


def test_a_text_while_it_is_written(serve: Callable[..., TestClient]) -> None:
    answer = serve().post("/v1/models/turn/stream", json={"input": "abcd"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = [("text", {"text": so_far}) for so_far in ("d", "dc", "dcb")]
    assert events(answer) == [*told, ("done", {"outputs": [{"text": "dcba", "score": 0.5}]})]


def test_words_while_they_are_said(serve: Callable[..., TestClient]) -> None:
    client = serve()
    recording = client.post("/v1/models/hear/stream", files={"file": ("x.wav", wav())})
    raw = client.post("/v1/models/hear/listen", content=bytes(2 * 8000 * 5 // 2))
    for answer in (recording, raw):
        *words, done = events(answer)
        assert [word["text"] for kind, word in words if kind == "word"] == ["word1", "word2", "rest"]
        assert words[1][1]["end"] == 2.0
        assert done == ("done", {"text": "word1 word2 rest"})


def test_looks(serve: Callable[..., TestClient]) -> None:
    client = serve()
    seen = client.post("/v1/models/turn/look?strongest=1", json={"input": "three short words"}).json()
    assert seen["sides"] == {"text": ["three", "short", "words"]}
    assert seen["layers"][0]["heads"][0]["strongest"] == [[[0, pytest.approx(1 / 3, abs=1e-5)]]] * 3
    page = client.post("/v1/models/turn/look?form=html", json={"input": "<script>alert(1)</script>"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script>alert" not in page.text
    picture = client.post("/v1/models/size/look?form=png", files={"file": ("x.png", PNG)})
    assert picture.content.startswith(b"\x89PNG")


def test_what_is_said_of_the_models(serve: Callable[..., TestClient]) -> None:
    client = serve()
    about = {one["name"]: one for one in client.get("/v1/models").json()}
    assert about["turn"]["reads"] == "texts"
    assert (about["turn"]["streams"], about["count"]["streams"], about["size"]["streams"]) == (True, False, False)
    assert about["hear"]["files"] is True
    assert client.get("/health").json() == {"status": "ok", "waiting": 0}
    schema = client.get("/openapi.json").json()
    assert "/v1/models/count/stream" not in schema["paths"]
    assert "/v1/models/hear/listen" in schema["paths"]
    example = schema["components"]["schemas"]["turn_Texts"]["properties"]["inputs"]["examples"][0][0]
    assert client.post("/v1/models/turn/predict", json={"inputs": [example]}).status_code == 200


def test_what_prometheus_reads(serve: Callable[..., TestClient]) -> None:
    client = serve()
    client.post("/v1/models/turn/predict", json={"inputs": ["a", "b"]})
    client.get("/no/such/place")
    counted = client.get("/metrics").text
    assert 'regard_requests_total{route="/v1/models/turn/predict",status="200"} 1.0' in counted
    assert 'regard_requests_total{route="other",status="404"} 1.0' in counted
    assert 'regard_batch_inputs_sum{model="turn",verb="predict"} 2.0' in counted
    assert "regard_waiting_inputs 0.0" in counted


# ---- what is wrong


@pytest.mark.parametrize(
    ("path", "request_", "status", "said"),
    [
        ("turn/predict", {"json": {"inputs": ["good", "bad"]}}, 422, "the text 'bad' is bad: write another"),
        ("turn/predict", {"json": {"inputs": ["broken"]}}, 500, "the service failed at this request"),
        ("turn/predict", {"json": {"inputs": [""]}}, 422, "at least 1 character"),
        ("turn/predict", {"json": {"inputs": ["x" * 20_001]}}, 422, "at most 20000 characters"),
        ("turn/predict", {"json": {"inputs": []}}, 422, "at least 1 item"),
        ("turn/predict", {"json": {"inputs": ["a"] * 33}}, 422, "at most 32 items"),
        ("turn/predict", {"json": {"inputs": ["a"], "serach": {}}}, 422, "Extra inputs are not permitted"),
        ("turn/predict", {"json": {"inputs": ["a"], "search": {"top_k": 3}}}, 422, 'give "kind": "sampling"'),
        ("turn/predict", {"json": {"inputs": ["a"], "search": {"n_best": 9, "width": 3}}}, 422, "n_best=9 hypotheses"),
        ("turn/predict", {"content": b"{", "headers": JSON}, 422, "JSON decode error"),
        ("turn/predict", {"content": b'{"inputs": ["\\ud800"]}', "headers": JSON}, 422, ""),
        ("count/predict", {"json": {"inputs": ["a"], "search": {}}}, 422, "Extra inputs are not permitted"),
        ("turn/look?form=gif", {"json": {"input": "a"}}, 422, "'json', 'html' or 'png'"),
        ("turn/nothing", {"json": {}}, 404, "Not Found"),
        ("nobody/predict", {"json": {}}, 404, "Not Found"),
        ("size/predict", {"files": {"files": ("a.png", b"text")}}, 422, "a.png is no picture"),
        ("size/predict", {"files": {"files": ("a.png", PNG[:60])}}, 422, "a.png is cut off or damaged"),
        ("size/predict", {"files": [("files", ("a.png", PNG))] * 33}, 413, "33 files were sent, and at most 32"),
        ("size/predict", {"data": {"drawn": "true"}}, 422, "Field required"),
        ("size/predict", {"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, 400, ""),
        ("hear/predict", {"files": {"files": ("a.wav", wav()[:2000])}}, 422, "a.wav is cut off"),
        ("hear/predict", {"files": WAV, "data": {"search": '{"kind": "x"}'}}, 422, "'beam', 'greedy' or"),
        ("hear/predict", {"files": WAV, "data": {"search": "{"}}, 422, "Invalid JSON"),
        ("hear/look", {"files": ONE}, 422, "a.wav is longer than what is heard at a time"),
        ("hear/stream", {"files": {"file": ("a.wav", wav(0.0))}}, 422, "a.wav is empty"),
        ("hear/stream?chunk=0", {"files": ONE}, 422, "greater than or equal to 0.1"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(
    serve: Callable[..., TestClient], path: str, request_: dict[str, Any], status: int, said: str
) -> None:
    answer = serve().post(f"/v1/models/{path}", **request_)
    assert answer.status_code == status, answer.text
    assert said in (
        answer.text if status == 404 else json.dumps(answer.json()["detail"], ensure_ascii=False).replace('\\"', '"')
    )
    assert "/tmp" not in answer.text
    assert "secret" not in answer.text


def test_an_error_within_a_stream_is_its_last_event(serve: Callable[..., TestClient]) -> None:
    answer = serve().post("/v1/models/turn/stream", json={"input": "bad"})
    assert events(answer) == [("error", {"status": 422, "detail": "the text 'bad' is bad: write another"})]


def test_a_full_queue_says_when_to_come_again(serve: Callable[..., TestClient]) -> None:
    texts = Texts()
    texts.free.clear()
    client = serve(Model(name="turn", task="translation", predictor=texts), queue=3)
    with ThreadPoolExecutor(8) as pool:

        def post(text: str) -> Any:
            return client.post("/v1/models/turn/predict", json={"inputs": [text]})

        first = pool.submit(post, "first")
        while not texts.batches:  # until it runs, and the queue is empty
            assert not first.done()
        waiting = [pool.submit(post, f"text {number}") for number in range(3)]
        while client.get("/health").json()["waiting"] < 3:
            assert not any(one.done() for one in waiting)
        refused = post("one more")
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["detail"].startswith("the queue is full: try again in ")
        texts.free.set()
        answers = [first, *waiting]
        assert [one.result(30).status_code for one in answers] == [200] * 4
    assert texts.batches == [["first"], ["text 0", "text 1", "text 2"]] or sorted(texts.batches[1]) == [
        "text 0",
        "text 1",
        "text 2",
    ]


def test_an_answer_that_takes_too_long(serve: Callable[..., TestClient]) -> None:
    texts = Texts()
    texts.free.clear()
    client = serve(Model(name="turn", task="translation", predictor=texts), timeout=0.2)
    slow = client.post("/v1/models/turn/predict", json={"inputs": ["a"]})
    assert (slow.status_code, slow.json()["detail"]) == (504, "no answer within 0.2 s")
    streamed = client.post("/v1/models/turn/stream", json={"input": "a"})
    assert events(streamed) == [("error", {"status": 504, "detail": "no answer within 0.2 s"})]
    texts.free.set()
    assert client.post("/v1/models/turn/predict", json={"inputs": ["b"]}).status_code == 200
    assert ["a"] in texts.batches
    assert texts.batches[-1] == ["b"]  # what timed out while it waited was not run


# ---- who may not ask, and how much


def test_more_than_is_read(serve: Callable[..., TestClient]) -> None:
    client = serve(upload=10_000)
    large = {"json": {"inputs": ["x" * 12_000]}}
    told = client.post("/v1/models/turn/predict", **large)
    assert told.status_code == 413
    assert "more than the 10,000 bytes that are read" in told.json()["detail"]
    chunks = (b" " * 1000 for _ in range(20))  # without a length
    assert client.post("/v1/models/turn/predict", content=chunks).status_code == 413
    parts = {"files": ("a.png", PNG + bytes(12_000))}
    assert client.post("/v1/models/size/predict", files=parts).status_code == 413


def test_a_token(serve: Callable[..., TestClient]) -> None:
    client = serve(token="correct horse")
    ask = {"json": {"inputs": ["abc"]}}
    for header in ({}, {"Authorization": "Bearer wrong horse"}, {"Authorization": "Basic correct horse"}):
        answer = client.post("/v1/models/turn/predict", headers=header, **ask)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert client.get("/metrics").status_code == 401
    assert (
        client.post("/v1/models/turn/predict", headers={"Authorization": "Bearer correct horse"}, **ask).status_code
        == 200
    )
    for path in ("/", "/health", "/assets/service.js", "/openapi.json"):
        assert client.get(path).status_code == 200


def test_pages_of_other_sites_may_not_ask(serve: Callable[..., TestClient]) -> None:
    client = serve()
    ask = {"json": {"inputs": ["abc"]}}
    told = client.post("/v1/models/turn/predict", headers={"Origin": "https://evil.example"}, **ask)
    assert told.status_code == 403
    assert "allow them by --origin https://evil.example" in told.json()["detail"]
    assert (
        "access-control-allow-origin"
        not in client.get("/v1/models", headers={"Origin": "https://evil.example"}).headers
    )
    assert client.post("/v1/models/turn/predict", headers={"Origin": HOME}, **ask).status_code == 200
    client = serve(origins=("https://friend.example",))
    friend = client.post("/v1/models/turn/predict", headers={"Origin": "https://friend.example"}, **ask)
    assert friend.headers["access-control-allow-origin"] == "https://friend.example"
    before = {
        "Origin": "https://friend.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    assert client.options("/v1/models/turn/predict", headers=before).status_code == 200


def test_a_name_that_leads_here_is_not_enough(serve: Callable[..., TestClient]) -> None:
    """A page of evil.example, whose name is made to lead to this machine, would be of the same origin."""
    client = serve()
    told = client.get("/v1/models", headers={"Host": "evil.example:8000"})
    assert told.status_code == 421
    assert "--name evil.example" in told.json()["detail"]
    for host in ("localhost", "127.0.0.1:1234", "[::1]:8000"):
        assert client.get("/v1/models", headers={"Host": host}).status_code == 200
    assert serve(names=("model.home",)).get("/health", headers={"Host": "model.home"}).status_code == 200
    assert serve(host="0.0.0.0").get("/health", headers={"Host": "any.example"}).status_code == 200


def test_what_browsers_are_told(serve: Callable[..., TestClient]) -> None:
    for answer in (serve().get("/"), serve().post("/v1/models/turn/predict", json={}), serve().get("/assets/nothing")):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self' 'sha256-")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert serve().get("/assets/../app.py").status_code == 404
    assert serve().get("/assets/%2e%2e/app.py").status_code == 404


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"token": "short"}, "8 characters or more"),
        ({"port": 70_000}, "from 0 to 65535; got 70000"),
        ({"queue": 0}, "queue is more than 0; got 0"),
    ],
)
def test_settings_without_meaning(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(**settings)


def test_models_without_a_name_of_their_own() -> None:
    with pytest.raises(ValueError, match="two models are called turn: name one of them, such as turn-2=RUN"):
        service([models()[0], models()[0]], Settings())
    with pytest.raises(ValueError, match="there is no model to serve"):
        service([], Settings())
    with pytest.raises(ValueError, match="stands in addresses"):
        Model(name="my model/2", task="translation", predictor=Texts())

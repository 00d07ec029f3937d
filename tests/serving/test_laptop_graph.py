"""InferenceGraphs as KServe's router walks them: the rules alone, then with real services behind a real address."""

import asyncio
import json
from collections import Counter

import pytest

from serving.contract.errors import SluiceError
from serving.laptop.graph.body import Body
from serving.laptop.graph.condition import exists
from serving.laptop.graph.steps import Answer, Unroutable, Walk
from serving.laptop.graph.validate import validate_inference_graph

ANIMALS = {"predictions": [{"label": "cat", "score": 0.4}, {"label": "dog", "score": 0.9}], "a.b": {"n": [1, 2]}}


@pytest.mark.parametrize(
    ("condition", "there"),
    [
        ("predictions", True),
        ("predictions.1.label", True),
        ("predictions.2", False),
        ('predictions.#(label=="dog")', True),
        ('predictions.#(label=="dog").score', True),
        ('predictions.#(label=="dog").size', False),
        ("predictions.#(label==bird)", False),
        ("predictions.#(score>0.8)", True),
        ("predictions.#(score>=0.95)", False),
        ('predictions.#(label%"d*")', True),
        ('predictions.#(label!%"*")', False),
        ("predictions.#(score>2)#", True),
        ("predictions.#.label", True),
        (r"a\.b.n.#(>1)", True),
        ("a.b", False),
    ],
)
def test_a_condition_asks_whether_something_is_there(condition, there):
    assert exists(ANIMALS, condition) is there


def graph(*steps, kind="Sequence", **nodes):
    made = {name: {"routerType": "Sequence", "steps": node} for name, node in nodes.items()}
    return {"metadata": {"name": "g"}, "spec": {"nodes": {"root": {"routerType": kind, "steps": list(steps)}, **made}}}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"metadata": {"name": "G"}}, "lower case letters"),
        ({"metadata": {"name": "g"}, "spec": {"nodes": {"start": {}}}}, "name 'root'"),
        (graph({"serviceName": "a", "wieght": 1}), 'unknown field "spec.nodes.root.steps.0..wieght"'),
        (graph({"serviceName": "a", "nodeName": "b"}), "found serviceName, nodeName"),
        (graph({"name": "a"}), "found none"),
        (graph({"nodeName": "b"}), "there is no node 'b'"),
        (graph({"nodeName": "b"}, b=[{"nodeName": "root"}]), "leads to itself .root -> b -> root"),
        (graph({"serviceName": "a", "name": "x"}, {"serviceName": "b", "name": "x"}), "more than one step"),
        (graph({"serviceName": "a", "weight": 60}, kind="Splitter"), "add up to 100"),
        (graph({"serviceName": "a"}, kind="Switch"), "needs a condition"),
        (graph({"serviceName": "a", "condition": "a|@this"}), "not understood here"),
        (graph({"serviceName": "a"}, kind="Loop"), "'Loop' is not one of"),
        (graph({"serviceName": "a", "dependency": "Firm"}), "neither Soft nor Hard"),
    ],
)  # fmt: skip
def test_what_kserve_or_the_laptop_refuses_of_a_graph_is_said_with_its_place(bad, message):
    with pytest.raises(SluiceError, match=message):
        validate_inference_graph(bad)


async def service(step, body):
    """Answers with its name and what it was given; ``down`` fails."""
    name, given = step["serviceName"], json.loads(body.read() or b"null")
    if name == "away":
        raise Unroutable(500, "away cannot be reached")
    return Answer(503 if name == "down" else 200, json.dumps({"predictions": [name], "given": given}).encode())


def walk(spec, given=None):
    validate_inference_graph(spec)
    nodes = spec["spec"]["nodes"]
    answer = asyncio.run(Walk(nodes, service).node("root", Body.of(json.dumps(given or {"instances": [1]}).encode())))
    return answer.status, json.loads(answer.body)


def test_a_sequence_hands_request_or_response_on_and_stops_at_a_hard_failure_or_an_unmet_condition():
    a, b = {"serviceName": "a"}, {"serviceName": "b", "data": "$response"}
    assert walk(graph(a, {"serviceName": "b"}))[1]["given"] == {"instances": [1]}
    assert walk(graph(a, b))[1]["given"] == {"predictions": ["a"], "given": {"instances": [1]}}
    mapped = {**b, "mapPredictionsToInstances": True}
    assert walk(graph(a, mapped))[1]["given"] == {"instances": ["a"], "given": {"instances": [1]}}
    down = {"serviceName": "down"}
    assert walk(graph({**down, "dependency": "Hard"}, b))[0] == 503
    status, body = walk(graph(down, b))
    assert (status, body["predictions"], body["given"]["predictions"]) == (200, ["b"], ["down"])
    assert walk(graph(a, {**b, "condition": "predictions.0"}))[1]["predictions"] == ["b"]
    assert walk(graph(a, {**b, "condition": "predictions.1"})) == (
        200,
        {"predictions": ["a"], "given": {"instances": [1]}},
    )
    with pytest.raises(Unroutable, match="away cannot be reached"):
        walk(graph({"serviceName": "away"}, b))


def test_an_ensemble_a_switch_and_a_splitter_choose_as_they_should():
    both = graph({"serviceName": "a", "name": "first"}, {"serviceName": "down"}, kind="Ensemble")
    status, body = walk(both)
    assert (status, body["first"]["predictions"], body["1"]["predictions"]) == (200, ["a"], ["down"])
    both["spec"]["nodes"]["root"]["steps"][1]["dependency"] = "Hard"
    assert walk(both) == (503, {"predictions": ["down"], "given": {"instances": [1]}})
    routes = [{"serviceName": n, "condition": f'instances.#(kind=="{n}")'} for n in ("a", "b")]
    assert walk(graph(*routes, kind="Switch"), {"instances": [{"kind": "b"}]})[1]["predictions"] == ["b"]
    with pytest.raises(Unroutable, match="None of the routes matched"):
        walk(graph(*routes, kind="Switch"))
    split = graph(
        {"serviceName": "a", "weight": 80},
        {"nodeName": "n", "weight": 20},
        kind="Splitter",
        n=[routes[1] | {"condition": ""}],
    )
    seen = Counter(walk(split)[1]["predictions"][0] for _ in range(300))
    assert 200 < seen["a"] < 280


def test_a_body_past_memory_is_kept_in_a_file_and_can_be_sent_again():
    class Stream:
        async def iter_any(self):
            for n in range(100):
                yield bytes([n]) * 100_000

    async def twice():
        body = await Body.gather(Stream())
        sent = [b"".join([piece async for piece in body.send()]) for _ in range(2)]
        body.close()
        return body.size, sent

    size, (one, two) = asyncio.run(twice())
    assert size == len(one) == 10_000_000 and one == two and one[-1] == 99

"""A server that fails in every way: each conversation gets its own answer or a stated failure, never another's."""

import json
import threading

import pytest
from PIL import Image

from mmunlearn.chat.base import AnswerForm, Message, open_chat
from mmunlearn.chat.server import data_url
from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError

FAST = {"kind": "server", "model": "m", "backoff_s": 0.001, "backoff_max_s": 0.004, "timeout_s": 5, "retries": 4}
FAULTS = ("drop", "half", "garbage", "shape", 429, 500, 503, 408, (429, "0"))


def chat(server, **more):
    return open_chat(FAST | {"base_url": server.url} | more)


def talk(*texts):
    return [(Message("user", text),) for text in texts]


@pytest.mark.parametrize("fault", FAULTS)
def test_one_failure_is_retried(server, fault):
    server.script["q"] = ([fault], "right")
    (reply,) = chat(server).replies(talk("q"))
    assert ("right", "") == (reply.text, reply.error)
    assert 2 == server.asked["q"]


def test_a_storm_loses_no_row_and_mixes_none_up(server):
    """Sixty conversations, nearly all of them failing a few times in other ways, each with its own answer."""
    texts = [f"question {i}" for i in range(60)]
    for i, text in enumerate(texts):
        faults = [FAULTS[(i + k) % len(FAULTS)] for k in range(i % 5)]
        server.script[text] = (faults, f"answer {i}")
    replies = chat(server, parallel=8).replies(talk(*texts))
    assert [f"answer {i}" for i in range(60)] == [reply.text for reply in replies]
    assert [1 + i % 5 for i in range(60)] == [server.asked[text] for text in texts]


def test_what_keeps_failing_is_stated_and_worth_asking_again(server):
    server.script["bad"] = ([500] * 9, "never")
    bad, good = chat(server, retries=2).replies(talk("bad", "good"))
    assert ("", "status 500", True) == bad
    assert "yes" == good.text
    assert 3 == server.asked["bad"]


def test_a_refused_request_is_not_repeated(server):
    server.script["too long"] = ([400] * 9, "never")
    (reply,) = chat(server).replies(talk("too long"))
    assert ("", "status 400", False) == reply
    assert 1 == server.asked["too long"]


def test_delays_double_up_to_their_limit(server, monkeypatch):
    waited = []
    monkeypatch.setattr("mmunlearn.chat.server.time.sleep", waited.append)
    server.script["q"] = ([500, 500, (429, "0.5"), (429, "900"), 500], "right")
    (reply,) = chat(server, retries=5, backoff_s=1, backoff_max_s=6).replies(talk("q"))
    assert "right" == reply.text
    assert [1, 2, 0.5, 6, 6] == waited


def test_no_answer_in_time_is_a_failure(server):
    server.script["q"] = (["hang"] * 9, "never")
    (reply,) = chat(server, timeout_s=0.05, retries=1).replies(talk("q"))
    assert reply.again and "within 0.05 s" in reply.error


def test_as_many_at_once_as_asked_and_no_more(server):
    server.gate = threading.Barrier(3)  # opens only when three requests wait together
    chat(server, parallel=3, retries=0).replies(talk(*"abcdef"))
    assert 3 == server.most_at_once


def test_the_key_comes_from_the_environment_and_is_stored_nowhere(server, monkeypatch):
    monkeypatch.setenv("MY_JUDGE_KEY", "s3cret")
    model = chat(server, api_key_env="MY_JUDGE_KEY")
    model.replies(talk("q"))
    assert {"Bearer s3cret"} == server.keys
    assert "s3cret" not in model.settings.model_dump_json()


@pytest.mark.parametrize(("status", "said"), [(401, "key is refused"), (403, "access is refused"), (404, "no such")])
def test_wrong_settings_are_the_users_error(server, status, said):
    server.script["q"] = ([status] * 9, "never")
    with pytest.raises(UserError, match=said):
        chat(server).replies(talk("q"))


def test_a_server_that_is_not_there_is_the_users_error(server):
    address = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match="cannot be reached"):
        open_chat(FAST | {"base_url": address, "retries": 1}).replies(talk("q", "r"))


def test_a_server_that_only_drops_one_row_is_there(server):
    server.script["bad"] = (["drop"] * 9, "never")
    (reply,) = chat(server, retries=1).replies(talk("bad"))
    assert reply.again and "connection lost" in reply.error


@pytest.mark.parametrize("mode", ["object", "schema"])
def test_json_answers_are_asked_for_and_unwrapped(server, mode):
    form = AnswerForm(("yes", "no"))
    server.answer = lambda text: '{"answer": "no"}'
    (reply,) = chat(server, json_mode=mode).replies(talk("q"), form)
    assert "no" == reply.text
    request = server.requests[-1]
    assert ("json_object" if mode == "object" else "json_schema") == request["response_format"]["type"]
    assert '"yes" or "no"' in request["messages"][-1]["content"]
    if mode == "schema":
        field = request["response_format"]["json_schema"]["schema"]["properties"]["answer"]
        assert {"type": "string", "enum": ["yes", "no"]} == field


def test_an_explanation_comes_before_the_answer(server):
    server.answer = lambda text: '{"explanation": "a mug, a mug", "answer": 6}'
    (reply,) = chat(server, json_mode="schema").replies(talk("q"), AnswerForm((), 0, 10, True, 120))
    assert "6" == reply.text
    request = server.requests[-1]
    assert '{"explanation": at most 120 characters, "answer": a whole number' in request["messages"][-1]["content"]
    schema = request["response_format"]["json_schema"]["schema"]
    assert ["explanation", "answer"] == list(schema["properties"]) == schema["required"]
    assert {"type": "string", "maxLength": 120} == schema["properties"]["explanation"]


@pytest.mark.parametrize("text", ['{"answer": "no"', '{"verdict": 1}', "[1]", "plain"])
def test_json_that_was_cut_off_stays_for_the_parser_to_refuse(server, text):
    server.answer = lambda _: text
    (reply,) = chat(server, json_mode="object").replies(talk("q"), AnswerForm((), 0, 1))
    assert text == reply.text


def test_pictures_travel_as_data_urls(server, tmp_path):
    Image.new("RGB", (2, 2), (255, 0, 0)).save(tmp_path / "a.png")
    Image.new("RGB", (2, 2)).save(tmp_path / "b.bmp")
    png, bmp = ImageRef(path=tmp_path / "a.png"), ImageRef(path=tmp_path / "b.bmp")
    chat(server).replies([(Message("user", "what?", (png, bmp)),)])
    first, second, text = server.requests[-1]["messages"][0]["content"]
    assert data_url(png) == first["image_url"]["url"]
    assert first["image_url"]["url"].startswith("data:image/png;base64,")
    assert second["image_url"]["url"].startswith("data:image/png;base64,")
    assert {"type": "text", "text": "what?"} == text


def test_an_answer_without_words_is_empty_text(server):
    server.script["q"] = ([], None)
    server.answer = lambda text: None
    (reply,) = chat(server).replies(talk("q"))
    assert ("", "") == (reply.text, reply.error)


def test_complete_gives_the_text_or_says_why_not(server):
    assert "yes" == chat(server).complete("q")
    server.script["bad"] = ([500] * 9, "never")
    with pytest.raises(UserError, match="status 500"):
        chat(server, retries=0).complete("bad")


def test_greedy_requests_carry_no_seed(server):
    chat(server).complete("q")
    assert 0 == server.requests[-1]["temperature"] and "seed" not in server.requests[-1]
    chat(server, temperature=0.5, seed=3).complete("q")
    assert 3 == server.requests[-1]["seed"]
    assert json.dumps(server.requests[-1])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"base_url": "localhost:8000"}, "must begin with http"),
        ({"base_url": "http://me:pw@host/v1"}, "no user name"),
        ({"kind": "ftp"}, "no such backend"),
        ({"paralel": 3}, "Did you mean parallel"),
        ({"api_key": "s3cret"}, "no such setting"),
        ({"model": None}, "model"),
    ],
)
def test_mistakes_in_settings(settings, said):
    with pytest.raises(UserError, match=said):
        open_chat(FAST | {"base_url": "http://localhost/v1"} | settings)

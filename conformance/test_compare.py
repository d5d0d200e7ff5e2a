"""Can the comparison fail? Records are changed by hand, and each change must be found."""

import json

from compare import compare
from record import Connection

ASK = b'{ "messages": [{"model": "x"}], "model" : "openai.demo.gpt-demo", "n": 1}'
SENT = b'{ "messages": [{"model": "x"}], "model" : "gpt-demo", "n": 1}'
REPLY = b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}'


def message(start, body, *headers):
    head = "\r\n".join([start, *headers, f"content-length: {len(body)}"])
    return head.encode() + b"\r\n\r\n" + body


def request(body):
    return message("POST /v1/chat/completions HTTP/1.1", body, "host: h")


def answer(body, *headers):
    return message("HTTP/1.1 200 OK", body, "x-request-id: r1", *headers)


def chunks(*pieces, end=b"0\r\n\r\n"):
    head = b"HTTP/1.1 200 OK\r\nx-request-id: r1\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end


def frame(text, key=b""):
    masked = bytes(byte ^ key[place % 4] for place, byte in enumerate(text)) if key else text
    length = bytes([126 | (0x80 if key else 0)]) + len(text).to_bytes(2, "big")
    return b"\x81" + length + key + masked


def upgrade(target, *headers):
    return "\r\n".join([f"GET {target} HTTP/1.1", "host: h", "sec-websocket-key: k1", *headers, "", ""]).encode()


def agreed(*headers):
    return "\r\n".join(["HTTP/1.1 101 Switching Protocols", "sec-websocket-accept: p1", *headers, "", ""]).encode()


NEAR_ID = "x-gateway-request-id: req-1"
CREATE = b'{"type":"response.create","model":"openai.demo.gpt-demo"}'
CREATED = b'{"type":"response.create","model":"gpt-demo"}'
DONE = b'{"type":"response.done","response":{"usage":{"input_tokens":2,"output_tokens":1}}}'
HEARD = b'{"type":"conversation.item.input_audio_transcription.completed","usage":{"input_tokens":1,"output_tokens":3}}'


class Side:
    def __init__(self, sent, answered):
        self.connections = [Connection(bytearray(sent), bytearray(answered))]


def log(into, out):
    ids = {"upstream_request_id": "r1", "request_id": "req-1"}
    return json.dumps({**ids, "input_tokens": into, "output_tokens": out})


def check(name, problem, near=None, far=None, lines=None):
    near, far = near or Side(request(ASK), answer(REPLY)), far or Side(request(SENT), answer(REPLY))
    found = [text for holds, text in compare(near, [far], log(3, 4) if lines is None else lines) if not holds]
    holds = any(problem in text for text in found) if problem else not found
    print(f"{'ok  ' if holds else 'FAIL'} kit: {name}{'' if holds else f': {found}'}")
    return holds


def check_session(name, problem, path="/v1/realtime", near=None, far=None, **parts):
    """A session beside a request that is alike at both ends; `parts` change what is behind the gateway."""
    is_routed_by_message = path == "/v1/responses"
    said = CREATED if is_routed_by_message else CREATE
    part = {"said": frame(said, b"efgh" if is_routed_by_message else b"abcd"), "heard": frame(DONE) + frame(HEARD),
            "target": path if is_routed_by_message else f"{path}?a=1&model=gpt-demo", "offer": "x: y", "more": "x: y", **parts}
    asked = path if is_routed_by_message else f"{path}?a=1&model=openai.demo.gpt-demo"
    near = Side(upgrade(asked) + frame(CREATE, b"abcd"), agreed(NEAR_ID, "x: y") + frame(DONE) + frame(HEARD))
    far = Side(upgrade(part["target"], part["offer"]) + part["said"], agreed(part["more"]) + part["heard"])
    near.connections += Side(request(ASK), answer(REPLY)).connections
    far.connections += Side(request(SENT), answer(REPLY)).connections
    return check(name, problem, near, far)


def main():
    results = [
        check("a true record passes", None),
        check("chunks cut elsewhere pass", None, Side(request(ASK), chunks(REPLY)),
              Side(request(SENT), chunks(REPLY[:9], REPLY[9:]))),
        check("one byte of a request", "more of the body changed", far=Side(request(SENT.replace(b"1}", b"2}")), answer(REPLY))),
        check("white space of a request", "more of the body changed", far=Side(request(SENT.replace(b" :", b":")), answer(REPLY))),
        check("a model further down", "more of the body changed",
              far=Side(request(ASK.replace(b'"x"', b'"y"')), answer(REPLY))),
        check("a model that is no text", "no JSON string", far=Side(request(SENT.replace(b'"gpt-demo"', b"7")), answer(REPLY))),
        check("one byte of an answer", "the body of the answer changed", near=Side(request(ASK), answer(REPLY.replace(b"4", b"5")))),
        check("a status", "the status changed", near=Side(request(ASK), answer(REPLY).replace(b"200", b"201"))),
        check("a header that is lost", "the header x-limit", far=Side(request(SENT), answer(REPLY, "x-limit: 1"))),
        check("a break that looks whole", "as a whole one", Side(request(ASK), chunks(REPLY)), Side(request(SENT), chunks(REPLY, end=b""))),
        check("an answer that reached nobody", "reached no client", near=Side(b"", b"")),
        check("a wrong count", "the gateway logged", lines=log(3, 5)),
        check("no line in the log", "the gateway logged", lines=""),
        check_session("a true session passes", None),
        check_session("a session that is routed by its messages passes", None, "/v1/responses"),
        check_session("a message of the client", "bytes of the client changed", said=frame(CREATED, b"abcd")),
        check_session("another mask", "bytes of the client changed", said=frame(CREATE, b"efgh")),
        check_session("more of a message than its model", "more of the body changed", "/v1/responses",
                      said=frame(CREATED.replace(b"create", b"creat2"), b"efgh")),
        check_session("a message of the provider", "bytes of the provider changed", heard=frame(DONE.replace(b"2", b"3"))),
        check_session("more of the query", "more of the query", target="/v1/realtime?a=2&model=gpt-demo"),
        check_session("a key that is passed on", "reached the provider", offer="sec-websocket-protocol: openai-insecure-api-key.k"),
        check_session("a header of the handshake", "the header x-limit", more="x-limit: 1"),
        check_session("a count of a session", "the gateway logged", heard=frame(DONE)),
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())

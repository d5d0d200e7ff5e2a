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


class Side:
    def __init__(self, sent, answered):
        self.connections = [Connection(bytearray(sent), bytearray(answered))]


def log(into, out):
    return json.dumps({"upstream_request_id": "r1", "input_tokens": into, "output_tokens": out})


def check(name, problem, near=None, far=None, lines=None):
    near, far = near or Side(request(ASK), answer(REPLY)), far or Side(request(SENT), answer(REPLY))
    found = [text for holds, text in compare(near, [far], log(3, 4) if lines is None else lines) if not holds]
    holds = any(problem in text for text in found) if problem else not found
    print(f"{'ok  ' if holds else 'FAIL'} kit: {name}{'' if holds else f': {found}'}")
    return holds


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
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())

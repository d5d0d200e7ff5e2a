"""What passes over WebSocket (RFC 6455), read from the record of a connection, and compared before and
behind the gateway: every message must be the same but for its model."""

import json
from urllib.parse import urlsplit

TEXT, CONTINUATION = 0x1, 0x0
# What each end of a session must have been told alike, even where the gateway agrees by itself.
AGREED = {"sec-websocket-accept", "sec-websocket-protocol"}
# Belongs to one connection, or is made anew at each.
OF_ONE_CONNECTION = {"connection", "upgrade", "date", "set-cookie"}
# Where the model stands in the messages, the gateway agrees by itself and masks anew.
RESPONSES = "/responses"
# The events that close an account, of an answer or of a transcript.
ACCOUNTS = {"response.done", "response.completed", "response.incomplete", "response.failed",
            "conversation.item.input_audio_transcription.completed"}


def messages(data):
    """Returns the whole messages and control frames of one direction, as (opcode, payload), unmasked."""
    found, open_message, at = [], None, 0
    while len(data) >= at + 2:
        first, second = data[at], data[at + 1]
        at, length = at + 2, second & 0x7F
        if length > 125:
            size = 2 if length == 126 else 8
            length, at = int.from_bytes(data[at:at + size], "big"), at + size
        key = b""
        if second & 0x80:
            key, at = data[at:at + 4], at + 4
        payload, at = data[at:at + length], at + length
        if len(data) < at:
            break
        if key:
            payload = bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))
        opcode = first & 0x0F
        if opcode >= 0x8:
            found.append((opcode, payload))
            continue
        if opcode == CONTINUATION and open_message:
            opcode, payload = open_message[0], open_message[1] + payload
        open_message = None if first & 0x80 else (opcode, payload)
        if first & 0x80:
            found.append((opcode, payload))
    return found


def is_session(answer):
    return answer is not None and answer.start.split(" ")[1] == "101"


def key_of(request):
    """Tells sessions apart: the client's key goes up as it is."""
    return request.header("sec-websocket-key")


def sessions_differ(near, far, body_differs):
    """Says how a session changed, of two pairs of request and answer; nothing if it did not."""
    (near_request, near_answer), (far_request, far_answer) = near, far
    is_routed_by_message = RESPONSES in near_request.start
    if problem := targets_differ(near_request.start, far_request.start):
        return problem
    offered = " ".join(value for name, value in far_request.headers if name == "sec-websocket-protocol")
    if "api-key" in offered:
        return "a key among the subprotocols reached the provider"
    for name, value in far_answer.headers:
        is_checked = name in AGREED if is_routed_by_message else name not in OF_ONE_CONNECTION
        if is_checked and (name, value) not in near_answer.headers:
            return f"the header {name} was lost or changed"
    if not is_routed_by_message and not same_start(near_request.rest, far_request.rest):
        return "bytes of the client changed"
    if not same_start(near_answer.rest, far_answer.rest):
        return "bytes of the provider changed"
    for near_message, far_message in zip(messages(near_request.rest), messages(far_request.rest)):
        if near_message == far_message:
            continue
        if near_message[0] != far_message[0] or not is_routed_by_message:
            return "a message of the client changed"
        if problem := body_differs(near_message[1], far_message[1]):
            return f"a message of the client: {problem}"
    return None


def same_start(one, other):
    """Whoever closed first may not have read the last of the other."""
    shorter, longer = sorted((one, other), key=len)
    return longer.startswith(shorter)


def targets_differ(near, far):
    """Compares the targets of two request lines: only the value of `model` may differ."""
    def rest(start):
        query = urlsplit(start.split(" ")[1]).query
        return ["model" if pair.startswith("model=") else pair for pair in query.split("&")]

    return None if rest(near) == rest(far) else "more of the query changed than its model"


def usage_of_session(answer):
    """Returns (input, output) tokens: the sum of what the provider reported; nothing if it did not."""
    into = out = 0
    has_any = False
    for opcode, payload in messages(answer.rest):
        event = json.loads(payload) if opcode == TEXT else {}
        if event.get("type") not in ACCOUNTS:
            continue
        usage = (event.get("response") or event).get("usage") or {}
        has_any |= "input_tokens" in usage
        into, out = into + usage.get("input_tokens", 0), out + usage.get("output_tokens", 0)
    return (into, out) if has_any else None

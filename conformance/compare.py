"""Compares what was recorded before and behind the gateway: every request and every answer must be
the same bytes at both ends, but for the value of the top-level `model`; and the gateway's account
of the tokens must be what the provider reported."""

import json

from record import exchanges
from sessions import is_session, key_of, sessions_differ, usage_of_session

# Belongs to one connection, or is made anew at each (RFC 9110 section 7.6.1).
OF_ONE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "date", "set-cookie"}


def compare(before, behind, log):
    """Yields findings, (holds, text), of a recorder before the gateway and those behind it."""
    near = [pair for connection in before.connections for pair in exchanges(connection)]
    far = [pair for side in behind for connection in side.connections for pair in exchanges(connection)]
    answered = {exchange_id(*pair): pair for pair in near if pair[1] is not None}
    problems, equal, replaced, sessions = [], 0, 0, 0
    usages = []
    for request, answer in far:
        name = request.start
        if answer is None:
            continue
        found = answered.get(exchange_id(request, answer))
        if found is None:
            problems.append(f"{name}: its answer {exchange_id(request, answer)} reached no client")
            continue
        near_request, near_answer = found
        if is_session(answer):
            problem = sessions_differ(found, (request, answer), bodies_differ)
        else:
            problem = bodies_differ(near_request.body, request.body) or answers_differ(near_answer, answer)
        if problem:
            problems.append(f"{name}: {problem}")
            continue
        if is_session(answer):
            sessions += 1
            if usage := usage_of_session(answer):
                usages.append((near_answer.header("x-gateway-request-id"), name, usage))
            continue
        equal += 1
        replaced += near_request.body != request.body
        if answer.is_whole and (usage := usage_of(answer.body)):
            usages.append((vendor_id(answer), name, usage))
    yield from ((False, f"bytes: {problem}") for problem in problems)
    yield equal > 0, f"bytes: {equal} exchanges are the same at both ends, the model was replaced in {replaced}"
    if sessions:
        yield True, f"bytes: {sessions} sessions over WebSocket are the same at both ends"
    yield from compare_usage(usages, log)


def vendor_id(answer):
    return answer.header("request-id") or answer.header("x-request-id")


def exchange_id(request, answer):
    """Tells what belongs together before and behind the gateway."""
    return key_of(request) if is_session(answer) else vendor_id(answer)


def bodies_differ(near, far):
    """Says how a request changed other than by its model; nothing if it did not."""
    if near == far:
        return None
    try:
        start, end = model_span(near.decode())
    except ValueError as error:
        return f"a body that names no model changed ({error})"
    head, tail = near.decode()[:start].encode(), near.decode()[end:].encode()
    if not far.startswith(head) or not far.endswith(tail):
        return "more of the body changed than its model"
    middle = far[len(head):len(far) - len(tail)]
    try:
        is_text = isinstance(json.loads(middle), str)
    except ValueError:
        is_text = False
    return None if is_text else "the new model is no JSON string"


def model_span(text):
    """Finds the value of the top-level `model`."""
    decoder, at = json.JSONDecoder(), skip(text, 0)
    if text[at:at + 1] != "{":
        raise ValueError("it is no object")
    at = skip(text, at + 1)
    while text[at:at + 1] == '"':
        key, at = decoder.raw_decode(text, at)
        at = skip(text, skip(text, at) + 1)
        _, end = decoder.raw_decode(text, at)
        if key == "model":
            return at, end
        at = skip(text, end)
        at = skip(text, at + 1) if text[at:at + 1] == "," else at
    raise ValueError("there is no `model`")


def skip(text, at):
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def answers_differ(near, far):
    if near.start.split(" ")[1] != far.start.split(" ")[1]:
        return f"the status changed from {far.start} to {near.start}"
    for name, value in far.headers:
        if name not in OF_ONE_CONNECTION and (name, value) not in near.headers:
            return f"the header {name} was lost or changed"
    if far.is_whole and near.is_whole and near.body != far.body:
        return "the body of the answer changed"
    # What the client has not read is not there; what the provider broke off gets an error behind it.
    shorter, longer = sorted((near.body, far.body), key=len)
    if not longer.startswith(shorter):
        return "the body of a broken answer changed"
    if near.is_whole and not far.is_whole:
        return "a broken answer reached the client as a whole one"
    return None


def usage_of(body):
    """Returns (input, output) tokens as the provider reported them last, nothing if it did not."""
    found = {}
    for line in body.decode("utf-8", "replace").splitlines():
        text = line[5:] if line.startswith("data:") else line
        try:
            event = json.loads(text)
        except ValueError:
            continue
        if not isinstance(event, dict):
            continue
        for holder in (event, event.get("message"), event.get("response")):
            usage = holder.get("usage") if isinstance(holder, dict) else None
            if isinstance(usage, dict):
                found.update({name: value for name, value in usage.items() if value is not None})
    into = found.get("input_tokens", found.get("prompt_tokens"))
    out = found.get("output_tokens", found.get("completion_tokens", 0))
    return None if into is None else (into, out)


def compare_usage(usages, log):
    """Compares the provider's reports with the gateway's access lines."""
    lines = {}
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        # Sessions are found by the gateway's own id: not each is told the vendor's.
        for name in ("upstream_request_id", "request_id"):
            if name in entry:
                lines[entry[name]] = entry
    wrong = 0
    for request_id, name, (into, out) in usages:
        entry = lines.get(request_id, {})
        logged = (entry.get("input_tokens"), entry.get("output_tokens", 0))
        if logged != (into, out):
            wrong += 1
            yield False, f"usage: {name} reported {(into, out)}, the gateway logged {logged}"
    if not wrong:
        yield True, f"usage: {len(usages)} of {len(usages)} reports were logged exactly"

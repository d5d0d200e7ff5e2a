"""The official openai and anthropic Python SDKs, unmodified, against a gateway with the demo.

    emx-gate --demo &
    pip install -r conformance/requirements.txt
    python conformance/python_sdks.py http://127.0.0.1:8848

Prints one line a step, goes on after one that fails, and then exits with 1.
"""

import asyncio
import base64
import json
import os
import sys
import time
from typing import Literal, Optional

import anthropic
import openai
import pydantic

HELLO = [{"role": "user", "content": "Hello"}]
# The demo calls a tool that it is told to.
CALL = [{"role": "user", "content": "Please call weather."}]
BASE = (sys.argv[1] if len(sys.argv) > 1 else os.environ.get("GATE", "http://127.0.0.1:8848")).rstrip("/")
# As large as a photograph: some MB once it is base64.
IMAGE = base64.b64encode(bytes(range(256)) * 20_000).decode()
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": {
    **PARAMETERS, "additionalProperties": False}}}



class Stop(pydantic.BaseModel):
    city: str
    days: int
    mood: Literal["calm", "busy"]


class Trip(pydantic.BaseModel):
    """A schema with all that is common: nesting, lists, choices, and what may be absent."""

    title: str
    price: float
    is_booked: bool
    stops: list[Stop]
    note: Optional[str]


chat = openai.OpenAI(base_url=f"{BASE}/v1", api_key="any", max_retries=0)
claude = anthropic.Anthropic(base_url=BASE, api_key="any", max_retries=0)
failures = 0


def step(name, value, holds):
    global failures
    failures += not holds
    print(f"{'ok  ' if holds else 'FAIL'} {name}: {value!r}", flush=True)


def fails(name, call, kind, part, holds=lambda error: True):
    try:
        value = call()
    except kind as error:
        step(name, f"{type(error).__name__}: {error}", part in str(error) and holds(error))
    else:
        step(name, value, False)


def fits(text):
    """Whether JSON is what PARAMETERS asks for."""
    value = json.loads(text) if isinstance(text, str) else text
    return set(value) == {"city"} and isinstance(value["city"], str)


def tries(error):
    """How often the SDK tried, by the header in which it counts."""
    return int(error.response.request.headers["x-stainless-retry-count"]) + 1


def openai_basics():
    answer = chat.chat.completions.create(model="gpt-demo", messages=HELLO)
    text = answer.choices[0].message.content
    step("openai chat", text, "Hello" in text)
    step("openai chat, usage", answer.usage.total_tokens, answer.usage.total_tokens > 0)

    chunks = list(chat.chat.completions.create(
        model="openai.demo.gpt-demo", messages=HELLO, stream=True, stream_options={"include_usage": True}))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    step("openai stream", streamed, streamed == text)
    step("openai stream, usage", chunks[-1].usage.total_tokens, chunks[-1].usage == answer.usage)

    completion = chat.completions.create(model="gpt-demo", prompt="Hello")
    step("openai completion", completion.choices[0].text, "Hello" in completion.choices[0].text)
    response = chat.responses.create(model="gpt-demo", input="Hello")
    step("openai response", response.output_text, "Hello" in response.output_text)
    events = [event.type for event in chat.responses.create(model="gpt-demo", input="Hello", stream=True)]
    step("openai response stream", events[-1], events[-1] == "response.completed")

    vectors = chat.embeddings.create(model="text-embedding-demo", input=["a", "b"])
    step("openai embeddings", [len(entry.embedding) for entry in vectors.data], len(vectors.data) == 2)
    models = [model.id for model in chat.models.list()]
    step("openai models", models, "openai.demo.gpt-demo" in models)
    model = chat.models.retrieve("openai.demo.gpt-demo")
    step("openai one model", model.id, model.id == "openai.demo.gpt-demo")


def openai_tools():
    tools = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
    create = lambda **options: chat.chat.completions.create(model="gpt-demo", tools=tools, **options)
    answer = create(messages=HELLO, tool_choice="auto")
    step("openai tools, none wanted", answer.choices[0].finish_reason, answer.choices[0].finish_reason == "stop")
    message = create(messages=CALL).choices[0].message
    call = message.tool_calls[0]
    step("openai tool call", call.function, call.function.name == "weather" and fits(call.function.arguments))
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    text = create(messages=[*CALL, message, result]).choices[0].message.content
    step("openai tool result", text, text.endswith("The tool said: sunny"))
    deltas = [chunk.choices[0].delta for chunk in create(messages=HELLO, tool_choice="required", stream=True)]
    calls = [delta.tool_calls[0].function for delta in deltas if delta.tool_calls]
    arguments = "".join(call.arguments or "" for call in calls)
    step("openai tool call, streamed", arguments, calls[0].name == "weather" and fits(arguments))

    tools = [{"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": True}]
    create = lambda **options: chat.responses.create(model="gpt-demo", tools=tools, **options)
    call = create(input=CALL).output[0]
    step("openai response, tool call", call.arguments, call.name == "weather" and fits(call.arguments))
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    text = create(input=[*CALL, call, result]).output_text
    step("openai response, tool result", text, text.endswith("The tool said: sunny"))
    events = list(create(input=CALL, stream=True))
    arguments = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    step("openai response, tool call, streamed", arguments,
         fits(arguments) and events[-1].response.output[0].arguments == arguments)


def openai_structured_output():
    answer = chat.chat.completions.create(model="gpt-demo", messages=HELLO, response_format=SCHEMA)
    step("openai structured output", answer.choices[0].message.content, fits(answer.choices[0].message.content))
    parsed = chat.chat.completions.parse(model="gpt-demo", messages=HELLO, response_format=Trip).choices[0].message.parsed
    step("openai structured output, parsed", parsed, isinstance(parsed, Trip) and len(parsed.stops) > 0)
    parsed = chat.responses.parse(model="gpt-demo", input="Hello", text_format=Trip).output_parsed
    step("openai response, parsed", parsed, isinstance(parsed, Trip))
    with chat.responses.stream(model="gpt-demo", input="Hello", text_format=Trip) as stream:
        parsed = stream.get_final_response().output_parsed
    step("openai response, parsed from a stream", parsed, isinstance(parsed, Trip))


def openai_sessions():
    """Over WebSocket: two turns of a realtime session, and two answers of `/v1/responses`."""
    with chat.realtime.connect(model="openai.demo.gpt-demo") as session:
        step("openai realtime, created", (created := session.recv()).type, created.session.model == "gpt-demo")
        session.session.update(session={"type": "realtime", "output_modalities": ["text"], "tools": [
            {"type": "function", "name": "weather", "parameters": PARAMETERS}]})
        say(session, {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "call weather"}]})
        done = answer_of(session, "response.done")
        call = done.response.output[0]
        step("openai realtime, tool call", call.arguments, call.name == "weather" and fits(call.arguments))
        say(session, {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
        again = answer_of(session, "response.done")
        text = again.response.output[0].content[0].text
        step("openai realtime, tool result", text, text.endswith("The tool said: sunny"))
        usage = again.response.usage
        step("openai realtime, usage", usage.total_tokens,
             usage.output_tokens > 0 and usage.input_token_details.cached_tokens == done.response.usage.input_tokens)
    with chat.responses.connect() as session:
        for at in range(2):
            session.response.create(model="openai.demo.gpt-demo", input=f"Hello {at}")
            text = answer_of(session, "response.completed").response.output_text
            step("openai response over WebSocket", text, text.endswith(f"Hello {at}"))


def say(session, item):
    session.conversation.item.create(item=item)
    session.response.create()


def answer_of(session, last):
    """Reads events up to the one that ends an answer."""
    return next(event for event in session if event.type == last)


def openai_bodies():
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}
    content = [{"type": "text", "text": "What is this?"}, image]
    answer = chat.chat.completions.create(model="gpt-demo", messages=[{"role": "user", "content": content}])
    step("openai image of some MB", len(IMAGE), "What is this?" in answer.choices[0].message.content)
    raw = chat.chat.completions.with_raw_response.create(model="gpt-demo", messages=HELLO)
    headers = {name: raw.headers.get(name) for name in ("x-gateway-provider", "x-gateway-model", "x-request-id")}
    step("openai raw headers", headers, headers["x-gateway-provider"] == "openai.demo" and all(headers.values()))
    step("openai parsed from raw", raw.parse().model, raw.parse().model == "gpt-demo")


def openai_errors():
    patient = chat.with_options(max_retries=2)
    create = patient.chat.completions.create
    fails("openai unknown model, tried once", lambda: create(model="nobody-has-this", messages=HELLO),
          openai.NotFoundError, "no provider has model", lambda error: tries(error) == 1)
    fails("openai wrong kind", lambda: create(model="claude-demo", messages=HELLO),
          openai.BadRequestError, "/v1/messages")
    began = time.monotonic()
    fails("openai rate limit, tried again after retry-after",
          lambda: chat.with_options(max_retries=1).chat.completions.create(
              model="openai.demo.error-429", messages=HELLO),
          openai.RateLimitError, "", lambda error: tries(error) == 2 and time.monotonic() - began >= 1)
    fails("openai server error", lambda: chat.chat.completions.create(
        model="openai.demo.error-500", messages=HELLO), openai.InternalServerError, "")
    fails("openai stream that breaks",
          lambda: list(chat.chat.completions.create(model="openai.demo.cut", messages=HELLO, stream=True)),
          openai.APIError, "not the whole answer")
    fails("openai answer that breaks",
          lambda: chat.chat.completions.create(model="openai.demo.cut", messages=HELLO), openai.APIConnectionError, "")
    fails("openai answer that is too slow",
          lambda: chat.with_options(timeout=0.5).chat.completions.create(model="openai.demo.slow", messages=HELLO),
          openai.APITimeoutError, "")


def anthropic_basics():
    message = claude.messages.create(model="claude-demo", max_tokens=64, messages=HELLO)
    text = message.content[0].text
    step("anthropic message", text, "Hello" in text)
    step("anthropic message, usage", message.usage.output_tokens, message.usage.output_tokens > 0)
    with claude.messages.stream(model="anthropic.demo.claude-demo", max_tokens=64, messages=HELLO) as stream:
        streamed = "".join(stream.text_stream)
        final = stream.get_final_message()
    step("anthropic stream", streamed, streamed == text)
    step("anthropic stream, usage", final.usage.output_tokens, final.usage == message.usage
         or final.usage.output_tokens == message.usage.output_tokens)
    count = claude.messages.count_tokens(model="claude-demo", messages=HELLO)
    step("anthropic count_tokens", count.input_tokens, count.input_tokens > 0)
    models = [model.id for model in claude.models.list()]
    step("anthropic models", models, "anthropic.demo.claude-demo" in models)
    models = [model.id for model in claude.models.list(limit=1)]
    step("anthropic models, page by page", len(models), len(models) == 3)


def anthropic_tools():
    tools = [{"name": "weather", "input_schema": PARAMETERS}]
    options = {"model": "claude-demo", "max_tokens": 64, "tools": tools}
    message = claude.messages.create(messages=HELLO, **options)
    step("anthropic tools, none wanted", message.stop_reason, message.stop_reason == "end_turn")
    message = claude.messages.create(messages=CALL, **options)
    call = message.content[0]
    step("anthropic tool call", call.input, (call.name, message.stop_reason) == ("weather", "tool_use") and fits(call.input))
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    turns = [*CALL, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    text = claude.messages.create(messages=turns, **options).content[0].text
    step("anthropic tool result", text, text.endswith("The tool said: sunny"))
    with claude.messages.stream(messages=HELLO, tool_choice={"type": "tool", "name": "weather"}, **options) as stream:
        call = stream.get_final_message().content[0]
    step("anthropic tool call, streamed", call.input, call.name == "weather" and fits(call.input))
    parsed = claude.messages.parse(model="claude-demo", max_tokens=64, messages=HELLO, output_format=Trip).parsed_output
    step("anthropic structured output, parsed", parsed, isinstance(parsed, Trip))


def anthropic_bodies():
    source = {"type": "base64", "media_type": "image/png", "data": IMAGE}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    message = claude.messages.create(
        model="claude-demo", max_tokens=64, messages=[{"role": "user", "content": content}])
    step("anthropic image of some MB", len(IMAGE), "What is this?" in message.content[0].text)
    raw = claude.messages.with_raw_response.create(model="claude-demo", max_tokens=64, messages=HELLO)
    headers = {name: raw.headers.get(name) for name in ("x-gateway-provider", "x-gateway-model", "request-id")}
    step("anthropic raw headers", headers,
         headers["x-gateway-provider"] == "anthropic.demo" and all(headers.values()))
    bearer = anthropic.Anthropic(base_url=BASE, auth_token="any", max_retries=0)
    message = bearer.messages.create(model="claude-demo", max_tokens=9, messages=HELLO)
    step("anthropic with a bearer token", message.stop_reason, message.stop_reason is not None)


def anthropic_errors():
    def create(model, retries=0, **options):
        return claude.with_options(max_retries=retries).messages.create(
            model=model, max_tokens=64, messages=HELLO, **options)

    fails("anthropic unknown model, tried once", lambda: create("nobody-has-this", 2),
          anthropic.NotFoundError, "no provider has model", lambda error: tries(error) == 1)
    fails("anthropic wrong kind", lambda: create("gpt-demo"), anthropic.BadRequestError, "/v1/chat/completions")
    began = time.monotonic()
    fails("anthropic rate limit, tried again after retry-after", lambda: create("anthropic.demo.error-429", 1),
          anthropic.RateLimitError, "", lambda error: tries(error) == 2 and time.monotonic() - began >= 1)
    fails("anthropic overload of the provider", lambda: create("anthropic.demo.error-529"),
          anthropic.APIStatusError, "overloaded_error")
    fails("anthropic stream that breaks", lambda: list(create("anthropic.demo.cut", stream=True)),
          (anthropic.APIError, anthropic.APIStatusError), "not the whole answer")
    fails("anthropic answer that breaks", lambda: create("anthropic.demo.cut"), Exception, "")


def openai_files():
    """Against the kit's own provider of files: the demo has none."""
    client = chat.with_options(base_url=f"{BASE}/openai/files/v1")
    data = bytes(range(256)) * 256 * 64
    file = client.files.create(file=("a.jsonl", data), purpose="batch")
    step("openai upload of 4 MiB", file.bytes, file.bytes > len(data))
    content = client.files.content(str(len(data))).read()
    step("openai download of 4 MiB", len(content), content == data)
    with client.files.with_streaming_response.content(str(len(data))) as answer:
        size = sum(len(piece) for piece in answer.iter_bytes())
    step("openai download, streamed", size, size == len(data))
    speech = client.audio.speech.create(model="tts", voice="alloy", input="Hello").read()
    step("openai speech", len(speech), speech == data[:len(speech)] and speech)
    answer = client.audio.transcriptions.create(model="whisper", file=("a.mp3", data[:100_000]))
    step("openai transcription", answer.text, len(answer.text) == 64)
    # What was uploaded there is found without the pin.
    deleted = chat.files.delete(file.id)
    step("openai file, deleted where it was made", deleted.id, deleted.deleted and deleted.id == file.id)


def anthropic_files():
    """As above."""
    client = claude.with_options(base_url=f"{BASE}/anthropic/files")
    data = bytes(range(256)) * 256 * 64
    file = client.beta.files.upload(file=("a.bin", data, "application/octet-stream"))
    step("anthropic upload of 4 MiB", file.size_bytes, file.size_bytes > len(data))
    content = client.beta.files.download(str(len(data))).read()
    step("anthropic download of 4 MiB", len(content), content == data)
    with client.beta.files.with_streaming_response.download(str(len(data))) as answer:
        size = sum(len(piece) for piece in answer.iter_bytes())
    step("anthropic download, streamed", size, size == len(data))
    content = claude.beta.files.download(file.id).read()
    step("anthropic file, found where it was made", len(content), content == data[:len(content)] and content)
    deleted = claude.beta.files.delete(file.id)
    step("anthropic file, deleted where it was made", deleted.id, deleted.id == file.id)


async def with_async_clients():
    async with openai.AsyncOpenAI(base_url=f"{BASE}/v1", api_key="any", max_retries=0) as client:
        answers = await asyncio.gather(*(
            client.chat.completions.create(model="gpt-demo", messages=[{"role": "user", "content": f"Hello {at}"}])
            for at in range(20)))
        texts = [answer.choices[0].message.content for answer in answers]
        step("openai async, 20 at once", len(texts), all(text.endswith(f"Hello {at}") for at, text in enumerate(texts)))
        pieces = [chunk async for chunk in await client.chat.completions.create(
            model="gpt-demo", messages=HELLO, stream=True)]
        step("openai async stream", len(pieces), pieces[-1].choices[0].finish_reason == "stop")
        events = [event.type async for event in await client.responses.create(
            model="gpt-demo", input="Hello", stream=True)]
        step("openai async response stream", events[-1], events[-1] == "response.completed")
        stream = await client.chat.completions.create(model="gpt-demo", messages=HELLO, stream=True)
        await anext(aiter(stream))
        await stream.close()
        answer = await client.chat.completions.create(model="gpt-demo", messages=HELLO)
        step("openai async, after leaving a stream", answer.object, answer.object == "chat.completion")
    async with anthropic.AsyncAnthropic(base_url=BASE, api_key="any", max_retries=0) as client:
        message = await client.messages.create(model="claude-demo", max_tokens=64, messages=HELLO)
        step("anthropic async message", message.stop_reason, message.stop_reason == "end_turn")
        async with client.messages.stream(model="claude-demo", max_tokens=64, messages=HELLO) as stream:
            text = "".join([piece async for piece in stream.text_stream])
        step("anthropic async stream", text, "Hello" in text)


print(f"openai {openai.__version__}, anthropic {anthropic.__version__}, {BASE}")
openai_basics()
openai_tools()
openai_structured_output()
openai_sessions()
openai_bodies()
openai_errors()
providers = {provider["id"] for provider in chat.get("/providers", cast_to=object)["data"]}
if "openai.files" in providers:
    openai_files()
anthropic_basics()
anthropic_tools()
anthropic_bodies()
anthropic_errors()
if "anthropic.files" in providers:
    anthropic_files()
asyncio.run(with_async_clients())
print("all steps hold" if not failures else f"{failures} steps do not hold")
sys.exit(1 if failures else 0)

"""The official openai and anthropic Python SDKs, unmodified, against a gateway started with --demo.

    emx-gate --demo &
    pip install openai anthropic
    python conformance/python_sdks.py http://127.0.0.1:8848

Prints one line a step and exits with 1 at the first that is not as it must be.
"""

import sys

import anthropic
import openai

HELLO = [{"role": "user", "content": "Hello"}]
BASE = sys.argv[1].rstrip("/") if len(sys.argv) > 1 else "http://127.0.0.1:8848"

chat = openai.OpenAI(base_url=f"{BASE}/v1", api_key="any", max_retries=0)
claude = anthropic.Anthropic(base_url=BASE, api_key="any", max_retries=0)


def step(name, value, holds):
    print(f"{'ok  ' if holds else 'FAIL'} {name}: {value!r}")
    if not holds:
        sys.exit(1)


def fails(name, call, kind, part):
    try:
        value = call()
    except kind as error:
        step(name, f"{type(error).__name__}: {error}", part in str(error))
    else:
        step(name, value, False)


print(f"openai {openai.__version__}, anthropic {anthropic.__version__}, {BASE}")

answer = chat.chat.completions.create(model="gpt-demo", messages=HELLO)
step("openai chat", answer.choices[0].message.content, "Hello" in answer.choices[0].message.content)
step("openai chat, usage", answer.usage.total_tokens, answer.usage.total_tokens > 0)

chunks = list(chat.chat.completions.create(
    model="openai.demo.gpt-demo", messages=HELLO, stream=True, stream_options={"include_usage": True}))
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
step("openai stream", text, text == answer.choices[0].message.content)
step("openai stream, usage", chunks[-1].usage.total_tokens, chunks[-1].usage == answer.usage)

response = chat.responses.create(model="gpt-demo", input="Hello")
step("openai response", response.output_text, "Hello" in response.output_text)
events = [event.type for event in chat.responses.create(model="gpt-demo", input="Hello", stream=True)]
step("openai response stream", events[-1], events[-1] == "response.completed")

vectors = chat.embeddings.create(model="text-embedding-demo", input=["a", "b"])
step("openai embeddings", [len(entry.embedding) for entry in vectors.data], len(vectors.data) == 2)

models = [model.id for model in chat.models.list()]
step("openai models", models, "openai.demo.gpt-demo" in models)

fails("openai unknown model", lambda: chat.chat.completions.create(model="nobody-has-this", messages=HELLO),
      openai.NotFoundError, "no provider has model")
fails("openai wrong kind", lambda: chat.chat.completions.create(model="claude-demo", messages=HELLO),
      openai.BadRequestError, "/v1/messages")
fails("openai rate limit of the provider",
      lambda: chat.chat.completions.create(model="openai.demo.error-429", messages=HELLO), openai.RateLimitError, "")
fails("openai stream that breaks",
      lambda: list(chat.chat.completions.create(model="openai.demo.cut", messages=HELLO, stream=True)),
      openai.APIError, "not the whole answer")

message = claude.messages.create(model="claude-demo", max_tokens=64, messages=HELLO)
step("anthropic message", message.content[0].text, "Hello" in message.content[0].text)
step("anthropic message, usage", message.usage.output_tokens, message.usage.output_tokens > 0)

with claude.messages.stream(model="anthropic.demo.claude-demo", max_tokens=64, messages=HELLO) as stream:
    text = "".join(stream.text_stream)
    final = stream.get_final_message()
step("anthropic stream", text, text == message.content[0].text)
step("anthropic stream, usage", final.usage.output_tokens, final.usage.output_tokens == message.usage.output_tokens)

count = claude.messages.count_tokens(model="claude-demo", messages=HELLO)
step("anthropic count_tokens", count.input_tokens, count.input_tokens > 0)

models = [model.id for model in claude.models.list()]
step("anthropic models", models, "anthropic.demo.claude-demo" in models)

fails("anthropic unknown model",
      lambda: claude.messages.create(model="nobody-has-this", max_tokens=9, messages=HELLO),
      anthropic.NotFoundError, "no provider has model")
fails("anthropic overload of the provider",
      lambda: claude.messages.create(model="anthropic.demo.error-529", max_tokens=9, messages=HELLO),
      anthropic.APIStatusError, "")
fails("anthropic stream that breaks",
      lambda: list(claude.messages.create(model="anthropic.demo.cut", max_tokens=64, messages=HELLO, stream=True)),
      (anthropic.APIError, anthropic.APIStatusError), "not the whole answer")

print("all steps hold")

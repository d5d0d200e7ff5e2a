#!/usr/bin/env bash
# What curl says to a gateway with the demo, at the address in GATE: probes, lists, both dialects,
# streams, framings, and refusals. One line a step; exits with 1 if one fails.
set -u
gate="${GATE:-http://127.0.0.1:8848}"
json='content-type: application/json'
chat='{"model":"gpt-demo","messages":[{"role":"user","content":"Hello"}]}'
message='{"model":"claude-demo","max_tokens":64,"messages":[{"role":"user","content":"Hello"}]}'
failures=0

# step NAME PATTERN CURL-ARGUMENTS...: the head and body of the answer match the pattern.
step() {
  local name="$1" pattern="$2" answer
  shift 2
  answer="$(curl --silent --show-error --max-time 60 --include "$@" 2>&1)"
  if grep --quiet --extended-regexp --ignore-case -- "$pattern" <<<"$answer"; then
    echo "ok   curl $name"
  else
    echo "FAIL curl $name: no \`$pattern\` in: $(head -c 600 <<<"$answer" | tr '\r\n' '  ')"
    failures=$((failures + 1))
  fi
}

echo "$(curl --version | head -1 | cut -d' ' -f1-2), $gate"
step 'HEAD /api/hello' '^HTTP/1.1 200' --head "$gate/api/hello"
step 'GET /ready' '"ready":true' "$gate/ready"
step 'list of models' '"openai\.demo\.gpt-demo"' "$gate/v1/models"
step 'list of models, the other shape' '"has_more":false' "$gate/v1/models" -H 'anthropic-version: 2023-06-01'
step 'chat' 'You said: Hello' "$gate/v1/chat/completions" -H "$json" -d "$chat"
step 'chat says who answered' '^x-gateway-provider: openai\.demo' "$gate/v1/chat/completions" -H "$json" -d "$chat"
step 'stream' '^data: \[DONE\]' --no-buffer "$gate/v1/chat/completions" -H "$json" -d "${chat/\{/\{\"stream\":true,}"
step 'responses' '"object":"response"' "$gate/v1/responses" -H "$json" -d '{"model":"gpt-demo","input":"Hello"}'
step 'embeddings' '"embedding":\[' "$gate/v1/embeddings" -H "$json" -d '{"model":"text-embedding-demo","input":"a"}'
step 'message without a version' '"type":"message"' "$gate/v1/messages" -H "$json" -d "$message"
step 'message with ?beta=true' '"type":"message"' "$gate/v1/messages?beta=true" -H "$json" -d "$message"
step 'message stream' '^event: message_stop' --no-buffer "$gate/v1/messages" -H "$json" -d "${message/\{/\{\"stream\":true,}"
step 'count_tokens' '"input_tokens":1' "$gate/v1/messages/count_tokens" -H "$json" -d "$message"
step 'pinned by path' '^x-gateway-model: any-name' "$gate/openai/demo/v1/chat/completions" -H "$json" -d "${chat/gpt-demo/any-name}"
step 'a body in chunks' 'You said: Hello' "$gate/v1/chat/completions" -H "$json" -H 'transfer-encoding: chunked' -d "$chat"
step 'a body that waits for 100' 'You said: Hello' "$gate/v1/chat/completions" -H "$json" -H 'expect: 100-continue' -d "$chat"
step 'two requests on one connection' 'You said: Hello' "$gate/v1/messages" "$gate/v1/messages" -H "$json" -d "$message"
step 'HTTP/1.0' 'You said: Hello' --http1.0 "$gate/v1/chat/completions" -H "$json" -d "$chat"

large="$(mktemp)"
{ printf '{"messages":[{"role":"user","content":"'; head -c 20000000 /dev/zero | tr '\0' a; printf '"}],"model":"openai.demo.gpt-demo"}'; } >"$large"
step '20 MB, the model last' '^x-gateway-model: gpt-demo' "$gate/v1/chat/completions" -H "$json" --data-binary "@$large"
head -c 40000000 /dev/zero >"$large"
step '40 MB are too many' '^HTTP/1.1 413' "$gate/v1/chat/completions" -H "$json" --data-binary "@$large"
rm -f "$large"

step 'the provider'"'"'s own error' '^HTTP/1.1 429' "$gate/v1/chat/completions" -H "$json" -d "${chat/gpt-demo/openai.demo.error-429}"
step 'its retry-after' '^retry-after: 1' "$gate/v1/chat/completions" -H "$json" -d "${chat/gpt-demo/openai.demo.error-429}"
step 'a stream that breaks is no clean end' '(transfer closed|unexpected eof|outstanding read data)' "$gate/v1/chat/completions" -H "$json" -d "${chat/gpt-demo\"/openai.demo.cut\",\"stream\":true}"
step 'unknown model' '^x-should-retry: false' "$gate/v1/chat/completions" -H "$json" -d "${chat/gpt-demo/nobody-has-this}"
step 'wrong kind' 'model_kind_mismatch' "$gate/v1/messages" -H "$json" -d "${message/claude-demo/gpt-demo}"
step 'no content type' '^HTTP/1.1 415' "$gate/v1/chat/completions" -d "$chat"
step 'no JSON' 'invalid_json' "$gate/v1/chat/completions" -H "$json" -d 'hello'
step 'two models' 'duplicate_key' "$gate/v1/chat/completions" -H "$json" -d "${chat/\{/\{\"model\":\"other\",}"
step 'GET of a POST route' '^HTTP/1.1 405' "$gate/v1/messages"
step 'a path without /v1' 'must end in ./v1' "$gate/chat/completions" -H "$json" -d "$chat"
step 'a foreign Host' '^HTTP/1.1 421' "$gate/v1/models" -H 'host: rebound.example'
websocket=(--max-time 1 -H 'connection: Upgrade' -H 'upgrade: websocket' -H 'sec-websocket-version: 13'
  -H 'sec-websocket-key: ZW14LWdhdGUgZG9jdG9yIQ==')
step 'WebSocket at once' '^HTTP/1.1 101' "${websocket[@]}" "$gate/v1/responses"
step 'no WebSocket, at once' '^HTTP/1.1 426' "${websocket[@]}" "$gate/openai/files/v1/responses"

[ "$failures" = 0 ] && echo "all steps hold" || echo "$failures steps do not hold"
[ "$failures" = 0 ]

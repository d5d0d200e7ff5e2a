#!/usr/bin/env bash
# One prompt each to headless Claude Code and Codex, and to Codex over WebSocket, at the gateway in GATE. AGENTS is the folder of
# their node_modules. Run it where nothing but loopback is reachable: it uses a home of its own, but
# agents like to phone home.
set -u
gate="${GATE:?the address of a gateway}"
modules="${AGENTS:?the folder of node_modules}"
home="$(mktemp -d)"
trap 'rm -rf "$home"' EXIT
mkdir "$home/.codex"
cat >"$home/.codex/config.toml" <<TOML
model = "gpt-demo"
model_provider = "gate"

[model_providers.gate]
name = "gate"
base_url = "$gate/v1"
env_key = "GATE_KEY"
wire_api = "responses"
TOML
# Codex's own provider tries WebSocket first.
mkdir "$home/own"
printf 'model = "gpt-demo"\nopenai_base_url = "%s/v1"\n' "$gate" >"$home/own/config.toml"
printf '{"OPENAI_API_KEY":"any"}' >"$home/own/auth.json"
expected="Hello from emx-gate's demo provider."
failures=0

# agent NAME COMMAND...: its output holds the demo's answer.
agent() {
  local name="$1" output
  shift
  output="$(cd "$home" && env -i PATH="$PATH" HOME="$home" GATE_KEY=any ANTHROPIC_BASE_URL="$gate" \
    ANTHROPIC_AUTH_TOKEN=any timeout 120 "$@" </dev/null 2>&1)"
  if grep --quiet --fixed-strings "$expected" <<<"$output"; then
    echo "ok   $name: $(grep --fixed-strings "$expected" <<<"$output" | tail -1 | cut -c1-120)"
  else
    echo "FAIL $name: $(tail -c 600 <<<"$output" | tr '\n' ' ')"
    failures=$((failures + 1))
  fi
}

claude="$modules/@anthropic-ai/claude-code-linux-x64/claude"
codex="$(find "$modules/@openai" -type f -path '*/bin/codex' | head -1)"
agent "Claude Code $("$claude" --version 2>/dev/null | cut -d' ' -f1)" "$claude" -p "say hi" --model claude-demo
version="$("$codex" --version 2>/dev/null | cut -d' ' -f2)"
agent "Codex $version" "$codex" exec --skip-git-repo-check "say hi"
agent "Codex $version over WebSocket" env CODEX_HOME="$home/own" "$codex" exec --skip-git-repo-check "say hi"
[ "$failures" = 0 ]

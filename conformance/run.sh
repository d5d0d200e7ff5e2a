#!/usr/bin/env bash
# Real clients against a gateway, and the bytes at both of its ends compared.
#
#     conformance/run.sh [--strict] [python|node|curl|agents|memory]...
#
# Without a suite everything runs that this machine allows; what is left out is said, with the
# reason. Clients come from PyPI and npm, at pinned versions, into a temporary folder. EMX_GATE names
# the program to test; without it the release build is made, with a link-time optimisation that takes
# less time. Ends with `N passed, N failed`, and with 1 if a step failed or none passed.
#
# A registry that does not answer leaves its suites out. That is said, and no failure: a change must not
# wait for npm to come back. With `--strict`, as before a release, it is one. What a machine cannot do at
# all (no `node`, no network namespace) is no failure there either, since it is the same each time and
# seen in the list of what was left out.
set -uo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
output="$work/output"
: >"$output"

say() { printf '%s\n' "$*" | tee -a "$output"; }

# skip SUITE REASON: loud, and counted.
skip() { say "SKIPPED $1: $2"; }

# unanswered SUITE REASON: a registry does not answer.
unanswered() {
  if [ -n "$strict" ]; then say "FAIL $1: $2"; else skip "$1" "$2"; fi
}

# have SUITE PROGRAM...: whether every program is there.
have() {
  local suite="$1" program
  shift
  for program in "$@"; do
    command -v "$program" >/dev/null || { skip "$suite" "there is no \`$program\`"; return 1; }
  done
}

# judge COMMAND...: runs a suite. One that ends badly without saying why is a failure too.
judge() {
  local before after
  before="$(grep -c '^FAIL' "$output")"
  if ! "$@" 2>&1 | tee -a "$output"; then
    after="$(grep -c '^FAIL' "$output")"
    [ "$after" -gt "$before" ] || say "FAIL $* ended with an error"
  fi
}

# stage COMMAND...: the same between the recorders.
stage() { judge python3 "$here/stage.py" "$EMX_GATE" "$@"; }

# install SUITE REACHABLE COMMAND...: an installation that fails is a failure, unless the registry
# cannot be reached: REACHABLE is a command that asks it for something else.
install() {
  local suite="$1" reachable="$2"
  shift 2
  timeout 600 "$@" >"$work/install.log" 2>&1 && return 0
  if timeout 60 bash -c "$reachable" >/dev/null 2>&1; then
    say "FAIL $suite: cannot install its clients: $(tail -n 3 "$work/install.log" | tr '\n' ' ')"
  else
    unanswered "$suite" "its clients cannot be installed, the registry does not answer: $(tail -n 1 "$work/install.log")"
  fi
  return 1
}

kit_suite() {
  judge python3 "$here/test_compare.py"
}

curl_suite() {
  have curl curl || return
  stage "$here/curl.sh"
}

python_suite() {
  python3 -m venv "$work/venv" >"$work/install.log" 2>&1 || { skip python "no venv: $(tail -n 1 "$work/install.log")"; return; }
  local python="$work/venv/bin/python"
  install python "'$python' -m pip download --quiet --no-deps --dest '$work/probe' certifi" \
    "$python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" || return
  stage "$python" "$here/python_sdks.py"
}

node_suite() {
  have node node npm || return
  mkdir "$work/node"
  cp "$here"/node/* "$work/node/"
  install node "npm view is-number version" npm ci --prefix "$work/node" --no-audit --no-fund || return
  (cd "$work/node" && stage node sdks.mjs)
}

# Without a network of their own, agents would reach for the internet.
agents_suite() {
  have agents npm unshare ip timeout || return
  [ "$(uname -sm)" = "Linux x86_64" ] || { skip agents "the pinned builds are for Linux on x86-64"; return; }
  local isolate=(unshare --net)
  "${isolate[@]}" true 2>/dev/null || isolate=(unshare --net --map-root-user)
  "${isolate[@]}" ip link set lo up 2>/dev/null || { skip agents "no network namespace can be made here"; return; }
  mkdir "$work/agents"
  cp "$here"/agents/* "$work/agents/"
  install agents "npm view is-number version" npm ci --prefix "$work/agents" --no-audit --no-fund || return
  export AGENTS="$work/agents/node_modules"
  judge "${isolate[@]}" sh -c 'ip link set lo up && exec "$@"' sh python3 "$here/stage.py" "$EMX_GATE" "$here/agents.sh"
}

memory_suite() {
  [ -r /proc/self/smaps_rollup ] || { skip memory "there is no /proc that tells it"; return; }
  judge python3 "$here/memory.py" "$EMX_GATE"
}

strict=
if [ "${1:-}" = --strict ]; then
  strict=yes
  shift
fi
suites=("$@")
[ "${#suites[@]}" -gt 0 ] || suites=(curl python node agents memory)
for suite in "${suites[@]}"; do
  case "$suite" in
    python | node | curl | agents | memory) ;;
    *) echo "usage: $0 [--strict] [python|node|curl|agents|memory]..." >&2; exit 2 ;;
  esac
done
command -v python3 >/dev/null || { echo "the kit needs python3 (3.9 or later)" >&2; exit 1; }
if [ -z "${EMX_GATE:-}" ]; then
  (cd "$here/.." && CARGO_PROFILE_RELEASE_LTO=thin CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    cargo build --quiet --locked --release --package emx-gate) || exit 1
  EMX_GATE="${CARGO_TARGET_DIR:-$here/../target}/release/emx-gate"
fi
EMX_GATE="$(cd "$(dirname "$EMX_GATE")" && pwd)/$(basename "$EMX_GATE")"
[ -x "$EMX_GATE" ] || { echo "no program $EMX_GATE" >&2; exit 1; }

kit_suite
for suite in "${suites[@]}"; do
  printf '\n== %s\n' "$suite"
  "${suite}_suite"
done

echo
grep '^SKIPPED' "$output"
grep '^FAIL' "$output"
passed="$(grep -c '^ok ' "$output")"
failed="$(grep -c '^FAIL' "$output")"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]

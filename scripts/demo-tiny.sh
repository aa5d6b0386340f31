# The demo on a tiny model made here. Sourced by scripts/demo.

class=${class:-hybrid}
tiny_model=$(build --release --locked --example tiny-model)
[ -n "$tiny_model" ] || die "The build failed; cargo says above why."
model="$work/tiny-$class.gguf"
"$tiny_model" "$class" "$model" --template scripts/demo-tiny.jinja

cat >"$work/system" <<'TEXT'
You are a careful assistant in a folder of source files. Read before you answer, change as little as
you can, and say what you did not check. Quote file names and line numbers.
TEXT
cat >"$work/tools" <<'JSON'
[{"type":"function","function":{"name":"read","description":"Read lines of a file",
  "parameters":{"type":"object","properties":{"path":{"type":"string"},"to":{"type":"integer"},
  "from":{"type":"integer"}},"required":["path"]}}}]
JSON
# Thinking, a call whose arguments are not sorted, trailing newlines: what a second rendering of the
# history would write differently.
cat >"$work/script-1" <<'JSON'
{"reasoning":"The build file says it. I read its beginning first.\n","content":"I look at it.\n\n","tool_calls":[{"name":"read","arguments":{"to":40,"path":"build.rs","from":1}}]}
JSON
cat >"$work/script-2" <<'JSON'
{"reasoning":"It compiles the bridge and stamps versions.\n\n","content":"It compiles `vendor/chat-bridge` against the linked llama.cpp and stamps versions into the program.\n\n"}
JSON
cat >"$work/script-3" <<'JSON'
{"reasoning":"Short is enough.","content":"So that a template is rendered by the same code that the model was tried with."}
JSON

# Runs npast in a new process. usage: process NUMBER SHOWN-ARGUMENTS ARGUMENT...
process() {
    local number=$1 shown=$2
    shift 2
    say
    say "[$number] npast --session demo $shown"
    "$npast" -m "$model" --session demo --json --script "$work/script-$number" "$@" \
        >"$work/events-$number" </dev/null || {
        cat "$work/events-$number"
        die "process $number failed"
    }
    show "$work/events-$number"
}

process 1 '--system @… --tools @… "What does build.rs do?"' \
    --system "@$work/system" --tools "@$work/tools" "What does build.rs do?"

# The result of the call, as an agent of your own would hand it in.
id=$(grep '^{"type":"tool_call"' "$work/events-1" | field id)
escaped=$(head -n 40 build.rs | tr '\t' ' ' | sed 's/\\/\\\\/g; s/"/\\"/g; s/$/\\n/' | tr -d '\n')
printf '{"role":"tool","tool_call_id":"%s","name":"read","content":"%s"}\n' "$id" "$escaped" \
    >"$work/messages-2"
process 2 '--messages @…   (the result of the call: 40 lines)' --messages "@$work/messages-2"

process 3 '"Why from the same sources?"' "Why from the same sources?"

say
grep -h '^{"type":"receipt"' "$work"/events-[123] | awk '
    function number(name,   rest) {
        rest = $0
        if (!sub(".*\"" name "\":", "", rest)) { bad = 1; return 0 }
        return rest + 0
    }
    BEGIN {
        format = "%-8s %8s %9s %8s %9s %9s   %s\n"
        printf format, "process", "kept", "restored", "read", "written", "context", "evaluated == appended"
    }
    {
        before = context
        read = number("evaluated"); new = number("appended"); context = number("context")
        same = read == new && number("kept") + number("restored") == before && /"miss":null/
        printf format, NR, number("kept"), number("restored"), read, number("generated"), context, \
            (same ? "yes" : "NO, " new " were new after " before)
        if (!same) bad = 1
        if (NR > 1) { spared += before; evaluated += read }
    }
    END {
        if (NR != 3) { print NR " receipts, where three calls were made"; bad = 1 }
        if (bad) exit 1
        printf "\nA program that starts anew would have read %d tokens in processes 2 and 3; npast read %d.\n", \
            spared + evaluated, evaluated
    }
' || die "A receipt is not as it should be: each process reads what is new and nothing else."

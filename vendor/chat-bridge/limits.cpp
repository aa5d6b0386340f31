// See limits.h. The guards are ordinary statements of the tree that render nothing.
#include "limits.h"

#include <algorithm>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>

namespace npast {

const char * const CLOCK_VARIABLE = "npast_now";

namespace {

// Real templates (about 150 looked at) stay below 400 tokens in a statement, 12 brackets and 25 blocks.
constexpr size_t MAX_STATEMENT_TOKENS = 1500;
constexpr size_t MAX_BRACKETS         = 48;
constexpr size_t MAX_BLOCKS           = 96;
// A thread of Rust's test runner or of tokio has 2 MiB; the guards leave the rest to one statement.
constexpr size_t  MAX_STACK_BYTES = 512 * 1024;
constexpr size_t  MAX_STEPS       = 1000 * 1000;
constexpr int64_t MAX_RANGE       = 1000 * 1000;

thread_local const char * stack_base = nullptr;
thread_local size_t       steps_left = 0;
thread_local const char * met        = nullptr;

[[noreturn]] void refuse(const char * why) {
    met = why;
    throw std::runtime_error(std::string("the template was stopped: ") + why);
}

void allocation_failed() {
    met = "what it builds is too large";
    throw std::bad_alloc();
}

void check_room() {
    const char here = 0;
    if (stack_base != nullptr) {
        const auto a = reinterpret_cast<uintptr_t>(stack_base);
        const auto b = reinterpret_cast<uintptr_t>(&here);
        if ((a > b ? a - b : b - a) > MAX_STACK_BYTES) {
            refuse("it calls itself too deeply");
        }
        if (steps_left == 0) {
            refuse("it takes too many steps");
        }
        --steps_left;
    }
}

jinja::value nothing() {
    return jinja::mk_val<jinja::value_undefined>();
}

struct room_guard : public jinja::statement {
    std::string  type() const override { return "RoomGuard"; }
    jinja::value execute_impl(jinja::context &) const override {
        check_room();
        return nothing();
    }
};

jinja::value bounded_range(const jinja::func_args & args) {
    int64_t first = 0;
    int64_t last  = 0;
    int64_t step  = 1;
    if (args.count() == 1) {
        last = args.get_pos(0)->as_int();
    } else if (args.count() >= 2) {
        first = args.get_pos(0)->as_int();
        last  = args.get_pos(1)->as_int();
    }
    if (args.count() >= 3) {
        step = args.get_pos(2)->as_int();
    }
    const double length = step == 0 ? 0.0 : (double(last) - double(first)) / double(step);
    if (length > double(MAX_RANGE)) {
        refuse("its range() is too long");
    }
    return jinja::global_builtins().at("range")(args);
}

// Runs first: sets the clock that strftime_now reads, and a range() that cannot fill the memory.
struct prelude : public jinja::statement {
    std::string  type() const override { return "Prelude"; }
    jinja::value execute_impl(jinja::context & ctx) const override {
        const auto now = ctx.get_val(CLOCK_VARIABLE);
        if (jinja::is_val<jinja::value_int>(now)) {
            ctx.current_time = static_cast<std::time_t>(now->as_int());
        }
        ctx.set_val("range", jinja::mk_val<jinja::value_func>("range", bounded_range));
        return nothing();
    }
};

template <typename T> jinja::statement_ptr make_guard() {
    auto guard = std::make_unique<T>();
    guard->pos = 0;
    return guard;
}

void guard_body(jinja::statements & body);

void guard_children(jinja::statements & body) {
    for (auto & child : body) {
        if (auto * s = jinja::cast_stmt<jinja::if_statement>(child)) {
            guard_children(s->body);
            guard_children(s->alternate);
        } else if (auto * s = jinja::cast_stmt<jinja::for_statement>(child)) {
            guard_body(s->body);
            guard_children(s->default_block);
        } else if (auto * s = jinja::cast_stmt<jinja::macro_statement>(child)) {
            guard_body(s->body);
        } else if (auto * s = jinja::cast_stmt<jinja::call_statement>(child)) {
            guard_body(s->body);
        } else if (auto * s = jinja::cast_stmt<jinja::set_statement>(child)) {
            guard_children(s->body);
        } else if (auto * s = jinja::cast_stmt<jinja::filter_statement>(child)) {
            guard_children(s->body);
        }
    }
}

void guard_body(jinja::statements & body) {
    guard_children(body);
    body.insert(body.begin(), make_guard<room_guard>());
}

bool opens_block(const std::string & name) {
    return name == "if" || name == "for" || name == "macro" || name == "call" || name == "filter";
}

bool closes_block(const std::string & name) {
    return name == "endif" || name == "endfor" || name == "endmacro" || name == "endcall" || name == "endfilter" ||
           name == "endset";
}

}  // namespace

void check_tokens(const jinja::lexer_result & lexed) {
    using jinja::token;
    const auto &        tokens = lexed.tokens;
    std::vector<size_t> blocks;  // an `elif` nests one deeper inside its `if`
    size_t              depth    = 0;
    size_t              length   = 0;
    size_t              brackets = 0;
    for (size_t i = 0; i < tokens.size(); i++) {
        const auto & t = tokens[i];
        length++;
        if (t.t == token::text || t.t == token::comment || t.t == token::open_expression) {
            length   = 0;
            brackets = 0;
        } else if (t.t == token::open_statement) {
            length   = 0;
            brackets = 0;
            if (i + 1 >= tokens.size()) {
                continue;
            }
            const auto & name = tokens[i + 1].value;
            bool         opens = opens_block(name);
            if (name == "set") {
                size_t j = i + 1;
                while (j < tokens.size() && tokens[j].t != token::close_statement && tokens[j].t != token::equals) {
                    j++;
                }
                opens = j >= tokens.size() || tokens[j].t == token::close_statement;
            }
            if (opens) {
                blocks.push_back(1);
                depth++;
            } else if (name == "elif" && !blocks.empty()) {
                blocks.back()++;
                depth++;
            } else if (closes_block(name) && !blocks.empty()) {
                depth -= blocks.back();
                blocks.pop_back();
            }
        } else if (t.t == token::open_paren || t.t == token::open_square_bracket || t.t == token::open_curly_bracket) {
            brackets++;
        } else if (t.t == token::close_paren || t.t == token::close_square_bracket || t.t == token::close_curly_bracket) {
            brackets -= brackets > 0 ? 1 : 0;
        }
        if (length > MAX_STATEMENT_TOKENS || brackets > MAX_BRACKETS || depth > MAX_BLOCKS) {
            throw std::runtime_error("the template nests too deeply or has a statement that is too long");
        }
    }
}

void insert_guards(jinja::program & program) {
    guard_children(program.body);
    program.body.insert(program.body.begin(), make_guard<prelude>());
}

size_t bracket_depth(const std::string & text) {
    size_t depth   = 0;
    size_t deepest = 0;
    for (const char c : text) {
        if (c == '[' || c == '{') {
            deepest = std::max(deepest, ++depth);
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return deepest;
}

const char * limit_met() {
    return met;
}

void forget_limit() {
    met = nullptr;
}

void failed_allocations_are_a_limit() {
    std::set_new_handler(allocation_failed);
}

entry_scope::entry_scope() : outer_base(stack_base), outer_steps(steps_left) {
    stack_base = reinterpret_cast<const char *>(this);
    steps_left = MAX_STEPS;
}

entry_scope::~entry_scope() {
    stack_base = outer_base;
    steps_left = outer_steps;
}

}  // namespace npast

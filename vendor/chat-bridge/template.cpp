// Templates: parse, capabilities, apply, render. The steps between a request and llama.cpp's
// renderer follow common_chat_templates_apply (common/chat.cpp), whose template type is closed;
// ours is open, so that guards stand in the tree and the slow analysis of a template is made once.
#include "answer.h"
#include "bridge.h"
#include "chat-auto-parser.h"
#include "chat.h"
#include "jinja/caps.h"
#include "jinja/lexer.h"
#include "jinja/parser.h"
#include "limits.h"

#include <chrono>
#include <ctime>
#include <memory>
#include <mutex>
#include <stdexcept>

using json = common_json;

struct npast_template {
    std::unique_ptr<common_chat_template> tmpl;
    std::string                           bos;
    std::string                           eos;
    std::string                           given;  // the source before any adjustment

    std::once_flag                          analyzed;
    std::unique_ptr<autoparser::autoparser> analysis;
    std::string                             analysis_error;
};

namespace {

// Two known templates raise on content that is legal here; llama.cpp takes those checks out.
std::string without_known_raises(std::string source) {
    const auto replace = [&](const std::string & from) {
        for (size_t at = source.find(from); at != std::string::npos; at = source.find(from, at)) {
            source.replace(at, from.size(), "{%- if false %}");
        }
    };
    if (source.find("<|channel|>") != std::string::npos) {
        replace(R"({%- if "<|channel|>analysis<|message|>" in message.content or )"
                R"("<|channel|>final<|message|>" in message.content %})");
    }
    if (source.find("[TOOL_CALLS]") != std::string::npos) {
        replace("{%- if (message['content'] is none or message['content'] == '' or message['content']|length == 0) "
                "and (message['tool_calls'] is not defined or message['tool_calls'] is none or "
                "message['tool_calls']|length == 0) %}");
    }
    return source;
}

std::unique_ptr<npast_template> parse_template(const std::string & source, const std::string & bos,
                                               const std::string & eos) {
    auto handle   = std::make_unique<npast_template>();
    handle->given = source;
    handle->bos   = bos;
    handle->eos   = eos;
    jinja::lexer lexer;
    const auto   lexed = lexer.tokenize(without_known_raises(source));
    npast::check_tokens(lexed);
    handle->tmpl          = std::make_unique<common_chat_template>("", bos, eos);
    handle->tmpl->prog    = jinja::parse_from_tokens(lexed);
    handle->tmpl->src     = lexed.source;
    npast::insert_guards(handle->tmpl->prog);
    handle->tmpl->caps = jinja::caps_get(handle->tmpl->prog);
    return handle;
}

std::string local_time(std::time_t seconds, const char * format) {
    std::tm parts{};
    localtime_r(&seconds, &parts);
    char         text[64];
    const size_t n = std::strftime(text, sizeof(text), format, &parts);
    return std::string(text, n);
}

// The moment whose local date and time are the UTC date and time of `seconds`. The engine writes
// local time; a frozen head must not change with the time zone of the process that renders it.
std::time_t as_if_utc(std::time_t seconds) {
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    parts.tm_isdst = -1;
    return std::mktime(&parts);
}

// The variables beside messages and tools: the clock and the caller's own.
json extra_variables(const json & request) {
    json       extra   = json::object();
    const auto started = static_cast<std::time_t>(request.value("now_ms", json(int64_t(0))).get<int64_t>() / 1000);
    const auto seconds = as_if_utc(started);
    extra["datetime"]    = local_time(seconds, "%b %d %Y");
    extra["date_string"] = local_time(seconds, "%d %b %Y");
    extra[npast::CLOCK_VARIABLE] = int64_t(seconds);
    if (request.contains("kwargs")) {
        for (const auto & [key, value] : request.at("kwargs").items()) {
            extra[key] = value;
        }
    }
    return extra;
}

common_chat_tool_choice tool_choice(const json & request) {
    return common_chat_tool_choice_parse_oaicompat(request.value("tool_choice", "auto"));
}

std::vector<common_chat_tool> tools(const json & request) {
    return request.contains("tools") ? common_chat_tools_parse_oaicompat(request.at("tools"))
                                     : std::vector<common_chat_tool>();
}

void trim_contents(std::vector<common_chat_msg> & messages) {
    const auto trim = [](std::string & text) {
        const char * space = " \t\n\v\f\r";
        const size_t first = text.find_first_not_of(space);
        text = first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(space) - first + 1);
    };
    for (auto & message : messages) {
        trim(message.content);
        trim(message.reasoning_content);
    }
}

json adjusted_messages(const common_chat_template & tmpl, std::vector<common_chat_msg> messages) {
    const auto & caps = tmpl.caps;
    if (tmpl.src.find("You have access to the following functions in JSONSchema format") != std::string::npos) {
        trim_contents(messages);
    }
    json       out        = json::array();
    const bool only_parts = caps.supports_typed_content && !caps.supports_string_content;
    for (const auto & message : messages) {
        json m = message.to_json_oaicompat(false);
        if (only_parts && m.contains("content") && m.at("content").is_string()) {
            m["content"] = json::array({ json{ { "type", "text" }, { "text", m.at("content").get<std::string>() } } });
        }
        out.push_back(std::move(m));
    }
    if (tmpl.src.find("<|channel|>") == std::string::npos) {
        for (auto & m : out) {
            if (m.contains("role") && m["role"] == "developer") {
                m["role"] = "system";
            }
        }
    }
    if (!caps.supports_system_role && !out.empty() && out.front().at("role") == "system") {
        if (out.size() > 1) {
            out[1]["content"] = out.front().at("content").get<std::string>() + "\n" +
                                out[1].at("content").get<std::string>();
        }
        out.erase(0);
    }
    for (auto & m : out) {
        if (!m.contains("tool_calls")) {
            continue;
        }
        if (caps.supports_tool_calls && !m.contains("content")) {
            m["content"] = "";
        }
        if (caps.supports_object_arguments) {
            for (auto & call : m["tool_calls"]) {
                auto & arguments = call["function"]["arguments"];
                if (arguments.is_string()) {
                    arguments = json::parse(arguments.get<std::string>());
                }
            }
        }
    }
    return out;
}

autoparser::generation_params parameters(const npast_template & handle, const json & request) {
    autoparser::generation_params params;
    params.tools                 = common_chat_tools_to_json_oaicompat(tools(request));
    params.messages              = adjusted_messages(*handle.tmpl, common_chat_msgs_parse_oaicompat(request.at("messages")));
    params.tool_choice           = tool_choice(request);
    params.reasoning_format      = COMMON_REASONING_FORMAT_DEEPSEEK;
    params.enable_thinking       = request.value("enable_thinking", true);
    params.add_generation_prompt = request.value("add_generation_prompt", true);
    params.parallel_tool_calls   = request.value("parallel_tool_calls", true);
    params.add_bos               = request.value("add_bos", false);
    params.extra_context         = extra_variables(request);
    if (request.contains("json_schema") && !request.at("json_schema").is_null()) {
        params.json_schema = request.at("json_schema");
    }
    return params;
}

const autoparser::autoparser & analysis(npast_template & handle) {
    std::call_once(handle.analyzed, [&] {
        try {
            auto made = std::make_unique<autoparser::autoparser>();
            made->analyze_template(*handle.tmpl);
            handle.analysis = std::move(made);
        } catch (const std::exception & e) {
            handle.analysis_error = e.what();
        }
    });
    if (!handle.analysis) {
        throw std::runtime_error("Unable to generate parser for this template: " + handle.analysis_error);
    }
    return *handle.analysis;
}

std::string trimmed(std::string text) {
    const char * space = " \t\n\r";
    const size_t first = text.find_first_not_of(space);
    return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(space) - first + 1);
}

common_chat_params applied(npast_template & handle, autoparser::generation_params & params) {
    if (auto known = common_chat_try_specialized_template(*handle.tmpl, handle.tmpl->src, params)) {
        return *known;
    }
    const auto & found = analysis(handle);
    try {
        auto made = autoparser::peg_generator::generate_parser(*handle.tmpl, params, found);
        made.supports_thinking = found.reasoning.mode != autoparser::reasoning_mode::NONE;
        if (made.supports_thinking) {
            made.thinking_start_tag = trimmed(found.reasoning.start);
            const auto end          = trimmed(found.reasoning.end);
            if (!end.empty()) {
                made.thinking_end_tags = { end };
            }
        }
        return made;
    } catch (const std::exception & e) {
        throw std::runtime_error(std::string("Unable to generate parser for this template: ") + e.what());
    }
}

json strings(const std::vector<std::string> & list) {
    json out = json::array();
    for (const auto & text : list) {
        out.push_back(json::make(text));
    }
    return out;
}

json to_json(const common_chat_params & p) {
    json triggers = json::array();
    for (const auto & t : p.grammar_triggers) {
        json one = { { "type", int(t.type) }, { "value", t.value } };
        if (t.type == COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN) {
            one["token"] = int64_t(t.token);
        }
        triggers.push_back(std::move(one));
    }
    json out                 = json::object();
    out["prompt"]            = p.prompt;
    out["format"]            = int(p.format);
    out["grammar"]           = p.grammar;
    out["grammar_lazy"]      = p.grammar_lazy;
    out["triggers"]          = std::move(triggers);
    out["generation_prompt"] = p.generation_prompt;
    out["supports_thinking"] = p.supports_thinking;
    out["thinking_start"]    = p.thinking_start_tag;
    out["thinking_ends"]     = strings(p.thinking_end_tags);
    out["preserved_tokens"]  = strings(p.preserved_tokens);
    out["stops"]             = strings(p.additional_stops);
    out["parser"]            = p.parser;
    return out;
}

}  // namespace

extern "C" {

char * npast_chat_template_new(const char * source, size_t source_len, const char * bos, size_t bos_len,
                               const char * eos, size_t eos_len, npast_template ** out) {
    return npast::answer([&]() -> char * {
        npast::entry_scope scope;
        auto handle = parse_template({ source, source_len }, { bos, bos_len }, { eos, eos_len });
        *out        = handle.release();
        return nullptr;
    });
}

void npast_chat_template_free(npast_template * handle) {
    delete handle;
}

char * npast_chat_caps(const npast_template * handle) {
    return npast::answer([&] { return npast::own(json(handle->tmpl->caps.to_map()).dump()); });
}

char * npast_chat_apply(npast_template * handle, const char * request, size_t len) {
    return npast::answer([&] {
        npast::entry_scope scope;
        auto params = parameters(*handle, json::parse({ request, len }));
        return npast::own(to_json(applied(*handle, params)).dump_safe());
    });
}

char * npast_chat_render(npast_template * handle, const char * request, size_t len) {
    return npast::answer([&] {
        npast::entry_scope scope;
        auto params = parameters(*handle, json::parse({ request, len }));
        // Without a tool choice the known formats build no grammar; their prompt stays the same.
        params.tool_choice = COMMON_CHAT_TOOL_CHOICE_NONE;
        auto       known   = common_chat_try_specialized_template(*handle->tmpl, handle->tmpl->src, params);
        const auto prompt  = known ? known->prompt : common_chat_template_direct_apply(*handle->tmpl, params);
        return npast::own(json{ { "prompt", prompt } }.dump_safe());
    });
}

char * npast_chat_reference(const npast_template * handle, const char * request, size_t len) {
    return npast::answer([&] {
        npast::entry_scope scope;
        const auto  r = json::parse({ request, len });
        const auto  t = common_chat_templates_init(nullptr, handle->given, handle->bos, handle->eos);
        common_chat_templates_inputs inputs;
        inputs.messages              = common_chat_msgs_parse_oaicompat(r.at("messages"));
        inputs.tools                 = tools(r);
        inputs.tool_choice           = tool_choice(r);
        inputs.reasoning_format      = COMMON_REASONING_FORMAT_DEEPSEEK;
        inputs.enable_thinking       = r.value("enable_thinking", true);
        inputs.add_generation_prompt = r.value("add_generation_prompt", true);
        inputs.parallel_tool_calls   = r.value("parallel_tool_calls", true);
        const auto extra             = extra_variables(r);
        for (const auto & [key, value] : extra.items()) {
            inputs.chat_template_kwargs[key] = value.dump();
        }
        return npast::own(to_json(common_chat_templates_apply(t.get(), inputs)).dump_safe());
    });
}

void npast_chat_string_free(char * text) {
    std::free(text);
}

void npast_chat_confine(void) {
    npast::failed_allocations_are_a_limit();
}

}  // extern "C"

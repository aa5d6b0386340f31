// Replies: the parser that apply made, loaded once, run on whole and on unfinished replies.
#include "answer.h"
#include "bridge.h"
#include "chat.h"
#include "limits.h"

#include <stdexcept>

using json = common_json;

struct npast_reply_parser {
    common_chat_parser_params params;
};

namespace {

// The parser recurses once per open bracket of a JSON value; a model that babbles "[[[[" must not
// end the process. Deeper replies are refused and stay content.
constexpr size_t MAX_DEPTH = 256;

}  // namespace

extern "C" {

char * npast_chat_parser_new(const char * applied, size_t len, npast_reply_parser ** out) {
    return npast::answer([&]() -> char * {
        const auto a                    = json::parse({ applied, len });
        auto       handle               = std::make_unique<npast_reply_parser>();
        const auto format               = a.at("format").get<int>();
        if (format < 0 || format >= COMMON_CHAT_FORMAT_COUNT) {
            throw std::runtime_error("unknown reply format");
        }
        handle->params.format            = static_cast<common_chat_format>(format);
        handle->params.reasoning_format  = COMMON_REASONING_FORMAT_DEEPSEEK;
        handle->params.generation_prompt = a.at("generation_prompt").get<std::string>();
        const auto parser                = a.at("parser").get<std::string>();
        if (!parser.empty()) {
            handle->params.parser.load(parser);
        }
        *out = handle.release();
        return nullptr;
    });
}

void npast_chat_parser_free(npast_reply_parser * handle) {
    delete handle;
}

char * npast_chat_parse(const npast_reply_parser * handle, const char * text, size_t len, int partial) {
    return npast::answer([&] {
        const std::string input(text, len);
        if (npast::bracket_depth(input) > MAX_DEPTH) {
            throw std::runtime_error("the reply nests too many brackets to be parsed");
        }
        const auto message = common_chat_parse(input, partial != 0, handle->params);
        json       calls   = json::array();
        for (const auto & call : message.tool_calls) {
            calls.push_back({ { "id", call.id }, { "name", call.name }, { "arguments", call.arguments } });
        }
        json out                 = json::object();
        out["content"]           = message.render_content();
        out["reasoning_content"] = message.reasoning_content;
        out["tool_calls"]        = std::move(calls);
        return npast::own(out.dump_safe());
    });
}

}  // extern "C"

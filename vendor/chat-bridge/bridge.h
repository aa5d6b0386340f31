// The C face of llama.cpp's template engine, grammars and reply parsers: JSON in, JSON out.
//
// Rules of this folder:
// - No C++ exception crosses; every entry point catches everything and answers {"error": "..."},
//   or {"stopped": "..."} when a bound of limits.h was met.
// - Strings come as pointer + length (UTF-8, may hold NUL) and go as NUL-terminated JSON that the
//   caller gives back to npast_chat_string_free. A null answer means that memory ran out.
// - A handle is immutable after it is made (its lazy part is made once, under a lock), so several
//   threads may use the same one.
// - Template text is a stranger's: limits.h bounds what it can do to the stack and to the clock. What
//   a single step may take of time and memory is bounded by the process that runs it.
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct npast_template     npast_template;
typedef struct npast_reply_parser npast_reply_parser;

// Parses a Jinja template. Null on success, else an error object; *out is set only on success.
char * npast_chat_template_new(const char * source, size_t source_len, const char * bos, size_t bos_len,
                               const char * eos, size_t eos_len, npast_template ** out);
void   npast_chat_template_free(npast_template * handle);

// What the template can do: {"supports_tools": true, ...}.
char * npast_chat_caps(const npast_template * handle);

// Renders a conversation and makes its grammar and reply parser.
char * npast_chat_apply(npast_template * handle, const char * request, size_t len);

// Renders a conversation: {"prompt": ...}, the same text as apply's, without grammar and parser.
char * npast_chat_render(npast_template * handle, const char * request, size_t len);

// The prompt by llama.cpp's own entry point, with nothing of ours between. Tests compare with it.
char * npast_chat_reference(const npast_template * handle, const char * request, size_t len);

// A reply parser from an answer of apply.
char * npast_chat_parser_new(const char * applied, size_t len, npast_reply_parser ** out);
void   npast_chat_parser_free(npast_reply_parser * handle);

// Parses a reply, whole or (partial != 0) as far as it has come.
char * npast_chat_parse(const npast_reply_parser * handle, const char * text, size_t len, int partial);

void npast_chat_string_free(char * text);

// For a process that only renders, under a limit of memory: running out of it is an answer.
void npast_chat_confine(void);

// Once per process. What C and C++ code writes on its standard error comes in lines to the function;
// the descriptor, and what other languages write on it, stay as they are.
typedef void (*npast_text_fn)(const char * text);
void npast_capture_stderr(npast_text_fn line);

// Once per process: called with the reason before an exception that nobody catches ends the process.
void npast_on_terminate(npast_text_fn end);

#ifdef __cplusplus
}
#endif

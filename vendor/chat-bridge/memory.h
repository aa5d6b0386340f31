// What a context takes, place by place, as llama.cpp itself counts it: its C interface does not say.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct llama_context;

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char     device[64]; // the device's name, empty for the host's memory
    uint64_t model;      // bytes of weights
    uint64_t context;    // bytes of KV and recurrent states
    uint64_t compute;    // bytes of buffers for one decode call
} npast_memory_row;

// Writes at most `room` rows and returns how many there are, -1 when it failed.
int npast_memory(const struct llama_context * ctx, npast_memory_row * rows, int room);

#ifdef __cplusplus
}
#endif

// See memory.h.
#include "memory.h"

#include "llama-ext.h"

#include <cstdio>
#include <map>
#include <string>

static bool is_card(ggml_backend_dev_t device) {
    const enum ggml_backend_dev_type type = ggml_backend_dev_type(device);
    return type == GGML_BACKEND_DEVICE_TYPE_GPU || type == GGML_BACKEND_DEVICE_TYPE_IGPU;
}

int npast_memory(const llama_context * ctx, npast_memory_row * rows, int room) {
    try {
        std::map<std::string, npast_memory_row> places;
        for (const auto & [type, bytes] : llama_get_memory_breakdown(ctx)) {
            std::string name;
            if (!ggml_backend_buft_is_host(type)) {
                ggml_backend_dev_t device = ggml_backend_buft_get_device(type);
                // Weights that the CPU keeps in another order are in a buffer of its own kind, and in
                // the host's memory all the same.
                if (device != nullptr && is_card(device)) {
                    name = ggml_backend_dev_name(device);
                }
            }
            npast_memory_row & row = places[name];
            row.model += bytes.model;
            row.context += bytes.context;
            row.compute += bytes.compute;
        }
        int count = 0;
        for (const auto & [name, row] : places) {
            if (count < room) {
                rows[count] = row;
                snprintf(rows[count].device, sizeof(rows[count].device), "%s", name.c_str());
            }
            ++count;
        }
        return count;
    } catch (...) {
        return -1;
    }
}

#pragma once

#include "catalogue.h"
#include "content.h"
#include "counters.h"

namespace cache_sync::demo {

struct Reading {
    bool from_cache = false;
    Body body;
};

// One way of caching the shop's documents. An object serves one thread.
class Cache {
 public:
    virtual ~Cache() = default;
    // Cache-aside: what the cache has, else the source's, put into the cache for the next reader.
    virtual Reading read(const Item &item) = 0;
    // What a reader would be served right now; fills nothing.
    virtual Reading look(const Item &item) = 0;
};

// What an application does between its statements, 0 to 2 ms of it: make a document of rows, wait for the
// network, think. It is the time in which others write.
void application_work(std::mt19937_64 &random);

}  // namespace cache_sync::demo

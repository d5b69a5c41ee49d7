#pragma once

#include <random>
#include <stop_token>

#include "database.h"
#include "histogram.h"
#include "redis.h"
#include "settings.h"

namespace cache_sync::demo {

// Measures what an application would see: the time from COMMIT having returned until the key is gone from the
// cache. It sets a key, updates its row, and asks for the key until it is gone.
class Probe {
 public:
    Probe(const Settings &settings, Histogram &lag);
    void run(std::stop_token stop);

 private:
    void measure(std::stop_token stop);

    Database database_;
    Redis redis_;
    Histogram &lag_;
    std::mt19937_64 random_;
};

}  // namespace cache_sync::demo

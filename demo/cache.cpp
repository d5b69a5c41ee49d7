#include "cache.h"

#include <chrono>
#include <thread>

namespace cache_sync::demo {

void application_work(std::mt19937_64 &random) {
    const int longest_us = 2000;
    std::this_thread::sleep_for(
        std::chrono::microseconds(std::uniform_int_distribution(0, longest_us)(random)));
}

}  // namespace cache_sync::demo

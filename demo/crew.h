#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace cache_sync::demo {

// Threads that work until they are told to stop. The first exception any of them ends with is kept.
class Crew {
 public:
    void start(std::function<void(std::stop_token)> work);
    void stop();
    bool has_failed() const { return has_failed_; }
    std::string failure() const;

 private:
    mutable std::mutex mutex_;
    std::string failure_;
    std::atomic<bool> has_failed_{false};
    std::vector<std::jthread> threads_;
};

}  // namespace cache_sync::demo

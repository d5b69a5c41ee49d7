#include "crew.h"

#include <exception>

namespace cache_sync::demo {

void Crew::start(std::function<void(std::stop_token)> work) {
    threads_.emplace_back([this, work = std::move(work)](std::stop_token stop) {
        try {
            work(stop);
        } catch (const std::exception &error) {
            const std::lock_guard lock(mutex_);
            if (!has_failed_.exchange(true)) {
                failure_ = error.what();
            }
        }
    });
}

void Crew::stop() {
    for (std::jthread &thread : threads_) {
        thread.request_stop();
    }
    threads_.clear();  // joins
}

std::string Crew::failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
}

}  // namespace cache_sync::demo

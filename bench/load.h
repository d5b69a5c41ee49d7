#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace cache_sync::bench {

struct LoadOptions {
    std::string conninfo;
    int clients = 4;
    double rate = 0;        // transactions a second of all clients together; 0: as many as they can
    int rows = 1;           // one product, or that many adjacent ones
    bool is_skewed = true;  // products drawn by popularity, zipfian(1.05), else evenly
    bool is_synchronous = true;
};

// Writers in the background, each with a connection of its own, from the constructor to the destructor or
// stop().
class Load {
 public:
    explicit Load(const LoadOptions &options);
    ~Load() { stop(); }
    Load(const Load &) = delete;
    Load &operator=(const Load &) = delete;

    // Ends the writers and throws what one of them died of.
    void stop();
    std::uint64_t transactions() const { return transactions_; }

 private:
    void write(int client, std::stop_token stop);

    LoadOptions options_;
    std::atomic<std::uint64_t> transactions_{0};
    std::atomic<bool> failed_{false};
    std::string failure_;
    std::vector<std::jthread> threads_;
};

}  // namespace cache_sync::bench

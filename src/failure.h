// The one exception type of cache_sync: a complaint that becomes a PostgreSQL error at the boundary.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <exception>

namespace cache_sync {

// Text lives in fixed buffers, so that failing never allocates.
class Failure : public std::exception {
 public:
    // sqlstate: the five characters of an SQLSTATE, such as "22023".
    __attribute__((format(printf, 3, 4))) Failure(const char *sqlstate, const char *format, ...) noexcept {
        std::memcpy(sqlstate_, sqlstate, 5);
        va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(message_, sizeof(message_), format, arguments);
        va_end(arguments);
    }

    __attribute__((format(printf, 2, 3))) Failure &detail(const char *format, ...) noexcept {
        va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(detail_, sizeof(detail_), format, arguments);
        va_end(arguments);
        return *this;
    }

    __attribute__((format(printf, 2, 3))) Failure &hint(const char *format, ...) noexcept {
        va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(hint_, sizeof(hint_), format, arguments);
        va_end(arguments);
        return *this;
    }

    const char *what() const noexcept override { return message_; }
    const char *sqlstate() const noexcept { return sqlstate_; }
    const char *detail_text() const noexcept { return detail_; }
    const char *hint_text() const noexcept { return hint_; }

 private:
    char sqlstate_[6] = {};
    char message_[512] = {};
    char detail_[512] = {};
    char hint_[512] = {};
};

}  // namespace cache_sync

// The only place where PostgreSQL's longjmp meets C++ exceptions.
//
// An exception that escapes into PostgreSQL ends every session of the cluster, and a longjmp over a C++ frame
// skips its destructors. So there are two doors and nothing else:
//
//   entry(fn)  around the body of every function that PostgreSQL calls. Exceptions become PostgreSQL errors,
//              raised after the handler has ended (raising inside it would leak the exception object).
//   call(fn)   around PostgreSQL calls made while C++ objects with destructors are alive. A PostgreSQL error
//              becomes the exception PgError and travels whole: SQLSTATE, detail, hint, context, position.
//
// "Plain frames": the write path (src/capture, src/queue/append_pg.cpp) keeps nothing with a destructor on
// its stack, so there PostgreSQL errors pass straight through and call() is not needed.
#pragma once

#include <csetjmp>
#include <cstring>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>

#include "failure.h"

#include "pg.h"

extern "C" {
#include "utils/elog.h"
#include "utils/memutils.h"
}

namespace cache_sync {

// A PostgreSQL error on its way through C++ frames. Owns the ErrorData.
class PgError : public std::exception {
 public:
    explicit PgError(ErrorData *error) noexcept : error_(error) {}
    PgError(PgError &&other) noexcept : error_(std::exchange(other.error_, nullptr)) {}
    PgError(const PgError &) = delete;
    PgError &operator=(const PgError &) = delete;
    ~PgError() override {
        if (error_ != nullptr)
            FreeErrorData(error_);
    }

    const char *what() const noexcept override { return error_->message != nullptr ? error_->message : ""; }
    const ErrorData &data() const noexcept { return *error_; }
    ErrorData *release() noexcept { return std::exchange(error_, nullptr); }

 private:
    ErrorData *error_;
};

// What entry() carries out of a catch block: plain data only.
struct CaughtError {
    ErrorData *postgres = nullptr;
    int sqlstate = 0;
    char message[512];
    char detail[512];
    char hint[512];

    // Only the first bytes: entry() is called for every row, and clearing all of it would cost more than the
    // rest.
    CaughtError() noexcept { message[0] = detail[0] = hint[0] = '\0'; }

    void set(int code, const char *text) noexcept {
        sqlstate = code;
        strlcpy(message, text, sizeof(message));
    }
};

[[noreturn]] inline void raise(const CaughtError &caught) {
    if (caught.postgres != nullptr)
        ReThrowError(caught.postgres);
    ereport(ERROR, (errcode(caught.sqlstate), errmsg("%s", caught.message),
                    caught.detail[0] != '\0' ? errdetail("%s", caught.detail) : 0,
                    caught.hint[0] != '\0' ? errhint("%s", caught.hint) : 0));
    pg_unreachable();
}

// Runs fn, which may throw, for a caller that is PostgreSQL. Returns what fn returns.
template <typename Fn>
auto entry(Fn &&fn) -> decltype(fn()) {
    CaughtError caught;
    try {
        return fn();
    } catch (PgError &error) {
        caught.postgres = error.release();
    } catch (const Failure &failure) {
        const char *state = failure.sqlstate();
        caught.set(MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]), failure.what());
        strlcpy(caught.detail, failure.detail_text(), sizeof(caught.detail));
        strlcpy(caught.hint, failure.hint_text(), sizeof(caught.hint));
    } catch (const std::bad_alloc &) {
        caught.set(ERRCODE_OUT_OF_MEMORY, "out of memory");
    } catch (const std::exception &error) {
        caught.set(ERRCODE_INTERNAL_ERROR, error.what());
    } catch (...) {
        caught.set(ERRCODE_INTERNAL_ERROR, "unknown C++ exception");
    }
    raise(caught);
}

// Runs fn, which may raise PostgreSQL errors, for a caller that is C++. fn and its result must be plain data:
// a longjmp out of fn runs no destructor.
template <typename Fn>
auto call(Fn &&fn) -> decltype(fn()) {
    using Result = decltype(fn());
    static_assert(std::is_trivially_destructible_v<std::remove_reference_t<Fn>>, "capture by reference");
    static_assert(std::is_void_v<Result> || std::is_trivially_destructible_v<Result>, "return plain data");

    sigjmp_buf *const outer_jump = PG_exception_stack;
    ErrorContextCallback *const outer_context = error_context_stack;
    const MemoryContext memory = CurrentMemoryContext;
    sigjmp_buf jump;

    const auto leave = [&]() noexcept {
        PG_exception_stack = outer_jump;
        error_context_stack = outer_context;
    };
    if (sigsetjmp(jump, 0) == 0) {
        PG_exception_stack = &jump;
        try {
            if constexpr (std::is_void_v<Result>) {
                fn();
                leave();
                return;
            } else {
                Result result = fn();
                leave();
                return result;
            }
        } catch (...) {
            leave();  // else PostgreSQL would jump into a frame that is gone
            throw;
        }
    }
    leave();
    MemoryContextSwitchTo(memory);
    ErrorData *error = CopyErrorData();
    FlushErrorState();
    throw PgError(error);
}

// Runs fn and then cleanup, whether fn returns, throws or raises; what fn threw or raised goes on afterwards.
// For plain state that must be put back, where call() would be too much. cleanup must neither throw nor
// raise.
template <typename Fn, typename Cleanup>
auto with_cleanup(Fn &&fn, Cleanup &&cleanup) -> decltype(fn()) {
    using Result = decltype(fn());
    static_assert(std::is_trivially_destructible_v<std::remove_reference_t<Fn>>, "capture by reference");
    static_assert(std::is_trivially_destructible_v<Result>, "return plain data");

    sigjmp_buf *const outer_jump = PG_exception_stack;
    ErrorContextCallback *const outer_context = error_context_stack;
    const auto leave = [&]() noexcept {
        PG_exception_stack = outer_jump;
        error_context_stack = outer_context;
        cleanup();
    };
    sigjmp_buf jump;

    if (sigsetjmp(jump, 0) != 0) {
        leave();
        PG_RE_THROW();
    }
    PG_exception_stack = &jump;
    try {
        Result result = fn();
        leave();
        return result;
    } catch (...) {
        leave();
        throw;
    }
}

}  // namespace cache_sync

#include "refresh/run_pg.h"

#include <optional>
#include <string>

#include "boundary.h"
#include "refresh/contents_pg.h"
#include "refresh/method_pg.h"
#include "refresh/run_history_pg.h"
#include "settings_pg.h"

extern "C" {
#include "access/relation.h"
#include "access/xact.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"  // debug_query_string
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/wait_event.h"
}

namespace cache_sync {
namespace {

constexpr int kAttempts = 6;
constexpr int kFirstPauseMs = 100;

// Why a transaction failed.
struct RunError {
    int sqlstate = ERRCODE_INTERNAL_ERROR;
    bool was_timeout = false;
    std::string message;
    std::string context;

    bool is_worth_another_attempt() const {
        return sqlstate == ERRCODE_LOCK_NOT_AVAILABLE || sqlstate == ERRCODE_T_R_DEADLOCK_DETECTED ||
               sqlstate == ERRCODE_T_R_SERIALIZATION_FAILURE;
    }
    bool was_canceled() const { return sqlstate == ERRCODE_QUERY_CANCELED && !was_timeout; }
};

RunError error_of(const PgError &error) {
    const ErrorData &data = error.data();
    RunError result;
    result.sqlstate = data.sqlerrcode;
    result.message = data.message != nullptr ? data.message : "";
    result.context = data.context != nullptr ? data.context : "";
    // Both have one SQLSTATE; the text that this was translated from tells them apart.
    result.was_timeout =
        data.message_id != nullptr && strstr(data.message_id, "statement timeout") != nullptr;
    return result;
}

RunError error_of(const Failure &failure) {
    const char *const state = failure.sqlstate();
    RunError result;
    result.sqlstate = MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]);
    result.message = failure.what();
    return result;
}

// Runs fn and tells what stopped it.
template <typename Fn>
std::optional<RunError> attempt(Fn fn) {
    try {
        fn();
        return std::nullopt;
    } catch (const PgError &error) {
        return error_of(error);
    } catch (const Failure &failure) {
        return error_of(failure);
    } catch (const std::exception &error) {
        RunError result;
        result.message = error.what();
        return result;
    }
}

void begin_transaction() {
    SetCurrentStatementStartTimestamp();
    StartTransactionCommand();
}

void end_transaction() {
    CommitTransactionCommand();
    MemoryContextSwitchTo(TopMemoryContext);
}

void roll_back() {
    call([] {
        disable_all_timeouts(false);
        QueryCancelPending = false;  // one that came too late for what it was meant for
        AbortCurrentTransaction();
        MemoryContextSwitchTo(TopMemoryContext);
    });
}

// Runs fn in a transaction. fn: plain frames.
template <typename Fn>
std::optional<RunError> in_run_transaction(Fn fn) {
    std::optional<RunError> error = attempt([&] {
        call([&] {
            begin_transaction();
            fn();
            end_transaction();
        });
    });
    if (error)
        roll_back();
    return error;
}

class Run {
 public:
    explicit Run(const RefreshJob &job) : job_(job) {}

    void run() {
        std::optional<RunError> error = in_run_transaction([&] { prepare(); });
        if (error)
            return log_and_report(*error);
        if (gone_)
            return report_outcome(RefreshOutcome::gone, 0);
        report_run(run_);
        error = refresh_in_attempts();
        if (error)
            fail(*error);
        else
            report_outcome(gone_ ? RefreshOutcome::gone : RefreshOutcome::succeeded, 0);
    }

 private:
    // Without a lock on the view: nobody is to wait for one who is not refreshing yet.
    void prepare() {
        const RegisteredView registered = read_registration(job_.view);
        wanted_ = registered.concurrently;
        gone_ = !registered.exists || !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(job_.view));
        if (!gone_)
            run_ = history_.begin(job_.view, job_.reason);
    }

    // Locks the view with the weaker of the two locks that the statement may take, which does the rest
    // itself. nullptr: it is not what was planned for.
    Relation open_view() {
        const Relation view = try_relation_open(job_.view, ExclusiveLock);
        if (view != nullptr && view->rd_rel->relkind == RELKIND_MATVIEW &&
            view->rd_rel->relowner == job_.owner && job_.owner == GetSessionUserId())
            return view;
        if (view != nullptr)
            relation_close(view, NoLock);
        gone_ = true;
        return nullptr;
    }

    void decide(Relation view) {
        concurrently_ = refreshes_concurrently(view, wanted_);
        const char *const name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(view)),
                                                            RelationGetRelationName(view));
        snprintf(statement_, sizeof(statement_), "REFRESH MATERIALIZED VIEW %s%s",
                 concurrently_ ? "CONCURRENTLY " : "", name);
    }

    // Locks are given back in between, so that nobody queues up behind one who waits himself.
    std::optional<RunError> refresh_in_attempts() {
        for (int number = 1;; ++number) {
            std::optional<RunError> error = in_run_transaction([&] { refresh(); });
            if (!error || number == kAttempts || !error->is_worth_another_attempt())
                return error;
            report_phase(RefreshPhase::retrying);
            error = attempt([&] { call([&] { pause(number); }); });
            if (error) {
                QueryCancelPending = false;
                return error;
            }
        }
    }

    void refresh() {
        report_phase(RefreshPhase::locking);
        if (job_.timeout_ms > 0)
            enable_timeout_after(STATEMENT_TIMEOUT, job_.timeout_ms);
        const Relation view = open_view();
        if (view == nullptr) {
            disable_timeout(STATEMENT_TIMEOUT, false);
            return history_.fail("failed", ERRCODE_UNDEFINED_TABLE,
                                 "the view was dropped, or is another owner\'s now");
        }
        decide(view);
        relation_close(view, NoLock);
        pgstat_report_activity(STATE_RUNNING, statement_);
        debug_query_string = statement_;
        report_phase(RefreshPhase::refreshing);
        execute();
        debug_query_string = nullptr;
        disable_timeout(STATEMENT_TIMEOUT, false);
        history_.succeed(concurrently_, latest_changes());
    }

    // As the owner in any case: the session is his. Nor can what runs here change the role.
    void execute() {
        Oid user;
        int security;
        GetUserIdAndSecContext(&user, &security);
        SetUserIdAndSecContext(user, security | SECURITY_LOCAL_USERID_CHANGE);
        PushActiveSnapshot(GetTransactionSnapshot());
        SPI_connect();
        if (const int result = SPI_execute(statement_, false, 0); result != SPI_OK_UTILITY)
            throw Failure("XX000", "REFRESH MATERIALIZED VIEW: %s", SPI_result_code_string(result));
        SPI_finish();
        PopActiveSnapshot();
        SetUserIdAndSecContext(user, security);
    }

    static void pause(int number) {
        const double base = kFirstPauseMs << number;
        const auto milliseconds = static_cast<long>(base * (0.5 + pg_prng_double(&pg_global_prng_state)));
        const TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds);
        pgstat_report_activity(STATE_IDLE, nullptr);
        while (GetCurrentTimestamp() < until) {
            CHECK_FOR_INTERRUPTS();
            WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
                      TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until) + 1, PG_WAIT_EXTENSION);
            ResetLatch(MyLatch);
        }
        CHECK_FOR_INTERRUPTS();
    }

    void fail(const RunError &error) {
        debug_query_string = nullptr;
        const char *const state = error.was_canceled() ? "canceled" : "failed";
        // It is about a refresh that is over: nobody can cancel that any more.
        HOLD_CANCEL_INTERRUPTS();
        const std::optional<RunError> second =
            in_run_transaction([&] { history_.fail(state, error.sqlstate, error.message.c_str()); });
        QueryCancelHoldoffCount = 0;  // an error has done that already
        if (second)
            log(*second);
        log_and_report(error);
    }

    void log_and_report(const RunError &error) {
        log(error);
        report_outcome(error.was_canceled() ? RefreshOutcome::canceled : RefreshOutcome::failed,
                       error.sqlstate);
    }

    void log(const RunError &error) const {
        call([&] {
            ereport(LOG, (errcode(error.sqlstate),
                          errmsg("cache_sync: refresh of materialized view %u failed: %s", job_.view,
                                 error.message.c_str()),
                          statement_[0] != '\0' ? errdetail("The statement was: %s", statement_) : 0,
                          error.context.empty() ? 0 : errcontext("%s", error.context.c_str())));
        });
    }

    const RefreshJob job_;
    RunHistory history_;
    std::int64_t run_ = 0;
    std::optional<bool> wanted_;
    bool concurrently_ = false;
    bool gone_ = false;
    char statement_[4 * NAMEDATALEN + 64] = "";
};

}  // namespace

void run_job(const RefreshJob &job) {
    // Never destroyed: a FATAL error ends the process without unwinding.
    auto *const run = new Run(job);
    run->run();
}

}  // namespace cache_sync

#pragma once

#include <libpq-fe.h>

#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace cache_sync::demo {

// A statement PostgreSQL refused, or a connection it lost.
class DatabaseError : public std::runtime_error {
 public:
    DatabaseError(const std::string &message, std::string sqlstate)
        : std::runtime_error(message), sqlstate_(std::move(sqlstate)) {}
    const std::string &sqlstate() const { return sqlstate_; }

 private:
    std::string sqlstate_;
};

class Rows {
 public:
    explicit Rows(PGresult *result) : result_(result) {}

    int size() const { return PQntuples(result_.get()); }
    int affected() const;
    std::string text(int row, int column) const { return PQgetvalue(result_.get(), row, column); }
    std::int64_t number(int row, int column) const { return std::stoll(text(row, column)); }
    bool is_null(int row, int column) const { return PQgetisnull(result_.get(), row, column) != 0; }

 private:
    struct Clear {
        void operator()(PGresult *result) const { PQclear(result); }
    };
    std::unique_ptr<PGresult, Clear> result_;
};

// One connection, used by one thread at a time. Every failure throws DatabaseError.
class Database {
 public:
    explicit Database(const std::string &conninfo);

    Rows run(const std::string &sql, const std::vector<std::string> &parameters = {});
    // Plans the statement once; run_prepared names it.
    void prepare(const std::string &name, const std::string &sql);
    Rows run_prepared(const std::string &name, const std::vector<std::string> &parameters);

 private:
    Rows take(PGresult *result) const;

    struct Close {
        void operator()(PGconn *connection) const { PQfinish(connection); }
    };
    std::unique_ptr<PGconn, Close> connection_;
};

}  // namespace cache_sync::demo

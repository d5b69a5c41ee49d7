#include "database.h"

#include <cstdlib>

namespace cache_sync::demo {
namespace {

std::vector<const char *> pointers_of(const std::vector<std::string> &parameters) {
    std::vector<const char *> pointers;
    pointers.reserve(parameters.size());
    for (const std::string &parameter : parameters) {
        pointers.push_back(parameter.c_str());
    }
    return pointers;
}

}  // namespace

int Rows::affected() const {
    return std::atoi(PQcmdTuples(result_.get()));
}

Database::Database(const std::string &conninfo) : connection_(PQconnectdb(conninfo.c_str())) {
    if (PQstatus(connection_.get()) != CONNECTION_OK) {
        throw DatabaseError(PQerrorMessage(connection_.get()), "08001");
    }
}

Rows Database::run(const std::string &sql, const std::vector<std::string> &parameters) {
    const auto values = pointers_of(parameters);
    return take(PQexecParams(connection_.get(), sql.c_str(), static_cast<int>(values.size()), nullptr,
                             values.data(), nullptr, nullptr, 0));
}

void Database::prepare(const std::string &name, const std::string &sql) {
    take(PQprepare(connection_.get(), name.c_str(), sql.c_str(), 0, nullptr));
}

Rows Database::run_prepared(const std::string &name, const std::vector<std::string> &parameters) {
    const auto values = pointers_of(parameters);
    return take(PQexecPrepared(connection_.get(), name.c_str(), static_cast<int>(values.size()),
                               values.data(), nullptr, nullptr, 0));
}

Rows Database::take(PGresult *result) const {
    Rows rows(result);
    const ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        throw DatabaseError(PQerrorMessage(connection_.get()), sqlstate == nullptr ? "08006" : sqlstate);
    }
    return rows;
}

}  // namespace cache_sync::demo

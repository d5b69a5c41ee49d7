// A set-returning function that builds its whole result at once, row by row.
#pragma once

#include "pg.h"

extern "C" {
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
}

namespace cache_sync {

// Collects one row; what is not set is NULL. Columns are set in order.
class RowWriter {
 public:
    static constexpr int kMaxColumns = 24;

    RowWriter &null() {
        nulls_[count_++] = true;
        return *this;
    }
    RowWriter &value(Datum datum) {
        nulls_[count_] = false;
        values_[count_++] = datum;
        return *this;
    }
    RowWriter &text(const char *text) {
        return text == nullptr || text[0] == '\0' ? null() : value(CStringGetTextDatum(text));
    }
    RowWriter &oid(Oid oid) { return value(ObjectIdGetDatum(oid)); }
    RowWriter &number(uint64 number) { return value(Int64GetDatum(static_cast<int64>(number))); }
    RowWriter &real(double real) { return value(Float8GetDatum(real)); }
    RowWriter &boolean(bool boolean) { return value(BoolGetDatum(boolean)); }
    RowWriter &timestamp(TimestampTz when) { return when == 0 ? null() : value(TimestampTzGetDatum(when)); }
    RowWriter &pid(int pid) { return pid == 0 ? null() : value(Int32GetDatum(pid)); }

    // Ends the row.
    void put(ReturnSetInfo *result) {
        tuplestore_putvalues(result->setResult, result->setDesc, values_, nulls_);
        count_ = 0;
    }

 private:
    Datum values_[kMaxColumns] = {};
    bool nulls_[kMaxColumns] = {};
    int count_ = 0;
};

// Prepares the result of the running function; rows go into the returned structure.
inline ReturnSetInfo *begin_result(FunctionCallInfo fcinfo) {
    InitMaterializedSRF(fcinfo, 0);
    return reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
}

}  // namespace cache_sync

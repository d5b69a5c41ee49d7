// One refresh, from taking over what was queued for the view to the last line of its history:
//
//   transaction 1   the view is as it was planned; its runs are running
//   transaction 2   lock, REFRESH, what it changed, its runs have succeeded; tried again while locks are in
//                   the way
//   transaction 3   only after a failure: its runs have failed, or were canceled
//
// SIGTERM ends the process wherever it is, and writes nothing: the publisher does that.
#pragma once

#include "refresh/jobs_pg.h"

namespace cache_sync {

// Runs the job in this process, which is connected as the view's owner. Reports phases and the outcome.
void run_job(const RefreshJob &job);

}  // namespace cache_sync

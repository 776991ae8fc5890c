// The smallest change that lets a waiting run go, for why.cpp: a command for the shell where a short one does
// it, a sentence where none does. Applied, it must start the run, so it reckons with those that go before it
// and would take what becomes free.
#pragma once

#include <string>
#include <vector>

#include "state.hpp"

namespace orchestrator::engine {

using attempts = std::vector<const attempt_entry*>;
using worker_list = std::vector<const worker_entry*>;

/// Why does this run wait, now?
struct question {
  const core& c;
  const run_entry& r;
  const requirement_class& what;
  rank place;  ///< of the run among all that wait
  engine_time now;
  mono_time clock;
  bool first;  ///< no waiting run would be placed before it

  wall_time wall_at(mono_time at) const;
};

/// More names than this in one command nobody reads.
inline constexpr std::size_t runs_in_command = 10;

std::string id_of(const run_entry& r);
/// Live attempts that hold this limit, the oldest lease first.
attempts holders_of(const core& c, const limiter& l);
/// Live attempts of these workers, the oldest lease first.
attempts on_workers(const core& c, const worker_list& workers);
/// Of these, the ones that have a resource of which too little is left for the run.
attempts who_use_what_lacks(const question& q, const worker_list& workers);

/// A queue that is full.
std::string more_room(const question& q, const limit_use& queue);
/// A job that has max_running runs, or more since it was changed.
std::string fewer_of_job(const question& q, const limit_use& job, const attempts& holders);
/// A lock that is held in a way that the run cannot share.
std::string free_lock(const question& q, const limit_use& lock, const attempts& holders);
/// A lock that earlier runs want alone.
std::string nobody_alone_before(const question& q, const limit_use& lock);
/// These workers fit, but each lacks a slot or resources at present; not empty.
std::string room_on(const question& q, const worker_list& workers);
/// Of these attempts one must end: the newest that is not short by itself.
std::string end_of_one(const attempts& list);
/// The command for a worker on which it would start.
std::string fitting_worker(const question& q);
/// Of these draining workers, which are not none, the one that lets it go soonest.
const worker_entry& best_to_resume(const question& q, const worker_list& able);

}  // namespace orchestrator::engine

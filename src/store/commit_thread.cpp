// Group commit, checkpoints and fail-stop; see commit_thread.hpp.
//
// There is no linger timer: while one commit waits for the disk, the next group collects in the queue.
#include "commit_thread.hpp"

#include <unistd.h>
#include <cstdio>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/planted.hpp>
#include <orchestrator/base/text.hpp>

namespace orchestrator::store {
namespace {

// With readers always inside, passive checkpoints never let the WAL start over. Beyond this many times the
// pages of a checkpoint the writer waits for them, at most for the second that a read may take.
constexpr int restart_factor = 16;

int primary_code(const SQLite::Exception& e) { return e.getErrorCode() & 0xff; }

}  // namespace

void space_signal::change(bool full) {
  const std::lock_guard lock(mutex_);
  const int before = full_;
  full_ += full ? 1 : -1;
  if ((before == 0) != (full_ == 0) && report_) report_(full);
}

void fail_stop(const std::string& database, const std::string& what) {
  std::fprintf(
      stderr,
      "[ERROR] store: %s: %s. What was being written may or may not be on disk, so the server ends now "
      "(exit 74); check the disk, then start it again.\n",
      database.c_str(), printable(what, 1024).c_str());
  std::fflush(stderr);
  ::_exit(74);
}

commit_thread::commit_thread(connection db, std::string name, space_signal& space, writer_settings settings)
    : db_(std::move(db)),
      name_(std::move(name)),
      space_(space),
      settings_(std::move(settings)),
      restart_pages_(restart_factor * settings_.checkpoint_pages) {}

void commit_thread::start() {
  // Also switches SQLite's own checkpoints off, which would run inside COMMIT.
  sqlite3_wal_hook(
      db_.handle(),
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<commit_thread*>(self)->wal_pages_ = pages;
        return SQLITE_OK;
      },
      this);
  thread_ = std::thread([this] { loop(); });
}

void commit_thread::stop() {
  enqueue([this] { stopping_ = true; });
  if (thread_.joinable()) thread_.join();
}

void commit_thread::loop() {
  for (;;) {
    bool group = false, background = false;
    {
      std::unique_lock lock(mutex_);
      const bool resting = std::chrono::steady_clock::now() < background_resumes_;
      const auto work = [&] { return stopping_ || has_group() || (!resting && has_background()); };
      if (checkpoint_failed_ || resting)
        wake_.wait_for(lock, settings_.retry_after, work);
      else
        wake_.wait(lock, work);
      group = has_group();
      background = !resting && !stopping_ && has_background();
      if (group) take_group();
      if (stopping_ && !group) break;
    }
    if (group) write_group();
    if (background && !background_step())
      background_resumes_ = std::chrono::steady_clock::now() + settings_.retry_after;
    checkpoint_if_due();
  }
  try {
    checkpoint(db_, SQLITE_CHECKPOINT_TRUNCATE);
  } catch (const SQLite::Exception& e) {
    if (primary_code(e) != SQLITE_FULL)
      fail_stop(name_, std::string{"the last checkpoint failed: "} + e.what());
  }
}

void commit_thread::write_group() {
  bool last_try = false;
  for (;;) {
    const outcome result = transact([this] { apply_group(); });
    if (result == outcome::committed) break;
    if (result == outcome::full && planted(defect::full_group_dropped)) break;
    if (result == outcome::full) {
      set_full(true);
      if (space_.give_way()) continue;
    }
    if (last_try)
      return;  // the owner was told nothing about this group, so nothing is lost that was promised
    last_try = pause();
  }
  if (!checkpoint_failed_) set_full(false);
  group_committed();
}

commit_thread::outcome commit_thread::transact_erased(void (*body)(void*), void* argument) {
  const char* step = "BEGIN";
  try {
    if (settings_.hook) settings_.hook(db_.handle());
    db_.prepared("BEGIN IMMEDIATE").run();
    step = "a statement";
    body(argument);
    step = "COMMIT";
    db_.prepared("COMMIT").run();
    return outcome::committed;
  } catch (const SQLite::Exception& e) {
    const int code = primary_code(e);
    // Both mean that nothing was committed: BUSY is about locks, and FULL comes from writing the WAL's
    // frames, of which the one that commits is the last. A failed fsync is an IOERR and ends here.
    if (code != SQLITE_FULL && code != SQLITE_BUSY && planted(defect::commit_error_passed_over)) {
      db_.roll_back();
      return outcome::committed;
    }
    if (code != SQLITE_FULL && code != SQLITE_BUSY)
      fail_stop(name_, std::string{step} + " failed: " + e.what() + " (" +
                           std::to_string(e.getExtendedErrorCode()) + ")");
    db_.roll_back();
    return code == SQLITE_FULL ? outcome::full : outcome::busy;
  }
}

void commit_thread::checkpoint_if_due() {
  if (wal_pages_ < checkpointed_pages_) {  // the WAL started over
    checkpointed_pages_ = 0;
    restart_pages_ = restart_factor * settings_.checkpoint_pages;
  }
  if (!checkpoint_failed_ && wal_pages_ - checkpointed_pages_ < settings_.checkpoint_pages) return;
  try {
    const bool wait = wal_pages_ >= restart_pages_;
    const bool busy = checkpoint(db_, wait ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE).busy;
    // Somebody stays inside, such as a backup: it is waited for once each time the WAL has doubled.
    if (wait && busy) restart_pages_ = 2 * wal_pages_;
    checkpointed_pages_ = wal_pages_;
    checkpoint_failed_ = false;
    set_full(false);
  } catch (const SQLite::Exception& e) {
    if (primary_code(e) != SQLITE_FULL) fail_stop(name_, std::string{"a checkpoint failed: "} + e.what());
    checkpoint_failed_ = true;
    set_full(true);
    space_.give_way();
  }
}

void commit_thread::set_full(bool full) {
  if (full_ == full) return;
  full_ = full;
  space_.change(full);
}

bool commit_thread::pause() {
  std::unique_lock lock(mutex_);
  return wake_.wait_for(lock, settings_.retry_after, [this] { return stopping_; });
}

}  // namespace orchestrator::store

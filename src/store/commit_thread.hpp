// The thread that owns the writing connection of one database: it commits groups of batches, checkpoints the
// WAL, and ends the process when the outcome of a write is unknown. main_writer and output_writer derive from
// it. No other thread touches the connection.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include <orchestrator/base/limits.hpp>

#include "ballast.hpp"
#include "connection.hpp"

namespace orchestrator::store {

/// Joins what both writers say about free space: the owner hears `true` when the first one runs out, and
/// `false` when none is out any more.
class space_signal {
 public:
  space_signal(std::function<void(bool)> report, ballast& held) : report_(std::move(report)), held_(held) {}
  void change(bool full);
  /// Gives a writer that met a full disk what was held back for it; false if there was nothing.
  bool give_way() { return held_.release(); }

 private:
  std::mutex mutex_;
  int full_ = 0;
  std::function<void(bool)> report_;
  ballast& held_;
};

/// Called on a writer thread before each transaction; tests use it to take space away from a connection.
using transaction_hook = std::function<void(sqlite3*)>;

/// What tests change about a writer.
struct writer_settings {
  transaction_hook hook;
  std::chrono::milliseconds retry_after{1'000};  ///< between tries on a full disk
  int checkpoint_pages = static_cast<int>(limits::wal_checkpoint_bytes) / 4096;
};

/// Prints one ERROR line and ends the process with 74, from the thread that met the failure.
[[noreturn]] void fail_stop(const std::string& database, const std::string& what);

class commit_thread {
 public:
  virtual ~commit_thread() = default;
  commit_thread(const commit_thread&) = delete;
  commit_thread& operator=(const commit_thread&) = delete;
  void start();
  /// Commits what is queued, checkpoints and joins. On a full disk the last try is made at once.
  void stop();

 protected:
  commit_thread(connection db, std::string name, space_signal& space, writer_settings settings);

  connection& db() { return db_; }
  /// Puts something into a queue of the derived class, under the lock that guards all of them, and wakes the
  /// thread.
  template <class Change>
  void enqueue(Change change) {
    {
      const std::lock_guard lock(mutex_);
      change();
    }
    wake_.notify_one();
  }

  // All of these run on the thread itself; the first two with the lock held.
  virtual bool has_group() const = 0;
  virtual bool has_background() const = 0;
  virtual void take_group() = 0;       ///< moves queued batches out of the queue
  virtual void apply_group() = 0;      ///< the statements of what was taken; called again after a rollback
  virtual void group_committed() = 0;  ///< reports what was taken
  /// One small transaction of its own between group commits. False if it has to be tried again later.
  virtual bool background_step() = 0;

  enum class outcome { committed, full, busy };
  /// Runs `body` in a transaction. Any failure but FULL and BUSY does not return.
  template <class Body>
  outcome transact(Body body) {
    return transact_erased([](void* b) { (*static_cast<Body*>(b))(); }, &body);
  }

 private:
  outcome transact_erased(void (*body)(void*), void* argument);
  void loop();
  void write_group();
  void checkpoint_if_due();
  void set_full(bool full);
  /// Waits until the next try is due, or less when stop() was called; returns whether it was.
  bool pause();

  connection db_;
  std::string name_;
  space_signal& space_;
  writer_settings settings_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  // Of the thread alone:
  bool full_ = false;
  bool checkpoint_failed_ = false;
  std::chrono::steady_clock::time_point background_resumes_{};  // after a step that found the disk full
  int wal_pages_ = 0;                                           // as the last commit left the WAL
  int checkpointed_pages_ = 0;                                  // of the WAL when it was last checkpointed
  int restart_pages_ = 0;  // of the WAL from where on the writer waits for readers
  std::thread thread_;
};

}  // namespace orchestrator::store

// Helpers of the store's tests: temporary directories, sample rows, and one driver per kind of store, so that
// the same test body runs over both.
#pragma once

#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

#include <doctest/doctest.h>

#include <orchestrator/store/memory_store.hpp>
#include <orchestrator/store/sqlite_store.hpp>

namespace orchestrator::store::testing {

class temporary_directory {
 public:
  temporary_directory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "orchestrator-store-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
    path_ = pattern;
  }
  temporary_directory(const temporary_directory&) = delete;
  ~temporary_directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline constexpr auto patience = std::chrono::seconds{20};
inline constexpr wall_time day_zero = wall_time{std::chrono::hours{24 * 20'000}};

inline run_id id_number(std::uint64_t n, wall_time at = day_zero) { return make_uuid_v7(at, n, n * 7919); }

inline run sample_run(std::uint64_t n, wall_time at = day_zero) {
  run r;
  r.id = id_number(n, at);
  r.job = "job-" + std::to_string(n % 3);
  r.job_version = 1;
  r.spec = spec_id{1};
  r.submitted_at = at;
  return r;
}

inline attempt sample_attempt(std::uint64_t lease, const run& r) {
  attempt a;
  a.lease = lease_id{lease};
  a.run = r.id;
  a.term = 1;
  a.worker_id = "worker-" + std::to_string(lease % 2);
  a.instance = make_uuid_v4(7, lease % 2);
  a.offered_at = r.submitted_at;
  return a;
}

inline fact sample_fact(std::uint64_t n, wall_time at = day_zero) {
  return {"run.queued", "run/" + std::to_string(n), at, R"({"n":)" + std::to_string(n) + "}"};
}

/// Counts what the store reported, and waits for it.
class progress_monitor {
 public:
  store_events events() {
    return {[this](std::uint64_t n) { set(persisted_, n); }, [this](std::uint64_t n) { set(output_, n); },
            [this](bool full) {
              const std::lock_guard lock(mutex_);
              spaces_.push_back(full);
              changed_.notify_all();
            }};
  }
  bool wait_persisted(std::uint64_t n) {
    return wait([&] { return persisted_ >= n; });
  }
  bool wait_output(std::uint64_t n) {
    return wait([&] { return output_ >= n; });
  }
  bool wait_space(const std::vector<bool>& reports) {
    return wait([&] { return spaces_ == reports; });
  }
  std::uint64_t persisted() {
    const std::lock_guard lock(mutex_);
    return persisted_;
  }

 private:
  void set(std::uint64_t& which, std::uint64_t n) {
    const std::lock_guard lock(mutex_);
    which = n;
    changed_.notify_all();
  }
  template <class Predicate>
  bool wait(Predicate predicate) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, predicate);
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t persisted_ = 0, output_ = 0;
  std::vector<bool> spaces_;
};

/// A store with durable content: commits wait until they are persisted, restarts keep what was.
class store_driver {
 public:
  virtual ~store_driver() = default;
  virtual store& get() = 0;
  virtual snapshot restart(wall_time now) = 0;
  virtual void wait_persisted(std::uint64_t number) = 0;
  virtual void wait_output(std::uint64_t number) = 0;

  void commit(std::vector<mutation> mutations) {
    get().commit({++number_, std::move(mutations)});
    wait_persisted(number_);
  }
  void commit_output(std::vector<output_chunk> chunks) {
    get().commit_output({++output_number_, std::move(chunks)});
    wait_output(output_number_);
  }
  /// Returns when the retention has done its work. A pass begins with the runs, oldest first, and only after
  /// all of the pass before. So when an old run is gone some pass has begun, and when a still older one, made
  /// after that, is gone too, it was a later pass, and the first one is complete.
  void retain(wall_time now, milliseconds age, std::uint64_t count) {
    for (int pass = 1; pass <= 2; ++pass) {
      run marker = sample_run(++markers_ + 1'000'000, now - age - std::chrono::hours{pass});
      marker.spec = {};
      marker.state = run_state::skipped;
      marker.finished_at = marker.submitted_at;
      commit({put_run{marker}});
      const auto deadline = std::chrono::steady_clock::now() + patience;
      for (bool gone = false; !gone;) {
        if (std::chrono::steady_clock::now() > deadline) FAIL("retention did not finish");
        get().retain(now, age, count);
        read([&](reader& r) { gone = !r.find_run(marker.id); });
      }
    }
  }
  /// Runs `query` and waits for it. A failed REQUIRE inside ends the test, although it is on the store's
  /// thread.
  template <class Query>
  void read(Query query) {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
    std::exception_ptr failure;
    get().read([&](reader& r) {
      try {
        query(r);
      } catch (...) {
        failure = std::current_exception();
      }
      const std::lock_guard lock(mutex);
      done = true;
      changed.notify_all();
    });
    std::unique_lock lock(mutex);
    REQUIRE(changed.wait_for(lock, patience, [&] { return done; }));
    if (failure) std::rethrow_exception(failure);
  }
  std::uint64_t number() const { return number_; }
  /// The number of a batch that the test commits by itself.
  std::uint64_t count_batch() { return ++number_; }

 protected:
  std::uint64_t number_ = 0, output_number_ = 0, markers_ = 0;
};

class sqlite_driver final : public store_driver {
 public:
  sqlite_driver() { restart(day_zero); }
  store& get() override { return *opened_.store_ptr; }
  snapshot restart(wall_time now) override {
    opened_.store_ptr.reset();
    output_number_ = 0;
    auto opened = open_sqlite_store(directory_.path() / "data", now, monitor_.events());
    if (!opened) FAIL(opened.error().message);
    opened_ = std::move(*opened);
    number_ = opened_.snapshot.last_number;
    return opened_.snapshot;
  }
  void wait_persisted(std::uint64_t n) override { REQUIRE(monitor_.wait_persisted(n)); }
  void wait_output(std::uint64_t n) override { REQUIRE(monitor_.wait_output(n)); }
  std::filesystem::path data() const { return directory_.path() / "data"; }

 private:
  temporary_directory directory_;
  progress_monitor monitor_;
  opened_store opened_;
};

class memory_driver final : public store_driver {
 public:
  memory_driver() : store_(store_events{}) { restart(day_zero); }
  store& get() override { return store_; }
  snapshot restart(wall_time now) override {
    output_number_ = 0;
    return store_.reopen(now);
  }
  void wait_persisted(std::uint64_t) override { store_.sync(); }
  void wait_output(std::uint64_t) override { store_.sync_output(); }

 private:
  memory_store store_;
};

}  // namespace orchestrator::store::testing
